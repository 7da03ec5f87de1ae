"""Maton's error table: each answer says which step of its troubleshooting to take."""

from __future__ import annotations

import asyncio

import pytest

import falq
from falq.emulator import Fault, Scenario
from falq.gateways import Maton
from falq.testing import LoopbackEmulator, VirtualTimeLoop

ONCE = falq.RetrySettings(submit_attempts=1)


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def error_of(scenario, *, key=None, endpoint="acme/echo", arguments=None):
    """What a job through Maton ends with."""
    emulator = LoopbackEmulator(scenario)
    url = emulator.maton.base_url
    gateway = emulator.maton if key is None else Maton(key=key, base_url=url, control_url=url)
    transport = emulator.transport(gateway=gateway)
    async with falq.Session(gateway, transport=transport, retry=ONCE, seed=1) as session:
        with pytest.raises(falq.FalqError) as caught:
            await session.subscribe(endpoint, arguments or {})
    return caught.value


@pytest.mark.parametrize("state", ["NONE", "PENDING", "FAILED"])
async def test_a_missing_connection_names_the_commands_that_show_and_make_one(state):
    error = await error_of(Scenario(maton_connection=state))
    assert (type(error), error.status_code) == (falq.ApiError, 400)
    assert "No active connection" in str(error)
    for step in ("falq connections list", "falq connections create", "fal-ai/flux/schnell"):
        assert step in str(error)


async def test_a_wrong_key_names_where_to_copy_it():
    error = await error_of(Scenario(), key="wrong")
    assert type(error) is falq.AuthenticationError
    assert "copy MATON_API_KEY again from maton.ai/settings" in str(error)


async def test_the_gateways_rate_limit_is_told_as_its_own():
    emulator = LoopbackEmulator(Scenario(maton_rate_per_s=1))
    settings = {"transport": emulator.transport(gateway=emulator.maton), "retry": ONCE, "seed": 1}
    async with falq.Session(emulator.maton, calls_per_s=50, **settings) as session:
        submits = (session.submit("acme/echo", {"n": n}) for n in range(3))
        told = await asyncio.gather(*submits, return_exceptions=True)
    refused = [one for one in told if isinstance(one, falq.RateLimitError)]
    assert refused
    assert all("10 calls a second" in str(one) for one in refused)


async def test_wrong_parameters_are_passed_through_as_fal_says_them():
    error = await error_of(Scenario(run_s=0.0), endpoint="fal-ai/flux/schnell")
    assert isinstance(error, falq.JobInputError)
    assert "prompt" in str(error)


async def test_other_errors_are_passed_through_with_fals_own_advice():
    error = await error_of(Scenario(is_locked=True))
    assert type(error) is falq.AuthenticationError
    assert "top up the account" in str(error)
    error = await error_of(Scenario(absent_apps=("acme/echo",)))
    assert "check the endpoint and the request id" in str(error)


async def test_a_failure_of_fal_behind_the_gateway_is_not_blamed_on_the_connection():
    scenario = Scenario(run_s=0.0, faults=(Fault("json_error", "submit"),))
    error = await error_of(scenario)
    assert "connection" not in str(error)


@pytest.mark.parametrize(
    ("status_code", "is_own", "words"),
    [
        (400, True, "falq connections create"),
        (401, True, "maton.ai/settings"),
        (403, True, "maton.ai/settings"),
        (404, True, "with its owner"),
        (429, True, "calls_per_s"),
        (500, True, "may have expired"),
        (503, True, "may have expired"),
        (418, True, None),
        (401, False, "the Maton connection holds"),
        (400, False, None),
        (500, False, None),
        (401, None, None),
    ],
)
def test_the_table_is_matons_where_maton_speaks(status_code, is_own, words):
    advice = Maton(key="m").advise(status_code, is_own=is_own)
    assert advice is None if words is None else words in advice


@pytest.mark.parametrize("is_own", [True, False, None])
def test_other_gateways_leave_the_usual_advice(is_own):
    assert falq.Fal(key="id:secret").advise(401, is_own=is_own) is None
