"""The emulator's requests and replies as plain values.

Owns what crosses between `routes` and whatever carries bytes: the socket server
or an in-memory transport in virtual time. It never parses, decides or sends.
A `Transmission` says how a reply travels, which is where the faults of the
network live.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from attrs import field, frozen

Manner = Literal["normal", "reset", "fin", "cut", "stall", "drip"]


@frozen(kw_only=True)
class Transmission:
    """How a reply travels.

    Attributes:
        manner: `normal` sends it whole; `reset` sends nothing and resets the
            connection; `fin` sends nothing and closes it in good order; `cut`
            announces the whole body and closes after `cut_at_bytes` of it;
            `stall` never sends anything; `drip` sends the body piece by piece.
        delay_s: Wait before the first byte, in seconds.
        cut_at_bytes: How much of the body a `cut` reply sends.
        piece_bytes: Size of one piece of a `drip` reply.
        pause_s: Wait before each piece of a `drip` reply, in seconds.
    """

    manner: Manner = "normal"
    delay_s: float = 0.0
    cut_at_bytes: int = 0
    piece_bytes: int = 1
    pause_s: float = 0.0


NORMAL = Transmission()


@frozen(kw_only=True)
class Request:
    """One HTTP request.

    Attributes:
        method: Upper-case method.
        path: Path as it came, still percent-encoded, without the query.
        query: Query as it came, without the question mark.
        headers: Looked up with lower-case names only.
        body: The body's bytes, decompressed.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes = b""


@frozen(kw_only=True)
class Reply:
    """One HTTP reply.

    Attributes:
        status_code: HTTP status.
        headers: Names in lower case with their values; no `content-length`,
            which belongs to whoever sends it.
        body: The body's bytes as they travel.
        transmission: How it travels.
        feed: What tells the body bit by bit, or the whole reply later.
    """

    status_code: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    transmission: Transmission = NORMAL
    feed: Feed | None = None


@frozen(kw_only=True)
class Step:
    """What a feed has to say at an instant.

    Attributes:
        pieces: Bytes to send now, each by itself.
        due: Instant at which to ask again, unless the feed wakes whoever asks sooner.
        is_over: Nothing follows.
        is_cut: The connection breaks now, in the middle of the body.
        reply: Takes the place of the reply that the feed came with.
    """

    pieces: tuple[bytes, ...] = ()
    due: float = float("inf")
    is_over: bool = False
    is_cut: bool = False
    reply: Reply | None = None


class Feed(Protocol):
    """A reply that comes with time, asked by whoever carries its bytes.

    Attributes:
        wake: Called when there may be more to say before it is due.
    """

    wake: Callable[[], None]

    def take(self, now: float) -> Step:
        """Return what there is to say at an instant, never before that of an earlier call."""
        ...

    def close(self, now: float) -> None:
        """Note that nobody listens any more; safe to call twice."""
        ...
