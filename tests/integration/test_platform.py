"""The Platform API over real sockets: its address, its key, and where neither goes."""

from __future__ import annotations

import contextlib
import secrets
import traceback
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from falq._core.messages import Call, CallLimits, CallTimeouts, Verb
from falq._transport.aio import AioTransport
from falq.emulator import Emulator, Fault, Scenario
from falq.errors import AuthenticationError, FalqError, UnexpectedRedirectError, UnsupportedError
from falq.gateways import Fal, Gateway
from falq.model import EndpointId
from falq.platform import Price, Tries, find_requests, load_prices

ECHO = EndpointId.parse("acme/echo")
SCHNELL = EndpointId.parse("fal-ai/flux/schnell")
AT_ONCE = Tries(draw=lambda: 0.0)
_MARKER = secrets.token_hex(12)
_KEY = f"keyid-{_MARKER}:{_MARKER}"


@contextlib.asynccontextmanager
async def opened(gateway: Gateway) -> AsyncIterator[AioTransport]:
    transport = AioTransport(gateway, timeouts=CallTimeouts(), limits=CallLimits())
    await transport.open()
    try:
        yield transport
    finally:
        await transport.aclose()


async def read_history(transport):
    now = datetime.now(UTC)
    minute = timedelta(minutes=1)
    found = find_requests(
        transport.send, ECHO, now - minute, now + minute, with_payloads=True, tries=AT_ONCE
    )
    return [item async for item in found]


async def test_the_emulators_gateway_leads_to_its_platform_api():
    scenario = Scenario(speed=float("inf"))
    async with Emulator(scenario) as emulator, opened(emulator.gateway) as transport:
        for number in range(3):
            body = f'{{"n":{number}}}'.encode()
            await transport.send(Call(Verb.SUBMIT, "POST", "/acme/echo", body))
        items = await read_history(transport)
        assert sorted(item.input["n"] for item in items) == [0, 1, 2]
        assert all(item.output == item.input for item in items)
        assert await load_prices(transport.send, [SCHNELL, ECHO]) == {
            "fal-ai/flux/schnell": Price(0.003, "megapixels", "USD")
        }


@pytest.mark.parametrize("kind", ["reset", "fin", "cut", "nginx", "truncated_json"])
async def test_a_fault_of_the_network_is_survived(kind):
    scenario = Scenario(faults=(Fault(kind, "history", times=2),))
    async with Emulator(scenario) as emulator, opened(emulator.gateway) as transport:
        assert await read_history(transport) == []
        assert emulator.stats().faults[kind] == 2


async def test_a_wrong_key_is_told_with_the_apis_own_words():
    async with Emulator() as emulator:
        url = emulator.url
        gateway = Fal(key="no:key", queue_url=url, api_url=f"{url}/_platform")
        async with opened(gateway) as transport:
            with pytest.raises(AuthenticationError, match="No user found") as caught:
                await read_history(transport)
    assert caught.value.error_type == "authorization_error"
    assert caught.value.request_id is not None


async def test_maton_is_refused_before_any_connection_is_made(contacted_hosts):
    async with Emulator() as emulator, opened(emulator.maton) as transport:
        contacted_hosts.clear()
        with pytest.raises(UnsupportedError):
            await read_history(transport)
        with pytest.raises(UnsupportedError):
            await load_prices(transport.send, [ECHO])
        assert contacted_hosts == []
        assert emulator.stats().connections == 0


async def test_a_redirect_is_not_followed(spy):
    fault = Fault("redirect", "any", location=f"{spy.url}/models/pricing")
    async with (
        Emulator(Scenario(faults=(fault,))) as emulator,
        opened(emulator.gateway) as transport,
    ):
        for attempt in (read_history(transport), load_prices(transport.send, [SCHNELL])):
            with pytest.raises(UnexpectedRedirectError):
                await attempt
        assert emulator.stats().calls == {"history": 1, "prices": 1}
    assert spy.connections == []


async def test_the_key_goes_to_the_configured_address_and_is_in_no_error(raw_server, spy):
    async def answer(connection):
        head = await connection.read_request()
        # Some proxies answer with the request's own headers; the cursor and the
        # links name another host.
        connection.answer({"error": {"message": head.decode(), "docs_url": spy.url}}, code=403)

    async def give_pages(connection):
        while await connection.read_request():
            connection.answer(
                {"items": [], "next_cursor": f"{spy.url}/next", "has_more": True, "url": spy.url}
            )

    async with raw_server(answer) as refusing, raw_server(give_pages) as paging:
        for server in (refusing, paging):
            gateway = Fal(key=_KEY, queue_url=spy.url, api_url=f"{server.url}/v1")
            async with opened(gateway) as transport:
                with pytest.raises(FalqError) as caught:
                    await read_history(transport)
            assert _MARKER.encode() in server.heard
            assert b"GET /v1/models/requests/by-endpoint?" in server.heard
            shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
            assert _MARKER not in shown
    assert spy.connections == []
