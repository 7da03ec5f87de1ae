"""How often the server is asked, and how fast the session answers meanwhile."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import defaultdict
from itertools import pairwise

import pytest

import falq
from falq.emulator import Scenario
from falq.testing import LoopbackEmulator, LoopbackTransport


def now() -> float:
    return asyncio.get_running_loop().time()


class Timed:
    """Notes when each call was sent."""

    def __init__(self, inner: LoopbackTransport) -> None:
        self._inner = inner
        self.sent: list[tuple[float, str, str]] = []

    async def open(self) -> None:
        await self._inner.open()

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def send(self, call: object) -> object:
        self.sent.append((now(), call.verb.value, call.target))
        return await self._inner.send(call)

    def instants(self, *verbs: str) -> list[float]:
        return [at for at, verb, _ in self.sent if not verbs or verb in verbs]


def busiest_second(instants: list[float]) -> int:
    """Return the most instants in any window of one second."""
    return max(bisect_left(instants, at + 1.0 - 1e-6) - index for index, at in enumerate(instants))


@pytest.mark.parametrize("seed", range(5))
async def test_a_job_of_three_minutes_takes_at_most_25_polls(a_session, seed):
    emulator = LoopbackEmulator(Scenario(run_s=180.0))
    async with a_session(emulator, seed=seed) as session:
        await session.subscribe("acme/echo", {})
        assert session.statistics().polls <= 25
        assert now() <= 180.0 + 10.0 + 0.2


@pytest.mark.slow
async def test_a_thousand_queued_jobs_cost_at_most_ten_polls_a_second(a_session):
    emulator = LoopbackEmulator(Scenario(runners=0))
    transport = Timed(emulator.transport())
    async with a_session(emulator, transport=transport) as session:
        for _ in range(10):
            await asyncio.gather(*(session.submit("acme/echo", {}) for _ in range(100)))
        await asyncio.sleep(300)
        settled_at = now() - 240
    polls = [at for at in transport.instants("status") if at >= settled_at]
    assert len(polls) / 240 <= 10.05
    assert len(transport.instants("status")) / now() <= 10.1


@pytest.mark.slow
async def test_no_running_job_goes_unpolled_for_more_than_a_minute(a_session):
    emulator = LoopbackEmulator(Scenario(runners=1000, run_s=400.0))
    transport = Timed(emulator.transport())
    async with a_session(emulator, transport=transport) as session:
        for _ in range(1000):
            await session.submit("acme/echo", {})
        await asyncio.sleep(300)
    checks: defaultdict[str, list[float]] = defaultdict(list)
    for at, verb, target in transport.sent:
        if verb == "status":
            checks[target].append(at)
    assert len(checks) == 1000
    for instants in checks.values():
        gaps = [later - earlier for earlier, later in pairwise(instants)]
        assert max(gaps) <= 60.0
        assert now() - instants[-1] <= 60.0


@pytest.mark.slow
async def test_a_cancel_takes_under_a_second_while_ten_thousand_jobs_wait(a_session):
    emulator = LoopbackEmulator(Scenario(runners=0), latency_s=0.1)
    async with a_session(emulator, max_jobs=20_000) as session:
        handles = await asyncio.gather(*(session.submit("acme/echo", {}) for _ in range(10_000)))
        submitting = [asyncio.create_task(session.submit("acme/new", {})) for _ in range(200)]
        took = []
        for handle in handles[::100]:
            started = now()
            assert await handle.cancel() == "requested"
            took.append(now() - started)
        assert sorted(took)[98] <= 1.0
        await asyncio.gather(*submitting)


async def test_maton_gets_at_most_ten_calls_in_any_second_and_useful_ones_first(a_session):
    emulator = LoopbackEmulator(Scenario(runners=50, run_s=30.0, maton_rate_per_s=10))
    transport = Timed(emulator.transport(emulator.maton))
    async with falq.Session(emulator.maton, transport=transport, seed=1) as session:
        work = (session.subscribe("fal-ai/echo", {"n": n}) for n in range(100))
        results = await asyncio.gather(*work)
    assert len(results) == 100
    assert busiest_second(transport.instants()) <= 10
    assert emulator.stats().replies.get("429", 0) == 0
    # A poll stands five seconds behind the submits that came with it, and no more:
    # an endless stream of submits must not keep results from being noticed.
    assert transport.instants("status")[0] >= 5.0
    assert transport.instants("submit")[-1] <= 100 / 9.5 + 5.0
    assert transport.instants("status")[0] < transport.instants("submit")[-1]


async def test_calls_per_s_holds_for_any_gateway(a_session):
    emulator = LoopbackEmulator(Scenario(runners=50, run_s=5.0))
    transport = Timed(emulator.transport())
    async with a_session(emulator, transport=transport, calls_per_s=4) as session:
        await asyncio.gather(*(session.subscribe("acme/echo", {}) for _ in range(20)))
    assert busiest_second(transport.instants()) <= 4


async def test_a_pause_is_kept_by_calls_that_wait_for_the_rate(a_session):
    fault = falq.emulator.Fault("rate_limited", "submit", nth=1, retry_after_s=30.0)
    emulator = LoopbackEmulator(Scenario(runners=50, run_s=1.0, faults=(fault,)))
    transport = Timed(emulator.transport())
    async with a_session(emulator, transport=transport, calls_per_s=5) as session:
        await asyncio.gather(*(session.subscribe("acme/echo", {}) for _ in range(20)))
    assert [at for at in transport.instants() if 0.1 < at < 30.0] == []
    assert busiest_second(transport.instants()) <= 5


async def test_a_job_that_ends_fast_is_found_fast(a_session):
    emulator = LoopbackEmulator(Scenario(runners=10, run_s=1.0))
    async with a_session(emulator) as session:
        await session.subscribe("acme/echo", {})
        assert now() <= 2.0


async def test_all_results_come_before_polls_when_calls_are_few(a_session):
    emulator = LoopbackEmulator(Scenario(runners=200, run_s=20.0))
    async with a_session(emulator, calls_per_s=20) as session:
        await asyncio.gather(*(session.subscribe("acme/echo", {}) for _ in range(200)))
        # 600 calls that every client must make take 30 s; polls may add as much.
        assert now() <= 75.0


async def test_jobs_that_were_attached_to_teach_no_run_times(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=30.0, runners=50))
    async with a_session(emulator) as session:
        handles = [await session.submit("acme/echo", {"n": n}) for n in range(10)]
    await asyncio.sleep(25.0)
    async with a_session(emulator) as session:
        # Five seconds of each are left: nobody knows that they ran for thirty.
        await asyncio.gather(
            *(session.handle("acme/echo", str(one.request_id)).wait() for one in handles)
        )
        assert session._engine.forecaster.dump() == {}
        await session.subscribe("acme/echo", {"n": 10})
        assert session._engine.forecaster.dump()["acme/echo"] == pytest.approx([30.0], abs=0.2)
