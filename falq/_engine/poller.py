"""One task that watches all accepted jobs.

Owns the waiting for due times and the checks in flight; `pollplan` decides who
is due, and the check itself is a function that the driver gives. A failing
check only lengthens the interval: nothing that happens here fails a job.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from falq._core.pollplan import PollPlan
from falq._core.watch import Watch
from falq.errors import FalqError, RateLimitError
from falq.model import Status

logger = logging.getLogger("falq")

_SHORTEST_SLEEP_S = 0.001

JobT = TypeVar("JobT", bound=Hashable)
JobT_contra = TypeVar("JobT_contra", contravariant=True)


class Checker(Protocol[JobT_contra]):
    """What the poller asks of those who know jobs and calls."""

    async def check(self, job: JobT_contra) -> Status:
        """Ask the server for the job's status."""
        ...

    def heard(self, job: JobT_contra, status: Status, next_in_s: float | None) -> None:
        """Take in a status."""
        ...

    def missed(self, job: JobT_contra, error: FalqError, next_in_s: float) -> None:
        """Take in a check that failed."""
        ...


class Poller(Generic[JobT]):
    """Checks jobs when they are due, `capacity` at a time.

    Args:
        plan: Who is due when.
        checker: Who carries out a check and hears what it found.
        capacity: Returns how many checks may be in flight now.
        clock: Loop time in seconds.
        draw: Returns a uniform draw from [0, 1).
        spawn: Starts a task that the session owns.
    """

    def __init__(
        self,
        plan: PollPlan,
        *,
        checker: Checker[JobT],
        capacity: Callable[[], int],
        clock: Callable[[], float],
        draw: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._plan = plan
        self._checker = checker
        self._capacity = capacity
        self._clock = clock
        self._draw = draw
        self._spawn = spawn
        self._in_flight = 0
        self._wakes_at = float("inf")
        self._was_full = False
        self._waker: asyncio.Future[None] | None = None

    @property
    def watched(self) -> int:
        """Jobs under watch."""
        return len(self._plan)

    @property
    def in_flight(self) -> int:
        """Checks in flight."""
        return self._in_flight

    def watch(
        self,
        job: JobT,
        *,
        line: str,
        position: int | None = None,
        keeps_pace: bool = False,
        kinds: Sequence[str] = (),
        is_announced: bool = False,
    ) -> None:
        """Begin to check a job; see `PollPlan.add`."""
        watch = self._plan.add(
            job,
            line=line,
            now=self._clock(),
            draw=self._draw(),
            position=position,
            keeps_pace=keeps_pace,
            kinds=kinds,
            is_announced=is_announced,
        )
        if watch.due < self._wakes_at:
            self._wake()

    def forget(self, job: JobT) -> None:
        """Stop checking a job."""
        self._plan.remove(job)

    def hurry(self, job: JobT) -> None:
        """Check a watched job now: something said that it moved."""
        self._plan.hurry(job, self._clock())
        self._wake()

    def overhear(self, job: JobT, status: Status) -> None:
        """Take in what a stream told of a watched job in the moment when it happened."""
        self._plan.record_told(job, status, now=self._clock())
        if self._plan.soonest() < self._wakes_at:
            self._wake()

    async def run(self) -> None:
        """Check what is due, for ever; the session's task group ends it."""
        while True:
            now = self._clock()
            for watch in self._plan.take_due(now, self._capacity() - self._in_flight):
                self._in_flight += 1
                self._spawn(self._check(watch))
            await self._sleep(now)

    async def _sleep(self, now: float) -> None:
        self._was_full = self._in_flight >= self._capacity()
        due = None if self._was_full else self._plan.next_due(now)
        if due is not None:
            # Due now and yet not given: a rounding away, and not to be spun on.
            due = max(due, now + _SHORTEST_SLEEP_S)
        loop = asyncio.get_running_loop()
        waker = self._waker = loop.create_future()
        self._wakes_at = float("inf") if due is None else due
        timer = None if due is None else loop.call_at(due, self._wake)
        try:
            await waker
        finally:
            self._waker = None
            self._wakes_at = float("-inf")
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    async def _check(self, watch: Watch) -> None:
        job: Any = watch.job
        try:
            status = await self._checker.check(job)
        except FalqError as error:
            floor_s = error.retry_after_s if isinstance(error, RateLimitError) else None
            next_in_s = self._plan.record_failure(watch, now=self._clock(), floor_s=floor_s or 0.0)
            if next_in_s is not None:
                self._checker.missed(job, error, next_in_s)
        except Exception:
            # Without this the job would never be looked at again.
            logger.exception("a bug in falq broke a status check; it is repeated")
            self._plan.record_failure(watch, now=self._clock())
        else:
            is_watched = watch.job in self._plan
            next_in_s = self._plan.record_status(
                watch, status, now=self._clock(), draw=self._draw()
            )
            if is_watched:
                self._checker.heard(job, status, next_in_s)
        finally:
            self._in_flight -= 1
            if self._was_full or self._plan.soonest() < self._wakes_at:
                self._wake()
