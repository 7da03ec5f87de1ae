"""Carry calls with aiohttp.

Owns the connections and the key's way onto the wire. The only module of the
client that imports aiohttp, whose exceptions end here: their repr carries the
Authorization header, so they are neither raised on nor chained.

Rules:
    1. No redirect is followed, no cookie kept, no netrc or proxy setting of the
       environment read.
    2. A submit travels on a fresh connection or one that idled for less than
       two seconds: a server that closes an idle connection at that moment would
       otherwise turn a job that was never made into an unknown one.
    3. "Not sent" is what aiohttp's tracing proves: the signal for sent headers
       did not fire.
    4. A body is read up to its limit, after unpacking.
"""

from __future__ import annotations

import asyncio
import ssl
from types import SimpleNamespace
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from falq._core.messages import Call, CallLimits, CallTimeouts, Reply, Verb
from falq._version import __version__
from falq.errors import (
    ConnectError,
    FalqError,
    ResponseTooLargeError,
    TransportError,
    TransportTimeoutError,
)
from falq.gateways import Gateway

SUBMIT_KEEPALIVE_S = 2.0
READ_KEEPALIVE_S = 30.0
_CHUNK_BYTES = 64 * 1024


class AioTransport:
    """The transport of every session that a user opens.

    Args:
        gateway: Where calls go and with which key.
        timeouts: How long a call may take.
        limits: How large a body may be.
        ssl_context: Whom to trust, instead of the system's authorities.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        timeouts: CallTimeouts,
        limits: CallLimits,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._gateway = gateway
        self._root = gateway.queue_root
        self._timeouts = timeouts
        self._limits = limits
        self._ssl: ssl.SSLContext | bool = True if ssl_context is None else ssl_context
        self._submits: aiohttp.ClientSession | None = None
        self._reads: aiohttp.ClientSession | None = None
        self._headers: CIMultiDict[str] = CIMultiDict()
        self._limits_of: dict[Verb, aiohttp.ClientTimeout] = {}

    async def open(self) -> None:
        """Make the two connection pools; nothing is sent yet."""
        self._headers = CIMultiDict(
            {"Accept": "application/json", "User-Agent": f"falq/{__version__}"}
        )
        # Last, so that nothing before it can put it elsewhere.
        self._headers.update(self._gateway.auth_headers())
        self._limits_of = {
            verb: aiohttp.ClientTimeout(
                total=self._timeouts.for_verb(verb),
                sock_connect=self._timeouts.connect_s,
                sock_read=self._timeouts.submit_s if verb is Verb.SUBMIT else self._timeouts.read_s,
            )
            for verb in Verb
        }
        tracing = aiohttp.TraceConfig()
        tracing.on_request_headers_sent.append(_record_sent)
        self._submits = self._pool(SUBMIT_KEEPALIVE_S, [tracing])
        self._reads = self._pool(READ_KEEPALIVE_S, [])

    def _pool(
        self, keepalive_s: float, tracing: list[aiohttp.TraceConfig]
    ) -> aiohttp.ClientSession:
        # No limit here: the engine's lanes are the limit, and a second line
        # behind them would hold up cancels.
        connector = aiohttp.TCPConnector(
            limit=0, ssl=self._ssl, keepalive_timeout=keepalive_s, ttl_dns_cache=60
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            trace_configs=tracing,
        )

    async def send(self, call: Call) -> Reply:
        """Carry one call; see `Transport.send`."""
        is_submit = call.verb is Verb.SUBMIT
        pool = self._submits if is_submit else self._reads
        if pool is None:
            raise ConnectError("the transport is not open; open the session first")
        headers = self._headers
        if call.headers:
            headers = CIMultiDict(call.headers)
            headers.extend(self._headers)
        was_sent = SimpleNamespace(yes=not is_submit)
        failure: FalqError
        try:
            response = await pool.request(
                call.method,
                URL(self._root + call.target, encoded=True),
                data=call.body,
                headers=headers,
                allow_redirects=False,
                timeout=self._limits_of[call.verb],
                trace_request_ctx=was_sent,
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            failure = _map_failure(error, was_sent=was_sent.yes)
        else:
            return await self._read(call.verb, response)
        raise failure

    async def _read(self, verb: Verb, response: aiohttp.ClientResponse) -> Reply:
        limit = self._limits.for_reply(verb, response.status)
        body = b""
        fault: FalqError | None = None
        try:
            length = response.content_length
            if (
                length is not None
                and length <= limit
                and not response.headers.get("Content-Encoding")
            ):
                body = await response.read()
            else:
                body, fault = await _read_bounded(response, limit)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            fault = _map_failure(error, was_sent=True)
        finally:
            # Returns the connection if the body was read to its end, else drops it.
            if fault is not None or not response.closed:
                response.close()
        return Reply(response.status, response.headers, body, fault)

    async def aclose(self) -> None:
        """Close both pools; safe to call twice."""
        for pool in (self._submits, self._reads):
            if pool is not None:
                await pool.close()


async def _record_sent(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _params: Any
) -> None:
    context.trace_request_ctx.yes = True


async def _read_bounded(
    response: aiohttp.ClientResponse, limit: int
) -> tuple[bytes, FalqError | None]:
    pieces = bytearray()
    async for piece in response.content.iter_chunked(_CHUNK_BYTES):
        pieces += piece
        if len(pieces) > limit:
            return b"", ResponseTooLargeError(
                f"the answer is larger than {limit} bytes; raise the limit in CallLimits "
                "if that is right",
                status_code=response.status,
            )
    return bytes(pieces), None


def _map_failure(error: BaseException, *, was_sent: bool) -> TransportError:
    """Return falq's error for one of aiohttp's, without a reference to it."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return TransportTimeoutError(
            "no connection within the time-out; check the network", request_sent=False
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        # Its text has host, port and the system's reason, no header.
        return ConnectError(f"{error}; check the network and the gateway's address")
    if isinstance(error, asyncio.TimeoutError):
        return TransportTimeoutError(
            "no complete answer within the time-out", request_sent=was_sent
        )
    return TransportError(f"the connection broke ({type(error).__name__})", request_sent=was_sent)
