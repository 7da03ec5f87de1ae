"""A session in real web servers: FastAPI, Starlette and plain ASGI under uvicorn, and aiohttp."""

from __future__ import annotations

import asyncio
import contextlib
import json

import aiohttp
import pytest
from aiohttp import web

import falq
from falq.emulator import Emulator, Scenario
from falq.web import SESSION, AppSession
from tests.support.web_servers import asgi_server, free_port

GUARD_S = 20.0
PROBES = ("/healthz", "/readyz", "/metrics")


def at(emulator, **settings):
    return AppSession(gateway=emulator.gateway, seed=1, **settings)


def fastapi_app(fal):
    fastapi = pytest.importorskip("fastapi", reason="pip install 'falq[dev]'")
    from fastapi.responses import StreamingResponse

    app = fastapi.FastAPI(lifespan=fal.lifespan)
    for path in PROBES:
        app.add_route(path, fal.monitor)

    # Annotated by hand: the name is not this module's.
    async def say(request):
        return await request.state.falq.subscribe("acme/echo", {"path": request.url.path})

    async def follow(request):
        handle = await request.state.falq.submit("acme/echo", {})
        return StreamingResponse(tell(fal, handle), media_type="text/event-stream")

    for handler, path in ((say, "/say"), (follow, "/follow")):
        handler.__annotations__["request"] = fastapi.Request
        app.get(path, response_model=None)(handler)
    return app


def starlette_app(fal):
    pytest.importorskip("starlette", reason="pip install 'falq[dev]'")
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse, StreamingResponse
    from starlette.routing import Mount, Route

    @contextlib.asynccontextmanager
    async def own(app):
        yield {"greeting": "hello"}

    async def say(request):
        given = {"path": request.url.path}
        assert request.state.greeting == "hello"
        return JSONResponse(await request.state.falq.subscribe("acme/echo", given))

    async def follow(request):
        handle = await request.state.falq.submit("acme/echo", {})
        return StreamingResponse(tell(fal, handle), media_type="text/event-stream")

    routes = [Route("/say", say), Route("/follow", follow), Mount("/", fal.monitor)]
    return Starlette(routes=routes, lifespan=fal.lifespan_around(own))


def plain_app(fal):
    async def answer(send, kind, *pieces):
        headers = [(b"content-type", kind)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def app(scope, receive, send):
        if scope["type"] != "http":
            raise ValueError(f"what is {scope['type']}?")
        session = scope["state"]["falq"]
        if scope["path"] == "/say":
            told = await session.subscribe("acme/echo", {"path": "/say"})
            await answer(send, b"application/json", json.dumps(told).encode())
        elif scope["path"] == "/follow":
            handle = await session.submit("acme/echo", {})
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async for piece in tell(fal, handle):
                body = piece.encode()
                await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        else:
            await fal.monitor(scope, receive, send)

    return fal.wrap(app)


def aiohttp_app(fal):
    async def say(request):
        told = await request.app[SESSION].subscribe("acme/echo", {"path": request.path})
        return web.json_response(told)

    async def follow(request):
        handle = await request.app[SESSION].submit("acme/echo", {})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        async for piece in tell(fal, handle):
            await response.write(piece.encode())
        return response

    app = web.Application()
    app.cleanup_ctx.append(fal.cleanup_ctx)
    app.router.add_get("/say", say)
    app.router.add_get("/follow", follow)
    for path in PROBES:
        app.router.add_get(path, fal.monitor.handle)
    return app


async def tell(fal, handle):
    async with contextlib.aclosing(fal.follow(handle)) as statuses:
        yield "data: accepted\n\n"
        async for status in statuses:
            yield f"data: {type(status).__name__}\n\n"
    if isinstance(handle.last_status, falq.Completed):
        # The result comes after the word that it is there.
        await handle


@contextlib.asynccontextmanager
async def serve_aiohttp(app, port):
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=GUARD_S)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


@pytest.fixture(params=[fastapi_app, starlette_app, plain_app, aiohttp_app])
def serve(request, until):
    """Return what serves an app of the kind with a session, and yields a client for it."""

    @contextlib.asynccontextmanager
    async def run(fal):
        port, app = free_port(), request.param(fal)
        serving = (
            serve_aiohttp(app, port)
            if request.param is aiohttp_app
            else asgi_server(app, port, until=until)
        )
        async with (
            asyncio.timeout(GUARD_S),
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http,
            serving,
        ):
            yield http

    return run


@pytest.mark.slow
async def test_an_app_has_a_session_from_its_start_to_its_end(serve):
    async with Emulator(Scenario(speed=100.0)) as emulator:
        fal = at(emulator)
        async with serve(fal) as http:
            async with http.get("/say") as answer:
                assert await answer.json() == {"path": "/say"}
            async with http.get("/follow") as answer:
                assert (await answer.text()).endswith("data: Completed\n\n")
            async with http.get("/healthz") as answer:
                assert (answer.status, await answer.json()) == (200, {"status": "ok"})
            async with http.get("/metrics") as answer:
                assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
                text = await answer.text()
                assert 'falq_jobs_ended_total{outcome="succeeded"} 2\n' in text
                assert emulator.key not in text
            async with http.head("/readyz") as answer:
                assert answer.status == 200
            fal.drain()
            async with http.get("/readyz") as answer:
                assert (answer.status, (await answer.json())["status"]) == (503, "draining")
        assert fal.why_not_ready() == "closed"


@pytest.mark.slow
async def test_a_page_that_follows_a_job_holds_up_no_shutdown(until):
    async with Emulator(Scenario(speed=0.01)) as emulator:
        fal = at(emulator)
        port = free_port()
        async with (
            asyncio.timeout(GUARD_S / 2),
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http,
        ):
            async with serve_aiohttp(aiohttp_app(fal), port):
                answer = await http.get("/follow")
                assert await answer.content.readline() == b"data: accepted\n"
            # The server has ended, long before its limit for connections that stay.
            assert b"Completed" not in await answer.read()
            answer.close()
        assert emulator.stats().calls.get("cancel", 0) == 0
        assert emulator.stats().jobs == 1


@pytest.mark.slow
async def test_workers_share_a_folder_of_journals_and_a_restart_takes_each_up(tmp_path):
    got = []

    async def keep(session, handle):
        got.append(await handle)
        await session.acknowledge(handle)

    async with Emulator(Scenario(speed=2.0)) as emulator, asyncio.timeout(GUARD_S):
        workers = [at(emulator, journal_folder=tmp_path / "journals") for _ in range(2)]
        async with workers[0] as one, workers[1] as other:
            await one.submit("acme/echo", {"of": 1}, key="same")
            await other.submit("acme/echo", {"of": 2}, key="same")
        names = sorted(path.name for path in (tmp_path / "journals").glob("*.sqlite"))
        assert names == ["worker-0.sqlite", "worker-1.sqlite"]
        again = [at(emulator, journal_folder=tmp_path / "journals", recover=keep) for _ in range(2)]
        async with again[0] as one, again[1] as other:
            for session in (one, other):
                record = await session.journal.load_job(key="same")
                await session.resume(record)
        assert emulator.stats().submits == 2


@pytest.mark.slow
async def test_a_second_worker_on_one_journal_is_told_what_to_do(tmp_path):
    async with Emulator() as emulator:
        workers = [at(emulator, journal=tmp_path / "jobs.sqlite") for _ in range(2)]
        async with workers[0]:
            with pytest.raises(falq.JournalLockedError, match="journal_folder") as caught:
                await workers[1].open()
            assert caught.value.pid is not None
            assert workers[1].why_not_ready() == "closed"
