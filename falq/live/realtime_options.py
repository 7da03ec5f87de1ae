"""What is chosen for a realtime conversation, beside what every socket has.

Owns the names of the options, their defaults and their checking: what is wrong is
said before anything is sent. `realtime` reads them.
"""

from __future__ import annotations

import math
from typing import TypedDict

from attrs import Attribute, field, frozen

from falq.errors import ArgumentError
from falq.live.realtime_messages import Decode, Encode, Encoding
from falq.live.sockets_options import SocketOptions, check_count


class RealtimeKeywords(TypedDict, total=False):
    """What `realtime` takes beside the endpoint.

    Attributes:
        path: Appended to the endpoint. Default `/realtime`.
        use_jwt: Open it with a token (default); False puts the key on the handshake.
        max_buffering: How many inputs the server may hold, 1 to 60; of more, the
            oldest are dropped and never answered.
        token_expiration: Life of a token, in seconds. Default 120.
        max_message_bytes: Largest message that is sent or read. Default 16 MiB.
        ping_s: Seconds of silence after which a ping is sent, and after which, without
            an answer, the connection counts as broken. Default 20.
        open_s: How long a handshake may take, in seconds. Default 90: an app may
            have to start first.
        encoding: `"msgpack"` (default, extra `realtime`), or `"json"` for an app
            that takes JSON. Both are read.
        encode_message: Makes the bytes of a message, instead.
        decode_message: Makes a message of bytes, instead.
        throttle_s: Seconds between two messages at least; `send` waits for them.
            Default 0. The JavaScript client uses 0.128 and drops what comes faster.
        max_unread: Results that wait for the reader at most, default 64.
    """

    path: str
    use_jwt: bool
    max_buffering: int | None
    token_expiration: int
    max_message_bytes: int
    ping_s: float
    open_s: float
    encoding: Encoding
    encode_message: Encode | None
    decode_message: Decode | None
    throttle_s: float
    max_unread: int


def _check_throttle(_: object, __: Attribute[float], value: float) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value < 0:
        raise ArgumentError("throttle_s is a number of seconds, 0 or more", argument="throttle_s")


@frozen(kw_only=True)
class RealtimeOptions(SocketOptions):
    """`RealtimeKeywords`, checked."""

    encoding: Encoding = "msgpack"
    encode_message: Encode | None = None
    decode_message: Decode | None = None
    throttle_s: float = field(default=0.0, validator=_check_throttle)
    max_unread: int = field(default=64, validator=check_count)
