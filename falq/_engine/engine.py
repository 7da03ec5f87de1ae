"""The owner: the dedicated task with its task group, the live jobs, and the end of it all.

Owns everything that must be closed. `session` is its only caller. The loops
run in one task of their own, so that a session may be opened in one task and
closed in another, and a bug in a loop cannot cancel the caller.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeAlias

from falq._core.admission import Admission
from falq._core.flow import TokenBucket
from falq._core.lifecycle import JobState
from falq._core.messages import Call, Reply, Verb
from falq._core.pollplan import PollPlan
from falq._engine.bookkeeper import Bookkeeper, hash_of
from falq._engine.deliveries import Deliveries
from falq._engine.driver import CostOf, Driver
from falq._engine.endings import timeout_error
from falq._engine.gatekeeper import Gatekeeper
from falq._engine.home import Home
from falq._engine.job import Job, LoadInput, Stop
from falq._engine.lanes import Lanes, share_calls
from falq._engine.leaving import Leaving, cancel_once
from falq._engine.oddities import Oddities
from falq._engine.poller import Poller
from falq._engine.queue_client import QueueClient
from falq._engine.reconciler import Found, Reconciler
from falq._engine.resuming import job_of
from falq._engine.scheduler import Scheduler
from falq._engine.session_statistics import SessionStatistics
from falq._engine.streams import StatusStreams
from falq._engine.tally import Tally
from falq._engine.teller import Teller
from falq._engine.watcher import Watcher
from falq._journal.base import Journal
from falq._journal.records import JobRecord
from falq._transport.base import Transport
from falq.config import SessionConfig
from falq.errors import (
    FalqError,
    JobError,
    SessionClosedError,
    SubmissionUnknownError,
)
from falq.gateways import Fal
from falq.model import (
    CancelOutcome,
    Completion,
    EndpointId,
    OnCancel,
    Status,
    Submission,
    Ticket,
    Unfinished,
)

logger = logging.getLogger("falq")

FindThrough: TypeAlias = Callable[
    [Callable[[Call], Awaitable[Reply]], EndpointId, datetime, datetime], AsyncIterator[Found]
]
"""Yields the requests of an endpoint in a window, through a given way to send a call."""


class Engine:
    """Everything behind a session.

    Args:
        config: The session's settings.
        transport: What carries calls; the engine opens and closes it.
        journal: Where jobs are written down, open, if that is wanted.
        find_requests: Reads the request history through a given way to send, if
            the gateway reaches it; for `delivery="reconcile"`.
        cost_of: What units of an endpoint cost in US dollars, for the hook.
        wall_clock: Aware UTC time.
    """

    def __init__(
        self,
        config: SessionConfig,
        transport: Transport,
        *,
        journal: Journal | None = None,
        find_requests: FindThrough | None = None,
        cost_of: CostOf = lambda _endpoint, _units: None,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.config = config
        self.unfinished: tuple[Unfinished, ...] = ()
        self._transport = transport
        # Spread, not secrecy: intents are drawn elsewhere.
        self._random = random.Random(config.seed)  # noqa: S311
        self._numbers = itertools.count(1)
        self._jobs: dict[int, Job] = {}
        self._home = Home()
        self._loop = self._home.loop
        self._clock = self._loop.time
        self._group: asyncio.TaskGroup | None = None
        self._main: asyncio.Task[None] | None = None
        self._polling: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._is_closing = False
        self._errands: set[asyncio.Task[Any]] = set()
        self._wishes: set[asyncio.Task[Any]] = set()
        self._gatekeeper = Gatekeeper(clock=self._clock, withdraw=self._withdraw_unsent)
        calls_per_s = config.calls_per_s or config.gateway.calls_per_s
        # No burst, and a twentieth below the limit: calls bunch up on their way, and
        # whoever counts them at the other end uses windows of its own.
        rate = None if calls_per_s is None else TokenBucket(0.95 * calls_per_s, 1.0)
        places = {**share_calls(config.max_calls), Verb.STREAM: config.max_streams}
        self._lanes = Lanes(places, rate=rate, clock=self._clock)
        self.scheduler = Scheduler(
            Admission(config.max_jobs, per_endpoint=dict(config.per_endpoint))
        )
        self.client = QueueClient(
            transport,
            self._lanes,
            retry=config.retry,
            delivery=config.delivery,
            max_resends=config.max_resends,
            cancel_within_s=2 * config.call_timeouts.cancel_s,
            clock=self._clock,
            wall_clock=wall_clock,
            draw=self._random.random,
            check_account=self._gatekeeper.check,
            on_account_error=self._gatekeeper.halt,
            on_account_good=self._gatekeeper.resume,
            advise=config.gateway.advise,
            oddities=Oddities(config.gateway.queue_root),
        )
        self.journal = journal
        self._books = None if journal is None else Bookkeeper(journal, wall_clock=wall_clock)
        self.deliveries = Deliveries(
            base_url=config.webhook_base_url, journal=journal, on_intent=self._hear_of_intent
        )
        self._reconciler: Reconciler | None = None
        if config.delivery == "reconcile":
            self._reconciler = Reconciler(
                find=None
                if find_requests is None
                else functools.partial(find_requests, self.client.ask),
                journal=journal,
                on_the_way=self._hashes_on_the_way,
                request_of=self.deliveries.request_of,
                settle_s=config.settle_s,
                clock=self._clock,
                wall_clock=wall_clock,
                spawn=self.spawn,
            )
        self._tally = Tally()
        tell = Teller(config.on_event, self._clock)
        self._watcher = Watcher(
            self.client,
            deliveries=self.deliveries,
            completion=config.completion,
            tell=tell,
            tally=self._tally,
            clock=self._clock,
        )
        self._driver = Driver(
            scheduler=self.scheduler,
            client=self.client,
            watcher=self._watcher,
            books=self._books,
            deliveries=self.deliveries,
            reconciler=self._reconciler,
            on_unknown=config.on_unknown,
            on_account_error=self._gatekeeper.halt_after_submit,
            on_account_good=self._gatekeeper.resume_after_job,
            tell=tell,
            tally=self._tally,
            cost_of=cost_of,
            clock=self._clock,
            wall_clock=wall_clock,
            spawn=self.spawn_wish,
        )
        self._leaving = Leaving(
            self._jobs.values(),
            driver=self._driver,
            cancel=self._cancel_accepted,
            on_exit=config.on_exit,
            spawn=self.spawn,
        )
        plan = PollPlan(config.poll, burst=self._lanes.limit(Verb.STATUS))
        self.forecaster = plan.forecaster
        self._poller: Poller[Job] = Poller(
            plan,
            checker=self._watcher,
            capacity=lambda: self._lanes.limit(Verb.STATUS),
            clock=self._clock,
            draw=self._random.random,
            spawn=self.spawn,
        )
        self._watcher.poller = self._poller
        # Whether Maton passes a stream through is not documented.
        if isinstance(config.gateway, Fal):
            self._watcher.streams = StatusStreams(
                self.client,
                follower=self._watcher,
                # Fewer after a 429: who waits for a place is better polled.
                most=lambda: self._lanes.limit(Verb.STREAM),
                limit_bytes=config.call_limits.status_bytes,
                spawn=self.spawn,
            )

    async def open(self) -> None:
        """Open the transport and start the loops."""
        await self._transport.open()
        is_ready = self._loop.create_future()
        self._main = self._loop.create_task(self._run(is_ready), name="falq session")
        try:
            await is_ready
        except BaseException:
            # Nobody else will: whoever opens it is cancelled and never holds it.
            await self.aclose()
            raise

    async def _run(self, is_ready: asyncio.Future[None]) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._polling = group.create_task(self._poller.run(), name="falq poller")
            if not is_ready.done():
                is_ready.set_result(None)
            await self._stop.wait()
            self._cancel_loops()
        for errand in self._errands:
            errand.cancel()
        if self._errands:
            await asyncio.wait(set(self._errands))

    def _cancel_loops(self) -> None:
        for task in (self._polling, *(job.task for job in self._jobs.values())):
            cancel_once(task)

    def draw(self) -> float:
        """Return a uniform draw from [0, 1), of the session's own generator."""
        return self._random.random()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task that ends with the session at the latest.

        It is no child of the group: what it raises is for whoever awaits it, and
        cannot end everybody else.

        Raises:
            SessionClosedError: The session is closed.
        """
        if self._group is None or self._stop.is_set():
            work.close()
            raise self._closed_error()
        task = self._loop.create_task(work)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)
        return task

    def spawn_wish(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task that leaving waits for: somebody's wish to cancel a job."""
        task = self.spawn(work)
        self._wishes.add(task)
        task.add_done_callback(self._wishes.discard)
        return task

    def check_use(self) -> None:
        """Raise unless the session may be used here and now.

        Raises:
            ForkedSessionError: This process is a child of the one that opened it.
            WrongLoopError: Another loop or thread runs this.
            SessionClosedError: It is closed.
        """
        self._home.check()
        if self._is_closing:
            raise self._closed_error()

    @property
    def is_of_parent(self) -> bool:
        """Whether this process is a child of the one that opened the session."""
        return self._home.is_of_parent

    def check_place(self) -> None:
        """Raise unless this is the process and the loop that opened the session.

        Raises:
            ForkedSessionError: This process is a child of the one that opened it.
            WrongLoopError: Another loop or thread runs this.
        """
        self._home.check()

    def _closed_error(self) -> SessionClosedError:
        return SessionClosedError("the session is closed; open a new one")

    # Jobs.

    def start_job(
        self,
        submission: Submission,
        *,
        timeout_s: float | None,
        on_settled: Callable[[Job], None] | None = None,
        key: str | None = None,
        planned_sha256: str | None = None,
        completion: Completion | None = None,
    ) -> Job:
        """Put a submission in line and return its job.

        Args:
            submission: What to submit.
            timeout_s: Seconds until it is cancelled, if there is a limit.
            key: The caller's own name for it in the journal.
            planned_sha256: What the journal knows its input by, if not by its hash.
            on_settled: Hears of its end.
            completion: How its end is noticed, if not as the session's jobs'.
        """
        if self._group is None or self._is_closing:
            raise self._closed_error()
        if self._gatekeeper.is_held_back:
            raise self._gatekeeper.held_back_error()
        options = submission.options
        job = Job(
            job_id=next(self._numbers),
            endpoint=submission.endpoint.full,
            created=self._clock(),
            intent_id=submission.intent_id,
            submission=submission,
            kinds=submission.kinds,
            timeout_s=timeout_s,
            rank=1 if options.priority == "low" else 0,
            keeps_pace=not options.store_io,
            on_settled=on_settled,
            key=key,
            planned_sha256=planned_sha256,
            completion=completion,
        )
        self._drive(job)
        self._set_deadline(job)
        return job

    def _set_deadline(self, job: Job) -> None:
        if job.timeout_s is not None:
            job.deadline = job.created + job.timeout_s
            job.timer = self._loop.call_at(job.deadline, self._expire, job)

    def resume_job(
        self,
        record: JobRecord,
        *,
        timeout_s: float | None = None,
        load_input: LoadInput | None = None,
    ) -> Job:
        """Take up a job where the journal has it, or return the live one that has its row.

        Args:
            record: The job.
            timeout_s: Seconds from now until it is cancelled, if there is a limit; a
                live one keeps its own.
            load_input: Makes what is sent, if the record has it in another form; asked
                when a submit is about to be sent.

        Raises:
            SessionClosedError: The session is closed, or submits no more and this one
                would have to be submitted.
        """
        if self._books is None:
            raise ValueError("a session without a journal resumes nothing")
        live = self._books.find_number(record.number)
        if live is not None:
            return live
        job = job_of(
            record,
            job_id=next(self._numbers),
            now=self._clock(),
            timeout_s=timeout_s,
            load_input=load_input,
        )
        if self._gatekeeper.is_held_back and not job.is_sent:
            raise self._gatekeeper.held_back_error()
        self._books.keep(job, record)
        self._drive(job)
        self._set_deadline(job)
        return job

    def _hashes_on_the_way(self, endpoint: str) -> set[str]:
        """Return the hashes of the submits to an endpoint that are being answered now."""
        return {
            hash_of(job)
            for job in self._jobs.values()
            if job.endpoint == endpoint and job.is_on_the_way and not job.is_reconciling
        }

    def _hear_of_intent(self, intent_id: str, request_id: str) -> None:
        if self._reconciler is not None:
            self._reconciler.hear(intent_id, request_id)

    def attach_job(self, ticket: Ticket, *, timeout_s: float | None = None) -> Job:
        """Return a job for a request that exists; nothing watches it yet.

        Args:
            ticket: Of the request.
            timeout_s: Seconds from `start` until it is cancelled, if there is a limit.
        """
        return Job(
            job_id=next(self._numbers),
            endpoint=ticket.endpoint.full,
            created=self._clock(),
            ticket=ticket,
            timeout_s=timeout_s,
            is_sent=True,
            state=JobState.ACCEPTED,
        )

    def start(self, job: Job) -> None:
        """Begin to watch an attached job that nobody watched so far.

        Raises:
            SessionError: The session cannot be used here, or no more.
        """
        if job.is_settled:
            return
        self.check_place()
        if job.task is not None:
            # Even while the session closes: it ends the job, and the end has the id.
            return
        if self._is_closing:
            raise self._closed_error()
        job.accepted = job.created = self._clock()
        self._drive(job)
        self._set_deadline(job)

    def _drive(self, job: Job) -> None:
        if self._group is None or self._stop.is_set():
            raise self._closed_error()
        work = self._driver.run_job(job)
        try:
            task = self._group.create_task(work)
        except RuntimeError:
            # Somebody cancelled all tasks of the loop, and the session's among them.
            work.close()
            raise self._closed_error() from None
        self._jobs[job.job_id] = job
        job.task = task
        task.add_done_callback(lambda _: self._forget(job))

    def _forget(self, job: Job) -> None:
        self._jobs.pop(job.job_id, None)
        job.task = None
        self.deliveries.forget(job)
        if self._books is not None:
            self._books.forget(job)
        if not job.is_settled:
            # Only a bug that ended the loops gets here; nobody shall wait for ever.
            self._driver.settle_from_outside(job, self._leaving.error_of(job))

    def _stop_job(self, job: Job, cause: Stop, error: FalqError | None = None) -> None:
        """Make the driver let go of a job, now or as soon as its submit is answered."""
        if job.is_settled or job.stop_cause is not None:
            return
        job.stop_cause = cause
        job.stop_error = error
        job.interrupt()

    def _expire(self, job: Job) -> None:
        job.timer = None
        is_on_the_way = job.is_on_the_way
        self._stop_job(job, Stop.TIMEOUT)
        if is_on_the_way:
            error = timeout_error(job, "unknown")
            self._driver.settle_from_outside(job, error)

    def abandon(self, job: Job) -> None:
        """Cancel a job that its owner no longer waits for."""
        self._stop_job(job, Stop.ABANDONED)

    async def cancel(self, job: Job) -> CancelOutcome:
        """Ask the server to cancel a job; the wish outlives a cancelled caller."""
        if job.is_settled and not job.may_run_on:
            if job.ticket is None and job.error is not None:
                return "unknown" if job.error.possibly_billed else "not_submitted"
            return "already_completed"
        if job.is_unsent:
            self._stop_job(job, Stop.WITHDRAWN)
            return "not_submitted"
        wish = self.spawn_wish(self._cancel_accepted(job))
        # A lost submit may be looked for over minutes; the wish waits for it, not the caller.
        await asyncio.wait({wish}, timeout=self._patience_s)
        if not wish.done() or wish.cancelled():
            return "unknown"
        outcome: CancelOutcome = wish.result()
        return outcome

    @property
    def _patience_s(self) -> float:
        """How long a caller waits for a job that has no request id yet."""
        return 4 * self.config.call_timeouts.cancel_s

    async def _cancel_accepted(self, job: Job) -> CancelOutcome:
        await job.wait_until(lambda job: job.ticket is not None or job.is_settled)
        return await self._driver.cancel(job)

    async def check_now(self, job: Job, *, logs: bool) -> Status:
        """Ask the server for a job's status; what it says also wakes the readers."""
        try:
            async with asyncio.timeout(self._patience_s):
                await job.wait_until(lambda job: job.ticket is not None or job.is_settled)
        except TimeoutError:
            raise self._nameless_error(job) from None
        if job.ticket is None:
            # A recovered job whose submit was not found, or refused.
            raise job.error or self._closed_error()
        status = await self.client.check(job.ticket, logs=logs)
        self.hurry(job)
        return status

    @staticmethod
    def _nameless_error(job: Job) -> FalqError:
        facts: dict[str, Any] = {"endpoint": job.endpoint, "intent_id": job.intent_id}
        if job.is_unsent:
            return JobError(
                "the job has no status: it waits to be submitted; ask again later, or await it",
                job_id=job.job_id,
                retryable=True,
                **facts,
            )
        return SubmissionUnknownError(
            "the job has no request id yet: the answer to its submit is waited for, or was lost "
            "and its job is looked for; ask again later, or await it (intent "
            f"{job.intent_id})",
            sent_at=job.submitted_at,
            reason="not found yet",
            retryable=True,
            **facts,
        )

    def hurry(self, job: Job) -> None:
        """Check a job soon, and from then on as usual."""
        if job.task is None or job.is_settled:
            return
        if not self._watcher.follow_again(job):
            self._poller.hurry(job)

    def hold_back(self) -> None:
        """Submit no more; see `Session.stop_submitting`."""
        self._gatekeeper.hold_back()

    def _withdraw_unsent(self, make_error: Callable[[], FalqError]) -> None:
        for job in list(self._jobs.values()):
            if job.is_unsent:
                self._stop_job(job, Stop.WITHDRAWN, make_error())

    # The end.

    async def aclose(self) -> None:
        """Close the session; see `Session.aclose`. Bounded, and safe to call twice.

        Raises:
            WrongLoopError: Another loop or thread runs this; nothing was closed.
        """
        if self._main is None or self.is_of_parent:
            # A forked child leaves what it inherited: closing it would reach the
            # parent's connections, and the selector that both processes share.
            return
        self.check_place()
        if not self._is_closing:
            self._is_closing = True
            self._closing = self._loop.create_task(self._close(), name="falq close")
        was_cancelled = False
        while not self._closing.done():
            try:
                await asyncio.shield(self._closing)
            except asyncio.CancelledError:
                # Leaving half-way would leak sockets and lose ids; it is bounded.
                was_cancelled = True
        self._closing.result()
        if was_cancelled:
            raise asyncio.CancelledError

    async def _close(self) -> None:
        deadline = self._clock() + self.config.exit_grace_s
        await self._leaving.drop_unsent()
        await self._wait_for(self._wishes | self._leaving.begin_to_wait(), deadline)
        cancel_once(self._polling)
        self.unfinished = await self._leaving.end_rest()
        self._stop.set()
        # Now, not when the dedicated task wakes: a check or a job that wakes
        # before it would want to start what can no longer be started.
        self._cancel_loops()
        self._lanes.close()
        await self._end_main()
        self.client.carrier.close()
        await self._close_transport()

    async def _wait_for(self, waited: set[asyncio.Future[Any]], deadline: float) -> None:
        if waited:
            left_s = max(0.0, deadline - self._clock())
            await asyncio.wait(waited, timeout=left_s)

    async def _end_main(self) -> None:
        if self._main is None:
            return
        await asyncio.wait({self._main})
        if not self._main.cancelled() and self._main.exception() is not None:
            logger.error("a bug in falq ended the session's loops", exc_info=self._main.exception())

    async def _close_transport(self) -> None:
        try:
            async with asyncio.timeout(max(1.0, self.config.exit_grace_s)):
                await self._transport.aclose()
        except TimeoutError:
            logger.warning("connections did not close in time; they are dropped")

    def statistics(self) -> SessionStatistics:
        """Return the counts of this moment."""
        tally = self._tally
        return SessionStatistics(
            waiting=self.scheduler.waiting,
            in_flight=self.scheduler.in_flight,
            watched=self._poller.watched,
            submitted=tally.submitted,
            succeeded=tally.succeeded,
            failed=tally.failed,
            cancelled=tally.cancelled,
            timed_out=tally.timed_out,
            polls=tally.polls,
            calls={verb.value: count for verb, count in self.client.carrier.calls.items()},
            retries={verb.value: count for verb, count in self.client.carrier.retries.items()},
            resends=self.client.submits.resends,
            reconciling=0 if self._reconciler is None else self._reconciler.searching,
            reconciled=0 if self._reconciler is None else self._reconciler.found,
            deliveries=self.deliveries.taken,
            is_halted=self._gatekeeper.is_halted,
        )

    def let_go_of(self, job: Job, on_cancel: OnCancel) -> None:
        """Handle a caller that was cancelled while it waited for `job`."""
        if on_cancel == "cancel":
            self.abandon(job)
        elif job.is_unsent:
            self._stop_job(job, Stop.WITHDRAWN)
