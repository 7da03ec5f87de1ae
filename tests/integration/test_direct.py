"""Direct runs and output streams over real sockets, and fal_client's on the same emulator."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket

import pytest

import falq
from falq.emulator import Emulator, Fault, Scenario

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"


def gateway_at(url):
    return falq.Fal(key="id:secret", queue_url=url, run_url=url, api_url=url)


def chunk(text: str) -> bytes:
    data = text.encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


async def collect(stream, parts):
    """Keep what comes before an error as well."""
    while (part := await anext(stream, None)) is not None:
        parts.append(part)


@contextlib.asynccontextmanager
async def an_emulator(**settings):
    async with (
        Emulator(Scenario(speed=100, **settings)) as emulator,
        falq.Session(emulator.gateway, seed=1) as session,
    ):
        yield emulator, session


@pytest.mark.slow
async def test_a_run_gives_the_bare_output_in_one_call():
    async with an_emulator() as (emulator, session):
        assert await session.run("acme/echo/fast", {"n": "ä"}) == {"n": "ä"}
        picture = await session.run("fal-ai/flux", {"prompt": "a cat"}, path="/schnell")
        assert picture["images"][0]["content_type"].startswith("image/")
        assert emulator.stats().calls == {"run": 2}
        assert session.statistics().calls == {"run": 2}


async def test_options_that_a_run_knows_travel_as_headers(raw_server):
    async def script(connection):
        await connection.read_request()
        connection.answer({"n": 1})

    async with raw_server(script) as server, falq.Session(gateway_at(server.url)) as session:
        await session.run(
            "acme/echo",
            {"n": 1},
            start_timeout=5,
            hint="near",
            store_io=False,
            tags={"team": "a"},
            headers={"X-Mine": "yes"},
        )
    heard = server.heard.decode().lower()
    assert heard.startswith("post /acme/echo http/1.1")
    for line in (
        "x-fal-request-timeout: 5.0",
        "x-fal-runner-hint: near",
        "x-fal-store-io: 0",
        "x-fal-tags: team=a",
        "x-mine: yes",
        "authorization: key id:secret",
    ):
        assert f"{line}\r\n" in heard
    assert heard.endswith('{"n":1}')


@pytest.mark.parametrize("code", [429, 200])
async def test_above_the_limit_runs_and_streams_are_refused(code, until):
    settings = {"runners": 2, "concurrency_code": code, "run_s": 5}
    async with an_emulator(**settings) as (emulator, session):
        answers = await asyncio.gather(
            *(session.run("acme/echo", {"n": n}) for n in range(4)), return_exceptions=True
        )
        refused = [one for one in answers if isinstance(one, falq.ConcurrencyLimitError)]
        assert [error.limit for error in refused] == [2, 2]
        assert not any(error.possibly_billed for error in refused)
        assert [one for one in answers if isinstance(one, dict)] == [{"n": 0}, {"n": 1}]
        running = [asyncio.create_task(session.run("acme/echo", {})) for _ in range(2)]
        await until(lambda: emulator.stats().jobs_by_state["running"] == 2)
        with pytest.raises(falq.ConcurrencyLimitError):
            await session.stream("acme/echo", {}).done()
        await asyncio.gather(*running)


async def test_errors_are_those_of_the_tree():
    async with an_emulator() as (_, session):
        with pytest.raises(falq.InvalidInputError) as refused:
            await session.run("fal-ai/flux/schnell", {"num_images": 0})
        assert refused.value.problems
        with pytest.raises(falq.ServerError) as broken:
            await session.run("acme/echo", {"_emulator": {"fail": "runner_disconnected"}})
        assert broken.value.error_type == "runner_disconnected"
        assert broken.value.request_id
        assert not broken.value.possibly_billed


@pytest.mark.parametrize("kind", ["reset", "fin", "cut"])
async def test_a_run_that_may_have_been_received_is_not_sent_again(kind):
    faults = (Fault(kind, "run", when="after"),)
    async with an_emulator(faults=faults) as (emulator, session):
        with pytest.raises(falq.TransportError) as caught:
            await session.run("acme/echo", {"n": 1})
        assert caught.value.request_sent
        assert caught.value.possibly_billed
        assert emulator.stats().calls == {"run": 1}


async def test_a_run_of_which_no_byte_left_is_tried_three_times():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        retry = falq.RetrySettings(base_s=0.001, cap_s=0.001)
        async with falq.Session(gateway_at(url), retry=retry) as session:
            with pytest.raises(falq.ConnectError) as caught:
                await session.run("acme/echo", {"n": 1})
            assert session.statistics().calls == {"run": 3}
            assert not caught.value.possibly_billed
            with pytest.raises(falq.ConnectError):
                await session.stream("acme/echo", {"n": 1}).done()
            assert session.statistics().calls == {"run": 6}


async def test_the_time_of_a_run_is_limited_and_its_cost_is_told():
    async with an_emulator(run_s=600) as (emulator, session):
        with pytest.raises(falq.TransportTimeoutError) as caught:
            await session.run("acme/echo", {"n": 1}, timeout=0.05)
        assert caught.value.possibly_billed
        assert emulator.stats().calls == {"run": 1}


async def test_a_redirect_is_not_followed(raw_server, spy):
    async def script(connection):
        while await connection.read_request():
            connection.answer({}, code=307, headers={"location": f"{spy.url}/acme/echo"})

    async with raw_server(script) as server, falq.Session(gateway_at(server.url)) as session:
        with pytest.raises(falq.UnexpectedRedirectError):
            await session.run("acme/echo", {"n": 1})
        with pytest.raises(falq.UnexpectedRedirectError):
            await session.stream("acme/echo", {"n": 1}).done()
    assert spy.heard == b""


async def test_a_key_that_a_page_repeats_is_masked(raw_server):
    async def script(connection):
        while await connection.read_request():
            connection.answer(b"you sent Key id:secret", code=502)

    async with raw_server(script) as server, falq.Session(gateway_at(server.url)) as session:
        for work in (
            session.run("acme/echo", {"n": 1}),
            session.stream("acme/echo", {"n": 1}).done(),
        ):
            with pytest.raises(falq.ServerError) as caught:
                await work
            assert "id:secret" not in str(caught.value)
            assert "id:secret" not in repr(caught.value.detail)


async def test_binary_output_comes_as_bytes(raw_server):
    async def script(connection):
        while await connection.read_request():
            connection.answer(b"\x89PNG", headers={"content-type": "image/png"})

    async with raw_server(script) as server, falq.Session(gateway_at(server.url)) as session:
        assert await session.run("acme/echo", {}) == b"\x89PNG"
        assert [part async for part in session.stream("acme/echo", {})] == [b"\x89PNG"]


async def test_a_stream_brings_parts_and_last_the_whole():
    async with an_emulator(stream_newline="crlf", stream_piece_bytes=3) as (emulator, session):
        async with session.stream("acme/echo", {"n": "ä€😀"}) as stream:
            parts = [part async for part in stream]
            assert stream.request_id
        assert [part.get("part") for part in parts] == [1, 2, 3, None]
        assert parts[-1] == {"n": "ä€😀"}
        assert await session.stream("acme/echo/stream", {"n": 1}).done() == {"n": 1}
        assert emulator.stats().calls == {"stream": 2}


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("event", falq.JobInputError),
        ("cut", falq.TransportError),
        ("head", falq.InvalidInputError),
    ],
)
async def test_an_error_of_the_run_is_typed_whatever_way_it_comes(form, kind):
    async with an_emulator(stream_error=form) as (emulator, session):
        stream = session.stream("acme/echo", {"_emulator": {"fail": "content_policy_violation"}})
        parts: list[object] = []
        with pytest.raises(kind) as caught:
            await collect(stream, parts)
        assert len(parts) == (0 if form == "head" else 3)
        assert caught.value.possibly_billed is (form != "head")
        assert emulator.stats().calls == {"stream": 1}


async def test_parts_that_came_before_a_break_are_given_before_it(raw_server):
    async def script(connection):
        await connection.read_request()
        connection.send(HEAD + b"\r\n" + chunk('data: {"n": 1}\n\ndata: {"n": 2}\n\ndata: {"n"'))
        await connection.writer.drain()
        connection.reset()

    async with raw_server(script) as server, falq.Session(gateway_at(server.url)) as session:
        stream, parts = session.stream("acme/echo", {}), []
        with pytest.raises(falq.TransportError) as caught:
            await collect(stream, parts)
        assert caught.value.possibly_billed
        assert parts in ([], [{"n": 1}, {"n": 2}])
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert len(server.connections) == 1


async def test_the_last_event_counts_without_its_blank_line(raw_server):
    async def script(connection):
        await connection.read_request()
        connection.send(HEAD + b"\r\n" + chunk('data: {"n": 1}\n\ndata: {"n": 2}') + b"0\r\n\r\n")

    async with raw_server(script) as server, falq.Session(gateway_at(server.url)) as session:
        assert await session.stream("acme/echo", {}).done() == {"n": 2}


@pytest.mark.parametrize("way", ["break", "context", "aclose", "error"])
async def test_leaving_a_stream_drops_its_connection(raw_server, way):
    gone = asyncio.Event()

    async def script(connection):
        await connection.read_request()
        connection.send(HEAD + b"\r\n" + chunk('data: {"n": 1}\n\n'))
        await connection.wait_gone()
        gone.set()

    async def leave(session):
        if way == "break":
            async for _ in session.stream("acme/echo", {}):
                break
            gc.collect()
        elif way == "context":
            async with session.stream("acme/echo", {}) as stream:
                await anext(stream)
        elif way == "aclose":
            stream = session.stream("acme/echo", {})
            await anext(stream)
            await stream.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
        else:
            with pytest.raises(ZeroDivisionError):
                async with session.stream("acme/echo", {}):
                    raise ZeroDivisionError

    async with raw_server(script) as server, falq.Session(gateway_at(server.url)) as session:
        await leave(session)
        async with asyncio.timeout(5):
            await gone.wait()


async def test_a_cancelled_wait_for_a_part_loses_none(raw_server):
    more = asyncio.Event()

    async def script(connection):
        await connection.read_request()
        connection.send(HEAD + b"\r\n" + chunk('data: {"n": 1}\n\n'))
        await more.wait()
        connection.send(chunk('data: {"n": 2}\n\n') + b"0\r\n\r\n")

    async with (
        raw_server(script) as server,
        falq.Session(gateway_at(server.url)) as session,
        session.stream("acme/echo", {}) as stream,
    ):
        assert await anext(stream) == {"n": 1}
        waiting = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        more.set()
        assert await anext(stream) == {"n": 2}


async def test_silence_ends_a_stream(raw_server):
    async def script(connection):
        await connection.read_request()
        connection.send(HEAD + b"\r\n" + chunk('data: {"n": 1}\n\n'))
        await connection.wait_gone()

    async with raw_server(script) as server, falq.Session(gateway_at(server.url)) as session:
        stream = session.stream("acme/echo", {}, timeout=0.1)
        assert await anext(stream) == {"n": 1}
        with pytest.raises(falq.TransportTimeoutError) as caught:
            await anext(stream)
        assert caught.value.possibly_billed


async def test_a_part_above_the_limit_is_refused(raw_server):
    async def script(connection):
        await connection.read_request()
        connection.send(HEAD + b"\r\n")
        while True:
            connection.send(chunk("data: " + "x" * 1000))
            await connection.writer.drain()
            await asyncio.sleep(0)

    limits = falq.CallLimits(result_bytes=10_000)
    async with (
        raw_server(script) as server,
        falq.Session(gateway_at(server.url), call_limits=limits) as session,
    ):
        with pytest.raises(falq.ResponseTooLargeError) as caught:
            await session.stream("acme/echo", {}).done()
        assert caught.value.possibly_billed


async def test_two_tasks_cannot_read_one_stream(raw_server):
    async def script(connection):
        await connection.read_request()
        await connection.wait_gone()

    async with raw_server(script) as server, falq.Session(gateway_at(server.url)) as session:
        stream = session.stream("acme/echo", {})
        first = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        with pytest.raises(falq.ArgumentError, match="one task"):
            await anext(stream)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_a_caller_that_goes_away_frees_the_runner(until):
    async with an_emulator(run_s=60_000, runners=1) as (emulator, session):
        running = asyncio.create_task(session.run("acme/echo", {}))
        await until(lambda: emulator.stats().jobs_by_state["running"] == 1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await until(lambda: emulator.stats().jobs_by_state["cancelled"] == 1)


async def test_files_in_the_arguments_are_uploaded_first(tmp_path):
    path = tmp_path / "cat.txt"
    path.write_bytes(b"meow")
    async with an_emulator() as (emulator, session):
        output = await session.run("acme/echo", {"file": path})
        assert output["file"].startswith(emulator.url)
        last = await session.stream("acme/echo", {"file": path}).done()
        assert last == output
        assert emulator.stats().uploads == 1


async def test_what_cannot_be_sent_is_said_before_anything_is():
    async with an_emulator() as (emulator, session):
        for keywords in (
            {"timeout": 0},
            {"timeout": "1"},
            {"method": "TRACE"},
            {"priority": "low"},
            {"start_timeout": 0.5},
            {"path": "/../x"},
        ):
            with pytest.raises(falq.ArgumentError):
                await session.run("acme/echo", {}, **keywords)
        with pytest.raises(falq.ArgumentError):
            session.stream("acme/echo", {}, priority="low")
        assert emulator.stats().calls == {}
        async with falq.Session(emulator.maton) as other:
            with pytest.raises(falq.UnsupportedError):
                await other.run("fal-ai/echo", {})
            with pytest.raises(falq.UnsupportedError):
                other.stream("fal-ai/echo", {})


async def test_a_get_sends_no_body(raw_server):
    async def script(connection):
        await connection.read_request()
        connection.answer([1])

    async with raw_server(script) as server, falq.Session(gateway_at(server.url)) as session:
        assert await session.run("acme/echo", {"n": 1}, method="get", path="health") == [1]
    assert server.heard.startswith(b"GET /acme/echo/health HTTP/1.1")
    assert server.heard.endswith(b"\r\n\r\n")


THEIRS = """
import asyncio, json
import fal_client

said = {}
said["run"] = fal_client.run("acme/echo", {"n": 1}, path="/fast", hint="near", start_timeout=5)
said["stream"] = list(fal_client.stream("acme/echo", {"n": 2}))
for name, arguments in {
    "refused": {"_emulator": {"fail": "content_policy_violation"}},
    "broken": {"_emulator": {"fail": "runner_disconnected"}},
}.items():
    try:
        fal_client.run("acme/echo", arguments)
    except fal_client.FalClientHTTPError as error:
        said[name] = [error.status_code, error.response.json()]

async def main():
    client = fal_client.AsyncClient()
    said["async_run"] = await client.run("acme/echo", {"n": 3})
    said["async_stream"] = [part async for part in client.stream("acme/echo", {"n": 4})]

asyncio.run(main())
print(json.dumps(said))
"""


@pytest.mark.slow
async def test_fal_client_runs_and_streams_on_the_emulator_and_gets_the_same(run_script, tmp_path):
    pem = tmp_path / "authority.pem"
    async with Emulator(Scenario(speed=100), tls=True) as emulator:
        pem.write_bytes(emulator.ca_pem())
        ran = await run_script(
            THEIRS,
            FAL_KEY=emulator.key,
            FAL_RUN_HOST=f"{emulator.url.partition('://')[2]}/_run",
            SSL_CERT_FILE=str(pem),
        )
        assert ran.code == 0, ran.err
        said = ran.said
        async with falq.Session(emulator.gateway, ssl_context=emulator.ssl_context) as session:
            assert said["run"] == await session.run("acme/echo", {"n": 1}, path="/fast")
            for name, n in (("stream", 2), ("async_stream", 4)):
                ours = [part async for part in session.stream("acme/echo", {"n": n})]
                assert said[name] == ours
            with pytest.raises(falq.InvalidInputError) as refused:
                await session.run("acme/echo", {"_emulator": {"fail": "content_policy_violation"}})
            assert json.loads(json.dumps(refused.value.detail)) == said["refused"][1]["detail"]
    assert said["async_run"] == {"n": 3}
    assert said["broken"][0] == 503
