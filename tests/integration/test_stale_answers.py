"""Answers that nobody asked for, and answers that come too soon, are no other call's."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

import falq
from falq._core.messages import Call, CallLimits, CallTimeouts, Verb
from falq._transport.aio import AioTransport

SUBMIT = Call(Verb.SUBMIT, "POST", "/acme/echo", b'{"a":1}', {"Content-Type": "application/json"})
STATUS = Call(Verb.STATUS, "GET", "/acme/echo/requests/r/status")
STALE = {
    "another job's": b'HTTP/1.1 200 OK\r\ncontent-length: 23\r\n\r\n{"request_id": "stale"}',
    "refused": b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
    "too late": b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n",
    "half an answer": b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{",
}

pytestmark = pytest.mark.parametrize("is_lean", [True, False], ids=["short way", "client session"])


@contextlib.asynccontextmanager
async def transport_to(url, is_lean):
    carrier = AioTransport(
        falq.Fal(key="id:secret", queue_url=url),
        timeouts=CallTimeouts(total_s=2.0, submit_s=2.0),
        limits=CallLimits(),
        is_lean=is_lean,
    )
    await carrier.open()
    try:
        yield carrier
    finally:
        await carrier.aclose()


@pytest.mark.parametrize("call", [SUBMIT, STATUS], ids=lambda one: one.verb)
@pytest.mark.parametrize("stale", STALE)
async def test_what_comes_while_a_connection_idles_answers_no_call(
    raw_server, call, stale, is_lean
):
    has_read = asyncio.Event()

    async def script(connection):
        await connection.read_request()
        connection.answer({"request_id": f"r{connection.number}"})
        await has_read.wait()
        connection.send(STALE[stale])
        # What is sent twice is read before the next request could be.
        await connection.read_request()
        connection.answer({"request_id": "late"})

    async with raw_server(script) as server, transport_to(server.url, is_lean) as carrier:
        assert (await carrier.send(call)).body == b'{"request_id": "r0"}'
        has_read.set()
        await asyncio.sleep(0.05)
        assert (await carrier.send(call)).body == b'{"request_id": "r1"}'
        assert len(server.connections) == 2


async def test_a_server_that_speaks_before_it_is_asked_gets_no_submit(raw_server, is_lean):
    async def script(connection):
        connection.send(b'HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{"request_id": "odd"}')
        await connection.wait_gone()

    async with raw_server(script) as server, transport_to(server.url, is_lean) as carrier:
        with contextlib.suppress(falq.TransportError):
            # Or its words come after the request, as an answer does.
            await carrier.send(SUBMIT)
        assert len(server.connections) <= 16


async def test_a_submit_does_not_follow_the_rest_of_one_that_was_refused_early(raw_server, is_lean):
    large = Call(Verb.SUBMIT, "POST", "/acme/echo", b'{"a":"%s"}' % (b"x" * 20_000_000))

    async def script(connection):
        if connection.number:
            await connection.read_request()
            connection.answer({"request_id": "r1"})
        else:
            await connection.reader.readuntil(b"\r\n\r\n")
            connection.answer({"detail": "too large"}, code=413)
        # Neither read on nor closed: the rest of the body stays on its way.
        await asyncio.sleep(60)

    async with raw_server(script) as server, transport_to(server.url, is_lean) as carrier:
        assert (await carrier.send(large)).status_code == 413
        assert (await carrier.send(SUBMIT)).body == b'{"request_id": "r1"}'
