"""The loop whose clock jumps."""

from __future__ import annotations

import asyncio

import pytest

from falq.testing import VirtualTimeLoop, WaitsForeverError


def run(work):
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)


async def now() -> float:
    return asyncio.get_running_loop().time()


def test_time_starts_at_zero_and_stands_still_while_something_is_to_do():
    async def busy() -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return await now()

    assert run(busy()) == 0.0


def test_a_year_passes_when_everyone_waits():
    async def wait() -> float:
        await asyncio.sleep(365 * 86400)
        return await now()

    assert run(wait()) == 365 * 86400


def test_timers_strike_in_order_and_at_their_instant():
    async def wait_all() -> list[tuple[float, float]]:
        struck = []

        async def wait(delay_s: float) -> None:
            await asyncio.sleep(delay_s)
            struck.append((delay_s, await now()))

        await asyncio.gather(*(wait(delay_s) for delay_s in (3.0, 0.5, 100.0, 2.25)))
        return struck

    assert run(wait_all()) == [(0.5, 0.5), (2.25, 2.25), (3.0, 3.0), (100.0, 100.0)]


def test_time_limits_hold_in_virtual_time():
    async def limited() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.sleep(60)
        return await now()

    assert run(limited()) == 30.0


def test_waiting_for_what_can_never_happen_is_an_error_and_no_hang():
    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    loop = VirtualTimeLoop()
    try:
        task = loop.create_task(wait())
        with pytest.raises(WaitsForeverError):
            loop.run_until_complete(task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
    finally:
        loop.close()


def test_two_loops_have_two_clocks():
    assert run(asyncio.sleep(5)) is None
    assert run(now()) == 0.0
