"""A key that is refused after a job was accepted: no other job is to share its lot."""

from __future__ import annotations

import asyncio

import pytest

import falq
from falq._journal.memory import MemoryJournal
from falq._journal.states import RecordState
from falq.emulator import Fault, Scenario
from falq.testing import LoopbackEmulator


def refusing(verb, status_code, **more):
    fault = Fault("json_error", verb, status_code=status_code, **more)
    return LoopbackEmulator(Scenario(runners=1000, run_s=2.0, faults=(fault,)))


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["status", "result"])
@pytest.mark.parametrize("status_code", [401, 403])
async def test_a_key_that_may_not_look_at_its_jobs_submits_no_more(a_session, verb, status_code):
    emulator = refusing(verb, status_code)
    async with a_session(emulator, max_jobs=20) as session:
        inputs = ({"n": n} for n in range(1000))
        errors = [outcome.error async for outcome in session.map("acme/echo", inputs)]
    assert emulator.stats().jobs <= 40
    assert {type(error) for error in errors} == {falq.AuthenticationError}
    paid = [error for error in errors if error.possibly_billed]
    assert {error.request_id for error in paid} == set(emulator.app.queue.jobs)
    assert all(error.intent_id and error.endpoint == "acme/echo" for error in paid)
    assert not any(error.request_id for error in errors if not error.possibly_billed)


async def test_the_log_says_once_that_nothing_more_is_submitted(a_session, caplog):
    emulator = refusing("status", 401)
    async with a_session(emulator) as session:
        work = (session.subscribe("acme/echo", {}) for _ in range(100))
        await asyncio.gather(*work, return_exceptions=True)
    assert len([line for line in caplog.messages if "no more submits" in line]) == 1


async def test_the_jobs_that_run_are_gone_on_with_by_a_good_key(a_session):
    emulator = refusing("status", 401, nth=tuple(range(1, 6)))
    async with MemoryJournal() as journal:
        async with a_session(emulator, journal=journal) as session:
            work = (session.subscribe("acme/echo", {"n": n}) for n in range(5))
            errors = await asyncio.gather(*work, return_exceptions=True)
        assert {type(error) for error in errors} == {falq.AuthenticationError}
        rows = [row async for page in journal.load_jobs() for row in page]
        assert {row.state for row in rows} == {RecordState.ACCEPTED}
        async with a_session(emulator, journal=journal) as session:
            handles = await session.recover()
            assert [await handle for handle in handles] == [{"n": n} for n in range(5)]
    assert emulator.stats().submits == 5


@pytest.mark.slow
async def test_a_submit_that_goes_well_is_no_proof_while_jobs_cannot_be_looked_at(a_session):
    emulator = refusing("status", 403)
    async with a_session(emulator) as session:
        for _ in range(120):
            work = (session.subscribe("acme/echo", {}) for _ in range(10))
            await asyncio.gather(*work, return_exceptions=True)
            await asyncio.sleep(1)
    # Ten before it was known, then one in thirty seconds.
    assert 10 < emulator.stats().jobs <= 15


async def test_a_job_that_succeeds_proves_the_key_good_again(a_session):
    emulator = refusing("status", 403, nth=1)
    async with a_session(emulator) as session:
        with pytest.raises(falq.AuthenticationError):
            await session.subscribe("acme/echo", {})
        await asyncio.sleep(31)
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
        work = (session.subscribe("acme/echo", {"n": n}) for n in range(50))
        assert len(await asyncio.gather(*work)) == 50


async def test_a_stranger_s_job_says_nothing_of_the_key(a_session):
    emulator = refusing("status", 403, nth=1)
    async with a_session(emulator) as session:
        stranger = await session.submit("acme/echo", {})
    async with a_session(emulator) as session:
        with pytest.raises(falq.AuthenticationError):
            await session.handle("acme/echo", stranger.request_id)
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
