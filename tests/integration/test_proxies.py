"""Going out through a company's proxy: every kind of connection, and none past it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
from attrs import evolve, frozen

import falq
from falq.batch import Batch
from falq.emulator import Emulator, Scenario
from falq.media import download_media
from tests.support.connect_proxy import ConnectProxy, a_world

pytestmark = pytest.mark.slow

NAMES = ["queue.fal.test", "fal.test", "rest.fal.test", "cdn.fal.test", "api.fal.test"]
LOGIN = "me:s3cret-of-the-proxy"
WAYS = ("run_url", "rest_url", "cdn_url", "api_url")


@frozen
class Company:
    """A network that only its proxy leaves."""

    emulator: Emulator
    proxy: ConnectProxy
    settings: dict[str, object]

    def session(self, **more: object) -> falq.Session:
        return falq.Session(self.gateway, **{**self.settings, **more})

    @property
    def gateway(self) -> falq.Fal:
        own = self.emulator.gateway
        hosts = {"run_url": "fal", "rest_url": "rest.fal", "cdn_url": "cdn.fal"}
        elsewhere = {
            way: getattr(own, way).replace(
                self.emulator.url, f"https://{hosts.get(way, 'api.fal')}.test"
            )
            for way in WAYS
        }
        return evolve(own, queue_url="https://queue.fal.test", **elsewhere)

    def way(self, **more: object) -> falq.Proxy:
        return evolve(falq.Proxy.parse(self.proxy.url), **more)


@contextlib.asynccontextmanager
async def a_company(proxy: ConnectProxy | None = None) -> AsyncIterator[Company]:
    proxy = proxy or ConnectProxy()
    async with Emulator(Scenario(speed=1000)) as emulator:
        port = int(emulator.url.rpartition(":")[2])
        async with a_world(NAMES, port, proxy) as trusted:
            yield Company(emulator, proxy, {"proxy": proxy.url, "ssl_context": trusted})


async def test_jobs_go_through_the_proxy_and_nothing_goes_past_it(contacted_hosts):
    async with a_company() as company, company.session() as session:
        contacted_hosts.clear()
        assert await session.subscribe("acme/echo", {"say": "hello"}) == {"say": "hello"}
    assert set(company.proxy.asked) == {"queue.fal.test:443"}
    # Not even a name is looked up.
    assert set(contacted_hosts) == {"127.0.0.1"}
    assert b"hello" not in company.proxy.passed
    assert company.emulator.key.encode() not in company.proxy.passed + b"".join(company.proxy.heads)


async def test_runs_streams_and_listings_go_through_it():
    async with a_company() as company, company.session() as session:
        assert await session.run("acme/echo", {"n": 1}) == {"n": 1}
        assert [part async for part in session.stream("acme/echo", {"n": 2})][-1] == {"n": 2}
        assert (await session.models.get("fal-ai/flux/schnell")).endpoint
    assert set(company.proxy.asked) == {"fal.test:443", "api.fal.test:443"}


async def test_sockets_go_through_it():
    async with (
        a_company() as company,
        company.session() as session,
        session.realtime("acme/echo/fast") as live,
    ):
        await live.send({"n": 1})
        assert (await live.recv())["n"] == 1
    assert "fal.test:443" in company.proxy.asked


async def test_a_proxy_that_asks_for_a_password_gets_it_and_nobody_else_does(caplog):
    caplog.set_level("DEBUG")
    proxy = ConnectProxy(login=LOGIN)
    async with a_company(proxy) as company:
        way = company.way(login=LOGIN)
        async with company.session(proxy=way) as session:
            assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
        refused = company.session(retry=falq.RetrySettings(submit_attempts=1))
        async with refused as session:
            with pytest.raises(falq.ConnectError, match="password") as caught:
                await session.submit("acme/echo", {})
    assert not caught.value.possibly_billed
    assert company.emulator.stats().submits == 1
    shown = f"{way!r} {session!r} {caught.value!r} {vars(caught.value)} {caplog.text}"
    assert "s3cret" not in shown
    assert b"Proxy-Authorization" not in proxy.passed


@pytest.mark.parametrize("status", [403, 502, 503])
async def test_a_tunnel_that_is_refused_sent_nothing_and_is_tried_again(status):
    proxy = ConnectProxy(refuses_with=status)
    async with a_company(proxy) as company:
        retry = falq.RetrySettings(base_s=0.001)
        async with company.session(retry=retry) as session:
            with pytest.raises(falq.ConnectError, match=str(status)) as caught:
                await session.submit("acme/echo", {})
    assert not caught.value.request_sent
    assert len(proxy.asked) == 3
    assert company.emulator.stats().submits == 0


async def test_a_proxy_that_says_nothing_is_given_up_before_anything_was_sent():
    proxy = ConnectProxy(is_silent=True)
    async with a_company(proxy) as company:
        settings = {
            "call_timeouts": falq.CallTimeouts(connect_s=0.1),
            "retry": falq.RetrySettings(submit_attempts=1),
        }
        async with company.session(**settings) as session:
            with pytest.raises(falq.TransportTimeoutError) as caught:
                await session.submit("acme/echo", {})
    assert not caught.value.request_sent


async def test_a_proxy_that_is_not_there_is_named():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{holder.getsockname()[1]}"
        async with a_company() as company:
            retry = falq.RetrySettings(submit_attempts=1)
            async with company.session(proxy=gone, retry=retry) as session:
                with pytest.raises(falq.ConnectError, match="to the proxy"):
                    await session.submit("acme/echo", {})


async def test_hosts_that_go_past_it_are_not_asked_for():
    async with a_company() as company:
        way = company.way(bypass=("fal.test",))
        settings = {"proxy": way, "retry": falq.RetrySettings(submit_attempts=1)}
        async with company.session(**settings) as session:
            # A name that nobody has: it was looked up here.
            with pytest.raises(falq.ConnectError, match=r"queue\.fal\.test"):
                await session.submit("acme/echo", {})
    assert company.proxy.asked == []


async def test_this_machine_is_never_asked_for_through_it():
    proxy = ConnectProxy(refuses_with=403)
    async with (
        a_company(proxy) as company,
        falq.Session(company.emulator.gateway, proxy=proxy.url) as session,
    ):
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
    assert proxy.asked == []


async def test_media_go_through_a_filtering_proxy_only(tmp_path):
    async with a_company() as company:
        url = "https://cdn.fal.test/files/a.png"
        with pytest.raises(falq.ConfigError, match="is_filtering"):
            await download_media({"url": url}, tmp_path / "one", proxy=company.way())
        assert company.proxy.asked == []
        # It trusts the system's authorities alone, and comes no further than that.
        with pytest.raises(falq.TransportError, match="certificate"):
            await download_media(
                {"url": url}, tmp_path / "two", proxy=company.way(is_filtering=True)
            )
        assert set(company.proxy.asked) == {"cdn.fal.test:443"}


@pytest.mark.parametrize("is_filtering", [True, False])
async def test_uploads_go_through_it_to_the_gateway_s_own_hosts(is_filtering):
    async with a_company() as company:
        way = company.way(is_filtering=is_filtering)
        async with company.session(proxy=way) as session:
            url = await session.upload(b"some bytes", "text/plain", "a.txt")
    assert url
    assert "rest.fal.test:443" in company.proxy.asked


async def test_a_batch_asks_for_its_prices_through_it():
    async with a_company() as company:
        batch = Batch(
            [{"prompt": "a tiny cute cat"}],
            gateway=company.gateway,
            endpoint="fal-ai/flux/schnell",
            budget_usd=5.0,
            **company.settings,
        )
        async with batch:
            assert [outcome.error async for outcome in batch] == [None]
            assert (await batch.summary()).spent_usd > 0
    assert set(company.proxy.asked) == {"api.fal.test:443", "queue.fal.test:443"}


async def test_many_jobs_at_once_go_through_it():
    async with a_company() as company, company.session() as session:
        work = (session.subscribe("acme/echo", {"n": n}) for n in range(50))
        assert len(await asyncio.gather(*work)) == 50
    assert company.emulator.stats().duplicates == 0
