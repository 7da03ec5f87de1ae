"""Read and write what a realtime socket needs around its messages.

Owns the call for a token and the reading of its answer, the path and query of a
socket, and the meaning of the text frames between the results (fal-wire 7.3).
It never connects, decodes a result's bytes or sees a token once it was read:
`falq.live` does.
"""

from __future__ import annotations

import enum
import json
from typing import Any, TypeAlias

from attrs import frozen

from falq._core import codec
from falq._core.messages import Call, Origin, Reply, Verb
from falq.errors import ArgumentError, WireError
from falq.model import EndpointId, check_path_part

TOKEN_PARAMETER = "fal_jwt_token"  # noqa: S105  the name of a parameter, not a token
BUFFERING_RANGE = (1, 60)
IDLE = "TIMEOUT"
UNAUTHORIZED = "Unauthorized"

JsonObject: TypeAlias = dict[str, Any]


class TokenForm(enum.Enum):
    """The two addresses of tokens; clients use the first, fal's newest pages name the second."""

    CLASSIC = "/tokens/"
    REALTIME = "/tokens/realtime"


def build_token(endpoint: EndpointId, *, life_s: int, form: TokenForm) -> Call:
    """Return the call that asks for a token.

    Args:
        endpoint: What the token is for. fal takes the alias alone.
        life_s: How long it shall be good, in seconds.
        form: Which of the two addresses to ask.
    """
    name = "token_expiration" if form is TokenForm.CLASSIC else "duration"
    body = json.dumps({"allowed_apps": [endpoint.alias], name: life_s}).encode()
    return Call(
        Verb.STORAGE,
        "POST",
        form.value,
        body,
        {"Content-Type": "application/json"},
        origin=Origin.REST,
    )


def read_token(reply: Reply) -> str:
    """Return the token of a good answer: a bare JSON string, or the text in an object.

    Raises:
        WireError: It holds no token. The answer is not shown: it may be one.
    """
    try:
        value = codec.load_json(reply.body)
    except ValueError:
        value = None
    if isinstance(value, dict):
        value = value.get("token") or value.get("detail")
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable():
        raise WireError(
            "could not get a token: the answer holds none; try again later",
            status_code=reply.status_code,
        )
    return value


def build_socket_path(endpoint: EndpointId, path: str) -> str:
    """Return the path of a socket, from the first slash.

    Args:
        endpoint: Whose socket it is.
        path: What the app calls it; outer slashes are dropped, the empty text is
            the app's own path.

    Raises:
        ArgumentError: A part of the path may not stand in a URL.
    """
    if not isinstance(path, str):
        raise ArgumentError("path is text such as '/realtime'", argument="path")
    inner = path.strip("/")
    parts = [check_path_part(part, what="path") for part in inner.split("/")] if inner else []
    return "/" + "/".join([endpoint.full, *parts])


def build_socket_query(max_buffering: int | None) -> dict[str, str]:
    """Return what a socket's query says beside the token.

    Args:
        max_buffering: How many inputs the server may hold, 1 to 60.

    Raises:
        ArgumentError: It is outside that range.
    """
    if max_buffering is None:
        return {}
    least, most = BUFFERING_RANGE
    is_whole = isinstance(max_buffering, int) and not isinstance(max_buffering, bool)
    if not is_whole or not least <= max_buffering <= most:
        raise ArgumentError(
            f"max_buffering is a whole number from {least} to {most}", argument="max_buffering"
        )
    return {"max_buffering": str(max_buffering)}


@frozen
class Note:
    """A frame about the connection itself, which concerns nobody."""


@frozen
class Result:
    """A frame with a result.

    Attributes:
        message: What the app sent.
    """

    message: JsonObject


@frozen
class Refusal:
    """A frame that says no.

    Attributes:
        error: The server's word, such as `INTERNAL_ERROR`.
        reason: What it says about it, or the empty text.
    """

    error: str
    reason: str = ""

    @property
    def is_idle(self) -> bool:
        """Whether the server closes because nothing happened: no error, connect when needed."""
        return self.error == IDLE

    @property
    def is_unauthorized(self) -> bool:
        """Whether the token is refused: it has ended, or never was good."""
        return self.error == UNAUTHORIZED


Frame: TypeAlias = Note | Result | Refusal


def read_text(frame: str) -> Frame:
    """Return what a text frame means.

    Args:
        frame: Its text. What is no JSON is a result `{"type": "text", "payload": …}`,
            as in fal_client.
    """
    try:
        value = codec.load_json(frame.encode("utf-8", "replace"))
    except ValueError:
        return Result({"type": "text", "payload": frame})
    if not isinstance(value, dict):
        return Result(as_message(value))
    if value.get("type") == "x-fal-message":
        return Note()
    if value.get("type") == "x-fal-error":
        return Refusal(_text(value.get("error")) or "UNKNOWN_ERROR", _text(value.get("reason")))
    if value.get("status") == "error" and value.get("error") == UNAUTHORIZED:
        return Refusal(UNAUTHORIZED)
    return Result(value)


def as_message(value: Any) -> JsonObject:
    """Return a decoded value as a message: itself if it is an object, else under `payload`."""
    return value if isinstance(value, dict) else {"payload": value}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
