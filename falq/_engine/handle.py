"""What the user holds of a job: await it, watch it, cancel it.

Owns nothing but a reference to the job's record. A handle may be awaited by
many; each gets the same result or error.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Generator
from typing import Any, Protocol, Self

from attrs import evolve

from falq._core.lifecycle import JobState
from falq._core.logwindow import LogWindow
from falq._engine.job import Job
from falq._journal.records import JobRecord
from falq.errors import ArgumentError, FalqError
from falq.model import CancelOutcome, Completed, InProgress, LogEntry, OnCancel, Queued, Status


class Keeper(Protocol):
    """What a handle asks of the engine."""

    def check_use(self) -> None:
        """Raise a SessionError unless the session may be used here and now."""
        ...

    def check_place(self) -> None:
        """Raise a SessionError unless this is the session's own loop and process."""
        ...

    def start(self, job: Job) -> None:
        """Begin to watch an attached job that nobody watched so far, or raise a SessionError."""
        ...

    def abandon(self, job: Job) -> None:
        """Cancel a job that its owner no longer waits for."""
        ...

    async def cancel(self, job: Job) -> CancelOutcome:
        """Ask the server to cancel a job."""
        ...

    async def check_now(self, job: Job, *, logs: bool) -> Status:
        """Ask the server for a job's status."""
        ...

    def hurry(self, job: Job) -> None:
        """Check a job soon, because a reader wants more of it."""
        ...


class Handle:
    """A job that the server has accepted, or one attached by its id.

    `await handle` waits for the end and returns the result. Sessions make
    handles; see `Session.submit` and `Session.handle`.
    """

    __slots__ = ("_job", "_keeper", "_on_cancel")

    def __init__(self, job: Job, keeper: Keeper, *, on_cancel: OnCancel = "detach") -> None:
        self._job = job
        self._keeper = keeper
        self._on_cancel = on_cancel

    @property
    def job_id(self) -> int:
        """Number of the job within its session."""
        return self._job.job_id

    @property
    def endpoint(self) -> str:
        """Full id of the endpoint."""
        return self._job.endpoint

    @property
    def request_id(self) -> str:
        """The server's id: what to keep in order to attach to the job later."""
        return self._job.request_id or ""

    @property
    def intent_id(self) -> str | None:
        """Id that falq gave the submission; None for an attached job."""
        return self._job.intent_id

    @property
    def journal_number(self) -> int | None:
        """Number of its row in the session's journal; None without a journal."""
        return self._job.journal_number

    @property
    def journal_record(self) -> JobRecord | None:
        """Its row in the session's journal, known without a look into it.

        None until its result is written there; and always if the row was not there
        before this session, or its result was.
        """
        return self._job.written_record()

    @property
    def last_status(self) -> Status | None:
        """What the server last said, without asking."""
        return self._job.status

    @property
    def polls(self) -> int:
        """Status checks answered so far."""
        return self._job.polls

    @property
    def billable_units(self) -> float | None:
        """What the service said that it billed for the job, in the endpoint's units.

        None before its end, if the service did not say, or if a webhook or the journal
        brought the result.
        """
        return self._job.billable_units

    def is_done(self) -> bool:
        """Return whether the outcome is known."""
        return self._job.is_settled

    def __repr__(self) -> str:
        job = self._job
        return (
            f"<falq.Handle job={job.job_id} endpoint={job.endpoint!r} "
            f"request_id={job.request_id!r} state={job.state.value}>"
        )

    def __await__(self) -> Generator[Any, None, Any]:
        return self.result().__await__()

    async def result(self) -> Any:
        """Wait for the end and return the payload.

        Returns:
            What the model answered: a JSON value, or bytes if it is not JSON.

        Raises:
            JobFailedError: The model or the platform ended it with an error;
                `JobInputError` if the input was refused.
            JobCancelledError: It was cancelled.
            JobTimeoutError: `client_timeout` passed.
            JobLostError: The server no longer knows it.
            AuthenticationError: The key is refused.
            SessionClosedError: The session was closed before the end.

        If the wait is cancelled, the job runs on, unless it was submitted with
        `on_cancel="cancel"`: then the session asks the server to cancel it.
        """
        self._keeper.start(self._job)
        try:
            await self._job.wait_until(_is_settled)
        except asyncio.CancelledError:
            if self._on_cancel == "cancel":
                self._keeper.abandon(self._job)
            raise
        if self._job.error is not None:
            # One error may be raised to many; none shall carry the others' frames.
            raise self._job.error.with_traceback(None)
        return self._job.result

    async def wait(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109  a limit, not an error
        """Wait for the end without raising how it ended.

        Args:
            timeout: Seconds to wait at most; None waits as long as it takes.

        Returns:
            Whether the job has ended.

        A cancelled wait leaves the job running.
        """
        self._keeper.start(self._job)
        try:
            async with asyncio.timeout(timeout):
                await self._job.wait_until(_is_settled)
        except TimeoutError:
            pass
        return self._job.is_settled

    async def status(self, *, with_logs: bool = False) -> Status:
        """Ask the server for the status now.

        Args:
            with_logs: Whether to bring log lines: the server's present window.

        A job that was taken up from a journal may have no request id yet. That is
        waited for, for four times `CallTimeouts.cancel_s`, 10 seconds by default.

        Raises:
            ApiError: The server says no.
            TransportError: There is no whole answer.
            WireError: The answer is no status.
            SubmissionUnknownError: The answer to its submit was lost, and its job was
                not found; if `retryable`, it is still looked for, and no end.
            JobError: It was not submitted, and if `retryable` it still waits for that.
            FalqError: What it ended with, if that was before it had a request id.
        """
        self._keeper.check_use()
        return await self._keeper.check_now(self._job, logs=with_logs)

    async def cancel(self) -> CancelOutcome:
        """Ask the server to cancel the job.

        Cancelling is a wish: after `"requested"` the job may still end with a
        result, and a bill, if its app does not listen. Go on awaiting the handle
        to learn how it ended.

        Returns:
            `"requested"`, `"already_completed"` (the result is there),
            `"not_found"`, `"not_submitted"` (it never was, and never will be), or
            `"unknown"` if no answer came within seconds.

        A cancelled call does not take the wish back: the session sends it.
        """
        self._keeper.check_use()
        return await self._keeper.cancel(self._job)

    def events(self, *, logs: bool = False) -> StatusStream:
        """Return the statuses as they come, for `async for`.

        Args:
            logs: Whether to bring log lines; each line comes once.

        The stream begins with the last known status, tells what is new (another
        status, another position, new lines) and ends after `Completed`. If the
        job ends without one, it raises what `result` would.
        """
        self._keeper.check_place()
        return StatusStream(self._job, self._keeper, logs=logs)


class StatusStream:
    """The statuses of one job; see `Handle.events`. Closed by `async with` or by its end."""

    def __init__(self, job: Job, keeper: Keeper, *, logs: bool) -> None:
        self._job = job
        self._keeper = keeper
        self._logs = logs
        self._window = LogWindow()
        self._waiting: deque[Status] = deque()
        self._told: Status | None = None
        self._is_open = True
        self._waker: asyncio.Future[None] | None = None
        job.add_reader(self._look)
        if logs:
            job.with_logs += 1
        if logs or job.is_announced:
            keeper.hurry(job)
        self._look()

    def __aiter__(self) -> AsyncIterator[Status]:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening; the job runs on."""
        if self._is_open:
            self._is_open = False
            self._job.remove_reader(self._look)
            if self._logs:
                self._job.with_logs -= 1

    async def __anext__(self) -> Status:
        """Return the next status; cancelling it loses none."""
        if self._waker is not None:
            raise ArgumentError(
                "a status stream is read by one task; call events() once for each reader",
                argument="events",
            )
        self._keeper.start(self._job)
        while not self._waiting:
            if not self._is_open:
                raise StopAsyncIteration
            if self._job.is_settled:
                self._end()
            self._waker = asyncio.get_running_loop().create_future()
            try:
                await self._waker
            finally:
                self._waker = None
        status = self._waiting.popleft()
        if isinstance(status, Completed):
            self.close()
            self._waiting.clear()
        return status

    def _end(self) -> None:
        """Close, and raise the end that came without a Completed."""
        self.close()
        error: FalqError | None = self._job.error
        if error is not None and not isinstance(self._told, Completed):
            raise error.with_traceback(None)
        raise StopAsyncIteration

    def _look(self) -> None:
        status = self._job.status
        if status is not None and status is not self._told:
            news = self._news(status)
            self._told = status
            if news is not None:
                self._waiting.append(news)
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    def _news(self, status: Status) -> Status | None:
        """Return what of `status` was not told before, if anything."""
        entries = getattr(status, "logs", ())
        new_entries = self._window.take_new(entries) if self._logs else ()
        if self._told is not None and not new_entries and _is_same(status, self._told):
            return None
        return _with_logs(status, new_entries)


def _with_logs(status: Status, logs: tuple[LogEntry, ...]) -> Status:
    if isinstance(status, Queued | InProgress | Completed) and status.logs != logs:
        return evolve(status, logs=logs)
    return status


def _is_same(one: Status, other: Status) -> bool:
    if one.word != other.word or isinstance(one, Completed):
        return False
    return getattr(one, "position", None) == getattr(other, "position", None)


def _is_settled(job: Job) -> bool:
    return job.state is JobState.SETTLED
