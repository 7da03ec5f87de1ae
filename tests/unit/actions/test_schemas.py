"""The actions' schemas against the documented ones (ModuleX's fal.ai page, 2026)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from falq.actions import ACTIONS
from falq.actions.schemas import ADD_REQUEST_TO_QUEUE, GET_REQUEST_STATUS, find_problem

DOCUMENTED = json.loads(
    (Path(__file__).parent / "documented_outputs.json").read_text(encoding="utf-8")
)
# Name of an action: what it takes, and which of that is required.
PARAMETERS = {
    "add_request_to_queue": (
        {"app_id": "string", "data": "object", "webhook_url": "string"},
        {"app_id", "data"},
    ),
    "cancel_request": (
        {"app_id": "string", "request_id": "string"},
        {"app_id", "request_id"},
    ),
    "get_request_response": (
        {"app_id": "string", "request_id": "string"},
        {"app_id", "request_id"},
    ),
    "get_request_status": (
        {"app_id": "string", "request_id": "string", "logs": "boolean"},
        {"app_id", "request_id"},
    ),
}


def test_the_outputs_are_the_documented_ones_to_the_letter():
    assert {action.output["title"]: action.output for action in ACTIONS} == DOCUMENTED


def test_the_parameters_are_the_documented_ones():
    found = {
        action.name: (
            {name: one["type"] for name, one in action.parameters["properties"].items()},
            set(action.parameters["required"]),
        )
        for action in ACTIONS
    }
    assert found == PARAMETERS


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"app_id": "lora", "data": {}}, None),
        ({"app_id": "lora", "data": {}, "webhook_url": None}, None),
        ({"app_id": "lora", "data": {}, "webhook_url": "https://a.example/"}, None),
        ({"app_id": "lora"}, "data is required"),
        ({"app_id": None, "data": {}}, "app_id is required"),
        ({"app_id": "lora", "data": []}, "data must be of type object"),
        ({"app_id": "lora", "data": {}, "webhook_url": 1}, "webhook_url must be of type string"),
        ({"app_id": "lora", "data": {}, "more": 1}, "there is no parameter 'more'"),
        ([], "the arguments are no object"),
        (None, "the arguments are no object"),
    ],
)
def test_arguments_are_checked_against_the_schema(arguments, problem):
    found = find_problem(ADD_REQUEST_TO_QUEUE.parameters, arguments)
    assert found is None if problem is None else problem in found


@pytest.mark.parametrize(("logs", "is_good"), [(True, True), (1, False), ("yes", False)])
def test_a_number_is_no_boolean(logs, is_good):
    given = {"app_id": "lora", "request_id": "r", "logs": logs}
    assert (find_problem(GET_REQUEST_STATUS.parameters, given) is None) is is_good
