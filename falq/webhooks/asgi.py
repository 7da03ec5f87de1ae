"""A receiver's face to ASGI servers: FastAPI, Starlette, uvicorn.

Owns the messages of one ASGI call. It needs no framework. `receiver` decides
every answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from falq.webhooks.receiver import Answer, Reception

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class _HungUpError(Exception):
    """The sender is gone; nobody reads an answer."""


async def serve(reception: Reception, scope: Message, receive: Receive, send: Send) -> None:
    """Answer one ASGI call."""
    if scope["type"] == "lifespan":
        await _live(reception, receive, send)
    elif scope["type"] == "http":
        try:
            answer = await _answer(reception, scope, receive)
        except _HungUpError:
            return
        await _send(answer, send)
    else:
        await send({"type": "websocket.close", "code": 1000})


async def _answer(reception: Reception, scope: Message, receive: Receive) -> Answer:
    headers = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
    ]
    refusal = reception.refuse_head(scope["method"], headers)
    if refusal is not None:
        return refusal
    try:
        async with asyncio.timeout(reception.read_s):
            body = await _read(receive, reception.limit_bytes)
    except TimeoutError:
        return reception.refuse_slow()
    if body is None:
        return reception.refuse_large()
    return await reception.receive(path=scope["path"], headers=headers, body=body)


async def _read(receive: Receive, limit: int) -> bytes | None:
    """Return the body, or None if it is too large."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _HungUpError
        body += message.get("body", b"")
        if len(body) > limit:
            return None
        if not message.get("more_body", False):
            return bytes(body)


async def _send(answer: Answer, send: Send) -> None:
    text = answer.text.encode()
    headers = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(text))}
    # The connection is the server's, not the application's.
    headers |= {name.lower(): value for name, value in answer.headers.items()}
    headers.pop("connection", None)
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status_code, "headers": pairs})
    await send({"type": "http.response.body", "body": text})


async def _live(reception: Reception, receive: Receive, send: Send) -> None:
    """Go through the server's start and end, where the receiver is its whole application."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await reception.aclose()
            await send({"type": "lifespan.shutdown.complete"})
            return
