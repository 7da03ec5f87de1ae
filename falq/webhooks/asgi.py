"""A receiver's face to ASGI servers: FastAPI, Starlette, uvicorn.

Owns the messages of one ASGI call. It needs no framework. `receiver` decides
every answer.
"""

from __future__ import annotations

import asyncio

from falq._asgi import HungUpError, Message, Receive, Send, live, read_body, read_headers
from falq.webhooks.receiver import Answer, CrowdedError, Reception


async def serve(reception: Reception, scope: Message, receive: Receive, send: Send) -> None:
    """Answer one ASGI call."""
    if scope["type"] == "lifespan":
        await live(receive, send, reception.aclose)
    elif scope["type"] == "http":
        try:
            answer = await _answer(reception, scope, receive)
        except HungUpError:
            return
        await _send(answer, send)
    else:
        await send({"type": "websocket.close", "code": 1000})


async def _answer(reception: Reception, scope: Message, receive: Receive) -> Answer:
    headers = read_headers(scope)
    refusal = reception.refuse_head(scope["method"], headers)
    if refusal is not None:
        return refusal
    with reception.holding() as note:
        try:
            async with asyncio.timeout(reception.read_s):
                body = await read_body(receive, reception.limit_bytes, note=note)
        except TimeoutError:
            return reception.refuse_slow()
        except CrowdedError:
            return reception.refuse_crowded()
        if body is None:
            return reception.refuse_large()
        return await reception.receive(path=scope["path"], headers=headers, body=body)


async def _send(answer: Answer, send: Send) -> None:
    text = answer.text.encode()
    headers = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(text))}
    # The connection is the server's, not the application's.
    headers |= {name.lower(): value for name, value in answer.headers.items()}
    headers.pop("connection", None)
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status_code, "headers": pairs})
    await send({"type": "http.response.body", "body": text})
