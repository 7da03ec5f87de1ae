"""What the server says to a cancel, and what a handle says of it afterwards."""

from __future__ import annotations

import asyncio

import pytest

import falq
from falq.emulator import Fault, Scenario
from falq.testing import LoopbackEmulator


def unknown_for(lasting_s, *verbs):
    """Return the faults of a server that does not know its newest jobs everywhere."""
    return [Fault("not_found", verb, when="before", lasting_s=lasting_s) for verb in verbs]


async def test_a_cancel_that_meets_a_404_right_after_the_submit_is_sent_again(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=600.0, faults=unknown_for(3.0, "status", "cancel")))
    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {})
        assert await handle.cancel() == "requested"
        with pytest.raises(falq.JobCancelledError):
            await handle
    assert emulator.stats().jobs_by_state["cancelled"] == 1


async def test_a_job_abandoned_right_after_its_submit_is_cancelled_where_it_is_not_known_yet(
    a_session,
):
    emulator = LoopbackEmulator(Scenario(run_s=600.0, faults=unknown_for(3.0, "status", "cancel")))
    async with a_session(emulator) as session:
        with pytest.raises(falq.JobTimeoutError) as caught:
            await session.subscribe("acme/echo", {}, client_timeout=1.0)
        assert caught.value.cancel_outcome == "unknown"
        await asyncio.sleep(10)
    assert emulator.stats().jobs_by_state["cancelled"] == 1


async def test_a_new_job_that_no_cancel_reaches_is_not_taken_for_cancelled(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=20.0, faults=unknown_for(10.0, "status", "cancel")))
    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {"n": 1})
        assert await handle.cancel() == "unknown"
        assert await handle == {"n": 1}


async def test_a_request_that_nobody_knows_is_not_asked_to_be_cancelled_twice(a_session):
    emulator = LoopbackEmulator(Scenario())
    async with a_session(emulator) as session:
        assert await session.cancel("acme/echo", "r-1") == "not_found"
    assert emulator.stats().calls["cancel"] == 1


async def test_a_job_that_was_given_up_can_still_be_cancelled(a_session):
    faults = [Fault("nginx", "cancel", nth=(1, 2, 3))]
    emulator = LoopbackEmulator(Scenario(run_s=600.0, faults=faults))
    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {}, client_timeout=5.0)
        with pytest.raises(falq.JobTimeoutError) as caught:
            await handle
        assert caught.value.cancel_outcome == "unknown"
        await asyncio.sleep(10)
        assert emulator.stats().jobs_by_state["running"] == 1
        assert await handle.cancel() == "requested"
        assert await handle.cancel() == "already_completed"
    assert emulator.stats().jobs_by_state["cancelled"] == 1


async def test_a_refused_key_does_not_make_a_running_job_a_completed_one(a_session):
    faults = [Fault("json_error", "status", status_code=401)]
    emulator = LoopbackEmulator(Scenario(run_s=600.0, faults=faults))
    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {})
        with pytest.raises(falq.AuthenticationError):
            await handle
        assert await handle.cancel() == "requested"
    assert emulator.stats().jobs_by_state["cancelled"] == 1


async def test_a_gateways_own_refusal_of_a_cancel_does_not_say_that_the_job_completed(a_session):
    body = '{"error": "no ACTIVE connection"}'
    faults = [Fault("replace_body", "cancel", status_code=400, body=body, when="before")]
    emulator = LoopbackEmulator(Scenario(run_s=5.0, faults=faults))
    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {"n": 1})
        assert await handle.cancel() == "unknown"
        assert await handle == {"n": 1}


@pytest.mark.slow
@pytest.mark.parametrize("is_left", [True, False], ids=["by leaving", "by their callers"])
async def test_a_thousand_jobs_are_cancelled_at_once_over_a_slow_network(a_session, is_left):
    emulator = LoopbackEmulator(Scenario(run_s=6000.0, runners=1000), latency_s=0.3)
    callers = []
    async with a_session(emulator, on_exit="cancel" if is_left else "detach") as session:
        callers += [
            asyncio.create_task(session.subscribe("acme/echo", {"n": n})) for n in range(1000)
        ]
        await asyncio.sleep(60)
        if not is_left:
            for caller in callers:
                caller.cancel()
            await asyncio.wait(callers)
    await asyncio.gather(*callers, return_exceptions=True)
    assert emulator.stats().jobs_by_state["cancelled"] == 1000


async def test_a_cancel_that_waits_for_its_place_is_not_given_up(a_session):
    faults = [Fault("delay", "cancel", delay_s=2.0)]
    emulator = LoopbackEmulator(Scenario(run_s=6000.0, runners=100, faults=faults))
    async with a_session(emulator, max_calls=8) as session:
        handles = [await session.submit("acme/echo", {"n": n}) for n in range(50)]
        said = await asyncio.gather(*(handle.cancel() for handle in handles))
        assert said.count("requested") >= 32
        await asyncio.sleep(30)
    assert emulator.stats().jobs_by_state["cancelled"] == 50


@pytest.mark.parametrize("fails", [True, False])
async def test_a_log_says_of_a_job_that_nobody_waits_for_that_it_was_not_cancelled(
    a_session, caplog, fails
):
    faults = [Fault("nginx", "cancel")] if fails else []
    emulator = LoopbackEmulator(Scenario(run_s=20.0, faults=faults))
    async with a_session(emulator) as session:
        caller = asyncio.create_task(session.subscribe("acme/echo", {}))
        await asyncio.sleep(5)
        caller.cancel()
        await asyncio.sleep(30)
    (request_id,) = emulator.app.queue.jobs
    told = [record.getMessage() for record in caplog.records if record.name == "falq"]
    assert [request_id in text for text in told] == [True] * fails
