"""Answers that nobody asked for, and answers that come too soon, are no other call's."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

import falq
from falq._core.messages import Call, CallLimits, CallTimeouts, Verb
from falq._transport.aio import AioTransport
from falq.emulator.certificates import make_certificates

SUBMIT = Call(Verb.SUBMIT, "POST", "/acme/echo", b'{"a":1}', {"Content-Type": "application/json"})
STATUS = Call(Verb.STATUS, "GET", "/acme/echo/requests/r/status")
STALE = {
    "another job's": b'HTTP/1.1 200 OK\r\ncontent-length: 23\r\n\r\n{"request_id": "stale"}',
    "refused": b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
    "too late": b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n",
    "half an answer": b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{",
}

pytestmark = [
    pytest.mark.parametrize("is_lean", [True, False], ids=["short way", "client session"]),
    pytest.mark.parametrize("tls", [True, False], ids=["TLS", "plain"], indirect=True),
]


@pytest.fixture
def tls(request):
    return make_certificates("127.0.0.1") if request.param else None


@contextlib.asynccontextmanager
async def speaking(raw_server, script, tls, is_lean):
    """Run a server that follows `script`, and open a transport to it."""
    context = None if tls is None else tls.server_context
    async with raw_server(script, tls=context) as server:
        carrier = AioTransport(
            falq.Fal(key="id:secret", queue_url=server.url),
            timeouts=CallTimeouts(total_s=5.0, submit_s=5.0),
            limits=CallLimits(),
            ssl_context=None if tls is None else tls.client_context,
            is_lean=is_lean,
        )
        await carrier.open()
        try:
            yield server, carrier
        finally:
            await carrier.aclose()


@pytest.mark.parametrize("call", [SUBMIT, STATUS], ids=lambda one: one.verb)
@pytest.mark.parametrize("stale", STALE)
async def test_what_comes_while_a_connection_idles_answers_no_call(
    raw_server, call, stale, tls, is_lean
):
    has_read = asyncio.Event()

    async def script(connection):
        await connection.read_request()
        connection.answer({"request_id": f"r{connection.number}"})
        await has_read.wait()
        connection.send(STALE[stale])
        await connection.read_request()
        connection.answer({"request_id": "late"})

    async with speaking(raw_server, script, tls, is_lean) as (server, carrier):
        assert (await carrier.send(call)).body == b'{"request_id": "r0"}'
        has_read.set()
        await asyncio.sleep(0.05)
        assert (await carrier.send(call)).body == b'{"request_id": "r1"}'
        assert len(server.connections) == 2


async def test_a_server_that_speaks_before_it_is_asked_is_not_asked_for_ever(
    raw_server, tls, is_lean
):
    async def script(connection):
        connection.send(b'HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{"request_id": "odd"}')
        await connection.wait_gone()

    async with speaking(raw_server, script, tls, is_lean) as (server, carrier):
        # Its words may come after the request all the same, as an answer does.
        with contextlib.suppress(falq.TransportError):
            await carrier.send(SUBMIT)
        assert len(server.connections) <= 4


@pytest.mark.slow
async def test_a_submit_does_not_follow_the_rest_of_one_that_was_refused_early(
    raw_server, tls, is_lean
):
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

    async with speaking(raw_server, script, tls, is_lean) as (_, carrier):
        assert (await carrier.send(large)).status_code == 413
        assert (await carrier.send(SUBMIT)).body == b'{"request_id": "r1"}'


@pytest.mark.parametrize("call", [SUBMIT, STATUS], ids=lambda one: one.verb)
async def test_the_answer_to_a_call_that_was_cancelled_is_no_other_calls(
    raw_server, call, tls, is_lean
):
    was_heard = asyncio.Event()

    async def script(connection):
        while await connection.read_request():
            if connection.number:
                connection.answer({"request_id": "own"})
            was_heard.set()

    async with speaking(raw_server, script, tls, is_lean) as (server, carrier):
        given_up = asyncio.create_task(carrier.send(call))
        await was_heard.wait()
        given_up.cancel()
        await asyncio.wait({given_up})
        assert (await carrier.send(call)).body == b'{"request_id": "own"}'
        assert len(server.connections) == 2
