"""Names, parameters and outputs of the four actions, as JSON schemas.

Owns the documented form of the fal.ai actions (ModuleX's page of 2026, fal-wire
14): parameter names, which are required, and outputs word for word. It never
runs anything. `actions` fills the outputs, `server` hands the schemas out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from attrs import frozen

Schema: TypeAlias = dict[str, Any]
Envelope: TypeAlias = dict[str, Any]
"""What an action returns: `success`, `error`, and what its output schema names."""


@frozen(kw_only=True)
class Action:
    """One thing that an agent can ask for.

    Attributes:
        name: What it is called by.
        description: What it does, for whoever chooses among actions.
        parameters: JSON schema of its arguments, an object.
        output: JSON schema of its envelope, an object.
    """

    name: str
    description: str
    parameters: Schema
    output: Schema


def nullable(schema: Schema, title: str) -> Schema:
    """Return the schema of a value that may be null, which it is by default."""
    return {"anyOf": [schema, {"type": "null"}], "default": None, "title": title}


def parameters(
    fields: Mapping[str, Schema], required: tuple[str, ...], *, title: str | None = None
) -> Schema:
    """Return the schema of an action's arguments.

    Args:
        fields: By name.
        required: Names that must be given.
        title: A name for it, if it needs one.
    """
    schema: Schema = {
        "additionalProperties": False,
        "properties": dict(fields),
        "required": list(required),
        "type": "object",
    }
    return schema if title is None else schema | {"title": title}


def envelope(title: str, fields: Mapping[str, Schema], **more: Any) -> Schema:
    """Return the schema of an action's output.

    Args:
        title: Its name.
        fields: What it has beside `success` and `error`.
        more: Further keywords, such as `$defs`.
    """
    return {
        **more,
        "additionalProperties": False,
        "properties": {
            "success": {"title": "Success", "type": "boolean"},
            "error": nullable(TEXT, "Error"),
            **fields,
        },
        "required": ["success"],
        "title": title,
        "type": "object",
    }


TEXT: Schema = {"type": "string"}
OBJECT: Schema = {"additionalProperties": True, "type": "object"}

APP_ID: Schema = {
    "type": "string",
    "description": "Id of the model, such as 'fast-sdxl' or 'fal-ai/flux/schnell'",
}
DATA: Schema = {
    "type": "object",
    "description": "The model's input; each model has fields of its own",
}
REQUEST_ID: Schema = {
    "type": "string",
    "description": "Id of the request, as add_request_to_queue returned it",
}

_LOG_ENTRY: Schema = {
    "additionalProperties": False,
    "description": "A log entry from a queued request's status.",
    "properties": {
        "message": nullable(TEXT, "Message"),
        "level": nullable(TEXT, "Level"),
        "timestamp": nullable(TEXT, "Timestamp"),
    },
    "title": "LogEntry",
    "type": "object",
}

ADD_REQUEST_TO_QUEUE = Action(
    name="add_request_to_queue",
    description="Submit a request to a fal.ai model's queue. Returns its request_id at once; "
    "ask for the status with get_request_status and for the result with get_request_response. "
    "It costs money.",
    parameters=parameters(
        {
            "app_id": APP_ID,
            "data": DATA,
            "webhook_url": {
                "type": "string",
                "description": "Address, https or http, that fal calls when the request ends",
            },
        },
        ("app_id", "data"),
    ),
    output=envelope(
        "AddRequestToQueueOutput",
        {
            "request_id": nullable(TEXT, "Request Id"),
            "response_url": nullable(TEXT, "Response Url"),
            "status_url": nullable(TEXT, "Status Url"),
            "cancel_url": nullable(TEXT, "Cancel Url"),
        },
    ),
)

CANCEL_REQUEST = Action(
    name="cancel_request",
    description="Ask fal.ai to cancel a queued or running request. A running model may go on.",
    parameters=parameters({"app_id": APP_ID, "request_id": REQUEST_ID}, ("app_id", "request_id")),
    output=envelope("CancelRequestOutput", {}),
)

GET_REQUEST_RESPONSE = Action(
    name="get_request_response",
    description="Return the result of a completed fal.ai request.",
    parameters=parameters({"app_id": APP_ID, "request_id": REQUEST_ID}, ("app_id", "request_id")),
    output=envelope("GetRequestResponseOutput", {"data": nullable(OBJECT, "Data")}),
)

GET_REQUEST_STATUS = Action(
    name="get_request_status",
    description="Return the status of a fal.ai request: IN_QUEUE with its position, IN_PROGRESS "
    "or COMPLETED, which is not yet success.",
    parameters=parameters(
        {
            "app_id": APP_ID,
            "request_id": REQUEST_ID,
            "logs": {
                "type": "boolean",
                "description": "Whether to bring the lines that the model printed",
            },
        },
        ("app_id", "request_id"),
    ),
    output=envelope(
        "GetRequestStatusOutput",
        {
            "status": nullable(TEXT, "Status"),
            "queue_position": nullable({"type": "integer"}, "Queue Position"),
            "logs": {"items": {"$ref": "#/$defs/LogEntry"}, "title": "Logs", "type": "array"},
        },
        **{"$defs": {"LogEntry": _LOG_ENTRY}},
    ),
)

ACTIONS: tuple[Action, ...] = (
    ADD_REQUEST_TO_QUEUE,
    CANCEL_REQUEST,
    GET_REQUEST_RESPONSE,
    GET_REQUEST_STATUS,
)
"""The four documented actions."""


def find_problem(schema: Schema, arguments: object) -> str | None:
    """Return what is wrong with an action's arguments, or None.

    Knows what the schemas here use: required names, no others, and plain types.

    Args:
        schema: The action's `parameters`.
        arguments: As an agent gave them.

    Example:
        >>> find_problem(CANCEL_REQUEST.parameters, {"app_id": "lora"})
        'request_id is required'
    """
    if not isinstance(arguments, Mapping):
        return "the arguments are no object"
    fields = schema["properties"]
    for name in schema["required"]:
        if arguments.get(name) is None:
            return f"{name} is required"
    for name, value in arguments.items():
        if name not in fields:
            return f"there is no parameter {name!r}; there are {', '.join(fields)}"
        kind = fields[name]["type"]
        # Agents write null for what they leave out.
        if value is not None and not _is_of(kind, value):
            return f"{name} must be of type {kind}"
    return None


def _is_of(kind: str, value: object) -> bool:
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    kinds: dict[str, type] = {"string": str, "boolean": bool, "object": Mapping}
    return isinstance(value, kinds[kind])
