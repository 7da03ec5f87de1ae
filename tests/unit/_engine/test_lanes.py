"""Lanes: places per verb, one rate, one pause; a cancelled wait gives everything back."""

from __future__ import annotations

import asyncio

import pytest

from falq._core.flow import TokenBucket
from falq._core.messages import Verb
from falq._engine.lanes import CANCEL_LANE, Lanes, share_calls


def now() -> float:
    return asyncio.get_running_loop().time()


def make_lanes(places: int = 2, *, rate_per_s: float | None = None) -> Lanes:
    rate = None if rate_per_s is None else TokenBucket(rate_per_s, 1.0)
    return Lanes(dict.fromkeys(Verb, places), rate=rate, clock=now)


async def cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


@pytest.mark.parametrize("max_calls", [8, 9, 10, 50, 100, 1000])
def test_the_shares_of_the_lanes_and_what_is_kept_for_cancels_make_up_the_whole(max_calls):
    shares = share_calls(max_calls)
    assert shares.pop(Verb.CANCEL) == max_calls
    assert sum(shares.values()) == max_calls - CANCEL_LANE
    assert min(shares.values()) >= 1


async def test_a_full_lane_holds_up_its_own_verb_only():
    lanes = make_lanes(1)
    await lanes.enter(Verb.STATUS)
    waiting = asyncio.create_task(lanes.enter(Verb.STATUS))
    for verb in (Verb.SUBMIT, Verb.RESULT, Verb.CANCEL):
        await lanes.enter(verb)
    await asyncio.sleep(1)
    assert not waiting.done()
    lanes.leave(Verb.STATUS)
    await waiting
    assert lanes.in_flight(Verb.STATUS) == 1


async def test_those_who_wait_for_a_place_get_it_in_order():
    lanes = make_lanes(1)
    order: list[int] = []

    async def call(number: int) -> None:
        await lanes.enter(Verb.SUBMIT)
        order.append(number)
        await asyncio.sleep(1)
        lanes.leave(Verb.SUBMIT)

    await asyncio.gather(*(call(number) for number in range(6)))
    assert order == list(range(6))
    assert now() == 6.0


async def test_a_cancelled_wait_for_a_place_loses_none():
    lanes = make_lanes(1)
    await lanes.enter(Verb.SUBMIT)
    first = asyncio.create_task(lanes.enter(Verb.SUBMIT))
    second = asyncio.create_task(lanes.enter(Verb.SUBMIT))
    await asyncio.sleep(0)
    await cancel(first)
    lanes.leave(Verb.SUBMIT)
    await second
    assert lanes.in_flight(Verb.SUBMIT) == 1


async def test_a_wait_cancelled_in_the_moment_of_its_grant_passes_the_place_on():
    lanes = make_lanes(1)
    await lanes.enter(Verb.SUBMIT)
    first = asyncio.create_task(lanes.enter(Verb.SUBMIT))
    second = asyncio.create_task(lanes.enter(Verb.SUBMIT))
    await asyncio.sleep(0)
    lanes.leave(Verb.SUBMIT)
    await cancel(first)
    await second
    assert lanes.in_flight(Verb.SUBMIT) == 1


async def test_a_pause_holds_for_those_in_line_as_well_but_not_for_cancels():
    lanes = make_lanes(1)
    entered: list[float] = []

    async def call() -> None:
        await lanes.enter(Verb.SUBMIT)
        entered.append(now())
        lanes.leave(Verb.SUBMIT)

    await lanes.enter(Verb.SUBMIT)
    calls = [asyncio.create_task(call()) for _ in range(3)]
    await asyncio.sleep(0)
    lanes.pause(10.0)
    lanes.leave(Verb.SUBMIT)
    await lanes.enter(Verb.CANCEL)
    assert now() == 0.0
    await asyncio.gather(*calls)
    assert min(entered) >= 10.0


async def test_a_pause_made_longer_meanwhile_is_kept_to_its_new_end():
    lanes = make_lanes(1)
    lanes.pause(5.0)
    call = asyncio.create_task(lanes.enter(Verb.RESULT))
    await asyncio.sleep(4)
    lanes.pause(20.0)
    await call
    assert now() == 24.0


async def test_a_wait_cancelled_in_a_pause_gives_its_place_back():
    lanes = make_lanes(1)
    lanes.pause(100.0)
    call = asyncio.create_task(lanes.enter(Verb.RESULT))
    await asyncio.sleep(1)
    assert lanes.in_flight(Verb.RESULT) == 1
    await cancel(call)
    assert lanes.in_flight(Verb.RESULT) == 0


async def test_the_rate_serves_cancels_then_submits_and_results_then_checks():
    lanes = make_lanes(100, rate_per_s=10.0)
    order: list[Verb] = []

    async def call(verb: Verb) -> None:
        await lanes.enter(verb)
        order.append(verb)

    await lanes.enter(Verb.STATUS)
    wanted = [Verb.STATUS, Verb.STATUS, Verb.RESULT, Verb.SUBMIT, Verb.CANCEL]
    await asyncio.gather(*(call(verb) for verb in wanted))
    assert order == [Verb.CANCEL, Verb.RESULT, Verb.SUBMIT, Verb.STATUS, Verb.STATUS]
    assert now() == pytest.approx(0.5)


async def test_a_wait_for_the_rate_that_is_cancelled_costs_nobody_a_turn():
    lanes = make_lanes(100, rate_per_s=1.0)
    await lanes.enter(Verb.STATUS)
    calls = [asyncio.create_task(lanes.enter(Verb.STATUS)) for _ in range(3)]
    await asyncio.sleep(0.5)
    await cancel(calls[0])
    await calls[1]
    assert now() == pytest.approx(1.0)
    await calls[2]
    assert now() == pytest.approx(2.0)
    assert lanes.in_flight(Verb.STATUS) == 3


async def test_a_turn_cancelled_in_the_moment_it_comes_is_given_back():
    lanes = make_lanes(100, rate_per_s=1.0)
    await lanes.enter(Verb.STATUS)
    first = asyncio.create_task(lanes.enter(Verb.STATUS))
    asyncio.get_running_loop().call_at(
        1.0, lambda: asyncio.get_running_loop().call_soon(first.cancel)
    )
    await asyncio.wait({first})
    started = now()
    await lanes.enter(Verb.STATUS)
    assert now() - started <= 1.0
    lanes.close()


async def test_trouble_shrinks_a_lane_and_success_restores_it():
    lanes = make_lanes(20)
    for _ in range(10):
        lanes.record_trouble(Verb.SUBMIT)
        await asyncio.sleep(2)
    shrunk = lanes.limit(Verb.SUBMIT)
    assert 4 <= shrunk < 10
    assert lanes.limit(Verb.STATUS) == 20
    for _ in range(500):
        lanes.record_success(Verb.SUBMIT)
    assert lanes.limit(Verb.SUBMIT) == 20


async def test_a_lane_that_grows_again_wakes_those_who_wait():
    lanes = make_lanes(8)
    for _ in range(20):
        lanes.record_trouble(Verb.SUBMIT)
        await asyncio.sleep(2)
    assert lanes.limit(Verb.SUBMIT) == 4
    for _ in range(4):
        await lanes.enter(Verb.SUBMIT)
    waiting = [asyncio.create_task(lanes.enter(Verb.SUBMIT)) for _ in range(4)]
    await asyncio.sleep(0)
    for _ in range(100):
        lanes.record_success(Verb.SUBMIT)
    lanes.leave(Verb.SUBMIT)
    await asyncio.gather(*waiting)
    assert lanes.in_flight(Verb.SUBMIT) == 7


async def get_ready(lanes: Lanes, ready_s: float, call_s: float, log: list[str], name: str) -> None:
    """Make a call as the queue client does one that has an intent to write."""
    await lanes.enter(Verb.SUBMIT)
    try:
        async with lanes.lent(Verb.SUBMIT):
            log.append(f"{name} gets ready at {now():g}")
            await asyncio.sleep(ready_s)
        log.append(f"{name} goes at {now():g}")
        await asyncio.sleep(call_s)
        lanes.record_call(Verb.SUBMIT, call_s)
    finally:
        lanes.leave(Verb.SUBMIT)


async def test_others_have_the_place_of_a_call_that_gets_ready_and_give_it_back_first():
    lanes = make_lanes(1)
    log: list[str] = []
    first = asyncio.create_task(get_ready(lanes, 1.0, 5.0, log, "first"))
    second = asyncio.create_task(get_ready(lanes, 3.0, 5.0, log, "second"))
    third = asyncio.create_task(get_ready(lanes, 1.0, 5.0, log, "third"))
    await asyncio.gather(first, second, third)
    # The second holds the one place, because one that lends it is enough at first.
    assert log == [
        "first gets ready at 0",
        "second gets ready at 0",
        "second goes at 3",
        "first goes at 8",
        "third gets ready at 13",
        "third goes at 14",
    ]
    assert lanes.in_flight(Verb.SUBMIT) == 0


async def test_a_fast_server_has_many_calls_get_ready_and_never_more_than_places_on_the_way():
    lanes = make_lanes(2)
    log: list[str] = []
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            await asyncio.sleep(0.05)
            most = max(most, lanes.in_flight(Verb.SUBMIT))

    watching = asyncio.create_task(watch())
    calls = [get_ready(lanes, 1.0, 0.25, log, str(number)) for number in range(100)]
    await asyncio.gather(*calls)
    await cancel(watching)
    assert most == 2
    # Two places and a quarter of a second would take 12.5 s; a second more for each of
    # them, one after the other, takes 62.5.
    assert now() < 25.0


@pytest.mark.parametrize("after_s", [0.5, 1.5])
async def test_a_call_that_ends_before_it_goes_gives_all_of_it_back(after_s):
    lanes = make_lanes(1)
    log: list[str] = []
    gone = asyncio.create_task(get_ready(lanes, 1.0, 5.0, log, "gone"))
    other = asyncio.create_task(get_ready(lanes, 1.0, 5.0, log, "other"))
    await asyncio.sleep(after_s)
    await cancel(gone)
    await other
    assert lanes.in_flight(Verb.SUBMIT) == 0
    await get_ready(lanes, 1.0, 5.0, log, "last")
    assert now() == 12.0


async def test_a_call_cancelled_in_the_moment_it_gets_its_place_again_passes_it_on():
    lanes = make_lanes(1)
    log: list[str] = []
    first = asyncio.create_task(get_ready(lanes, 1.0, 5.0, log, "first"))
    second = asyncio.create_task(get_ready(lanes, 2.0, 5.0, log, "second"))
    third = asyncio.create_task(get_ready(lanes, 1.0, 5.0, log, "third"))
    # The second goes at 2 and ends at 7, when the first has its place again.
    asyncio.get_running_loop().call_at(7.0, first.cancel)
    await asyncio.gather(second, third)
    assert first.cancelled()
    assert "first goes at 7" not in log
    assert lanes.in_flight(Verb.SUBMIT) == 0
    await lanes.enter(Verb.SUBMIT)
    assert lanes.in_flight(Verb.SUBMIT) == 1
