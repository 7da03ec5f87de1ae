"""From a slot to a ticket: submit a job, or find the one that was made.

Owns what happens around the attempts of one job's submit: events, records in the
journal, and what becomes of a lost answer. The queue client sends, the reconciler
looks, the bookkeeper writes. The driver is its only caller.

What a lost answer leads to, by `delivery`:
    1. `at_most_once`: `SubmissionUnknownError`.
    2. `at_least_once`: the queue client sends again, and raises the same in the end.
    3. `reconcile`: it is looked for. Not found after `settle_s` it is held, which is
       the same error, or submitted again if `on_unknown` says so and the history,
       read after that time, lists nothing that could be it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any, Protocol

from attrs import evolve

from falq import events
from falq._core.protocol import make_ticket
from falq._core.refusal import is_account_wide
from falq._engine.bookkeeper import Bookkeeper, hash_of, hash_of_submission
from falq._engine.deliveries import Deliveries
from falq._engine.job import Job
from falq._engine.reconciler import LostSubmit, Reconciler, Resolution
from falq._engine.submit_client import SubmitClient
from falq.errors import (
    ApiError,
    ArgumentError,
    FalqError,
    JournalError,
    RateLimitError,
    SubmissionUnknownError,
    TransportError,
)
from falq.model import EndpointId, OnUnknown, Submission, Ticket

logger = logging.getLogger("falq")


class Tell(Protocol):
    """Tells the session's observer of an event of a job."""

    def __call__(self, kind: type[events.Event], job: Job, **facts: Any) -> None:
        """Tell it; never raises."""
        ...


class Submitter:
    """Submits jobs.

    Args:
        submits: Who sends.
        books: Who writes to the journal, if there is one.
        deliveries: Who knows of webhooks.
        reconciler: Who looks for lost submits, if that is asked for.
        on_unknown: What becomes of those that are not found.
        lend: Gives a job's slot at its endpoint to others while it is looked for.
        tell: Tells the observer.
        on_retry: Returns what tells it of retries.
        clock: Loop time in seconds.
        wall_clock: Aware UTC time.
    """

    def __init__(
        self,
        *,
        submits: SubmitClient,
        books: Bookkeeper | None,
        deliveries: Deliveries,
        reconciler: Reconciler | None,
        on_unknown: OnUnknown,
        lend: Callable[[str], AbstractContextManager[None]],
        tell: Tell,
        on_retry: Callable[[Job, str], Callable[[int, float, FalqError], None]],
        clock: Callable[[], float],
        wall_clock: Callable[[], datetime],
    ) -> None:
        self._submits = submits
        self._books = books
        self._deliveries = deliveries
        self._reconciler = reconciler
        self._on_unknown = on_unknown
        self._lend = lend
        self._tell = tell
        self._on_retry = on_retry
        self._clock = clock
        self._wall_clock = wall_clock

    async def obtain(self, job: Job, submission: Submission | None, *, is_lost: bool) -> Ticket:
        """Return the server's receipt of a job, submitting it unless it is lost already.

        Args:
            job: In its slot.
            submission: What to send; None if the journal did not keep it.
            is_lost: Its submit was sent in an earlier session and never answered.

        Raises:
            SubmissionUnknownError: There may be a job.
            ApiError: The server refused it.
            TransportError: It could not be sent.
            JournalError: The intent could not be written; nothing was sent.
            FalqError: What was to be sent could not be made; nothing was sent.
        """
        lost = _unknown_of(job) if is_lost else None
        ticket = None if lost is None else await self._find(job, lost)
        while ticket is None:
            if submission is None:
                raise ArgumentError(
                    "the journal kept no input of this job; submit it again with its input "
                    "and its key",
                    argument="key",
                )
            made = await self._send(job, submission, lost)
            if isinstance(made, Ticket):
                ticket = made
            else:
                lost = made
                ticket, submission = await self._find(job, lost), job.submission
        if self._reconciler is not None:
            self._reconciler.claim(ticket.request_id)
        if self._books is not None:
            await self._books.note_accepted(job, ticket.request_id)
        return ticket

    async def _send(
        self, job: Job, submission: Submission, lost: SubmissionUnknownError | None
    ) -> Ticket | SubmissionUnknownError:
        """Submit; return the ticket, or that the answer was lost.

        Args:
            job: The job.
            submission: What to send.
            lost: What became of an earlier sending that this one follows.
        """
        try:
            return await self._submit(job, await _complete(job, submission), lost)
        except SubmissionUnknownError as error:
            return error
        except (TransportError, ApiError, JournalError) as error:
            if lost is None or (isinstance(error, ApiError) and not is_account_wide(error)):
                raise
            # What became of this sending says nothing of the one before it.
            raise lost from error

    async def _find(self, job: Job, error: SubmissionUnknownError) -> Ticket | None:
        """Return the ticket of a lost submit, None to submit it again, or raise `error`."""
        ticket = await self._look_for(job, error)
        job.is_reconciled = ticket is not None
        return ticket

    async def _submit(
        self, job: Job, submission: Submission, lost: SubmissionUnknownError | None
    ) -> Ticket:
        watch = _Watch(job, self._on_retry(job, "submit"), self._tell, self._clock, lost)
        notes = None if self._books is None else _Notes(self._books, job, lost)

        def name_webhook() -> str | None:
            url = None if submission.options.webhook_url else self._deliveries.address(job)
            job.has_webhook = url is not None
            return url

        try:
            return await self._submits.submit(
                submission,
                on_sending=watch.on_sending,
                on_retry=watch.on_retry,
                on_resend=watch.on_resend,
                notes=notes,
                webhook_url=name_webhook,
            )
        except (TransportError, SubmissionUnknownError, ApiError) as error:
            if notes is not None:
                await notes.after_failure(error)
            raise

    async def _look_for(self, job: Job, error: SubmissionUnknownError) -> Ticket | None:
        """Return the ticket of a lost submit, None to submit it again, or raise `error`."""
        target = EndpointId.parse(job.endpoint)
        told = self._deliveries.request_of(job.intent_id or "")
        if told is not None:
            # The job has ended and its webhook was quicker than the answer.
            return make_ticket(target, told)
        if self._reconciler is None:
            raise error
        sent_at = error.sent_at or job.submitted_at or self._wall_clock()
        self._tell(events.SubmitLost, job, error=error)
        lost = LostSubmit(
            name=job.job_id,
            endpoint=target,
            input_sha256=hash_of(job),
            sent_at=sent_at.timestamp(),
            age_s=self._age_s(job, sent_at),
            intent_id=job.intent_id,
            number=job.journal_number,
            has_webhook=job.has_webhook or self._has_kept_webhook(job),
        )
        # What an earlier session lost holds up nobody. What this one lost keeps its slot:
        # where every answer is lost, no more is sent than there are slots.
        lending = self._lend(job.endpoint) if job.sent is None else nullcontext()
        job.is_reconciling = True
        try:
            with lending:
                resolution = await self._reconciler.resolve(lost)
        finally:
            job.is_reconciling = False
        if resolution.request_id is not None:
            return make_ticket(target, resolution.request_id)
        if not self._may_resubmit(job, resolution):
            raise _held(error, resolution)
        self._allow_resend(job, error)
        return None

    def _age_s(self, job: Job, sent_at: datetime) -> float:
        """Return how long ago a submit was sent; by the wall clock only if another process did."""
        if job.sent is not None:
            return self._clock() - job.sent
        return max(0.0, (self._wall_clock() - sent_at).total_seconds())

    def _has_kept_webhook(self, job: Job) -> bool:
        """Return whether fal was told to call somebody, whose deliveries the journal may have."""
        return self._books is not None and (_has_webhook(job) or self._deliveries.is_in_use)

    def _may_resubmit(self, job: Job, resolution: Resolution) -> bool:
        is_wanted = job.stop_cause is None and job.submission is not None
        return self._on_unknown == "resubmit" and resolution.is_absent and is_wanted

    def _allow_resend(self, job: Job, error: SubmissionUnknownError) -> None:
        self._submits.resends += 1
        logger.warning(
            "job %s is submitted again: the history did not list its lost submit; it may cost "
            "twice",
            job.job_id,
        )
        self._tell(events.Resending, job, resends=1, error=error)


class _Watch:
    """What one job does while its submit is sent, and sent again."""

    def __init__(
        self,
        job: Job,
        tell_retry: Callable[[int, float, FalqError], None],
        tell: Tell,
        clock: Callable[[], float],
        lost: SubmissionUnknownError | None,
    ) -> None:
        self._job = job
        self._tell_retry = tell_retry
        self._tell = tell
        self._clock = clock
        self._has_resent = lost is not None

    def on_sending(self, at: datetime) -> None:
        job = self._job
        if job.stop_cause is not None:
            # Nobody wants it any more, and this attempt would be paid for.
            raise asyncio.CancelledError
        job.submitted_at, job.sent = at, self._clock()
        job.is_sent = True

    def on_retry(self, attempt: int, delay_s: float, error: FalqError) -> None:
        job = self._job
        self._tell_retry(attempt, delay_s, error)
        if not self._has_resent:
            job.is_sent = False
        if job.stop_cause is not None:
            # Its time passed during the attempt: it shall not hold its slot until the next.
            raise asyncio.CancelledError
        if self._has_resent:
            return
        is_late = job.deadline is not None and self._clock() + delay_s > job.deadline
        if is_late and isinstance(error, RateLimitError):
            raise error

    def on_resend(self, resends: int, error: FalqError) -> None:
        job = self._job
        if job.stop_cause is not None:
            raise error
        self._has_resent = True
        logger.warning(
            "job %s is submitted again after a lost answer; it may cost twice", job.job_id
        )
        self._tell(events.Resending, job, resends=resends, error=error)


class _Notes:
    """What the journal is told of one job's submit; see `submit_client.SubmitNotes`."""

    def __init__(self, books: Bookkeeper, job: Job, lost: SubmissionUnknownError | None) -> None:
        self._books = books
        self._job = job
        self._is_open = False
        self._lost = lost

    async def before_sending(self, at: datetime) -> None:
        await self._books.note_sending(self._job, at, is_resend=self._lost is not None)
        self._is_open = True
        if self._job.stop_cause is not None:
            # It came while the intent was written.
            await self.after_no_job("nobody wants it any more")
            raise asyncio.CancelledError

    async def after_no_job(self, reason: str) -> None:
        if self._is_open:
            self._is_open = False
            if self._lost is None:
                await self._books.note_not_sent(self._job, reason)
            else:
                # That this sending made no job says nothing of the one before it.
                await self._books.note_unknown(self._job, self._lost.reason)

    async def after_failure(self, error: FalqError) -> None:
        if isinstance(error, SubmissionUnknownError):
            if self._is_open:
                self._is_open = False
                await self._books.note_unknown(self._job, error.reason)
        elif isinstance(error, TransportError) or is_account_wide(error):
            # Neither says anything of the job: it can be sent when that has passed.
            await self.after_no_job(str(error))
            self._job.is_sent = False

    async def before_resend(self, error: SubmissionUnknownError) -> None:
        await self.after_failure(error)
        # Written as sent again only when it is: what comes between leaves it unknown.
        self._lost = error


async def _complete(job: Job, submission: Submission) -> Submission:
    """Return a submission with the input that is sent, made at the last moment."""
    record = job.record
    if job.load_input is not None:
        made = await job.load_input()
        job.load_input, job.input_sha256 = None, made.sha256
        submission = job.submission = evolve(submission, body=made.body)
    elif record is not None and "files" in record.extra and not job.attempts_noted:
        raise ArgumentError(
            "the journal has this job's input without the files that it names; go on with its "
            "batch: falq resume",
            argument="arguments",
        )
    elif record is not None and (submission.body is not record.input or record.extra):
        # What was planned, or was sent before, may have had other URLs of the same files.
        job.input_sha256 = hash_of_submission(submission)
    return submission


def _has_webhook(job: Job) -> bool:
    if job.submission is not None:
        return job.submission.options.webhook_url is not None
    return job.record is not None and bool(job.record.options.get("webhook_url"))


def _unknown_of(job: Job) -> SubmissionUnknownError:
    """Return what a submit of an earlier session ends with, if nothing is found."""
    record = job.record
    sent_at = None
    if record is not None and record.sent_at is not None:
        sent_at = datetime.fromtimestamp(record.sent_at, UTC)
    return SubmissionUnknownError(
        f"the answer to an earlier submit to {job.endpoint} was lost: there may be a job, and a "
        f"bill; look for it in fal's request history before you submit it again (intent "
        f"{job.intent_id})",
        endpoint=job.endpoint,
        intent_id=job.intent_id,
        sent_at=sent_at,
        attempts=1 if record is None else record.attempts,
        reason="interrupted" if record is None else record.reason or "interrupted",
    )


def _held(error: SubmissionUnknownError, resolution: Resolution) -> SubmissionUnknownError:
    return SubmissionUnknownError(
        f"the answer to a submit to {error.endpoint} was lost ({error.reason}) and the job was not "
        f"found: {resolution.reason}; there may be a job, and a bill, so falq did not send it "
        f"again (intent {error.intent_id})",
        endpoint=error.endpoint,
        intent_id=error.intent_id,
        sent_at=error.sent_at,
        attempts=error.attempts,
        reason=resolution.reason,
    )
