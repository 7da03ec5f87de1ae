"""Slots: granted in order, given back however a wait or a job ends."""

from __future__ import annotations

import asyncio

import pytest

from falq._core.admission import Admission
from falq._engine.scheduler import Scheduler


async def hold(scheduler: Scheduler, job_id: int, seconds: float = 1.0) -> None:
    async with scheduler.slot(job_id, "acme/a", rank=0):
        await asyncio.sleep(seconds)


async def test_a_wait_cancelled_in_the_moment_of_its_grant_passes_the_slot_on():
    scheduler = Scheduler(Admission(1))
    await scheduler.acquire(1, "acme/a", 0)
    second = asyncio.create_task(hold(scheduler, 2))
    third = asyncio.create_task(hold(scheduler, 3))
    await asyncio.sleep(0)
    scheduler.release("acme/a")
    second.cancel()
    await third
    assert second.cancelled()
    assert (scheduler.in_flight, scheduler.waiting) == (0, 0)


async def test_a_cancelled_wait_leaves_the_line():
    scheduler = Scheduler(Admission(1))
    first = asyncio.create_task(hold(scheduler, 1))
    second = asyncio.create_task(hold(scheduler, 2))
    await asyncio.sleep(0)
    assert scheduler.waiting == 1
    second.cancel()
    await first
    assert (scheduler.in_flight, scheduler.waiting) == (0, 0)


async def test_a_job_that_raises_gives_its_slot_back():
    scheduler = Scheduler(Admission(1))
    with pytest.raises(LookupError):
        async with scheduler.slot(1, "acme/a", rank=0):
            raise LookupError
    assert scheduler.in_flight == 0


async def test_a_raised_total_wakes_those_who_wait():
    scheduler = Scheduler(Admission(1))
    jobs = [asyncio.create_task(hold(scheduler, n, 10.0)) for n in range(5)]
    await asyncio.sleep(1)
    scheduler.set_limits(total=4)
    assert (scheduler.in_flight, scheduler.waiting, scheduler.total) == (4, 1, 4)
    await asyncio.gather(*jobs)


async def test_a_raised_limit_of_an_endpoint_wakes_its_line():
    scheduler = Scheduler(Admission(10, per_endpoint={"acme/a": 1}))
    jobs = [asyncio.create_task(hold(scheduler, n, 10.0)) for n in range(5)]
    await asyncio.sleep(1)
    scheduler.set_limits(per_endpoint={"acme/a": 3})
    assert (scheduler.in_flight, scheduler.waiting) == (3, 2)
    await asyncio.gather(*jobs)
