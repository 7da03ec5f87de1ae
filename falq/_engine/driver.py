"""One job from top to bottom: slot, submit, watch, result, outcome.

Owns the order of things and the end of each job. It composes scheduler, submitter,
watcher and queue client. A job attached by its id, or found in the journal, enters
the same function where it stands, so there is one way to settle.

With a journal each step is written down before the next (promises D5): planned,
sending, accepted, completed, result, or how else it ended.

What may interrupt a job, and where:
    1. In the line, while it is watched and while its result is fetched, the
       driver's task is cancelled with a cause and lets go of the job.
    2. While its submit is on the way nothing interrupts: an answer that nobody
       reads is a job that nobody can find. The cause is acted on right after,
       and before the submit is sent again. Nor while a record is written.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, TypeAlias

from falq import events
from falq._core.backoff import Backoff
from falq._core.lifecycle import JobMove, JobState
from falq._core.messages import Reply
from falq._core.protocol import CANCELLED_WORDS, make_ticket
from falq._core.recorded import load_result
from falq._core.recovery import Step
from falq._core.result import (
    NotReadyError,
    job_failure,
    read_billable_units,
)
from falq._engine.bookkeeper import Bookkeeper
from falq._engine.deliveries import Deliveries
from falq._engine.endings import cancelled_error, facts_of, tie_to_job, timeout_error, unsent_error
from falq._engine.job import Job, Stop
from falq._engine.queue_client import QueueClient
from falq._engine.reconciler import Reconciler
from falq._engine.scheduler import Scheduler
from falq._engine.submitter import Submitter
from falq._engine.tally import Tally
from falq._engine.teller import Teller
from falq._engine.watcher import Watcher
from falq.errors import (
    AuthenticationError,
    FalqError,
    JobCancelledError,
    JobError,
    JobLostError,
    JobTimeoutError,
    SessionClosedError,
)
from falq.model import (
    CancelOutcome,
    Completed,
    EndpointId,
    OnUnknown,
    Ticket,
)

logger = logging.getLogger("falq")

CostOf: TypeAlias = Callable[[str, float], float | None]
"""Returns what units of an endpoint cost in US dollars; None if their price is unknown."""

CANCEL_WAIT_S = 0.4
"""How long a job whose time is over waits for the answer to its cancel, in seconds."""

EARLY_RESULT = Backoff(base_s=0.5, cap_s=15.0)
"""Extra wait, in seconds, while a server says COMPLETED and denies the result."""


class Driver:
    """Runs jobs.

    Args:
        scheduler: Where a job waits for its slot.
        client: Who speaks to the server.
        watcher: Who watches accepted jobs.
        books: Who writes to the journal, if there is one.
        deliveries: Who knows of webhooks.
        reconciler: Who looks for lost submits, if that is asked for.
        on_unknown: What becomes of those that are not found.
        on_account_error: Hears of a key that is refused for a job that was accepted.
        on_account_good: Hears of each job that succeeds.
        tell: Tells the observer.
        tally: Counts jobs.
        cost_of: Returns what units of an endpoint cost in US dollars, None if unknown.
        clock: Loop time in seconds.
        wall_clock: Aware UTC time.
        spawn: Starts a task that the session owns and waits for when it is left.
    """

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        client: QueueClient,
        watcher: Watcher,
        books: Bookkeeper | None,
        deliveries: Deliveries,
        reconciler: Reconciler | None,
        on_unknown: OnUnknown,
        on_account_error: Callable[[FalqError], None],
        on_account_good: Callable[[], None],
        tell: Teller,
        tally: Tally,
        cost_of: CostOf,
        clock: Callable[[], float],
        wall_clock: Callable[[], datetime],
        spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
    ) -> None:
        self._scheduler = scheduler
        self._client = client
        self._watcher = watcher
        self._books = books
        self._deliveries = deliveries
        self._on_account_error = on_account_error
        self._on_account_good = on_account_good
        self._tell = tell
        self._cost_of = cost_of
        self._clock = clock
        self._spawn = spawn
        self._submitter = Submitter(
            submits=client.submits,
            books=books,
            deliveries=deliveries,
            reconciler=reconciler,
            on_unknown=on_unknown,
            lend=scheduler.lent,
            tell=tell,
            on_retry=self._on_retry,
            clock=clock,
            wall_clock=wall_clock,
        )
        self._tally = tally

    async def run_job(self, job: Job) -> None:
        """Bring one job to its outcome. Raises nothing but the session's own end."""
        if job.is_settled:
            return
        job.has_begun = True
        try:
            result = await self._run(job)
        except FalqError as error:
            await self._end(job, error)
        except asyncio.CancelledError:
            if job.stop_cause is None:
                raise
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            await self._let_go(job)
        except Exception:
            logger.exception("a bug in falq ended job %s", job.job_id)
            self._settle(
                job,
                error=JobError(
                    "falq itself failed while it handled the job; the log has the traceback, "
                    "please report it",
                    **facts_of(job),
                ),
            )
        else:
            self._settle(job, result=result)

    async def _run(self, job: Job) -> Any:
        if job.stop_cause is not None:
            raise asyncio.CancelledError
        if job.submission is None and job.record is None:
            return await self._follow(job)
        step: Step | None = Step.SUBMIT
        if self._books is not None:
            step = await self._plan(job, self._books)
            if step is not Step.SUBMIT and step is not Step.RESOLVE:
                return await self._resume(job, self._books, step)
        async with self._scheduler.slot(job.job_id, job.endpoint, rank=job.rank):
            job.admitted = self._clock()
            job.move(JobMove.ADMIT)
            job.is_sent = step is Step.RESOLVE
            self._tell(events.Admitted, job)
            ticket = await self._submitter.obtain(job, job.submission, is_lost=step is Step.RESOLVE)
            self._tally.submitted += 1
            if job.is_settled:
                # Its time passed meanwhile; now that it has a name it can be cancelled.
                job.ticket = ticket
            else:
                job.accept(ticket, self._clock())
                self._tell(events.Accepted, job)
            if job.stop_cause is not None:
                raise asyncio.CancelledError
            return await self._follow(job)

    async def _plan(self, job: Job, books: Bookkeeper) -> Step | None:
        """Give a job its row; return what its state asks for, None if its end is already known."""
        other = books.find_live(job)
        if other is not None:
            job.leader = other
            return None
        step = Step.SUBMIT
        if job.submission is not None or job.record is not None:
            step = await books.plan(job, job.submission)
        if job.stop_cause is not None:
            raise asyncio.CancelledError
        return step

    async def _resume(self, job: Job, books: Bookkeeper, step: Step | None) -> Any:
        """Bring a job to its end that needs no submit: the journal or another job has it."""
        if job.leader is not None:
            return await self._join(job, job.leader)
        record = job.record
        if record is None:
            raise ValueError("a job without a record cannot be resumed")
        if record.request_id is not None:
            ticket = make_ticket(EndpointId.parse(record.endpoint), record.request_id)
            self._take(job, ticket)
        if step is Step.WATCH:
            self._tell(events.Accepted, job)
            return await self._follow(job)
        job.is_restored = True
        return await books.load_outcome(record)

    def _take(self, job: Job, ticket: Ticket) -> None:
        if job.state is JobState.WAITING:
            job.move(JobMove.ADMIT)
        job.is_sent = True
        job.accept(ticket, self._clock())

    async def _join(self, job: Job, leader: Job) -> Any:
        """End as another job of this session that has the same row."""
        await leader.wait_until(lambda job: job.ticket is not None or job.is_settled)
        job.journal_number = leader.journal_number
        if leader.ticket is not None:
            self._take(job, leader.ticket)
        await leader.wait_until(lambda job: job.is_settled)
        job.status = leader.status
        if leader.error is not None:
            raise copy.copy(leader.error)
        return leader.result

    async def _follow(self, job: Job) -> Any:
        """Watch an accepted job until it is completed, and fetch its result."""
        ticket = job.ticket
        if ticket is None:
            raise ValueError("a job without a ticket cannot be followed")
        self._deliveries.note_accepted(job)
        await self._deliveries.recall(job)
        early = 0
        while True:
            await self._watcher.wait_completed(job, ticket)
            if job.is_settled:
                # The session closed between the turn that was given and this line.
                return None
            if job.stop_error is not None:
                raise job.stop_error
            try:
                return await self._read_end(job, ticket)
            except NotReadyError:
                self._note_late_result(job)
                if job.is_settled:
                    return None
                job.move(JobMove.NOT_READY)
                # Whatever a webhook said, the next word is the server's own.
                job.is_told = job.has_webhook = False
                # A server that goes on to contradict itself is asked less and less.
                await asyncio.sleep(EARLY_RESULT.ceiling_s(early) if early else 0.0)
                early += 1

    async def _read_end(self, job: Job, ticket: Ticket) -> Any:
        """Fetch the result of a job that is completed, or that no check can reach.

        Raises:
            NotReadyError: It is not there, or an outage says nothing of the job.
        """
        is_seen = isinstance(job.status, Completed)
        job.completed = self._clock()
        job.move(JobMove.COMPLETE)
        if is_seen and self._books is not None and job.journal_number is not None:
            self._books.see_completed(job)
        try:
            return await self._fetch(job, ticket)
        except FalqError as error:
            if is_seen or _ends(error):
                raise
            raise NotReadyError from error

    async def _fetch(self, job: Job, ticket: Ticket) -> Any:
        done = job.status
        if isinstance(done, Completed) and done.word != "COMPLETED":
            was_cancelled = done.word in CANCELLED_WORDS
            raise job_failure(
                ticket,
                status_code=None,
                error_type="client_cancelled" if was_cancelled else done.error_type,
                detail=done.error or f"the server says {done.word}",
            )
        if job.told_result is not None:
            return await self._use_told(job, job.told_result)
        # The last one alone: those that were asked again for may be large.
        replies: deque[Reply] = deque(maxlen=1)
        try:
            result = await self._client.fetch(
                ticket,
                completed=done if isinstance(done, Completed) else None,
                on_retry=self._on_retry(job, "result"),
                on_reply=replies.append,
            )
        except JobError as error:
            if replies:
                job.billable_units = read_billable_units(replies[-1])
            error.job_id = job.job_id
            error.intent_id = job.intent_id
            raise
        job.billable_units = read_billable_units(replies[-1])
        if self._books is not None and job.journal_number is not None:
            await self._books.note_result(job, replies[-1])
        return result

    async def _use_told(self, job: Job, body: bytes) -> Any:
        """Return the result that a webhook brought."""
        if self._books is not None:
            await self._books.note_result(job, Reply(200, {}, body))
        return load_result(body)

    async def _end(self, job: Job, error: FalqError) -> None:
        if isinstance(error, AuthenticationError) and job.ticket is not None:
            self._note_refused_key(job, error)
        await self._note_end(job, error)
        self._settle(job, error=error)

    def _note_refused_key(self, job: Job, error: AuthenticationError) -> None:
        """Take in that an accepted job cannot be looked at: no other is to share its lot."""
        error.possibly_billed = True
        error.intent_id = job.intent_id
        # The key was good enough to submit it. Whoever attached to a stranger's job
        # learns nothing of the key by a 403.
        error.is_account_wide |= job.intent_id is not None
        if error.is_account_wide:
            self._on_account_error(error)

    async def _let_go(self, job: Job) -> None:
        """End a job whose time is over, or whom nobody waits for any more."""
        outcome: CancelOutcome = "unknown" if job.is_sent else "not_submitted"
        if job.ticket is not None and job.leader is None:
            try:
                cancelling = self._spawn(self.cancel(job))
            except SessionClosedError:
                # The session ends in this moment, and has noted the job as unfinished.
                return
            patience_s = CANCEL_WAIT_S if job.stop_cause is Stop.TIMEOUT else None
            done, _ = await asyncio.wait({cancelling}, timeout=patience_s)
            outcome = cancelling.result() if done else "unknown"
            if outcome == "unknown" and job.stop_cause is Stop.ABANDONED:
                # Nobody waits for the error that would say so.
                logger.warning(
                    "job %s was not cancelled at the server, which did not answer: it may run on "
                    "and be billed (request %s)",
                    job.job_id,
                    job.request_id,
                )
        error: FalqError
        if job.stop_error is not None:
            error = job.stop_error
        elif job.stop_cause is Stop.TIMEOUT:
            error = timeout_error(job, outcome)
        elif job.stop_cause is Stop.CLOSED:
            error = unsent_error(job)
        else:
            error = cancelled_error(job, outcome)
        await self._note_end(job, error, cancel_outcome=outcome)
        self._settle(job, error=error)

    async def _note_end(
        self, job: Job, error: FalqError, *, cancel_outcome: CancelOutcome | None = None
    ) -> None:
        if self._books is not None:
            await self._books.note_end(job, error, cancel_outcome=cancel_outcome)

    async def cancel(self, job: Job) -> CancelOutcome:
        """Ask the server to cancel an accepted job, and note what it says."""
        if job.ticket is None:
            # It has ended: without a job, or as one that may be there and was not found.
            return "unknown" if job.is_sent else "not_submitted"
        outcome = await self._client.cancel(
            job.ticket, on_retry=self._on_retry(job, "cancel"), is_new=self._watcher.is_new(job)
        )
        if job.cancel_outcome != "requested":
            job.cancel_outcome = outcome
        self._tell(events.CancelRequested, job, cancel_outcome=outcome)
        job.is_announced = False
        self._watcher.poller.hurry(job)
        return outcome

    def _settle(self, job: Job, *, result: Any = None, error: FalqError | None = None) -> None:
        if job.is_settled:
            return
        self._count_end(error)
        if error is not None:
            tie_to_job(error, job)
        now = self._clock()
        job.settle(now, result=result, error=error)
        if self._tell.is_heard:
            units = job.billable_units
            self._tell(
                events.Settled,
                job,
                error=error,
                total_s=now - job.created,
                polls=job.polls,
                billable_units=units,
                cost_usd=None if units is None else self._cost_of(job.endpoint, units),
            )

    def settle_from_outside(self, job: Job, error: FalqError) -> None:
        """End a job whose driver cannot, because it is busy or about to be ended."""
        self._settle(job, error=error)

    def _count_end(self, error: FalqError | None) -> None:
        if error is None:
            self._tally.succeeded += 1
            self._on_account_good()
        elif isinstance(error, JobCancelledError):
            self._tally.cancelled += 1
        elif isinstance(error, JobTimeoutError):
            self._tally.timed_out += 1
        else:
            self._tally.failed += 1

    def _on_retry(self, job: Job, verb: str) -> Callable[[int, float, FalqError], None]:
        def tell(attempt: int, delay_s: float, error: FalqError) -> None:
            if verb == "result":
                self._note_late_result(job)
            self._tell(
                events.Retrying, job, verb=verb, attempt=attempt, delay_s=delay_s, error=error
            )

        return tell

    def _note_late_result(self, job: Job) -> None:
        is_seen = isinstance(job.status, Completed)
        if is_seen and self._books is not None and job.journal_number is not None:
            self._books.note_completed(job)


def _ends(error: FalqError) -> bool:
    """Return whether what a result call ended with ends a job that nobody saw completed."""
    if isinstance(error, JobLostError):
        # Checks say that, by more than one answer.
        return False
    return isinstance(error, JobError | AuthenticationError)
