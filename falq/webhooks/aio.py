"""A receiver's face to aiohttp's web server.

Owns the reading of one request and the writing of its response. `receiver`
decides every answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from falq.webhooks.receiver import Answer, CrowdedError, Reception


async def handle(reception: Reception, request: web.Request) -> web.Response:
    """Answer one request."""
    headers = [(str(name), value) for name, value in request.headers.items()]
    refusal = reception.refuse_head(request.method, headers)
    if refusal is not None:
        return _response(refusal)
    with reception.holding() as note:
        try:
            async with asyncio.timeout(reception.read_s):
                body = await _read(request, reception.limit_bytes, note)
        except TimeoutError:
            return _response(reception.refuse_slow())
        except CrowdedError:
            return _response(reception.refuse_crowded())
        if body is None:
            return _response(reception.refuse_large())
        return _response(await reception.receive(path=request.path, headers=headers, body=body))


async def _read(request: web.Request, limit: int, note: Callable[[int], None]) -> bytes | None:
    """Return the body, or None if it is too large."""
    body = bytearray()
    async for piece in request.content.iter_any():
        note(len(piece))
        body += piece
        if len(body) > limit:
            return None
    return bytes(body)


def _response(answer: Answer) -> web.Response:
    headers = dict(answer.headers)
    must_close = headers.pop("Connection", None) is not None
    response = web.Response(status=answer.status_code, text=answer.text, headers=headers)
    if must_close:
        # The rest of the body is not read.
        response.force_close()
    return response
