"""Answers without end cost a bounded amount of memory, measured in a process of its own."""

from __future__ import annotations

import sys
import zlib

import pytest

pytestmark = pytest.mark.slow

MIB = 1024 * 1024

READ = """
import asyncio, json, resource, sys
import falq

def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

async def main():
    gateway = falq.Fal(key="id:secret", queue_url=sys.argv[1])
    async with falq.Session(
        gateway,
        poll=falq.PollSettings(initial_s=0.01),
        retry=falq.RetrySettings(base_s=0.01, cap_s=0.01, result_for_s=0.02),
    ) as session:
        await session.status("warm/up", "r-1")
        before = peak_bytes()
        try:
            if sys.argv[2] == "status":
                answer = await session.status("acme/echo", "r-1")
            elif sys.argv[2] == "submit":
                answer = await session.submit("acme/echo", {})
            else:
                answer = await session.result("acme/echo", "r-1")
            ended = "an answer"
        except falq.FalqError as error:
            ended = type(error).__name__
            assert len(str(error)) <= 2200, len(str(error))
    print(json.dumps({"ended": ended, "grown": peak_bytes() - before}))

asyncio.run(main())
"""


async def send_in_chunks(connection, pieces, *, code=200, encoding=None):
    connection.send(f"HTTP/1.1 {code} X\r\ncontent-type: application/json\r\n".encode())
    if encoding is not None:
        connection.send(f"content-encoding: {encoding}\r\n".encode())
    connection.send(b"transfer-encoding: chunked\r\n\r\n")
    for piece in pieces:
        if piece:
            connection.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await connection.writer.drain()
    connection.send(b"0\r\n\r\n")
    await connection.writer.drain()


def a_gib_of_text():
    yield b'{"status":"'
    for _ in range(1024):
        yield b"x" * MIB
    yield b'"}'


def packed(pieces, wbits):
    packer = zlib.compressobj(9, wbits=wbits)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


# Packed once: a bomb of 256 MiB is 255 KiB.
_QUARTER = [b'{"status":"', *([b"x" * MIB] * 256), b'"}']
GZIP_BOMB = b"".join(packed(_QUARTER, 31))
DEFLATE_BOMB = b"".join(packed(_QUARTER, 15))


async def a_stream(connection, code):
    await send_in_chunks(connection, a_gib_of_text(), code=code)


async def an_announced_gib(connection, code):
    head = f"HTTP/1.1 {code} X\r\ncontent-type: application/json\r\n"
    connection.send(f"{head}content-length: {1024 * MIB + 13}\r\n\r\n".encode())
    for piece in a_gib_of_text():
        connection.send(piece)
        await connection.writer.drain()


async def a_gzip_bomb(connection, code):
    await send_in_chunks(connection, [GZIP_BOMB], code=code, encoding="gzip")


async def a_gzip_bomb_with_length(connection, code):
    connection.answer(GZIP_BOMB, code=code, headers={"content-encoding": "gzip"})


async def a_deflate_bomb(connection, code):
    await send_in_chunks(connection, [DEFLATE_BOMB], code=code, encoding="deflate")


async def deep_json(connection, code):
    connection.answer(b"[" * (4 * MIB) + b"]" * (4 * MIB), code=code)


async def a_million_logs(connection, code):
    entry = b'{"message":"x","timestamp":"1"}'
    whole = b'{"status":"IN_PROGRESS","logs":[' + b",".join([entry] * 200_000) + b"]}"
    connection.answer(whole, code=code)


BODIES = {
    "a_stream": a_stream,
    "an_announced_gib": an_announced_gib,
    "a_gzip_bomb": a_gzip_bomb,
    "a_gzip_bomb_with_length": a_gzip_bomb_with_length,
    "a_deflate_bomb": a_deflate_bomb,
}
LIMITS = {"status": 8 * MIB, "submit": 8 * MIB, "result": 64 * MIB}


async def read_one(raw_server, run_script, body, verb, code=200):
    async def script(connection):
        while request := await connection.read_request():
            if b"/warm/" in request:
                connection.answer({"status": "IN_QUEUE"})
            else:
                await body(connection, code)

    async with raw_server(script) as server:
        ran = await run_script(READ, server.url, verb)
    assert ran.code == 0, ran.err
    return ran.said


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
@pytest.mark.parametrize("verb", LIMITS)
@pytest.mark.parametrize("name", BODIES)
async def test_a_body_above_its_limit_is_given_up(raw_server, run_script, name, verb):
    said = await read_one(raw_server, run_script, BODIES[name], verb)
    expected = {"submit": "SubmissionUnknownError"}.get(verb, "ResponseTooLargeError")
    assert said["ended"] == expected
    assert said["grown"] <= 2 * LIMITS[verb] + 4 * MIB


@pytest.mark.parametrize("name", BODIES)
async def test_an_error_above_its_limit_keeps_its_status(raw_server, run_script, name):
    said = await read_one(raw_server, run_script, BODIES[name], "status", code=403)
    assert said["ended"] == "AuthenticationError"
    assert said["grown"] <= 8 * MIB


@pytest.mark.parametrize("verb", ["status", "submit", "result"])
async def test_json_without_a_bottom_is_no_answer(raw_server, run_script, verb):
    said = await read_one(raw_server, run_script, deep_json, verb)
    expected = {"submit": "SubmissionUnknownError"}.get(verb, "WireError")
    assert said["ended"] == expected
    assert said["grown"] <= 64 * MIB


async def test_logs_without_end_are_cut_to_the_newest(raw_server, run_script):
    said = await read_one(raw_server, run_script, a_million_logs, "status")
    assert said["ended"] == "an answer"
    assert said["grown"] <= 160 * MIB
