"""Slots for jobs: from submission to settlement, under a total and limits per endpoint.

Owns the futures of those who wait; `admission` decides who goes. fal never
refuses a queued job for the account's concurrency, so these slots bound what a
user spends, polls and remembers at once, not what fal admits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

from falq._core.admission import Admission


class Scheduler:
    """A semaphore with endpoints, priorities and limits that can change.

    Args:
        admission: The line and its limits.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._wakers: dict[int, asyncio.Future[None]] = {}

    @property
    def in_flight(self) -> int:
        """Jobs that hold a slot."""
        return self._admission.in_flight

    @property
    def waiting(self) -> int:
        """Jobs that wait for one."""
        return self._admission.waiting

    @property
    def total(self) -> int:
        """Slots altogether."""
        return self._admission.total

    def slot(self, job_id: int, endpoint: str, *, rank: int) -> _Slot:
        """Return a context that holds a slot; entering it waits for one.

        A cancelled wait leaves the line, and gives back a slot that came in the
        same moment.
        """
        return _Slot(self, job_id, endpoint, rank)

    def set_limits(
        self, *, total: int | None = None, per_endpoint: Mapping[str, int] | None = None
    ) -> None:
        """Change limits while running; jobs above a lowered one keep their slots."""
        self._admission.set_limits(total=total, per_endpoint=per_endpoint)
        self._grant()

    async def acquire(self, job_id: int, endpoint: str, rank: int) -> None:
        """Wait for a slot; `release` must follow. `slot` does both."""
        if self._admission.take_now(endpoint):
            return
        waker = asyncio.get_running_loop().create_future()
        self._wakers[job_id] = waker
        self._admission.join(job_id, endpoint, rank=rank)
        self._grant()
        try:
            await waker
        except asyncio.CancelledError:
            if not self._admission.withdraw(job_id):
                self.release(endpoint)
            raise
        finally:
            del self._wakers[job_id]

    def release(self, endpoint: str) -> None:
        """Give back a slot."""
        self._admission.release(endpoint)
        self._grant()

    @contextmanager
    def lent(self, endpoint: str) -> Iterator[None]:
        """Give a slot to others for a while, and take it again whatever the limits.

        Args:
            endpoint: Of the job that holds it.
        """
        self.release(endpoint)
        try:
            yield
        finally:
            self._admission.take(endpoint)

    def _grant(self) -> None:
        if not self._admission.waiting:
            return
        for job_id in self._admission.grant():
            waker = self._wakers[job_id]
            # A cancelled waiter still counts as granted; it gives the slot back itself.
            if not waker.done():
                waker.set_result(None)


class _Slot:
    __slots__ = ("_endpoint", "_job_id", "_rank", "_scheduler")

    def __init__(self, scheduler: Scheduler, job_id: int, endpoint: str, rank: int) -> None:
        self._scheduler = scheduler
        self._job_id = job_id
        self._endpoint = endpoint
        self._rank = rank

    async def __aenter__(self) -> None:
        await self._scheduler.acquire(self._job_id, self._endpoint, self._rank)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._scheduler.release(self._endpoint)
