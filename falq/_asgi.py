"""The messages of ASGI that are the same for every application of falq's.

Owns the reading of a body and the server's start and end. It answers nothing:
`webhooks` and `web` do, which call it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class HungUpError(Exception):
    """Whoever called is gone; nobody reads an answer."""


def read_headers(scope: Message) -> list[tuple[str, str]]:
    """Return the headers of a call as text, in order."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]


async def read_body(
    receive: Receive, limit: int, *, note: Callable[[int], None] = lambda _: None
) -> bytes | None:
    """Return the body of a call, or None if it has more than `limit` bytes.

    Args:
        receive: The server's.
        limit: Bytes.
        note: Hears the size of each piece; what it raises ends the reading.

    Raises:
        HungUpError: The caller left.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HungUpError
        piece = message.get("body", b"")
        note(len(piece))
        body += piece
        if len(body) > limit:
            return None
        if not message.get("more_body", False):
            return bytes(body)


async def live(receive: Receive, send: Send, aclose: Callable[[], Awaitable[None]]) -> None:
    """Go through the server's start and end, for what is its whole application.

    Args:
        receive: The server's.
        send: The server's.
        aclose: Awaited at the end.
    """
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await aclose()
            await send({"type": "lifespan.shutdown.complete"})
            return
