"""How well a session's slots are used: full while work waits, fair, and soon done.

Everything is in virtual time, so a figure is the same on every machine. A slot is
held from a job's admission to its end, so what is asked of the scheduler is judged
by these lengths; how late an end is noticed is the poller's part, and judged by
the run times at the server.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable

import pytest

from falq.emulator import Scenario
from falq.events import Admitted, Event, Settled
from falq.testing import LoopbackEmulator

SLOTS = 10
"""Few beside the work: one long job that starts last is no fault of the order, which
nobody can choose by lengths that are not known before."""


class Slots:
    """Hears a session's events and adds up who held slots when."""

    def __init__(self) -> None:
        self.waiting: Callable[[], int] = lambda: 0
        self.held: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.since: dict[int, float] = {}
        self.held_s: defaultdict[str, float] = defaultdict(float)
        self.longest_s = 0.0
        self.full_s = self.crowded_s = 0.0
        self.admitted: list[str] = []
        self.began = self.ended = 0.0
        self._now: float | None = None

    def __call__(self, event: Event) -> None:
        self._advance(event.now)
        if isinstance(event, Admitted):
            self.held[event.endpoint] += 1
            self.most[event.endpoint] = max(self.most[event.endpoint], self.held[event.endpoint])
            self.since[event.job_id] = event.now
            self.admitted.append(event.endpoint)
        elif isinstance(event, Settled):
            self.held[event.endpoint] -= 1
            slot_s = event.now - self.since.pop(event.job_id)
            self.held_s[event.endpoint] += slot_s
            self.longest_s = max(self.longest_s, slot_s)

    def _advance(self, now: float) -> None:
        if self._now is None:
            self._now = self.began = now
        passed_s = now - self._now
        if passed_s > 0 and self.waiting():
            self.crowded_s += passed_s * SLOTS
            self.full_s += passed_s * self.held.total()
        self._now = self.ended = now

    @property
    def utilization(self) -> float:
        """Share of the slots that was held while jobs waited."""
        return self.full_s / self.crowded_s

    @property
    def makespan_s(self) -> float:
        """Seconds from the first admission to the last end."""
        return self.ended - self.began


def lower_bound_s(
    busy_s: dict[str, float], limits: dict[str, int], *, longest_s: float = 0.0
) -> float:
    """Return how long the work takes at least, in whatever order it is done."""
    bounds = [seconds / limits.get(name, SLOTS) for name, seconds in busy_s.items()]
    return max(sum(busy_s.values()) / SLOTS, longest_s, *bounds)


def lognormal(median_s: float, spread: float) -> Callable[[random.Random], float]:
    return lambda chance: median_s * chance.lognormvariate(0.0, spread)


def bimodal(chance: random.Random) -> float:
    return chance.uniform(27.0, 33.0) if chance.random() < 0.1 else chance.uniform(3.6, 4.4)


def heavy(chance: random.Random) -> float:
    return min(5.0 * chance.paretovariate(1.5), 120.0)


TRACES = {
    "log-normal of 4 s": lognormal(4.0, 0.4),
    "log-normal of 40 s": lognormal(40.0, 0.4),
    "warm and cold": bimodal,
    "heavy-tailed": heavy,
}


async def run_mixed(a_session, jobs, limits):
    """Run jobs of (endpoint, seconds, priority) together; return what became of the slots."""
    emulator = LoopbackEmulator(Scenario(runners=1000))
    slots = Slots()
    settings = {"max_jobs": SLOTS, "per_endpoint": limits, "on_event": slots}
    async with a_session(emulator, **settings) as session:
        slots.waiting = lambda: session.statistics().waiting
        work = [
            session.subscribe(endpoint, {"_emulator": {"run_s": run_s}}, priority=priority)
            for endpoint, run_s, priority in jobs
        ]
        await asyncio.gather(*work)
    return slots


def mixed_jobs(length: Callable[[random.Random], float], *, count: int, seed: int = 5):
    """Return jobs of five endpoints, a third of them of low priority."""
    chance = random.Random(seed)
    endpoints = [f"acme/{name}" for name in "aaaabbbccd"]
    return [
        (chance.choice(endpoints), length(chance), "low" if n % 3 == 0 else "normal")
        for n in range(count)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("trace", TRACES)
async def test_slots_are_full_while_jobs_wait_and_the_work_is_soon_done(a_session, trace):
    jobs = mixed_jobs(TRACES[trace], count=1200)
    slots = await run_mixed(a_session, jobs, {})
    assert len(slots.admitted) == len(jobs)
    assert slots.utilization > 0.99
    bound_s = lower_bound_s(slots.held_s, {}, longest_s=slots.longest_s)
    assert slots.makespan_s <= 1.05 * bound_s


@pytest.mark.slow
async def test_a_limited_endpoint_leaves_its_share_to_others_and_does_not_starve(a_session):
    chance = random.Random(7)
    jobs = [("acme/large", chance.uniform(2.0, 6.0), "normal") for _ in range(800)]
    jobs += [("acme/small", chance.uniform(2.0, 6.0), "normal") for _ in range(100)]
    jobs += [("acme/rare", 4.0, "normal") for _ in range(5)]
    limits = {"acme/small": 5}
    slots = await run_mixed(a_session, jobs, limits)
    assert slots.utilization > 0.99
    # The five rare ones came behind 900, and the endpoints take turns.
    assert slots.admitted[: SLOTS + 20].count("acme/rare") == 5
    assert slots.most["acme/small"] == 5
    bound_s = lower_bound_s(slots.held_s, limits, longest_s=slots.longest_s)
    assert slots.makespan_s <= 1.05 * bound_s


@pytest.mark.slow
async def test_low_jobs_wait_for_normal_ones_and_all_end(a_session):
    chance = random.Random(11)
    jobs = [("acme/a", chance.uniform(1.0, 3.0), "low") for _ in range(100)]
    jobs += [("acme/b", chance.uniform(1.0, 3.0), "normal") for _ in range(300)]
    slots = await run_mixed(a_session, jobs, {})
    # Those that came when slots were free hold them; the others go behind.
    assert "acme/a" not in slots.admitted[SLOTS : SLOTS + 300]
    assert Counter(slots.admitted) == {"acme/a": 100, "acme/b": 300}
    assert slots.utilization > 0.99
