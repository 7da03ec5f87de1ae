"""What is chosen when a socket is opened.

Owns the names of the options, their defaults and their checking: what is wrong is
said before anything is sent. `realtime_options` adds those of realtime apps.
"""

from __future__ import annotations

import math
from typing import TypedDict

from attrs import Attribute, field, frozen

from falq._core.messages import MIB
from falq._core.realtime import build_socket_path, build_socket_query
from falq.errors import ArgumentError
from falq.model import EndpointId

DEFAULT_TOKEN_S = 120
DEFAULT_MESSAGE_BYTES = 16 * MIB
DEFAULT_PING_S = 20.0

DEFAULT_OPEN_S = 90.0
"""A cold runner starts before it takes the handshake; fal_client waits as long."""


class SocketKeywords(TypedDict, total=False):
    """What `ws_connect` takes beside the endpoint.

    Attributes:
        path: Appended to the endpoint. Default: none.
        use_jwt: Open it with a token (default); False puts the key on the handshake.
        max_buffering: How many inputs the server may hold, 1 to 60.
        token_expiration: Life of a token, in seconds. Default 120.
        max_message_bytes: Largest frame that is sent or read. Default 16 MiB.
        ping_s: Seconds of silence after which a ping is sent, and after which, without
            an answer, the connection counts as broken. Default 20.
        open_s: How long a handshake may take, in seconds. Default 90: an app may
            have to start first.
    """

    path: str
    use_jwt: bool
    max_buffering: int | None
    token_expiration: int
    max_message_bytes: int
    ping_s: float
    open_s: float


def _check_path(_: object, __: object, path: str) -> None:
    build_socket_path(EndpointId.parse("any/app"), path)


def _check_buffering(_: object, __: object, value: int | None) -> None:
    build_socket_query(value)


def check_count(_: object, attribute: Attribute[int], value: int) -> None:
    """Raise `ArgumentError` unless an option is a whole number, 1 or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ArgumentError(
            f"{attribute.name} is a whole number, 1 or more", argument=attribute.name
        )


def _check_seconds(_: object, attribute: Attribute[float], value: float) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value <= 0:
        raise ArgumentError(
            f"{attribute.name} is a number of seconds above 0", argument=attribute.name
        )


@frozen(kw_only=True)
class SocketOptions:
    """How a socket is opened.

    Attributes:
        path: Appended to the endpoint.
        use_jwt: Open it with a token in the address; False puts the key on the
            handshake instead.
        max_buffering: How many inputs the server may hold, 1 to 60.
        token_expiration: Life of a token, in seconds.
        max_message_bytes: Largest frame that is sent or read.
        ping_s: Seconds of silence after which a ping is sent, and after which, without
            an answer, the connection counts as broken.
        open_s: How long a handshake may take, in seconds.
    """

    path: str = field(default="", validator=_check_path)
    use_jwt: bool = True
    max_buffering: int | None = field(default=None, validator=_check_buffering)
    token_expiration: int = field(default=DEFAULT_TOKEN_S, validator=check_count)
    max_message_bytes: int = field(default=DEFAULT_MESSAGE_BYTES, validator=check_count)
    ping_s: float = field(default=DEFAULT_PING_S, validator=_check_seconds)
    open_s: float = field(default=DEFAULT_OPEN_S, validator=_check_seconds)
