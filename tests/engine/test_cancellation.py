"""Cancelling a caller at every step of the loop: nothing is swallowed, lost or left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

import falq
from falq.emulator import Fault, Scenario
from falq.testing import LoopbackEmulator, VirtualTimeLoop

Drive = Callable[[falq.Session], Awaitable[object]]


class SteppingLoop(VirtualTimeLoop):
    """Cancels a task in front of one chosen turn of the loop."""

    victim: asyncio.Task[object] | None = None
    turns_left = 0
    has_struck = False

    def _run_once(self) -> None:
        if self.victim is not None:
            if self.turns_left == 0:
                self.has_struck = self.victim.cancel()
            self.turns_left -= 1
        super()._run_once()


class Trial:
    """One run in which the caller was cancelled at its k-th turn."""

    def __init__(self, drive: Drive, turn: int, scenario: Scenario) -> None:
        self.emulator = LoopbackEmulator(scenario)
        self.was_cancelled = False
        self.is_over = False
        self.complaints: list[object] = []
        with asyncio.Runner(loop_factory=SteppingLoop) as runner:
            loop = runner.get_loop()
            loop.set_exception_handler(lambda _, context: self.complaints.append(context))
            runner.run(self._run(drive, turn))

    async def _run(self, drive: Drive, turn: int) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SteppingLoop)
        transport = self.emulator.transport()
        self.session = falq.Session(self.emulator.gateway, transport=transport, seed=1)
        async with self.session:
            caller = asyncio.ensure_future(drive(self.session))
            loop.victim, loop.turns_left = caller, turn
            await asyncio.wait({caller})
            self.is_over = not loop.has_struck
            loop.victim = None
            self.was_cancelled = caller.cancelled()
            self.returned_at = loop.time()
            if not self.was_cancelled:
                caller.result()
            # Long enough for every cancel and for a job that runs on.
            await asyncio.sleep(120)
            self.after = self.session.statistics()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left


def every_turn(drive: Drive, scenario: Scenario | None = None) -> list[Trial]:
    """Return the trials for each turn until the caller ends before it is cancelled."""
    trials: list[Trial] = []
    for turn in range(1000):
        trial = Trial(drive, turn, scenario or Scenario(run_s=2.0))
        assert trial.was_cancelled != trial.is_over, f"a cancel at turn {turn} was swallowed"
        assert (trial.after.waiting, trial.after.in_flight, trial.after.watched) == (0, 0, 0)
        assert not trial.complaints
        assert trial.emulator.stats().submits <= 1
        assert trial.emulator.stats().repeated_intents == 0
        if trial.is_over:
            return trials
        trials.append(trial)
    raise AssertionError("the caller never came to its end")


def cancels(trial: Trial) -> int:
    return trial.emulator.stats().calls.get("cancel", 0)


@pytest.mark.slow
def test_a_cancelled_subscribe_cancels_its_job_once_at_every_turn():
    trials = every_turn(lambda session: session.subscribe("acme/echo", {"n": 1}))
    assert len(trials) > 20
    for trial in trials:
        stats = trial.emulator.stats()
        has_ended = trial.after.succeeded == 1
        assert cancels(trial) == (0 if has_ended else stats.jobs)
        # Nothing was sent, or the job got its id: nothing in between.
        assert stats.submits == stats.jobs == trial.after.submitted
        assert trial.session.unfinished == ()
    assert any(trial.emulator.stats().jobs == 0 for trial in trials)
    assert any(trial.emulator.stats().jobs_by_state["cancelled"] for trial in trials)


@pytest.mark.slow
def test_a_cancelled_subscribe_that_detaches_sends_no_cancel_at_any_turn():
    trials = every_turn(
        lambda session: session.subscribe("acme/echo", {"n": 1}, on_cancel="detach")
    )
    for trial in trials:
        assert cancels(trial) == 0
        assert trial.after.succeeded == trial.after.submitted == trial.emulator.stats().jobs
    assert any(trial.emulator.stats().jobs for trial in trials)


@pytest.mark.slow
def test_a_cancelled_submit_cancels_the_job_that_nobody_holds():
    trials = every_turn(lambda session: session.submit("acme/echo", {"n": 1}))
    for trial in trials:
        assert cancels(trial) == trial.emulator.stats().jobs == trial.after.submitted
    assert any(trial.emulator.stats().jobs for trial in trials)


@pytest.mark.slow
def test_a_cancelled_wait_for_a_handle_leaves_the_job_running_at_every_turn():
    async def submit_and_wait(session: falq.Session) -> None:
        handle = await asyncio.shield(asyncio.ensure_future(session.submit("acme/echo", {})))
        await handle

    for trial in every_turn(submit_and_wait):
        assert cancels(trial) == 0
        assert trial.after.succeeded == trial.emulator.stats().jobs


@pytest.mark.slow
def test_a_cancelled_wait_with_on_cancel_cancels_the_job_once():
    async def submit_and_wait(session: falq.Session) -> None:
        await (await session.submit("acme/echo", {}, on_cancel="cancel"))

    for trial in every_turn(submit_and_wait):
        has_ended = trial.after.succeeded == 1
        assert cancels(trial) == (0 if has_ended else trial.emulator.stats().jobs)


@pytest.mark.slow
def test_a_cancelled_reader_of_events_or_maps_loses_no_slot():
    async def read_events(session: falq.Session) -> None:
        handle = await session.submit("acme/echo", {})
        async with handle.events(logs=True) as statuses:
            async for _ in statuses:
                pass

    async def read_map(session: falq.Session) -> None:
        async with session.map("acme/echo", [{"n": 1}], on_cancel="cancel") as outcomes:
            async for _ in outcomes:
                pass

    every_turn(read_events)
    for trial in every_turn(read_map):
        has_ended = trial.after.succeeded == 1
        assert cancels(trial) == (0 if has_ended else trial.emulator.stats().jobs)


@pytest.mark.slow
def test_a_cancelled_cancel_is_sent_nevertheless():
    async def submit_and_cancel(session: falq.Session) -> None:
        handle = await asyncio.shield(asyncio.ensure_future(session.submit("acme/echo", {})))
        cancelling.add(session)
        await handle.cancel()

    cancelling: set[falq.Session] = set()
    for trial in every_turn(submit_and_cancel):
        assert cancels(trial) == int(trial.session in cancelling)


@pytest.mark.slow
def test_a_cancelled_subscribe_over_a_broken_network_ends_as_well():
    faults = (
        Fault("rate_limited", "submit", nth=1, retry_after_s=1.0),
        Fault("nginx", "status", every=2),
        Fault("cut", "result", nth=1),
        Fault("reset", "cancel", nth=1),
    )
    trials = every_turn_with_retries(faults)
    assert any(cancels(trial) == 2 for trial in trials)


def every_turn_with_retries(faults: tuple[Fault, ...]) -> list[Trial]:
    trials: list[Trial] = []
    for turn in range(1000):
        trial = Trial(
            lambda session: session.subscribe("acme/echo", {"n": 1}),
            turn,
            Scenario(run_s=2.0, faults=faults),
        )
        assert trial.was_cancelled != trial.is_over
        assert (trial.after.waiting, trial.after.in_flight, trial.after.watched) == (0, 0, 0)
        assert not trial.complaints
        stats = trial.emulator.stats()
        assert stats.jobs <= 1
        if trial.is_over:
            return trials
        if stats.jobs and not trial.after.succeeded:
            assert stats.jobs_by_state["succeeded"] + stats.jobs_by_state["cancelled"] == 1
            assert cancels(trial) >= 1
        trials.append(trial)
    raise AssertionError("the caller never came to its end")


@pytest.mark.slow
def test_a_session_cancelled_at_any_turn_of_its_life_leaves_no_task():
    async def live(emulator: LoopbackEmulator) -> None:
        transport = emulator.transport()
        async with falq.Session(emulator.gateway, transport=transport, seed=1) as session:
            await session.subscribe("acme/echo", {"n": 1})

    async def run(turn: int) -> bool:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SteppingLoop)
        emulator = LoopbackEmulator(Scenario(run_s=2.0))
        caller = asyncio.ensure_future(live(emulator))
        loop.victim, loop.turns_left = caller, turn
        await asyncio.wait({caller})
        is_over = not loop.has_struck
        loop.victim = None
        assert caller.cancelled() != is_over
        assert asyncio.all_tasks() == {asyncio.current_task()}
        stats = emulator.stats()
        if not is_over and stats.jobs_by_state["succeeded"] == 0:
            assert stats.calls.get("cancel", 0) == stats.jobs
        return is_over

    for turn in range(1000):
        with asyncio.Runner(loop_factory=SteppingLoop) as runner:
            if runner.run(run(turn)):
                break
    assert 20 < turn < 999


async def test_a_second_cancel_changes_nothing(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=100.0), latency_s=1.0)
    async with a_session(emulator) as session:
        caller = asyncio.create_task(session.subscribe("acme/echo", {}))
        await asyncio.sleep(5)
        caller.cancel()
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await asyncio.sleep(5)
    assert emulator.stats().calls["cancel"] == 1


async def test_a_job_in_line_for_a_call_is_dropped_unsent(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=100.0), latency_s=2.0)
    async with a_session(emulator, max_calls=8) as session:
        work = [asyncio.create_task(session.subscribe("acme/echo", {"n": n})) for n in range(50)]
        await asyncio.sleep(5)
        sent = emulator.stats().submits
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await asyncio.sleep(60)
        assert emulator.stats().submits == sent < 10
        assert emulator.stats().calls["cancel"] == sent
        assert session.statistics().in_flight == 0


async def test_a_job_that_waits_out_a_pause_is_dropped_unsent(a_session):
    faults = (Fault("rate_limited", "submit", nth=1, retry_after_s=100.0),)
    emulator = LoopbackEmulator(Scenario(faults=faults))
    async with a_session(emulator) as session:
        caller = asyncio.create_task(session.subscribe("acme/echo", {}))
        await asyncio.sleep(50)
        caller.cancel()
        await asyncio.sleep(1)
        assert session.statistics().in_flight == 0
        await asyncio.sleep(200)
    assert emulator.stats().submits == 1
    assert emulator.stats().jobs == 0


async def test_a_caller_returns_within_50_ms_of_its_cancel(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=100.0, faults=(Fault("stall", "cancel"),)))
    async with a_session(emulator) as session:
        caller = asyncio.create_task(session.subscribe("acme/echo", {}))
        await asyncio.sleep(5)
        caller.cancel()
        await asyncio.wait({caller})
        assert asyncio.get_running_loop().time() <= 5.05


async def test_a_task_group_around_many_jobs_cancels_them_all_when_one_fails(a_session):
    emulator = LoopbackEmulator(Scenario(runners=100, run_s=50.0))
    async with a_session(emulator) as session:

        async def run_all() -> None:
            async with asyncio.TaskGroup() as group:
                for n in range(30):
                    group.create_task(session.subscribe("acme/echo", {"n": n}))
                bad = {"_emulator": {"run_s": 3.0, "fail": 500}}
                group.create_task(session.subscribe("acme/echo", bad))

        with pytest.raises(ExceptionGroup) as caught:
            await run_all()
        await asyncio.sleep(5)
        assert session.statistics().in_flight == 0
    assert [type(error) for error in caught.value.exceptions] == [falq.JobFailedError]
    assert emulator.stats().jobs_by_state["cancelled"] == 30


async def test_the_server_is_told_within_a_second_of_a_cancel(a_session):
    emulator = LoopbackEmulator(Scenario(runners=200, run_s=500.0))
    async with a_session(emulator) as session:
        work = [asyncio.create_task(session.subscribe("acme/echo", {"n": n})) for n in range(100)]
        await asyncio.sleep(20)
        for task in work:
            task.cancel()
        await asyncio.sleep(1)
        assert emulator.stats().jobs_by_state["cancelled"] == 100
