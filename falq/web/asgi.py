"""A proxy's face to ASGI servers: FastAPI, Starlette, uvicorn.

Owns the messages of one ASGI call. It needs no framework. `relay` decides every
answer.
"""

from __future__ import annotations

import contextlib
import functools

import anyio

from falq._asgi import HungUpError, Message, Receive, Send, live, read_body, read_headers
from falq._transport.base import ReplyStream
from falq.errors import FalqError
from falq.web.proxy import Answer
from falq.web.relay import ProxyRequest, Relay, split_headers


async def serve(relay: Relay, scope: Message, receive: Receive, send: Send) -> None:
    """Answer one ASGI call."""
    if scope["type"] == "lifespan":
        await live(receive, send, relay.aclose)
    elif scope["type"] == "http":
        with contextlib.suppress(HungUpError):
            await _answer(relay, scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1000})


async def _answer(relay: Relay, scope: Message, receive: Receive, send: Send) -> None:
    headers, targets = split_headers(read_headers(scope))
    request = ProxyRequest(scope["method"], headers, scope)

    read = functools.partial(read_body, receive)
    async with relay.serve(request, targets, read) as told:
        if told.stream is None:
            await write(told.answer, send)
        else:
            await _start(told.answer, send, length=None)
            await _relay(told.stream, receive, send)


async def write(answer: Answer, send: Send) -> None:
    """Write a whole answer."""
    await _start(answer, send, length=len(answer.body))
    await send({"type": "http.response.body", "body": answer.body})


async def _start(answer: Answer, send: Send, *, length: int | None) -> None:
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in answer.headers.items()]
    if length is not None:
        pairs.append((b"content-length", str(length).encode()))
    await send({"type": "http.response.start", "status": answer.status_code, "headers": pairs})


async def _relay(stream: ReplyStream, receive: Receive, send: Send) -> None:
    """Pass pieces on until the stream ends or the browser is gone."""
    async with anyio.create_task_group() as group:
        group.start_soon(_watch, receive, group.cancel_scope)
        # Left unfinished, an answer tells the server to cut the connection: a
        # stream that broke must not look like one that ended.
        with contextlib.suppress(FalqError):
            while piece := await stream.read():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        group.cancel_scope.cancel()


async def _watch(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
