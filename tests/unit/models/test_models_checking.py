"""`validate=True`: wrong arguments never leave, and a schema is asked for once."""

from __future__ import annotations

import asyncio
import logging

import pytest

import falq
from falq.emulator import Fault, Scenario
from falq.models import FluxSchnell
from falq.testing import LoopbackEmulator

SCHNELL, CLARITY = "fal-ai/flux/schnell", "fal-ai/clarity-upscaler"


def opened(emulator, gateway=None, **settings):
    gateway = gateway or emulator.gateway
    settings = {"validate": True} | settings
    return falq.Session(gateway, transport=emulator.transport(gateway), **settings)


def calls(emulator):
    return emulator.stats().calls


async def refused(session, endpoint, arguments, **options):
    with pytest.raises(falq.ArgumentError) as caught:
        await session.subscribe(endpoint, arguments, **options)
    return caught.value


@pytest.fixture
def emulator():
    return LoopbackEmulator(Scenario(runners=50))


async def test_a_guides_scale_is_caught_and_the_right_field_named(emulator):
    async with opened(emulator) as session:
        error = await refused(session, CLARITY, {"image_url": "https://x/y.png", "scale": 2})
    assert error.problems == (("scale", "does not exist; did you mean 'upscale_factor'?"),)
    assert error.endpoint == CLARITY
    assert "submit" not in calls(emulator)


async def test_good_arguments_go_through_and_the_schema_is_asked_for_once(emulator):
    async with opened(emulator) as session:
        for number in range(3):
            await session.subscribe(SCHNELL, {"prompt": "a cat", "seed": number})
        await session.subscribe(FluxSchnell(prompt="a cat"))
    assert (calls(emulator)["catalogue"], calls(emulator)["submit"]) == (1, 4)


async def test_many_jobs_at_once_share_one_question(emulator):
    inputs = [{"prompt": "a"} if n % 2 else {"promt": "a"} for n in range(40)]
    async with opened(emulator) as session:
        outcomes = [one async for one in session.map(SCHNELL, inputs, ordered=True)]
    assert [one.is_success for one in outcomes] == [n % 2 == 1 for n in range(40)]
    assert (calls(emulator)["catalogue"], calls(emulator)["submit"]) == (1, 20)


async def test_jobs_that_waited_for_a_failing_question_do_not_each_ask_again():
    emulator = LoopbackEmulator(Scenario(faults=(Fault("json_error", "catalogue"),)))
    async with opened(emulator) as session:
        outcomes = [one async for one in session.map(SCHNELL, [{"prompt": "a"}] * 30)]
        assert calls(emulator)["catalogue"] == 3
        with pytest.raises(falq.ServerError):
            await session.submit(SCHNELL, {"prompt": "a"})
    assert {type(one.error) for one in outcomes} == {falq.ServerError}
    assert calls(emulator) == {"catalogue": 6}


async def test_a_submission_may_say_otherwise(emulator):
    wrong = {"prompt": "a", "scale": 2}
    async with opened(emulator) as session:
        await session.subscribe(SCHNELL, wrong, validate=False)
        await refused(session, SCHNELL, wrong, validate=None)
    async with opened(emulator, validate=False) as session:
        await session.subscribe(SCHNELL, wrong)
        await refused(session, SCHNELL, wrong, validate=True)
        with pytest.raises(falq.ArgumentError, match="True, False"):
            await session.subscribe(SCHNELL, wrong, validate="yes")
    assert calls(emulator)["submit"] == 2


def test_the_setting_is_yes_or_no(emulator):
    with pytest.raises(falq.ConfigError, match="validate"):
        opened(emulator, validate="yes")


async def test_an_endpoint_without_a_schema_passes_and_is_logged_once(emulator, caplog):
    with caplog.at_level(logging.WARNING, "falq"):
        async with opened(emulator) as session:
            inputs = [{"n": number} for number in range(9)]
            outcomes = [one async for one in session.map("acme/echo", inputs, ordered=True)]
            assert [one.result for one in outcomes] == inputs
    assert [record.getMessage() for record in caplog.records] == [
        "acme/echo has no schema in the catalogue: its arguments are sent unchecked"
    ]
    assert calls(emulator)["catalogue"] == 1


async def test_through_maton_the_typed_models_check(emulator):
    async with opened(emulator, emulator.maton) as session:
        error = await refused(session, CLARITY, {"image_url": "https://x/y.png", "scale": 2})
        assert error.problems == (("scale", "does not exist; did you mean 'upscale_factor'?"),)
        with pytest.raises(falq.UnsupportedError, match="validate=False") as caught:
            await session.subscribe("acme/echo", {})
        assert caught.value.setting == "validate"
        await session.subscribe(SCHNELL, {"prompt": "a cat"})
    assert calls(emulator)["submit"] == 1


async def test_wrong_arguments_upload_nothing(emulator, tmp_path):
    path = tmp_path / "cat.png"
    path.write_bytes(b"png")
    async with opened(emulator) as session:
        for _ in range(2):
            await refused(session, CLARITY, {"image_url": path, "scale": 2})
    assert calls(emulator) == {"catalogue": 1}


async def test_arguments_that_are_none_are_still_told_as_such(emulator):
    async with opened(emulator) as session:
        for _ in range(2):
            error = await refused(session, SCHNELL, [("prompt", "a")])
            assert "must be a mapping" in str(error)
    assert calls(emulator) == {}


async def test_a_direct_run_is_checked_as_well(emulator):
    async with opened(emulator) as session:
        with pytest.raises(falq.ArgumentError, match="upscale_factor"):
            await session.run(CLARITY, {"image_url": "https://x/y.png", "scale": 2})
        assert (await session.run(SCHNELL, {"prompt": "a"}))["prompt"] == "a"
        with pytest.raises(falq.ArgumentError, match="did you mean 'prompt'"):
            async for _ in session.stream(SCHNELL, {"promt": "a"}):
                pass
    assert calls(emulator)["catalogue"] == 2


async def test_the_question_counts_for_the_jobs_time():
    emulator = LoopbackEmulator(Scenario(faults=(Fault("stall", "catalogue"),)))
    async with opened(emulator) as session:
        with pytest.raises(falq.JobTimeoutError) as caught:
            await session.subscribe(SCHNELL, {"prompt": "a"}, client_timeout=5.0)
        assert asyncio.get_running_loop().time() == pytest.approx(5.0)
    assert caught.value.cancel_outcome == "not_submitted"


async def test_a_session_that_is_not_open_asks_nothing(emulator):
    session = opened(emulator)
    with pytest.raises(falq.SessionClosedError):
        await session.models.get(SCHNELL)


async def test_a_cancelled_question_is_asked_again_by_the_next():
    emulator = LoopbackEmulator(Scenario(faults=(Fault("delay", "catalogue", nth=1, delay_s=9.0),)))
    async with opened(emulator) as session:
        first = asyncio.ensure_future(session.submit(SCHNELL, {"prompt": "a"}))
        await asyncio.sleep(1.0)
        second = asyncio.ensure_future(session.subscribe(SCHNELL, {"prompt": "b"}))
        await asyncio.sleep(1.0)
        first.cancel()
        assert (await second)["prompt"] == "b"
        assert first.cancelled()
    assert calls(emulator)["submit"] == 1
