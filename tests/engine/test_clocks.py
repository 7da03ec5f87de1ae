"""Clocks that jump: a machine that slept, and a wall clock that was set."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from datetime import timedelta

import pytest

import falq
from falq._journal.memory import MemoryJournal
from falq._journal.states import RecordState
from falq.emulator import Fault, Scenario
from falq.testing import LoopbackEmulator
from falq.testing.loopback import LoopbackTransport

HOUR_S = 3600.0
LOST = Fault("reset", "submit", when="after", nth=1)
NEVER_MADE = Fault("reset", "submit", when="before", nth=1)


class OwnClock(LoopbackTransport):
    """The way to an emulator, of a machine whose clock can be set."""

    ahead_s = 0.0

    def wall_clock(self):
        return super().wall_clock() + timedelta(seconds=self.ahead_s)


class Meter(LoopbackTransport):
    """The way to an emulator, which notes when each call goes."""

    def __init__(self, *given, **more):
        super().__init__(*given, **more)
        self.sent = []

    async def send(self, call):
        self.sent.append((now(), call.verb))
        return await super().send(call)

    def most_in_a_second(self, verb):
        instants = [instant for instant, sent in self.sent if sent == verb]
        return max(bisect_left(instants, start + 1.0) - n for n, start in enumerate(instants))


def now():
    return asyncio.get_running_loop().time()


def sleep_of_the_machine(seconds):
    """Let time pass in which nothing runs."""
    asyncio.get_running_loop()._jumping.now += seconds


@pytest.mark.slow
@pytest.mark.parametrize("runners", [2000, 5], ids=["running", "queued"])
async def test_a_machine_that_slept_looks_at_its_jobs_soon_and_within_its_budget(
    a_session, runners
):
    emulator = LoopbackEmulator(Scenario(runners=runners, run_s=3 * HOUR_S))
    way = Meter(emulator.app, emulator.gateway)
    async with a_session(emulator, transport=way, max_jobs=2000) as session:
        await asyncio.gather(*(session.submit("acme/echo", {}) for _ in range(600)))
        await asyncio.sleep(15)
        way.sent.clear()
        sleep_of_the_machine(HOUR_S)
        await asyncio.sleep(8)
        # What a rest leaves in the buckets, and one second of the budget.
        assert way.most_in_a_second("status") <= (240 if runners > 5 else 60)
        assert len(way.sent) >= (600 if runners > 5 else 10)
        assert session.statistics().watched == 600
    assert emulator.stats().submits == 600


@pytest.mark.parametrize("at_s", [0.01, 0.03, 1.0, 9.99, 10.03])
async def test_a_machine_that_slept_loses_no_job_and_makes_none_twice(a_session, at_s):
    emulator = LoopbackEmulator(Scenario(runners=100, run_s=10.0))
    async with MemoryJournal() as journal:
        async with a_session(emulator, journal=journal) as session:
            work = [
                asyncio.ensure_future(session.subscribe("acme/echo", {"n": n})) for n in range(50)
            ]
            await asyncio.sleep(at_s)
            sleep_of_the_machine(HOUR_S)
            before = now()
            ended = await asyncio.gather(*work, return_exceptions=True)
            assert now() - before < 60.0
        rows = [row async for page in journal.load_jobs() for row in page]
    lost = [one for one in ended if isinstance(one, falq.SubmissionUnknownError)]
    assert sum(isinstance(one, dict) for one in ended) + len(lost) == 50
    assert [row.state for row in rows].count(RecordState.FETCHED) == 50 - len(lost)
    assert emulator.stats().submits == emulator.stats().jobs == 50


@pytest.mark.parametrize("ahead_s", [HOUR_S, -HOUR_S, 24 * 365 * HOUR_S, -24 * 365 * HOUR_S])
async def test_a_clock_that_is_set_changes_no_job(a_session, ahead_s):
    emulator = LoopbackEmulator(Scenario(runners=100, run_s=20.0))
    way = OwnClock(emulator.app, emulator.gateway)
    async with (
        MemoryJournal() as journal,
        a_session(emulator, transport=way, journal=journal) as session,
    ):
        calls = (session.subscribe("acme/echo", {"n": n}, client_timeout=60) for n in range(50))
        work = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(5)
        way.ahead_s = ahead_s
        assert await asyncio.gather(*work) == [{"n": n} for n in range(50)]
        assert now() < 40.0
    assert emulator.stats().submits == 50


@pytest.mark.parametrize("ahead_s", [HOUR_S, -HOUR_S])
@pytest.mark.parametrize("fault", [LOST, NEVER_MADE], ids=["made", "never made"])
async def test_a_clock_that_is_set_never_makes_a_lost_submit_look_absent(a_session, ahead_s, fault):
    emulator = LoopbackEmulator(Scenario(run_s=1.0, history_delay_s=300.0, faults=(fault,)))
    way = OwnClock(emulator.app, emulator.gateway)
    async with a_session(
        emulator, transport=way, delivery="reconcile", on_unknown="resubmit", settle_s=900
    ) as session:
        work = asyncio.ensure_future(session.subscribe("acme/echo", {"n": 1}))
        await asyncio.sleep(10)
        way.ahead_s = ahead_s
        if fault is LOST:
            assert await work == {"n": 1}
            assert now() < 900.0
        else:
            with pytest.raises(falq.SubmissionUnknownError, match="clock"):
                await work
            # By no means sooner: the hours that the clock was set did not pass.
            assert now() == pytest.approx(900.0, abs=1.0)
    assert emulator.stats().submits == 1


async def test_a_clock_that_was_set_back_before_a_restart_sends_nothing_again(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=1.0, faults=(NEVER_MADE,)))
    way = OwnClock(emulator.app, emulator.gateway)
    way.ahead_s = HOUR_S
    async with MemoryJournal() as journal:
        async with a_session(emulator, transport=way, journal=journal) as session:
            with pytest.raises(falq.SubmissionUnknownError):
                await session.submit("acme/echo", {"n": 1})
        way.ahead_s = 0.0
        async with a_session(
            emulator,
            transport=way,
            journal=journal,
            delivery="reconcile",
            on_unknown="resubmit",
            settle_s=60,
        ) as session:
            (handle,) = await session.recover()
            with pytest.raises(falq.SubmissionUnknownError, match="clock"):
                await handle
    assert emulator.stats().submits == 1
