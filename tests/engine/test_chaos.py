"""Everything at once: random faults and cancels under one seed, and what must hold then."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import falq
from falq.emulator import Fault, Scenario
from falq.events import Accepted, Event, Settled
from falq.testing import LoopbackEmulator, VirtualTimeLoop

KINDS = {
    "submit": [
        "reset",
        "fin",
        "cut",
        "stall",
        "delay",
        "rate_limited",
        "nginx",
        "json_error",
        "truncated_json",
        "html",
        "empty_body",
        "id_only",
    ],
    "status": ["reset", "cut", "stall", "nginx", "html", "not_found", "flap", "rate_limited"],
    "result": ["reset", "cut", "nginx", "rate_limited", "truncated_json"],
    "cancel": ["reset", "stall", "nginx", "rate_limited"],
}

# The others have one true side: fal makes no job that it answers with 429, and no
# answer with an id comes from nowhere.
EITHER_SIDE = {"reset", "fin", "nginx", "json_error"}


@st.composite
def faults_of(draw: st.DrawFn, verb: str) -> Fault:
    kind = draw(st.sampled_from(KINDS[verb]))
    return Fault(
        kind,
        verb,
        when=draw(st.sampled_from(["before", "after"])) if kind in EITHER_SIDE else None,
        probability=draw(st.sampled_from([0.05, 0.2, 0.4])),
        delay_s=draw(st.sampled_from([1.0, 20.0])),
        retry_after_s=draw(st.sampled_from([None, 2.0])),
        has_request_id=draw(st.booleans()),
        lasting_s=10.0,
    )


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    chosen = [
        draw(faults_of(verb))
        for verb in KINDS
        for _ in range(draw(st.integers(min_value=0, max_value=2)))
    ]
    return Scenario(
        seed=draw(st.integers(min_value=0, max_value=1000)),
        runners=draw(st.sampled_from([3, 20, 200])),
        run_s=draw(st.sampled_from([0.0, 1.0, 30.0])),
        server_retry_probability=draw(st.sampled_from([0.0, 0.2])),
        after_cancel=draw(st.sampled_from(["completed", "gone"])),
        cancel_running=draw(st.sampled_from(["handled", "ignored"])),
        faults=tuple(chosen),
    )


class Life:
    """A session with jobs that are subscribed to, mapped, submitted, cancelled and timed out."""

    def __init__(self, scenario: Scenario, seed: int, jobs: int, leaves_at: float | None) -> None:
        self.emulator = LoopbackEmulator(scenario)
        self.leaves_at = leaves_at
        self.jobs = jobs
        self.chance = random.Random(seed)
        self.accepted: Counter[str | None] = Counter()
        self.settled: Counter[int] = Counter()
        self.errors: list[BaseException] = []
        self.complaints: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            loop = runner.get_loop()
            loop.set_exception_handler(lambda _, context: self.complaints.append(context))
            runner.run(self.live(seed))

    def hear(self, event: Event) -> None:
        if isinstance(event, Accepted):
            self.accepted[event.request_id] += 1
        elif isinstance(event, Settled):
            self.settled[event.job_id] += 1

    async def live(self, seed: int) -> None:
        self.session = falq.Session(
            self.emulator.gateway,
            transport=self.emulator.transport(),
            seed=seed,
            max_jobs=30,
            per_endpoint={"acme/b": 5},
            on_event=self.hear,
        )
        async with self.session as session:
            callers = [asyncio.create_task(self.one(session, n)) for n in range(self.jobs)]
            for caller in self.chance.sample(callers, self.jobs // 5):
                delay_s = self.chance.uniform(0, 40)
                asyncio.get_running_loop().call_later(delay_s, caller.cancel)
            await asyncio.wait(callers, timeout=self.leaves_at)
            if self.leaves_at is None:
                # Until the last cancel is answered or given up, and the jobs that nobody
                # awaits any more are found to have ended, however many checks stall.
                await asyncio.sleep(900)
                self.after = session.statistics()
            left_at = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - left_at <= 5.01
        endings = await asyncio.gather(*callers, return_exceptions=True)
        self.errors = [ending for ending in endings if isinstance(ending, BaseException)]
        assert not asyncio.all_tasks() - {asyncio.current_task()}

    async def one(self, session: falq.Session, n: int) -> object:
        endpoint = "acme/b" if n % 3 else "acme/a"
        limit_s = self.chance.choice([None, None, 5.0, 30.0])
        arguments = {"n": n}
        if n % 4:
            return await session.subscribe(endpoint, arguments, client_timeout=limit_s)
        handle = await session.submit(endpoint, arguments, client_timeout=limit_s)
        if n % 8 == 0:
            await asyncio.sleep(self.chance.uniform(0, 10))
            await handle.cancel()
        return await handle


def check_what_always_holds(life: Life) -> None:
    stats = life.emulator.stats()
    assert not life.complaints
    # Sent at most once, unless it is certain that no job was made.
    assert (stats.repeated_intents, stats.duplicates) == (0, 0)
    assert set(life.settled.values()) <= {1}
    assert set(life.accepted.values()) <= {1}
    for error in life.errors:
        assert isinstance(error, falq.FalqError | asyncio.CancelledError), repr(error)


CHAOS = settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.slow
@CHAOS
@given(scenarios(), st.integers(0, 10_000), st.integers(50, 120))
def test_whatever_fails_every_job_ends_once_and_no_slot_is_lost(scenario, seed, jobs):
    life = Life(scenario, seed, jobs, None)
    check_what_always_holds(life)
    now = life.after
    assert (now.waiting, now.in_flight, now.watched) == (0, 0, 0)
    assert sum(life.settled.values()) == jobs
    assert now.succeeded + now.failed + now.cancelled + now.timed_out == jobs
    assert life.session.unfinished == ()


@pytest.mark.slow
@CHAOS
@given(scenarios(), st.integers(0, 10_000), st.floats(0.0, 40.0))
def test_a_session_left_in_the_middle_of_it_names_every_job_that_has_no_end(scenario, seed, leaves):
    life = Life(scenario, seed, 60, leaves)
    check_what_always_holds(life)
    named = {one.request_id for one in life.session.unfinished}
    lost = {one.intent_id for one in life.session.unfinished if one.request_id is None}
    for error in life.errors:
        if isinstance(error, falq.SessionClosedError) and error.request_id:
            assert error.request_id in named
        if isinstance(error, falq.SubmissionUnknownError) and error.reason == "session closed":
            assert error.intent_id in lost
    for request_id in named - {None}:
        assert request_id in life.emulator.app.queue.jobs or life.emulator.stats().faults


def test_one_seed_makes_one_run():
    scenario = Scenario(seed=7, run_s=3.0, faults=(Fault("nginx", "status", probability=0.3),))
    lives = [Life(scenario, 5, 60, None) for _ in range(2)]
    assert lives[0].after == lives[1].after
    assert lives[0].emulator.stats() == lives[1].emulator.stats()
