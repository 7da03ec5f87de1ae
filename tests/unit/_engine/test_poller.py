"""The poller: checks what is due, within its capacity, whatever a check does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from falq._core.pollplan import PollPlan
from falq._core.pollsettings import PollSettings
from falq._engine.poller import Poller
from falq.errors import FalqError, TransportError
from falq.model import Completed, InProgress, Status


class Watched:
    """A checker of jobs that end at given instants."""

    def __init__(self, ends: dict[str, float]) -> None:
        self.ends = ends
        self.takes_s = 0.02
        self.failures: list[BaseException] = []
        self.checks: list[tuple[float, str]] = []
        self.found: dict[str, float] = {}
        self.missed_count = 0
        self.busy = 0
        self.busy_peak = 0

    async def check(self, job: str) -> Status:
        now = asyncio.get_running_loop().time()
        self.checks.append((now, job))
        self.busy += 1
        self.busy_peak = max(self.busy_peak, self.busy)
        await asyncio.sleep(self.takes_s)
        self.busy -= 1
        if self.failures:
            raise self.failures.pop()
        return Completed() if now >= self.ends[job] else InProgress()

    def heard(self, job: str, status: Status, next_in_s: float | None) -> None:
        if isinstance(status, Completed):
            self.found[job] = asyncio.get_running_loop().time()
            assert next_in_s is None

    def missed(self, job: str, error: FalqError, next_in_s: float) -> None:
        self.missed_count += 1


@asynccontextmanager
async def polling(checker: Watched, capacity: int = 8) -> AsyncIterator[Poller[str]]:
    tasks: set[asyncio.Task[Any]] = set()

    def spawn(work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    poller: Poller[str] = Poller(
        PollPlan(PollSettings()),
        checker=checker,
        capacity=lambda: capacity,
        clock=asyncio.get_running_loop().time,
        draw=lambda: 0.5,
        spawn=spawn,
    )
    running = asyncio.create_task(poller.run())
    await asyncio.sleep(0)
    yield poller
    for task in (running, *tasks):
        task.cancel()
    await asyncio.wait({running, *tasks})


async def test_every_job_is_found_soon_after_its_end():
    checker = Watched({f"job {n}": 3.0 * n for n in range(30)})
    async with polling(checker) as poller:
        for job in checker.ends:
            poller.watch(job, line="acme/a")
        await asyncio.sleep(120)
        assert poller.watched == poller.in_flight == 0
    assert checker.found.keys() == checker.ends.keys()
    assert all(0 <= at - checker.ends[job] <= 10.5 for job, at in checker.found.items())


async def test_checks_in_flight_never_exceed_the_capacity():
    checker = Watched({f"job {n}": 1.0 for n in range(200)})
    checker.takes_s = 2.0
    async with polling(checker, capacity=5) as poller:
        for job in checker.ends:
            poller.watch(job, line="acme/a")
        await asyncio.sleep(500)
    assert checker.busy_peak == 5
    assert len(checker.found) == 200


async def test_a_failing_check_is_made_again_later():
    checker = Watched({"job": 0.0})
    checker.failures = [TransportError("broken") for _ in range(4)]
    async with polling(checker) as poller:
        poller.watch("job", line="acme/a")
        await asyncio.sleep(60)
    assert checker.missed_count == 4
    gaps = [
        later - at for (at, _), (later, _) in zip(checker.checks, checker.checks[1:], strict=False)
    ]
    assert gaps == sorted(gaps)
    assert "job" in checker.found


async def test_a_bug_in_a_check_ends_the_watch_over_nobody(caplog):
    checker = Watched({"one": 5.0, "two": 5.0})
    checker.failures = [ZeroDivisionError()]
    async with polling(checker) as poller:
        poller.watch("one", line="acme/a")
        poller.watch("two", line="acme/a")
        await asyncio.sleep(60)
        assert poller.in_flight == 0
    assert len(checker.found) == 2
    assert "a bug in falq" in caplog.text


async def test_a_hurried_job_is_checked_at_once():
    checker = Watched({"job": 20.2})
    async with polling(checker) as poller:
        poller.watch("job", line="acme/a")
        await asyncio.sleep(20.3)
        poller.hurry("job")
        await asyncio.sleep(0.1)
    assert "job" in checker.found


async def test_a_forgotten_job_is_not_checked_and_a_check_on_the_way_tells_nothing():
    checker = Watched({"job": 0.0})
    async with polling(checker) as poller:
        poller.watch("job", line="acme/a")
        await asyncio.sleep(0.48)
        assert checker.busy == 1
        poller.forget("job")
        await asyncio.sleep(60)
    assert not checker.found
    assert len(checker.checks) == 1
