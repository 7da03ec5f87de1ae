"""`client_timeout`: it holds wherever the job stands, and leaves no job without an id."""

from __future__ import annotations

import asyncio

import pytest

import falq
from falq.emulator import Fault, Scenario
from falq.testing import LoopbackEmulator

LIMIT_S = 10.0


async def time_out(session: falq.Session, arguments: object = None) -> falq.JobTimeoutError:
    """Return the error of a job that lives too long, after a check that it came in time."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(falq.JobTimeoutError) as caught:
        await session.subscribe("acme/echo", arguments, client_timeout=LIMIT_S)
    assert LIMIT_S <= loop.time() - started <= LIMIT_S + 0.5
    assert caught.value.timeout_s == LIMIT_S
    return caught.value


async def test_a_deadline_in_line_submits_nothing(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=100.0))
    async with a_session(emulator, max_jobs=1) as session:
        await session.submit("acme/echo", {})
        error = await time_out(session)
        assert error.cancel_outcome == "not_submitted"
        assert not error.possibly_billed
        assert error.intent_id
        assert session.statistics().waiting == 0
    assert emulator.stats().submits == 1


async def test_a_deadline_in_line_for_a_call_submits_nothing(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=100.0), latency_s=60.0)
    async with a_session(emulator, max_calls=8) as session:
        first = [asyncio.create_task(session.submit("acme/echo", {})) for _ in range(2)]
        await asyncio.sleep(1)
        error = await time_out(session)
        assert error.cancel_outcome == "not_submitted"
        await asyncio.gather(*first)
        await asyncio.sleep(10)
    assert emulator.stats().submits == 2


async def test_a_deadline_during_a_slow_submit_cancels_the_job_once_its_id_is_known(a_session):
    faults = (Fault("delay", "submit", delay_s=40.0),)
    emulator = LoopbackEmulator(Scenario(run_s=100.0, faults=faults))
    async with a_session(emulator, max_jobs=1) as session:
        error = await time_out(session)
        assert error.intent_id
        assert error.cancel_outcome == "unknown"
        assert error.possibly_billed
        assert session.statistics().in_flight == 1
        await asyncio.sleep(40)
        assert session.statistics().in_flight == 0
    assert emulator.stats().jobs_by_state["cancelled"] == 1
    assert emulator.stats().calls["cancel"] == 1
    assert session.unfinished == ()


async def test_a_session_left_after_such_a_deadline_waits_for_the_id_and_the_cancel(a_session):
    faults = (Fault("delay", "submit", delay_s=12.0),)
    emulator = LoopbackEmulator(Scenario(run_s=100.0, faults=faults))
    async with a_session(emulator) as session:
        await time_out(session)
    assert emulator.stats().jobs_by_state["cancelled"] == 1
    assert session.unfinished == ()


async def test_a_session_left_before_the_answer_names_the_intent_as_unfinished(a_session):
    faults = (Fault("delay", "submit", delay_s=100.0),)
    emulator = LoopbackEmulator(Scenario(run_s=100.0, faults=faults))
    async with a_session(emulator) as session:
        error = await time_out(session)
    assert [one.intent_id for one in session.unfinished] == [error.intent_id]
    assert asyncio.get_running_loop().time() <= LIMIT_S + 5.5


@pytest.mark.parametrize("runners", [0, 1])
async def test_a_deadline_of_a_job_that_waits_or_runs_at_the_server_cancels_it(a_session, runners):
    emulator = LoopbackEmulator(Scenario(runners=runners, run_s=100.0))
    async with a_session(emulator) as session:
        # The same limit is sent as start deadline, and the server may end the job first.
        if runners == 0:
            handle = await session.submit("acme/echo", {}, client_timeout=LIMIT_S, start_timeout=99)
            with pytest.raises(falq.JobTimeoutError) as caught:
                await handle
            error = caught.value
        else:
            error = await time_out(session)
        assert error.request_id in emulator.app.queue.jobs
        assert error.cancel_outcome == "requested"
        await asyncio.sleep(1)
        assert session.statistics().timed_out == 1
    assert emulator.stats().jobs_by_state["cancelled"] == 1


async def test_a_deadline_while_the_result_is_fetched_tells_that_the_job_completed(a_session):
    faults = (Fault("nginx", "result"),)
    emulator = LoopbackEmulator(Scenario(run_s=1.0, faults=faults))
    async with a_session(emulator) as session:
        error = await time_out(session)
    assert error.cancel_outcome == "already_completed"
    assert error.request_id


@pytest.mark.parametrize(
    "fault",
    [
        Fault("stall", "cancel"),
        Fault("rate_limited", "cancel"),
        Fault("rate_limited", "cancel", retry_after_s=30.0),
        Fault("nginx", "cancel"),
        Fault("reset", "cancel"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.retry_after_s}",
)
async def test_a_failing_cancel_does_not_overrun_the_deadline(a_session, fault):
    emulator = LoopbackEmulator(Scenario(run_s=100.0, faults=(fault,)))
    async with a_session(emulator) as session:
        error = await time_out(session)
    assert error.cancel_outcome == "unknown"
    assert error.request_id
    assert emulator.stats().calls["cancel"] <= 3


async def test_a_deadline_is_kept_while_every_call_stalls(a_session):
    emulator = LoopbackEmulator(Scenario(faults=(Fault("stall"),)))
    async with a_session(emulator) as session:
        error = await time_out(session)
    assert error.intent_id


@pytest.mark.slow
async def test_a_thousand_deadlines_at_once_are_all_kept(a_session):
    emulator = LoopbackEmulator(Scenario(runners=2000, run_s=500.0))
    async with a_session(emulator) as session:
        work = [session.subscribe("acme/echo", {}, client_timeout=20) for _ in range(1000)]
        errors = await asyncio.gather(*work, return_exceptions=True)
        assert asyncio.get_running_loop().time() <= 20.5
        assert all(isinstance(error, falq.JobTimeoutError) for error in errors)
        await asyncio.sleep(30)
        assert session.statistics().in_flight == 0
    assert emulator.stats().jobs_by_state["cancelled"] == 1000


async def test_the_limit_of_the_session_holds_for_jobs_without_their_own(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=100.0))
    async with a_session(emulator, timeout=7.0) as session:
        with pytest.raises(falq.JobTimeoutError) as caught:
            await session.subscribe("acme/echo", {})
        assert asyncio.get_running_loop().time() <= 7.5
    assert caught.value.timeout_s == 7.0


async def test_a_pause_beyond_the_deadline_is_raised_at_once(a_session):
    faults = (Fault("rate_limited", "submit", retry_after_s=60.0),)
    emulator = LoopbackEmulator(Scenario(faults=faults))
    async with a_session(emulator) as session:
        with pytest.raises(falq.RateLimitError) as caught:
            await session.subscribe("acme/echo", {}, client_timeout=LIMIT_S)
        assert asyncio.get_running_loop().time() < 1.0
    assert caught.value.retry_after_s == 60.0


async def test_a_job_that_ends_in_time_leaves_no_timer_behind(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=1.0))
    async with a_session(emulator) as session:
        await session.subscribe("acme/echo", {}, client_timeout=LIMIT_S)
        await asyncio.sleep(100)
        assert session.statistics().timed_out == 0
    assert "cancel" not in emulator.stats().calls
