"""A session on uvloop, over real sockets: the same outcomes, errors and ends."""

from __future__ import annotations

import asyncio
import sys

import pytest

import falq
from falq.emulator import Emulator, Fault, Scenario

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no uvloop for Windows")

QUICK_POLLS = falq.PollSettings(initial_s=0.02)


@pytest.fixture
def anyio_backend():
    import uvloop

    return "asyncio", {"loop_factory": uvloop.new_event_loop}


@pytest.mark.slow
@pytest.mark.parametrize("completion", ["poll", "stream"])
async def test_200_jobs_over_tls_end_well(completion):
    assert type(asyncio.get_running_loop()).__module__ == "uvloop"
    async with (
        Emulator(Scenario(runners=40, run_s=0.02), tls=True) as emulator,
        falq.Session(
            emulator.gateway,
            ssl_context=emulator.ssl_context,
            poll=QUICK_POLLS,
            completion=completion,
            max_jobs=60,
        ) as session,
    ):
        inputs = ({"n": number} for number in range(200))
        outcomes = [one async for one in session.map("acme/echo", inputs, ordered=True)]
        assert [one.result for one in outcomes] == [{"n": number} for number in range(200)]
        stats = emulator.stats()
        assert stats.jobs == stats.submits == 200
        assert stats.connections <= 170
        assert ("status_stream" in stats.calls) == (completion == "stream")


@pytest.mark.slow
async def test_broken_connections_are_told_apart_as_on_pythons_own_loop():
    faults = [
        Fault("reset", "status", probability=0.2, when="after"),
        Fault("cut", "status", probability=0.2),
        Fault("fin", "status", probability=0.1),
        Fault("reset", "result", probability=0.3, when="after"),
        Fault("reset", "submit", probability=0.1, when="after"),
    ]
    async with (
        Emulator(Scenario(runners=200, run_s=0.02, faults=faults, seed=3)) as emulator,
        falq.Session(
            emulator.gateway,
            poll=QUICK_POLLS,
            retry=falq.RetrySettings(base_s=0.01, cap_s=0.1, budget=5000),
        ) as session,
    ):
        unknown = 0
        async for outcome in session.map("acme/echo", ({"n": number} for number in range(60))):
            if outcome.is_success:
                assert outcome.result == outcome.input
            else:
                assert isinstance(outcome.error, falq.SubmissionUnknownError), outcome.error
                unknown += 1
        stats = emulator.stats()
    assert stats.jobs == 60
    assert stats.duplicates == 0
    assert 0 < unknown < 30


async def test_nobody_there_is_a_connect_error():
    async with Emulator(Scenario()) as emulator:
        gateway = emulator.gateway
    settings = falq.RetrySettings(base_s=0.01, cap_s=0.01, submit_attempts=2)
    async with falq.Session(gateway, retry=settings) as session:
        with pytest.raises(falq.ConnectError):
            await session.subscribe("acme/echo", {})


async def test_a_session_that_is_left_names_its_jobs_and_cancels_what_it_is_told_to():
    async with Emulator(Scenario(runners=20, run_s=1000.0)) as emulator:
        async with falq.Session(emulator.gateway, on_exit="cancel") as session:
            for number in range(5):
                await session.submit("acme/echo", {"n": number})
            waiting = asyncio.create_task(session.subscribe("acme/echo", {"n": 5}))
            await (await session.submit("acme/echo", {"n": 6})).cancel()
        with pytest.raises(falq.FalqError):
            await waiting
        assert emulator.stats().calls["cancel"] >= 6
        assert len({one.request_id for one in session.unfinished}) == len(session.unfinished)
