"""What an agent can call beside the four actions."""

from __future__ import annotations

import asyncio

import anyio
import jsonschema
import pytest

from falq.actions import ACTIONS, LimitedJobs
from falq.actions.tools import SUBSCRIBE, Tools, describe_status
from falq.batch import Budget
from falq.emulator import Scenario
from falq.model import InProgress, Queued


@pytest.fixture
def tools(session):
    return Tools(LimitedJobs(session, budget=Budget(None, {})))


async def test_a_job_is_run_to_its_result_and_tells_how_it_stands(tools):
    news = []

    async def hear(text):
        news.append(text)

    given = {"app_id": "acme/echo", "data": {"n": 1}}
    told = await tools.call("subscribe", given, on_status=hear)
    jsonschema.validate(told, SUBSCRIBE.output)
    assert (told["success"], told["data"]) == (True, {"n": 1})
    assert told["request_id"]
    assert news[-1] == "COMPLETED"


async def test_a_failed_job_is_an_envelope_with_its_reason(tools):
    told = await tools.call("subscribe", {"app_id": "fal-ai/flux/dev", "data": {}})
    jsonschema.validate(told, SUBSCRIBE.output)
    assert not told["success"]
    assert "prompt" in told["error"]
    assert told["request_id"]


async def test_a_job_that_takes_too_long_is_given_up(tools, emulator):
    told = await tools.call("subscribe", {"app_id": "acme/echo", "data": {}, "timeout": 2})
    assert not told["success"]
    assert "2" in told["error"]
    assert emulator.stats().calls["cancel"] == 1


async def test_a_cancelled_call_cancels_its_job(tools, emulator):
    given = {"app_id": "acme/echo", "data": {}}
    task = asyncio.create_task(tools.call("subscribe", given))
    await asyncio.sleep(3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert emulator.stats().calls["cancel"] == 1


async def test_a_cancelled_scope_cancels_the_job_as_well(tools, emulator):
    given = {"app_id": "acme/echo", "data": {}}
    with anyio.move_on_after(3):
        await tools.call("subscribe", given)
    assert emulator.stats().calls["cancel"] == 1


async def test_who_cannot_hear_of_statuses_still_gets_the_result(tools):
    async def fail(_text):
        raise OSError("gone")

    given = {"app_id": "acme/echo", "data": {"n": 1}}
    assert (await tools.call("subscribe", given, on_status=fail))["data"] == {"n": 1}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"app_id": "lora"}, "data is required"),
        ({"app_id": "lora", "data": {}, "timeout": "soon"}, "timeout must be of type number"),
        ({"app_id": "lora", "data": {}, "timeout": -1}, "client_timeout"),
        ([], "no object"),
    ],
)
async def test_wrong_arguments_are_refused(tools, emulator, arguments, words):
    told = await tools.call("subscribe", arguments)
    assert not told["success"]
    assert words in told["error"]
    assert emulator.stats().submits == 0


@pytest.mark.parametrize("scenario", [Scenario(run_s=0.0)])
async def test_the_four_actions_are_tools_too(tools):
    assert tools.actions == (*ACTIONS, SUBSCRIBE)
    given = {"app_id": "acme/echo", "data": {}}
    assert (await tools.call("add_request_to_queue", given))["success"]
    assert not (await tools.call("upload", {"path": "x"}))["success"]


@pytest.mark.parametrize(
    ("status", "text"), [(Queued(3), "IN_QUEUE, position 3"), (InProgress(), "IN_PROGRESS")]
)
def test_a_status_is_told_in_words(status, text):
    assert describe_status(status) == text
