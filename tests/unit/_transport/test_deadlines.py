"""One timer for many waits: each is given up at its own instant, and only if it is still in."""

from __future__ import annotations

import asyncio

import pytest

from falq._transport.deadlines import Deadlines
from falq.testing import VirtualTimeLoop


@pytest.fixture
def anyio_backend():
    return "asyncio", {"loop_factory": VirtualTimeLoop}


@pytest.fixture
async def given_up():
    """What was given up, with the instants after the start, in seconds."""
    return []


@pytest.fixture
async def deadlines(given_up):
    loop = asyncio.get_running_loop()
    started = loop.time()
    made = Deadlines(lambda name: given_up.append((name, round(loop.time() - started, 6))))
    yield made
    made.close()


def in_s(seconds):
    return asyncio.get_running_loop().time() + seconds


async def test_each_is_given_up_at_its_own_instant(deadlines, given_up):
    for name, seconds in [("b", 2.0), ("c", 3.0), ("a", 1.0), ("same", 2.0)]:
        deadlines.add(name, in_s(seconds))
    await asyncio.sleep(10.0)
    assert given_up == [("a", 1.0), ("b", 2.0), ("same", 2.0), ("c", 3.0)]


async def test_what_was_taken_out_is_not_given_up_and_holds_nobody_up(deadlines, given_up):
    deadlines.add("first", in_s(1.0))
    deadlines.add("second", in_s(1.5))
    deadlines.discard("first")
    deadlines.discard("never in")
    await asyncio.sleep(10.0)
    assert given_up == [("second", 1.5)]


async def test_it_goes_on_after_a_rest(deadlines, given_up):
    deadlines.add("early", in_s(1.0))
    await asyncio.sleep(5.0)
    deadlines.add("late", in_s(1.0))
    await asyncio.sleep(5.0)
    assert given_up == [("early", 1.0), ("late", 6.0)]


async def test_an_instant_that_has_passed_is_given_up_at_once(deadlines, given_up):
    deadlines.add("late already", in_s(-1.0))
    await asyncio.sleep(0.0)
    await asyncio.sleep(0.001)
    assert [name for name, _ in given_up] == ["late already"]


async def test_nothing_is_given_up_after_closing(deadlines, given_up):
    deadlines.add("a", in_s(1.0))
    deadlines.close()
    await asyncio.sleep(5.0)
    assert given_up == []


async def test_a_thousand_waits_share_one_timer(deadlines, given_up):
    loop = asyncio.get_running_loop()
    before = len(loop._scheduled)
    for number in range(1000):
        deadlines.add(number, in_s(60.0 + number))
    assert len(loop._scheduled) - before == 1
    for number in range(1000):
        deadlines.discard(number)
    await asyncio.sleep(2000.0)
    assert given_up == []
