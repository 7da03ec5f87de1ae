"""Status streams over real sockets: TLS, connections used again, and a server that misbehaves."""

from __future__ import annotations

import asyncio
import json

import pytest

import falq
from falq.emulator import Emulator, Scenario

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
RECEIPT = {"request_id": "r-1", "status": "IN_QUEUE"}


def session_at(server, **settings):
    gateway = falq.Fal(key="id:secret", queue_url=server.url)
    poll = falq.PollSettings(initial_s=0.01, cap_s=0.02)
    return falq.Session(gateway, completion="stream", poll=poll, **settings)


def event(status: str, **more: object) -> bytes:
    return f"data: {json.dumps({'status': status, 'request_id': 'r-1', **more})}\n\n".encode()


def serve(stream, *, status=None):
    """Return a server's script: a queue whose one job is completed, but for its stream."""

    async def script(connection):
        while request := await connection.read_request():
            line = request.split(b" HTTP/1.1", 1)[0]
            if line.startswith(b"POST"):
                connection.answer(RECEIPT)
            elif b"/status/stream" in line:
                await stream(connection)
            elif line.endswith((b"/status", b"/status?logs=1")):
                connection.answer(status or {"status": "COMPLETED", "request_id": "r-1"})
            else:
                connection.answer({"n": 1})

    return script


@pytest.mark.slow
async def test_jobs_over_tls_use_connections_again():
    async with (
        Emulator(Scenario(speed=100, run_s=1), tls=True) as emulator,
        falq.Session(
            emulator.gateway, ssl_context=emulator.ssl_context, completion="stream"
        ) as session,
    ):
        for n in range(5):
            assert await session.subscribe("acme/echo", {"n": n}) == {"n": n}
        assert session.statistics().calls == {"submit": 5, "stream": 5, "result": 5}
        assert emulator.stats().connections <= 4


async def test_a_stream_asks_with_the_key_and_for_events(raw_server):
    async def stream(connection):
        connection.send(HEAD + b"connection: close\r\n\r\n" + event("COMPLETED"))
        connection.writer.close()

    async with raw_server(serve(stream)) as server, session_at(server) as session:
        assert await session.subscribe("acme/echo/fast", {}) == {"n": 1}
    heard = server.heard.decode().lower()
    head = next(
        part for part in heard.split("get ") if part.startswith("/acme/echo/requests/r-1/status/")
    )
    assert head.startswith("/acme/echo/requests/r-1/status/stream http/1.1")
    assert head.count("accept: ") == 1
    assert "accept: text/event-stream\r\n" in head
    assert "authorization: key id:secret\r\n" in head


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        HEAD + b"\r\n",
        HEAD + b"\r\n" + event("IN_PROGRESS"),
        HEAD + b"content-length: 1000\r\n\r\n" + event("IN_PROGRESS"),
        HEAD + b"\r\ndata: \xff\xfe\n\ndata: {\n\ndata: []\n\n",
        HEAD + b"\r\n" + event("COMPLETED", request_id="another"),
        b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nno",
        b"HTTP/1.1 405 No\r\ncontent-length: 0\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
async def test_whatever_a_stream_brings_the_job_ends(raw_server, answer):
    async def stream(connection):
        connection.send(answer)
        await connection.writer.drain()
        connection.writer.close()

    async with raw_server(serve(stream)) as server, session_at(server) as session:
        assert await session.subscribe("acme/echo", {}) == {"n": 1}
        assert session.statistics().calls["stream"] == 1
        assert session.statistics().calls["status"] == 1


async def test_a_redirected_stream_is_not_followed(raw_server, spy):
    async def stream(connection):
        connection.answer({}, code=302, headers={"location": f"{spy.url}/status/stream"})

    async with raw_server(serve(stream)) as server, session_at(server) as session:
        assert await session.subscribe("acme/echo", {}) == {"n": 1}
    assert spy.heard == b""


async def test_an_endless_event_does_not_fill_the_memory(raw_server):
    sent = 0

    async def stream(connection):
        nonlocal sent
        connection.send(HEAD + b"\r\ndata: ")
        while not connection.writer.is_closing():
            connection.send(b"x" * 10_000)
            sent += 10_000
            await connection.writer.drain()

    limits = falq.CallLimits(status_bytes=50_000)
    async with (
        raw_server(serve(stream)) as server,
        session_at(server, call_limits=limits) as session,
    ):
        assert await session.subscribe("acme/echo", {}) == {"n": 1}
    assert sent < 20_000_000


async def test_a_completed_that_the_result_denies_is_not_believed(raw_server):
    denied = 0

    async def script(connection):
        nonlocal denied
        while request := await connection.read_request():
            line = request.split(b" HTTP/1.1", 1)[0]
            if line.startswith(b"POST"):
                connection.answer(RECEIPT)
            elif line.endswith(b"/stream"):
                connection.send(HEAD + b"transfer-encoding: chunked\r\n\r\n")
                data = event("COMPLETED")
                connection.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data))
            elif line.endswith(b"/status"):
                connection.answer({"status": "COMPLETED", "request_id": "r-1"})
            elif denied < 1:
                denied += 1
                connection.answer({"detail": "Request is still in progress"}, code=400)
            else:
                connection.answer({"n": 1})

    async with raw_server(script) as server, session_at(server) as session:
        assert await session.subscribe("acme/echo", {}) == {"n": 1}
    assert denied == 1


async def test_closing_drops_streams_that_are_open(raw_server):
    gone, is_open = asyncio.Event(), asyncio.Event()

    async def stream(connection):
        connection.send(HEAD + b"\r\n" + event("IN_PROGRESS"))
        is_open.set()
        await connection.wait_gone()
        gone.set()

    async with raw_server(serve(stream)) as server:
        async with session_at(server) as session:
            await session.submit("acme/echo", {})
            await is_open.wait()
        async with asyncio.timeout(5):
            await gone.wait()
