"""The four actions: envelopes for every end, and never an exception."""

from __future__ import annotations

import asyncio

import jsonschema
import pytest

import falq
from falq.actions import ACTIONS, Actions
from falq.actions.actions import as_object, describe, enveloped
from falq.emulator import Fault, Scenario
from falq.testing import LoopbackEmulator

OUTPUTS = {action.name: action.output for action in ACTIONS}


def checked(name, told):
    """An envelope, once its schema has passed it and every documented name is there."""
    jsonschema.validate(told, OUTPUTS[name])
    assert told.keys() == OUTPUTS[name]["properties"].keys()
    return told


@pytest.fixture
def actions(session):
    return Actions(session)


async def add(actions, app_id="acme/echo", data=None):
    told = checked(
        "add_request_to_queue", await actions.add_request_to_queue(app_id, data or {"n": 1})
    )
    assert told["success"], told
    return told


async def test_a_request_is_added_watched_and_read(actions, emulator):
    told = await add(actions)
    root = f"{emulator.gateway.queue_root}/acme/echo/requests/{told['request_id']}"
    assert told["response_url"] == root
    assert (told["status_url"], told["cancel_url"]) == (f"{root}/status", f"{root}/cancel")
    request = ("acme/echo", told["request_id"])

    status = checked("get_request_status", await actions.get_request_status(*request))
    assert (status["success"], status["status"]) == (True, "IN_PROGRESS")
    early = checked("get_request_response", await actions.get_request_response(*request))
    assert (early["success"], early["data"]) == (False, None)
    assert "not finished (status IN_PROGRESS)" in early["error"]

    await asyncio.sleep(11)
    status = checked("get_request_status", await actions.get_request_status(*request, logs=True))
    assert status["status"] == "COMPLETED"
    assert all(entry.keys() == {"message", "level", "timestamp"} for entry in status["logs"])
    response = checked("get_request_response", await actions.get_request_response(*request))
    assert response == {"success": True, "error": None, "data": {"n": 1}}


@pytest.mark.parametrize("scenario", [Scenario(run_s=10.0, runners=1)])
async def test_a_queued_request_tells_its_position(actions):
    await add(actions)
    await add(actions)
    told = await add(actions)
    status = await actions.get_request_status("acme/echo", told["request_id"])
    assert (status["status"], status["queue_position"]) == ("IN_QUEUE", 1)


async def test_cancelling_tells_whether_the_wish_was_taken(actions):
    told = await add(actions)
    request = ("acme/echo", told["request_id"])
    cancelled = checked("cancel_request", await actions.cancel_request(*request))
    assert cancelled == {"success": True, "error": None}
    await asyncio.sleep(11)
    again = checked("cancel_request", await actions.cancel_request(*request))
    assert not again["success"]
    assert "already completed" in again["error"]
    unknown = checked("cancel_request", await actions.cancel_request("acme/echo", "unknown"))
    assert "does not know" in unknown["error"]


async def test_a_failed_request_is_completed_and_fails_at_its_response(actions):
    told = await add(actions, "fal-ai/flux/schnell", {"num_images": 1})
    await asyncio.sleep(30)
    request = ("fal-ai/flux/schnell", told["request_id"])
    assert (await actions.get_request_status(*request))["status"] == "COMPLETED"
    response = checked("get_request_response", await actions.get_request_response(*request))
    assert not response["success"]
    assert "prompt" in response["error"]


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("add_request_to_queue", {"app_id": "a b", "data": {}}, "endpoint"),
        ("add_request_to_queue", {"app_id": "", "data": {}}, "endpoint"),
        ("add_request_to_queue", {"app_id": "lora", "data": {"x": float("nan")}}, "JSON"),
        (
            "add_request_to_queue",
            {"app_id": "lora", "data": {}, "webhook_url": "ftp://a.example"},
            "webhook_url",
        ),
        ("get_request_status", {"app_id": "lora", "request_id": "../x"}, "request_id"),
        ("get_request_status", {"app_id": "lora", "request_id": "unknown"}, "request id"),
        ("get_request_response", {"app_id": "lora", "request_id": "unknown"}, "request id"),
        ("cancel_request", {"app_id": "lora"}, "request_id is required; nothing was sent"),
    ],
)
async def test_what_cannot_be_done_is_an_envelope_that_says_why(actions, name, arguments, words):
    told = await actions.call(name, arguments)
    jsonschema.validate(told, OUTPUTS[name])
    assert not told["success"]
    assert words in told["error"]


async def test_an_unknown_action_is_refused_with_the_known_names(actions):
    told = await actions.call("delete_everything", {})
    assert not told["success"]
    assert all(action.name in told["error"] for action in ACTIONS)


@pytest.mark.parametrize("arguments", [None, [], {"app_id": "acme/echo", "data": {"n": 2}}])
async def test_actions_are_called_by_name(actions, arguments):
    told = await actions.call("add_request_to_queue", arguments)
    assert told["success"] is isinstance(arguments, dict)


@pytest.mark.parametrize("app_id", [5, None, b"lora"])
async def test_an_id_that_is_no_text_is_refused(actions, app_id):
    told = await actions.get_request_status(app_id, "r")
    assert not told["success"]


@pytest.mark.parametrize("scenario", [Scenario(faults=(Fault("cut", "submit"),))])
async def test_a_lost_submit_says_that_it_may_have_been_billed(session):
    told = await Actions(session).add_request_to_queue("acme/echo", {})
    # A receipt that was cut may still name its job.
    assert told["success"] or "may have been billed" in told["error"]


@pytest.mark.parametrize("scenario", [Scenario(faults=(Fault("reset", "submit", when="after"),))])
async def test_a_submit_without_an_answer_is_unknown_and_may_have_been_billed(actions):
    told = checked("add_request_to_queue", await actions.add_request_to_queue("acme/echo", {}))
    assert not told["success"]
    assert "it may have been billed" in told["error"]


@pytest.mark.parametrize("scenario", [Scenario(run_s=0.0)])
@pytest.mark.parametrize(("app_ids", "slashed"), [("full", "flux/dev"), ("relative", None)])
async def test_ids_below_the_owner_are_an_explicit_choice(session, app_ids, slashed):
    actions = Actions(session, app_ids=app_ids)
    assert actions.endpoint_of("lora") == "fal-ai/lora"
    assert actions.endpoint_of("flux/dev") == (slashed or "fal-ai/flux/dev")
    for full in ("fal-ai/flux/dev", "workflows/acme/mine", "comfy/acme/mine"):
        assert actions.endpoint_of(full) == full


async def test_a_closed_session_is_an_envelope_too(emulator):
    session = falq.Session(emulator.gateway, transport=emulator.transport())
    told = await Actions(session).get_request_status("lora", "r")
    assert "not open" in told["error"]


async def test_a_cancelled_action_is_cancelled(actions):
    task = asyncio.create_task(actions.get_request_status("lora", "r"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_anything_else_that_breaks_is_named_as_a_bug():
    async def break_() -> dict[str, object]:
        raise RuntimeError("odd\x1b")

    told = await enveloped(break_, {"data": None})
    assert told == {
        "success": False,
        "error": "a bug in falq: RuntimeError: odd\\x1b",
        "data": None,
    }


async def test_an_interrupt_is_not_an_envelope():
    async def interrupt() -> dict[str, object]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await enveloped(interrupt, {})


@pytest.mark.parametrize(
    ("payload", "data"), [({"a": 1}, {"a": 1}), ([1], {"value": [1]}), ("text", {"value": "text"})]
)
def test_a_result_that_is_no_object_is_put_into_one(payload, data):
    assert as_object(payload) == data


def test_bytes_are_not_put_into_an_envelope():
    with pytest.raises(falq.FalqError, match="4 bytes"):
        as_object(b"1234")


async def test_a_known_request_id_is_told_with_the_failure():
    async def fail() -> dict[str, object]:
        raise falq.ServerError("no", status_code=500, request_id="r1")

    assert (await enveloped(fail, {"request_id": None}))["request_id"] == "r1"


def test_an_error_says_what_it_may_have_cost():
    assert describe(falq.JobLostError("gone")) == "gone; it may have been billed"


async def test_through_maton_the_addresses_are_the_gateways():
    emulator = LoopbackEmulator(Scenario(run_s=0.0))
    transport = emulator.transport(gateway=emulator.maton)
    async with falq.Session(emulator.maton, transport=transport) as session:
        told = await Actions(session).add_request_to_queue("acme/echo", {})
    assert told["response_url"].startswith(f"{emulator.maton.queue_root}/acme/echo/requests/")
