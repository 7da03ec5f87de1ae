"""Slots: how many jobs are in flight, and who is next."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

import falq
from falq.emulator import Scenario
from falq.events import Accepted, Admitted
from falq.testing import LoopbackEmulator


class Peaks:
    """Hears a session's events and counts the jobs in flight."""

    def __init__(self) -> None:
        self.now: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self.total_peak = 0
        self.admitted: list[tuple[str, int]] = []

    def __call__(self, event: falq.events.Event) -> None:
        if isinstance(event, Admitted):
            self.admitted.append((event.endpoint, event.job_id))
            self.now[event.endpoint] += 1
            self.peak[event.endpoint] = max(self.peak[event.endpoint], self.now[event.endpoint])
            self.total_peak = max(self.total_peak, self.now.total())
        elif isinstance(event, falq.events.Settled):
            self.now[event.endpoint] -= 1


@pytest.mark.slow
async def test_a_thousand_jobs_stay_under_the_limits_and_all_succeed(a_session):
    emulator = LoopbackEmulator(Scenario(runners=500, run_s=2.0))
    peaks = Peaks()
    limits = {"acme/a": 30, "acme/b": 10}
    async with a_session(emulator, max_jobs=60, per_endpoint=limits, on_event=peaks) as session:
        results = await asyncio.gather(
            *(session.subscribe(f"acme/{'abc'[n % 3]}", {"n": n}) for n in range(1000))
        )
        now = session.statistics()
    assert [result["n"] for result in results] == list(range(1000))
    assert peaks.total_peak == 60
    assert peaks.peak["acme/a"] <= 30
    assert peaks.peak["acme/b"] == 10
    assert emulator.stats().in_progress_peak <= 60
    assert (now.waiting, now.in_flight, now.watched, now.succeeded) == (0, 0, 0, 1000)
    assert emulator.stats().submits == 1000


async def test_low_priority_goes_behind_every_normal_job(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=1.0))
    peaks = Peaks()
    async with a_session(emulator, max_jobs=1, on_event=peaks) as session:
        work = [session.subscribe("acme/first", {})]
        work += [session.subscribe("acme/low", {}, priority="low") for _ in range(5)]
        work += [session.subscribe("acme/normal", {}) for _ in range(5)]
        await asyncio.gather(*work)
    endpoints = [endpoint for endpoint, _ in peaks.admitted]
    assert endpoints == ["acme/first"] + ["acme/normal"] * 5 + ["acme/low"] * 5


async def test_an_endpoint_with_a_long_line_does_not_hold_up_another(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=1.0))
    peaks = Peaks()
    async with a_session(emulator, max_jobs=1, on_event=peaks) as session:
        work = [session.subscribe("acme/long", {}) for _ in range(20)]
        work += [session.subscribe("acme/short", {}) for _ in range(3)]
        await asyncio.gather(*work)
    endpoints = [endpoint for endpoint, _ in peaks.admitted]
    assert endpoints[:7].count("acme/short") == 3


async def test_jobs_of_one_endpoint_start_in_the_order_in_which_they_came(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=0.5))
    peaks = Peaks()
    async with a_session(emulator, max_jobs=3, on_event=peaks) as session:
        await asyncio.gather(*(session.subscribe("acme/a", {}) for _ in range(20)))
    assert [job_id for _, job_id in peaks.admitted] == sorted(
        job_id for _, job_id in peaks.admitted
    )


async def test_a_raised_limit_starts_waiting_jobs_at_once(a_session):
    emulator = LoopbackEmulator(Scenario(runners=100, run_s=50.0))
    async with a_session(emulator, max_jobs=2) as session:
        work = [asyncio.create_task(session.subscribe("acme/a", {})) for _ in range(10)]
        await asyncio.sleep(5)
        assert (session.statistics().in_flight, session.statistics().waiting) == (2, 8)
        session.set_limits(max_jobs=6)
        await asyncio.sleep(5)
        assert (session.statistics().in_flight, session.statistics().waiting) == (6, 4)
        await asyncio.gather(*work)


async def test_a_lowered_limit_ends_no_job_and_starts_none_until_it_is_kept(a_session):
    emulator = LoopbackEmulator(Scenario(runners=100, run_s=20.0))
    peaks = Peaks()
    async with a_session(emulator, max_jobs=8, on_event=peaks) as session:
        work = [asyncio.create_task(session.subscribe("acme/a", {})) for _ in range(20)]
        await asyncio.sleep(5)
        session.set_limits(max_jobs=3)
        assert session.statistics().in_flight == 8
        peaks.total_peak = 0
        await asyncio.sleep(45)
        assert session.statistics().in_flight == 3
        assert peaks.total_peak <= 3
        await asyncio.gather(*work)
        assert session.statistics().succeeded == 20


async def test_a_map_uses_slots_that_were_added_while_it_ran(a_session):
    emulator = LoopbackEmulator(Scenario(runners=100, run_s=10.0))
    peaks = Peaks()
    async with a_session(emulator, max_jobs=2, on_event=peaks) as session:
        outcomes = session.map("acme/a", ({"n": n} for n in range(30)))
        await anext(outcomes)
        session.set_limits(max_jobs=10)
        async for outcome in outcomes:
            assert outcome.error is None
    assert peaks.total_peak == 10


async def test_a_failed_job_gives_its_slot_back(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=1.0))
    async with a_session(emulator, max_jobs=1) as session:
        for failure in ("runner_disconnected", 422, 500):
            with pytest.raises(falq.JobError):
                await session.subscribe("acme/a", {"_emulator": {"fail": failure}})
        assert await session.subscribe("acme/a", {"n": 1}) == {"n": 1}
        assert session.statistics().in_flight == 0


async def test_a_healthy_server_is_never_slowed_below_the_limit_of_calls(a_session):
    emulator = LoopbackEmulator(Scenario(runners=1000, run_s=0.0), latency_s=0.1)
    accepted: list[float] = []

    def note(event: falq.events.Event) -> None:
        if isinstance(event, Accepted):
            accepted.append(event.now)

    async with a_session(emulator, max_calls=100, on_event=note) as session:
        await asyncio.gather(*(session.subscribe("acme/a", {}) for _ in range(320)))
    # 32 calls at once and 0.1 s each make ten rounds.
    assert max(accepted) <= 1.05
