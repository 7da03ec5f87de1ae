"""How aiohttp's errors are told, and what the transport refuses; sockets are in `integration`."""

from __future__ import annotations

import pickle
import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

import falq
from falq._core.messages import Call, CallLimits, CallTimeouts, Verb
from falq._transport.aio import AioTransport
from falq._transport.bodies import map_failure

KEY = ConnectionKey(
    host="queue.example",
    port=443,
    is_ssl=True,
    ssl=True,
    proxy=None,
    proxy_auth=None,
    proxy_headers_hash=None,
)
REFUSED = OSError(111, "Connection refused")


@pytest.fixture
def anyio_backend():
    """A connector looks at its loop's clock: an ordinary one."""
    return "asyncio"


def a_transport(gateway=None):
    return AioTransport(
        gateway or falq.Fal(key="id:secret", queue_url="http://127.0.0.1:1"),
        timeouts=CallTimeouts(),
        limits=CallLimits(),
    )


NEVER_SENT = [
    aiohttp.ClientConnectorError(KEY, REFUSED),
    aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "Name or service not known")),
    aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "wrong version number")),
    aiohttp.ClientConnectorCertificateError(KEY, ssl.CertificateError("not trusted")),
    aiohttp.ConnectionTimeoutError("Connection timeout to host https://queue.example"),
]
MAYBE_SENT = [
    aiohttp.ServerDisconnectedError(),
    aiohttp.ClientOSError(104, "Connection reset by peer"),
    aiohttp.ClientPayloadError("Response payload is not completed"),
    aiohttp.SocketTimeoutError("Timeout on reading data from socket"),
    aiohttp.ServerTimeoutError(),
    ConnectionResetError(104, "Connection reset by peer"),
    TimeoutError(),
]


def name_of(value):
    return type(value).__name__


@pytest.mark.parametrize("was_sent", [True, False])
@pytest.mark.parametrize("error", NEVER_SENT, ids=name_of)
def test_an_error_of_the_connection_was_never_sent(error, was_sent):
    assert not map_failure(error, was_sent=was_sent).request_sent


@pytest.mark.parametrize("was_sent", [True, False])
@pytest.mark.parametrize("error", MAYBE_SENT, ids=name_of)
def test_any_other_error_was_sent_if_the_trace_says_so(error, was_sent):
    assert map_failure(error, was_sent=was_sent).request_sent is was_sent


@pytest.mark.parametrize("error", [*NEVER_SENT, *MAYBE_SENT], ids=name_of)
def test_no_mapped_error_refers_to_aiohttps(error):
    mapped = map_failure(error, was_sent=True)
    assert mapped.__cause__ is None
    assert mapped.__context__ is None
    assert all(not isinstance(value, BaseException) for value in vars(mapped).values())
    assert b"aiohttp" not in pickle.dumps(mapped)
    assert mapped.retryable


@pytest.mark.parametrize(
    "error",
    [error for error in [*NEVER_SENT, *MAYBE_SENT] if isinstance(error, TimeoutError)],
    ids=name_of,
)
def test_every_time_out_is_a_builtin_time_out_as_well(error):
    mapped = map_failure(error, was_sent=True)
    assert isinstance(mapped, falq.TransportTimeoutError)
    assert isinstance(mapped, TimeoutError)


async def test_a_transport_that_was_not_opened_sends_nothing():
    with pytest.raises(falq.ConnectError) as caught:
        await a_transport().send(Call(Verb.STATUS, "GET", "/a/b/requests/r/status"))
    assert not caught.value.request_sent


async def test_closing_is_harmless_before_opening_and_twice():
    carrier = a_transport()
    await carrier.aclose()
    await carrier.open()
    await carrier.aclose()
    await carrier.aclose()


async def test_a_gateway_without_a_key_is_refused_when_it_is_opened():
    with pytest.raises(falq.ConfigError):
        await a_transport(falq.Fal(key=None)).open()


async def test_the_pools_keep_no_cookies_trust_no_environment_and_know_no_limit():
    carrier = a_transport()
    await carrier.open()
    for pool in carrier._pools.values():
        assert isinstance(pool.cookie_jar, aiohttp.DummyCookieJar)
        assert not pool.trust_env
        assert pool.connector.limit == 0
        assert pool.auth is None
        assert "Authorization" not in pool.headers
    assert [pool._connector.limit for pool in carrier._exchanges.values()] == [0, 0]
    await carrier.aclose()


async def test_the_key_is_in_no_repr_of_an_open_transport():
    carrier = a_transport(falq.Fal(key="id:top-secret"))
    await carrier.open()
    assert carrier._headers["Authorization"].encode() == b"Key id:top-secret"
    pools = [vars(pool) for pool in carrier._exchanges.values()]
    assert "top-secret" not in f"{vars(carrier)!r} {carrier!r} {pools!r}"
    await carrier.aclose()


async def test_an_error_page_that_repeats_the_key_is_masked():
    carrier = a_transport(falq.Fal(key="id:top-secret"))
    assert carrier._without_key(b"before opening there is no key") != b""
    await carrier.open()
    page = b"<p>Authorization: Key id:top-secret</p>"
    assert carrier._without_key(page) == b"<p>Authorization: Key <secret></p>"
    await carrier.aclose()
