"""The proxy for browsers on real sockets, in front of the emulator."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

import falq
from falq.emulator import Emulator, Fault, Scenario
from falq.web import FalProxy, ProxyLimits
from tests.support.web_servers import aiohttp_server, asgi_server, free_port

GUARD_S = 20.0
QUEUE = "https://queue.fal.run"


@contextlib.asynccontextmanager
async def aiohttp_proxy(proxy: FalProxy, port: int) -> AsyncIterator[None]:
    try:
        async with aiohttp_server(proxy.handle, "/proxy", port):
            yield
    finally:
        await proxy.aclose()


@pytest.fixture(params=["aiohttp", "ASGI"])
def serve(request, until):
    if request.param == "aiohttp":
        return aiohttp_proxy
    return functools.partial(asgi_server, until=until)


@pytest.fixture
def port() -> int:
    return free_port()


def user_of(request):
    return {"Bearer of-ann": "ann", "Bearer of-bob": "bob"}.get(
        request.headers.get("authorization", "")
    )


def proxy_at(emulator, **settings):
    chosen = {"authenticate": user_of, "endpoints": ["acme/echo"], **settings}
    return FalProxy(emulator.gateway, **chosen)


class Browser:
    """Calls a proxy as @fal-ai/client does."""

    def __init__(self, http: aiohttp.ClientSession, port: int) -> None:
        self._http = http
        self._url = f"http://127.0.0.1:{port}/proxy"

    async def ask(self, method, target, *, value=None, user="ann", **headers):
        sent = {"x-fal-target-url": target, "authorization": f"Bearer of-{user}", **headers}
        async with self._http.request(
            method, self._url, json=value, headers=sent, allow_redirects=False
        ) as response:
            return response.status, response.headers, await response.read()

    def open(self, target):
        headers = {"x-fal-target-url": target, "authorization": "Bearer of-ann"}
        return self._http.get(self._url, headers=headers)


@pytest.fixture
async def browse(port):
    async with (
        asyncio.timeout(GUARD_S),
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
    ):
        yield Browser(http, port)


@pytest.mark.slow
async def test_a_job_runs_through_the_proxy_and_the_key_stays_behind_it(serve, port, browse):
    async with Emulator(Scenario(speed=1000.0)) as emulator:
        proxy = proxy_at(emulator)
        async with serve(proxy, port):
            code, _, body = await browse.ask("POST", f"{QUEUE}/acme/echo", value={"n": 1})
            root = f"{QUEUE}/acme/echo/requests/{json.loads(body)['request_id']}"
            bodies = [body]
            state = ""
            while state != "COMPLETED":
                _, _, body = await browse.ask("GET", f"{root}/status?logs=1")
                bodies.append(body)
                state = json.loads(body)["status"]
            code, headers, body = await browse.ask("GET", root)
            cancelled, _, _ = await browse.ask("PUT", f"{root}/cancel")
        assert (code, json.loads(body)) == (200, {"n": 1})
        assert cancelled == 400
        assert headers["cache-control"] == "no-store"
        assert all(emulator.key.encode() not in one for one in [*bodies, body])
        assert proxy.statistics().in_flight == 0
        assert emulator.stats().calls["submit"] == 1


@pytest.mark.slow
async def test_nothing_is_sent_for_what_may_not_pass(serve, port, browse):
    async with Emulator(Scenario(speed=1000.0)) as emulator:
        proxy = proxy_at(emulator, limit_bytes=100)
        async with serve(proxy, port):
            told = [
                (await browse.ask(method, target, value=value, user=user))[0]
                for method, target, value, user in [
                    ("POST", f"{QUEUE}/acme/echo", {}, "nobody"),
                    ("POST", f"{QUEUE}/acme/other", {}, "ann"),
                    ("POST", "https://evilfal.run/acme/echo", {}, "ann"),
                    ("DELETE", f"{QUEUE}/acme/echo/requests/r", None, "ann"),
                    ("POST", f"{QUEUE}/acme/echo", {"long": "x" * 200}, "ann"),
                ]
            ]
        assert told == [401, 400, 400, 405, 413]
        assert emulator.stats().calls == {}
        assert (proxy.statistics().passed, proxy.statistics().refused) == (0, 5)


async def test_a_call_that_names_two_addresses_does_not_pass(port):
    target = ("x-fal-target-url", f"{QUEUE}/acme/echo")
    headers = [target, target, ("authorization", "Bearer of-ann")]
    async with (
        asyncio.timeout(GUARD_S),
        Emulator() as emulator,
        aiohttp_proxy(proxy_at(emulator), port),
        aiohttp.ClientSession() as http,
        http.post(f"http://127.0.0.1:{port}/proxy", json={}, headers=headers) as response,
    ):
        assert response.status == 400
        assert emulator.stats().calls == {}


@pytest.mark.slow
async def test_a_user_above_the_limit_waits_and_another_does_not(serve, port, browse):
    async with Emulator(Scenario(speed=1000.0)) as emulator:
        proxy = proxy_at(emulator, limits=ProxyLimits(jobs_per_minute=1), clock=lambda: 5.0)
        async with serve(proxy, port):
            told = [
                await browse.ask("POST", f"{QUEUE}/acme/echo", value={}, user=user)
                for user in ("ann", "ann", "bob")
            ]
        assert [one[0] for one in told] == [200, 429, 200]
        assert told[1][1]["retry-after"] == "60"
        assert emulator.stats().calls["submit"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        Fault("reset", "submit", when="before"),
        Fault("reset", "submit", when="after"),
        Fault("cut", "submit"),
        Fault("nginx", "submit", when="after", status_code=503),
        Fault("redirect", "submit"),
    ],
    ids=["reset before", "reset after", "cut", "503", "redirect"],
)
async def test_a_submit_that_may_have_been_received_is_sent_once(serve, port, browse, fault):
    async with Emulator(Scenario(speed=1000.0, faults=[fault])) as emulator:
        async with serve(proxy_at(emulator), port):
            code, _, _ = await browse.ask("POST", f"{QUEUE}/acme/echo", value={})
        assert code == 500
        assert emulator.stats().calls["submit"] == 1


@pytest.mark.slow
async def test_pieces_of_a_stream_pass_as_they_come(serve, port, browse):
    async with Emulator(Scenario(speed=1000.0)) as emulator:
        proxy = proxy_at(emulator)
        async with serve(proxy, port):
            code, headers, body = await browse.ask(
                "POST", "https://fal.run/acme/echo/stream", value={"n": 1}
            )
            run, _, output = await browse.ask("POST", "https://fal.run/acme/echo", value={"n": 2})
    assert (code, headers["content-type"]) == (200, "text/event-stream")
    assert json.loads(body.decode().strip().rpartition("data:")[2]) == {"n": 1}
    assert (run, json.loads(output)) == (200, {"n": 2})
    assert proxy.statistics().in_flight == 0


@pytest.mark.slow
async def test_a_stream_passes_while_the_job_runs_and_ends_with_the_browser(
    serve, port, browse, until
):
    async with Emulator(Scenario(speed=0.01)) as emulator:
        proxy = proxy_at(emulator)
        async with serve(proxy, port):
            _, _, body = await browse.ask("POST", f"{QUEUE}/acme/echo", value={})
            job = json.loads(body)["request_id"]
            async with browse.open(f"{QUEUE}/acme/echo/requests/{job}/status/stream") as response:
                assert b"IN_" in await response.content.readany()
                assert proxy.statistics().in_flight == 1
            # Sooner than the next ping of the stream, at which it would show anyway.
            async with asyncio.timeout(8.0):
                await until(lambda: proxy.statistics().in_flight == 0)


@pytest.mark.slow
async def test_a_stream_that_broke_does_not_look_like_one_that_ended(serve, port, browse):
    fault = Fault("cut", "stream", when="after")
    async with (
        Emulator(Scenario(speed=1000.0, faults=[fault])) as emulator,
        serve(proxy_at(emulator), port),
    ):
        with pytest.raises(aiohttp.ClientError):
            await browse.ask("POST", "https://fal.run/acme/echo/stream", value={"n": 1})


@pytest.mark.parametrize("answer", [None, "", True, 7])
async def test_only_a_text_names_a_user(port, browse, answer):
    async with Emulator() as emulator:
        proxy = proxy_at(emulator, authenticate=lambda _: answer)
        async with aiohttp_proxy(proxy, port):
            assert (await browse.ask("POST", f"{QUEUE}/acme/echo", value={}))[0] == 401


def test_a_proxy_without_authentication_is_not_made():
    with pytest.raises(falq.ConfigError, match="authenticate"):
        FalProxy(falq.Fal(key="a:b"), authenticate=None, endpoints=["acme/echo"])
