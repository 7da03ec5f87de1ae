"""Errors and sessions that ended: what goes on with a job that the server has."""

from __future__ import annotations

import asyncio
import pickle

import pytest

import falq
from falq.emulator import Fault, Scenario
from falq.testing import LoopbackEmulator


async def error_of(session, **options):
    with pytest.raises(falq.FalqError) as caught:
        await session.subscribe("acme/echo", {"n": 1}, **options)
    return caught.value


@pytest.mark.parametrize(
    "fault",
    [
        Fault("json_error", "status", status_code=401, nth=1),
        Fault("json_error", "result", status_code=401, nth=1),
    ],
    ids=["at the status", "at the result"],
)
async def test_an_error_that_is_not_the_end_goes_on_with_the_job(a_session, fault):
    emulator = LoopbackEmulator(Scenario(run_s=2.0, faults=(fault,)))
    async with a_session(emulator) as session:
        error = await error_of(session)
    told = pickle.loads(pickle.dumps(error))
    async with a_session(emulator) as session:
        handle = session.resume(told.resume_token)
        assert handle.request_id == error.request_id
        assert await handle == {"n": 1}
    assert emulator.stats().submits == 1


async def test_a_session_that_was_left_names_a_token_for_each_job(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=20.0))
    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {"n": 1})
    with pytest.raises(falq.SessionClosedError) as caught:
        await handle
    (left,) = session.unfinished
    # The same object: making it takes its time where many jobs are left.
    assert left.resume_token is caught.value.resume_token is not None
    async with a_session(emulator) as session:
        assert await session.resume(left.resume_token) == {"n": 1}


async def test_a_cancel_that_came_too_late_leaves_a_token(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=0.45), latency_s=0.3)
    async with a_session(emulator) as session:
        error = await error_of(session, client_timeout=1.0)
        assert isinstance(error, falq.JobTimeoutError)
        assert error.cancel_outcome == "already_completed"
        assert await session.resume(error.resume_token) == {"n": 1}


@pytest.mark.parametrize(
    ("scenario", "options"),
    [
        (Scenario(faults=(Fault("reset", "submit", when="after"),)), {}),
        (Scenario(is_locked=True), {}),
        (Scenario(runners=0), {"start_timeout": 20}),
        (Scenario(run_s=600.0), {"client_timeout": 30}),
    ],
    ids=["lost", "refused", "failed", "cancelled"],
)
async def test_an_end_and_a_submit_without_an_id_have_no_token(a_session, scenario, options):
    async with a_session(LoopbackEmulator(scenario)) as session:
        assert (await error_of(session, **options)).resume_token is None


async def test_a_job_that_is_resumed_by_a_token_has_a_limit_of_its_own(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=600.0))
    async with a_session(emulator) as session:
        await session.submit("acme/echo", {})
    async with a_session(emulator) as session:
        before = asyncio.get_running_loop().time()
        handle = session.resume(token_of(emulator), client_timeout=30)
        with pytest.raises(falq.JobTimeoutError) as caught:
            await handle
        assert asyncio.get_running_loop().time() - before == pytest.approx(30, abs=1)
    assert caught.value.cancel_outcome == "requested"
    assert emulator.stats().calls["cancel"] == 1


def token_of(emulator):
    (request_id,) = emulator.app.queue.jobs
    return f'{{"falq": 1, "endpoint": "acme/echo", "request_id": "{request_id}"}}'


async def test_what_is_no_token_is_refused_before_anything_is_sent(a_session):
    emulator = LoopbackEmulator()
    async with a_session(emulator) as session:
        with pytest.raises(falq.ArgumentError, match="resume token"):
            session.resume("019b76da-a800-7ead")
    assert sum(emulator.stats().calls.values()) == 0
