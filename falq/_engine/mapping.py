"""Many jobs from one iterable, as outcomes: lazily and with back-pressure.

Owns one feeding task and the outcomes that nobody took yet. Inputs that were
started and outcomes that were not taken count against one window, so a million
inputs never sit in memory, and a slow reader slows the start of jobs.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Self

from falq._engine.engine import Engine
from falq._engine.job import Job
from falq.errors import ArgumentError, FalqError, SessionClosedError
from falq.model import Completion, OnCancel, Outcome, Submission, Timings

_STARTS_BETWEEN_BREATHS = 16
"""Inputs taken from a plain iterable before other tasks get the loop."""


class OutcomeStream:
    """The outcomes of `Session.map`, for `async for`.

    Use `async with` if the loop may be left early: leaving it withdraws what was
    not submitted and detaches from, or cancels, what was.
    """

    def __init__(
        self,
        engine: Engine,
        inputs: Iterable[Any] | AsyncIterable[Any],
        *,
        build: Callable[[Any], Submission],
        prepare: Callable[[Any], Callable[[], Awaitable[Any]] | None] = lambda _: None,
        timeout_s: float | None,
        ordered: bool,
        window: Callable[[], int],
        on_cancel: OnCancel,
        completion: Completion | None,
    ) -> None:
        is_one = isinstance(inputs, Mapping | str | bytes)
        if is_one or not isinstance(inputs, Iterable | AsyncIterable):
            raise ArgumentError(
                f"inputs must be an iterable of arguments, got {type(inputs).__name__}; for a "
                "single job use subscribe",
                argument="inputs",
            )
        self._engine = engine
        self._inputs = inputs
        self._build = build
        self._prepare = prepare
        self._preparing: set[asyncio.Task[Any]] = set()
        self._timeout_s = timeout_s
        self._ordered = ordered
        self._window = window
        self._on_cancel = on_cancel
        self._completion = completion
        self._ready: deque[Outcome] = deque()
        self._held: dict[int, Outcome] = {}
        self._jobs: dict[int, Job] = {}
        self._started = 0
        self._taken = 0
        self._is_fed = False
        self._is_closed = False
        self._source_error: BaseException | None = None
        self._reader: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._feeder: asyncio.Task[Any] | None = None

    def __aiter__(self) -> AsyncIterator[Outcome]:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Start no more jobs and let go of those in flight; outcomes not taken are dropped."""
        self._is_fed = self._is_closed = True
        if self._feeder is not None:
            self._feeder.cancel()
        for task in tuple(self._preparing):
            task.cancel()
        for job in list(self._jobs.values()):
            job.on_settled = None
            self._engine.let_go_of(job, self._on_cancel)
        self._jobs.clear()
        self._ready.clear()
        self._held.clear()
        self._taken = self._started
        _wake(self._reader)

    async def __anext__(self) -> Outcome:
        """Return the next outcome; cancelling it loses none.

        Raises:
            StopAsyncIteration: Every input's outcome was returned.
            Exception: What the iterable of inputs raised, after the outcomes of
                all inputs before.
        """
        if self._reader is not None:
            raise ArgumentError("outcomes are read by one task at a time", argument="map")
        if self._feeder is None and not self._is_fed:
            self._engine.check_use()
            self._feeder = self._engine.spawn(self._feed())
            self._feeder.add_done_callback(self._end_feeding)
        while not self._ready:
            if self._is_fed and self._taken == self._started:
                self._stop()
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        self._taken += 1
        _wake(self._room)
        return self._ready.popleft()

    def _stop(self) -> None:
        error, self._source_error = self._source_error, None
        if error is not None:
            raise error
        raise StopAsyncIteration

    async def _feed(self) -> None:
        try:
            if isinstance(self._inputs, AsyncIterable):
                await self._feed_from_async(self._inputs)
            else:
                await self._feed_from(self._inputs)
        except Exception as error:  # noqa: BLE001  the iterable is the user's; what it raises is theirs
            self._source_error = error

    def _end_feeding(self, feeder: asyncio.Task[Any]) -> None:
        if not self._is_fed:
            self._source_error = self._source_error or _source_error_of(feeder)
        self._is_fed = True
        _wake(self._reader)

    async def _feed_from_async(self, inputs: AsyncIterable[Any]) -> None:
        iterator = aiter(inputs)
        while True:
            await self._wait_room()
            try:
                given = await anext(iterator)
            except StopAsyncIteration:
                return
            self._start(given)

    async def _feed_from(self, inputs: Iterable[Any]) -> None:
        iterator = iter(inputs)
        nothing = object()
        while True:
            await self._wait_room()
            given = next(iterator, nothing)
            if given is nothing:
                return
            self._start(given)
            if self._started % _STARTS_BETWEEN_BREATHS == 0:
                await asyncio.sleep(0)

    async def _wait_room(self) -> None:
        while self._started - self._taken >= self._window():
            self._room = asyncio.get_running_loop().create_future()
            try:
                await self._room
            finally:
                self._room = None

    def _start(self, given: Any) -> None:
        index = self._started
        try:
            submission = self._build(given)
        except FalqError as error:
            self._started += 1
            self._make_ready(index, given, error)
            return
        except Exception as error:  # noqa: BLE001  a mapping of the user's raises what it likes
            self._started += 1
            self._fail(index, given, _unready_error(error))
            return
        self._start_job(index, given, submission)
        self._started += 1

    def _make_ready(self, index: int, given: Any, error: FalqError) -> None:
        """Have an input prepared that cannot be sent as it is; what cannot be is an outcome."""
        try:
            prepare = self._prepare(given)
        except FalqError as other:
            prepare, error = None, other
        if prepare is None:
            self._fail(index, given, error)
            return
        task = self._engine.spawn(self._start_ready(index, given, prepare))
        self._preparing.add(task)
        task.add_done_callback(functools.partial(self._end_preparing, index, given))

    async def _start_ready(
        self, index: int, given: Any, prepare: Callable[[], Awaitable[Any]]
    ) -> None:
        try:
            self._start_job(index, given, self._build(await prepare()))
        except FalqError as error:
            self._fail(index, given, error)

    def _end_preparing(self, index: int, given: Any, task: asyncio.Task[Any]) -> None:
        """See that an input has an outcome also if its task ended in another way."""
        self._preparing.discard(task)
        error: FalqError | None = None
        if task.cancelled():
            # Not by `close`, then by the session's end, perhaps before it began.
            error = SessionClosedError(
                "the session was closed before the job was submitted; nothing was spent"
            )
        elif (cause := task.exception()) is not None:
            error = _unready_error(cause)
        if error is not None and not self._is_closed:
            self._fail(index, given, error)

    def _fail(self, index: int, given: Any, error: FalqError) -> None:
        self._put(Outcome(index=index, input=given, error=error, timings=Timings()))

    def _start_job(self, index: int, given: Any, submission: Submission) -> None:
        def on_settled(job: Job) -> None:
            self._jobs.pop(job.job_id, None)
            self._put(
                Outcome(
                    index=index,
                    input=given,
                    request_id=job.request_id,
                    result=job.result,
                    error=job.error,
                    timings=job.timings(job.created),
                    journal_number=job.journal_number,
                    billable_units=job.billable_units,
                )
            )

        job = self._engine.start_job(
            submission,
            timeout_s=self._timeout_s,
            on_settled=on_settled,
            completion=self._completion,
        )
        self._jobs[job.job_id] = job

    def _put(self, outcome: Outcome) -> None:
        if not self._ordered:
            self._ready.append(outcome)
        else:
            self._held[outcome.index] = outcome
            following = self._taken + len(self._ready)
            while following in self._held:
                self._ready.append(self._held.pop(following))
                following += 1
        if self._ready:
            _wake(self._reader)


def _unready_error(cause: BaseException) -> ArgumentError:
    return ArgumentError(
        f"the input could not be made ready ({type(cause).__name__}: {cause}); nothing was "
        "submitted",
        argument="inputs",
    )


def _source_error_of(feeder: asyncio.Task[Any]) -> BaseException | None:
    """Return what ended the feeding of a stream that was not closed, if inputs may be left."""
    if not feeder.cancelled():
        # More than an `Exception`, such as what pytest ends a test with.
        return feeder.exception()
    # Not by `close`, then by the session's end.
    return SessionClosedError("the session was closed before every input was taken; open a new one")


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
