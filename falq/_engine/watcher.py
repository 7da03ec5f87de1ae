"""Watch an accepted job until it is completed: by checks, a stream, or a webhook's word.

Owns what is heard of a job meanwhile, and when checks that fail end it. It is the
poller's checker and follows the streams. It never fetches a result and settles
nothing: the driver waits for it.
"""

from __future__ import annotations

from collections.abc import Callable

from falq import events
from falq._core.result import GONE_AFTER, LATE_ID_GRACE_S
from falq._engine.deliveries import Deliveries
from falq._engine.endings import facts_of
from falq._engine.job import Job
from falq._engine.poller import Poller
from falq._engine.queue_client import QueueClient
from falq._engine.streams import StatusStreams
from falq._engine.tally import Tally
from falq._engine.teller import Teller
from falq.errors import (
    AuthenticationError,
    FalqError,
    JobCancelledError,
    JobLostError,
    RequestNotFoundError,
    ResponseTooLargeError,
)
from falq.model import Completed, Completion, Status, Ticket

BLIND_S = 120.0
"""How long checks may fail in a row before the result is asked for, in seconds: it is
kept for a while only, and fal may know it where its status is not to be had."""


class Watcher:
    """Watches jobs.

    Args:
        client: Who checks.
        deliveries: Who knows of webhooks.
        completion: How the end of a job is noticed that does not say.
        tell: Tells the observer.
        tally: Counts checks.
        clock: Loop time in seconds.

    Attributes:
        poller: Plans the checks; given before the first job.
        streams: Follows jobs by streams, where the gateway has them.
    """

    poller: Poller[Job]
    streams: StatusStreams | None = None

    def __init__(
        self,
        client: QueueClient,
        *,
        deliveries: Deliveries,
        completion: Completion,
        tell: Teller,
        tally: Tally,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._deliveries = deliveries
        self._completion = completion
        self._tell = tell
        self._tally = tally
        self._clock = clock

    async def wait_completed(self, job: Job, ticket: Ticket) -> None:
        """Return when the job is completed, or to end otherwise.

        Also when checks have failed for so long that only the result can tell.
        """
        if not job.is_told:
            job.is_announced = self._deliveries.expects(job)
            is_followed = not job.is_announced and self._start_stream(job)
            self.poller.watch(
                job,
                line=f"{job.endpoint}/{job.rank}",
                position=ticket.position,
                keeps_pace=job.keeps_pace,
                kinds=_kinds_of(job),
                is_announced=job.is_announced or is_followed,
            )
            try:
                await job.wait_turn()
            finally:
                self.poller.forget(job)
                self._stop_stream(job)
                job.is_announced = False
        if job.is_told and not isinstance(job.status, Completed) and not job.is_settled:
            self._hear(job, Completed())

    def follow_again(self, job: Job) -> bool:
        """Follow a watched job by a stream now that somebody wants to hear of it.

        Returns:
            Whether one does; else it is to be polled.
        """
        was_announced, job.is_announced = job.is_announced, False
        if was_announced:
            # Left to a webhook until now, it had no stream yet.
            return self._start_stream(job, is_late=True)
        return self.streams is not None and self.streams.renew(job)

    def _start_stream(self, job: Job, *, is_late: bool = False) -> bool:
        if self.streams is None or (job.completion or self._completion) != "stream":
            return False
        return self.streams.start(job, is_late=is_late)

    def _stop_stream(self, job: Job) -> None:
        if self.streams is not None:
            self.streams.stop(job)

    def is_new(self, job: Job) -> bool:
        """Return whether a 404 may only mean that not all of the server knows the job yet."""
        known_since = job.sent if job.accepted is None else job.accepted
        if job.sent is None or known_since is None:
            # Attached, or submitted by an earlier session.
            return False
        return self._clock() - known_since < LATE_ID_GRACE_S

    async def check(self, job: Job) -> Status:
        """Ask the server for the job's status."""
        if job.ticket is None:
            raise ValueError("a job without a ticket cannot be checked")
        try:
            return await self._client.check(job.ticket, logs=job.with_logs > 0)
        except ResponseTooLargeError:
            if not job.with_logs:
                raise
        # Its end must be seen whatever it prints.
        return await self._client.check(job.ticket, logs=False)

    def heard(self, job: Job, status: Status, next_in_s: float | None) -> None:
        """Take in a status."""
        job.polls += 1
        self._tally.polls += 1
        job.missing = 0
        job.failing_since = None
        if self._tell.is_heard:
            self._tell(events.Polled, job, polls=job.polls, next_in_s=next_in_s)
        self._hear(job, status)
        if isinstance(status, Completed):
            self._deliveries.note_missed(job)
            job.give_turn()

    def _hear(self, job: Job, status: Status) -> None:
        before = job.status
        if job.has_turn and isinstance(before, Completed):
            # A stream and a check that were both on the way: the older word comes last.
            return
        if self._tell.is_heard and (before is None or _is_news(before, status)):
            self._tell(events.StatusChanged, job, status=status)
        job.hear(status)

    def heard_in_stream(self, job: Job, status: Status) -> None:
        """Take in a status that a stream brought."""
        self._client.oddities.see_status(status)
        job.missing = 0
        job.failing_since = None
        self.poller.overhear(job, status)
        self._hear(job, status)
        if isinstance(status, Completed):
            job.give_turn()

    def lost_stream(self, job: Job) -> None:
        """Poll a job as usual, beginning now: its stream ended before it did."""
        self.poller.hurry(job)

    def missed(self, job: Job, error: FalqError, next_in_s: float) -> None:
        """Take in a check that failed."""
        job.polls += 1
        self._tally.polls += 1
        self._tell(events.PollFailed, job, error=error, next_in_s=next_in_s)
        end = self._end_after(job, error)
        now = self._clock()
        if end is not None:
            job.stop_error = end
            job.give_turn()
        elif job.failing_since is None:
            job.failing_since = now
        elif now - job.failing_since >= BLIND_S:
            job.failing_since = now
            job.give_turn()

    def _end_after(self, job: Job, error: FalqError) -> FalqError | None:
        """Return what a failed check ends the job with; None to go on watching."""
        if isinstance(error, AuthenticationError):
            return error
        if not isinstance(error, RequestNotFoundError):
            return None
        if job.cancel_outcome == "requested" or (
            job.cancel_outcome == "not_found" and not self.is_new(job)
        ):
            return JobCancelledError(
                "the job was cancelled and the server has dropped it", **facts_of(job)
            )
        now = self._clock()
        if job.missing == 0:
            job.first_missing = now
        job.missing += 1
        since = job.created if job.first_missing is None else job.first_missing
        if job.missing < GONE_AFTER or now - since < LATE_ID_GRACE_S:
            return None
        return JobLostError(
            "the server no longer knows the job; look for it in fal's request history",
            **facts_of(job),
        )


def _kinds_of(job: Job) -> tuple[str, ...]:
    """Return what a job's run time is learned under: nothing if nobody knows when it began."""
    is_attached = job.admitted is None
    if is_attached or job.is_reconciled or job.completed is not None:
        return ()
    return job.kinds or (job.endpoint,)


def _is_news(before: Status, after: Status) -> bool:
    if before.word != after.word:
        return True
    return getattr(before, "position", None) != getattr(after, "position", None)
