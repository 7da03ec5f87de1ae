"""A proxy's face to aiohttp's web server.

Owns the reading of one request and the writing of its response. `relay` decides
every answer.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from falq._transport.base import ReplyStream
from falq.errors import FalqError
from falq.web.proxy import Answer
from falq.web.relay import ProxyRequest, Relay, split_headers

_LOOK_S = 1.0
"""How often a silent stream looks whether the browser is still there: aiohttp does not tell."""


async def handle(relay: Relay, request: web.Request) -> web.StreamResponse:
    """Answer one request."""
    headers, targets = split_headers([(str(name), text) for name, text in request.headers.items()])

    async def read(limit: int) -> bytes | None:
        body = bytearray()
        async for piece in request.content.iter_any():
            body += piece
            if len(body) > limit:
                return None
        return bytes(body)

    asked = ProxyRequest(request.method, headers, request)
    async with relay.serve(asked, targets, read) as told:
        if told.stream is not None:
            return await _relay(request, told.answer, told.stream)
        answer = told.answer
        response = response_of(answer)
        if answer.status_code in {408, 413}:
            # The rest of the body is not read.
            response.force_close()
        return response


def response_of(answer: Answer) -> web.Response:
    """Return a whole answer as a response."""
    return web.Response(status=answer.status_code, body=answer.body, headers=dict(answer.headers))


async def _relay(request: web.Request, answer: Answer, stream: ReplyStream) -> web.StreamResponse:
    """Pass pieces on until the stream ends or the browser is gone."""
    response = web.StreamResponse(status=answer.status_code, headers=dict(answer.headers))
    await response.prepare(request)
    try:
        while _is_there(request):
            piece = await _next(stream)
            if piece == b"":
                await response.write_eof()
                return response
            if piece is not None:
                await response.write(piece)
    except FalqError:
        # A stream that broke must not look like one that ended.
        if request.transport is not None:
            request.transport.abort()
    return response


async def _next(stream: ReplyStream) -> bytes | None:
    """Return the next piece, empty at the end; None if none came in time."""
    try:
        async with asyncio.timeout(_LOOK_S):
            return await stream.read()
    except FalqError:
        # A time-out of the stream's own is a `TimeoutError` as well.
        raise
    except TimeoutError:
        return None


def _is_there(request: web.Request) -> bool:
    return request.transport is not None and not request.transport.is_closing()
