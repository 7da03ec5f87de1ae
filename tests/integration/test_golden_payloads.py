"""falq's reading of the golden payloads, which it shares no code with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from multidict import CIMultiDict

import falq
from falq._core import codec, protocol
from falq._core.messages import Reply
from falq._core.refusal import is_account_wide, read_error
from falq._core.submission import SubmitOutcome, classify_submit
from falq.model import LogEntry

GOLDEN = Path(__file__).parents[1] / "golden"
SCHNELL = falq.EndpointId.parse("fal-ai/flux/schnell")
REQUEST_ID = "019f72e4-5e1e-7143-8a50-9d1f0f3c2b11"
MATON_ID = "3229f185-a99a-48c0-a292-e25bf9baaeba"
TICKET = protocol.make_ticket(SCHNELL, REQUEST_ID)


def reply(name, code=200):
    body = (GOLDEN / f"{name}.json").read_bytes()
    return Reply(code, CIMultiDict({"Content-Type": "application/json"}), body)


def golden(name):
    return json.loads((GOLDEN / f"{name}.json").read_bytes())


@pytest.mark.parametrize("code", [200, 201, 202])
@pytest.mark.parametrize(
    ("name", "request_id"), [("submit", REQUEST_ID), ("submit_maton", MATON_ID)]
)
def test_a_receipt_is_read_whatever_its_good_status(name, request_id, code):
    verdict = classify_submit(SCHNELL, reply(name, code))
    assert verdict.outcome is SubmitOutcome.ACCEPTED
    assert verdict.ticket.request_id == request_id
    assert verdict.ticket.app == "fal-ai/flux"
    assert verdict.ticket.position == 0


STATUSES = {
    "status_in_queue": (202, falq.Queued(3)),
    "status_in_progress": (202, falq.InProgress()),
    "status_in_progress_maton": (200, falq.InProgress()),
    "status_in_progress_logs": (
        202,
        falq.InProgress(
            (LogEntry(message="Loading the weights", timestamp="2024-12-20T15:37:17.120314"),)
        ),
    ),
    "status_completed": (200, falq.Completed(metrics={"inference_time": 126.701406955719})),
    "status_completed_maton": (200, falq.Completed(metrics={"inference_time": 0.3334658145904541})),
    "status_completed_failed": (
        200,
        falq.Completed(
            metrics={"inference_time": 2.5},
            error="Runner disconnected",
            error_type="runner_disconnected",
        ),
    ),
}


@pytest.mark.parametrize("name", STATUSES)
def test_a_status_is_read_as_it_is_documented(name):
    code, expected = STATUSES[name]
    status = protocol.read_status(reply(name, code), TICKET)
    assert status == expected
    assert status.extra == {}


def test_a_log_entry_of_the_documented_shape_is_read():
    assert codec.read_logs([golden("log_documented")]) == (
        LogEntry(
            message="Loading the weights",
            level="INFO",
            source="USER",
            timestamp="2024-12-20T15:37:17.120314Z",
        ),
    )


RESULTS = sorted(
    path.stem
    for path in GOLDEN.glob("result_*.json")
    if path.stem not in {"result_early", "result_cancelled"}
)


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_the_models_own_object(name):
    payload = protocol.read_payload(reply(name), TICKET)
    assert payload == golden(name)
    assert isinstance(payload, dict)


def test_there_are_results_to_read():
    assert len(RESULTS) >= 7


def test_a_result_that_is_not_ready_is_no_error_of_the_model():
    assert protocol.is_not_ready(reply("result_early", 400))
    assert not protocol.is_not_ready(reply("error_runner_disconnected", 400))


CANCELS = {
    "cancel_requested": (202, "requested"),
    "cancel_removed": (200, "requested"),
    "cancel_already_completed": (400, "already_completed"),
    "not_found": (404, "not_found"),
}


@pytest.mark.parametrize("name", CANCELS)
def test_each_answer_to_a_cancel_is_read(name):
    code, expected = CANCELS[name]
    assert protocol.read_cancel(reply(name, code)) == expected


def error_of(name, code):
    return read_error(reply(name, code), endpoint=SCHNELL, request_id=REQUEST_ID, doing="test")


REFUSALS = {
    "error_unknown_key": (401, falq.AuthenticationError, "No user found for Key ID and Secret"),
    "error_key_format": (401, falq.AuthenticationError, "Invalid Key Authorization header"),
    "error_locked": (403, falq.AuthenticationError, "User is locked"),
    "error_method_not_allowed": (405, falq.ApiError, "Method Not Allowed"),
    "error_concurrency": (429, falq.RateLimitError, "Reached concurrent requests limit of 20"),
    "error_runner_disconnected": (503, falq.ServerError, "Runner disconnected"),
    "not_found": (404, falq.RequestNotFoundError, "NOT_FOUND"),
    "result_cancelled": (499, falq.ApiError, "cancelled by the client"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_each_refusal_becomes_its_error(name):
    code, kind, text = REFUSALS[name]
    error = error_of(name, code)
    assert type(error) is kind
    assert error.status_code == code
    assert error.request_id == REQUEST_ID
    assert text in str(error)


@pytest.mark.parametrize(("name", "code"), [("error_unknown_key", 401), ("error_locked", 403)])
def test_a_bad_key_and_a_locked_account_meet_every_submit(name, code):
    assert is_account_wide(error_of(name, code))


def test_a_runner_error_keeps_its_type():
    assert error_of("error_runner_disconnected", 503).error_type == "runner_disconnected"


def test_a_422_names_the_place_and_keeps_the_detail_whole():
    error = error_of("error_schnell_steps", 422)
    assert isinstance(error, falq.InvalidInputError)
    assert error.detail == golden("error_schnell_steps")["detail"]
    ((path, message),) = error.problems
    assert "num_inference_steps" in path
    assert message == "Input should be less than or equal to 12"
