"""Carry calls with aiohttp.

Owns the choice of connections and the key's way onto the wire; `exchange`, `bodies`
and `streaming` are its hands. aiohttp's exceptions end in this room: their repr carries
the Authorization header, so they are neither raised on nor chained.

Rules:
    1. No redirect is followed, no cookie kept, no netrc or proxy setting of the
       environment read: a proxy is given, and `config` alone knows from where.
    2. A submit, or a direct run, travels on a fresh connection or one that idled for less than
       two seconds: a server that closes an idle connection at that moment would
       otherwise turn a job that was never made into an unknown one.
    3. A submit, or a direct run of whatever method, is sent once.
    4. "Not sent" is what is certain: nothing was handed to a connection, or, in
       a client session, aiohttp's tracing did not tell of sent headers.
    5. A body is read up to its limit, after unpacking.
    6. Calls of the queue take the short way of `exchange` where aiohttp allows
       it and no proxy stands between, all others that of a client session.
"""

from __future__ import annotations

import io
import ssl
from types import SimpleNamespace
from typing import Any

import aiohttp
from attrs import evolve
from multidict import CIMultiDict
from yarl import URL

from falq._core.messages import Call, CallLimits, CallTimeouts, Origin, Reply, Verb
from falq._transport.base import root_of
from falq._transport.bodies import FAILURES, LONGEST_HEADER_BYTES, map_failure, read_body
from falq._transport.connector import Connector
from falq._transport.exchange import ExchangePool, is_supported
from falq._transport.streaming import AioReplyStream
from falq._version import __version__
from falq.errors import ConnectError
from falq.gateways import Gateway
from falq.proxies import Proxy

SUBMIT_KEEPALIVE_S = 2.0
READ_KEEPALIVE_S = 30.0

_LARGE_BODY_BYTES = 1024 * 1024

_COSTLY = frozenset({Verb.SUBMIT, Verb.RUN})
"""Calls that make a bill: whether they were sent must be certain."""


class AioTransport:
    """The transport of every session that a user opens.

    Args:
        gateway: Where calls go and with which key.
        timeouts: How long a call may take.
        limits: How large a body may be.
        ssl_context: Whom to trust, instead of the system's authorities.
        proxy: Through whom to go.
        is_lean: Whether calls of the queue use `exchange`; None if the installed
            aiohttp supports it.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        timeouts: CallTimeouts,
        limits: CallLimits,
        ssl_context: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        is_lean: bool | None = None,
    ) -> None:
        self._gateway = gateway
        self._timeouts = timeouts
        self._limits = limits
        self._ssl: ssl.SSLContext | bool = True if ssl_context is None else ssl_context
        self._proxy = proxy
        is_direct = proxy is None or not proxy.serves(gateway.queue_root)
        self._is_lean = is_direct and (is_supported() if is_lean is None else is_lean)
        self._headers: CIMultiDict[str] = CIMultiDict()
        self._limits_of: dict[Verb, aiohttp.ClientTimeout] = {}
        self._pools: dict[bool, aiohttp.ClientSession] = {}
        self._exchanges: dict[bool, ExchangePool] = {}

    async def open(self) -> None:
        """Make the connection pools; nothing is sent yet."""
        self._headers = CIMultiDict(
            {"Accept": "application/json", "User-Agent": f"falq/{__version__}"}
        )
        # Last, so that nothing before it can put it elsewhere.
        self._headers.update(self._gateway.auth_headers())
        self._limits_of = {verb: self._limit_of(verb) for verb in Verb}
        tracing = aiohttp.TraceConfig()
        tracing.on_request_headers_sent.append(_record_sent)
        self._pools = {
            True: self._pool(SUBMIT_KEEPALIVE_S, [tracing], [_send_once]),
            False: self._pool(READ_KEEPALIVE_S, [], []),
        }
        if self._is_lean:
            self._exchanges = {
                True: self._exchange(SUBMIT_KEEPALIVE_S, read_s=None, may_repeat=False),
                False: self._exchange(
                    READ_KEEPALIVE_S, read_s=self._timeouts.read_s, may_repeat=True
                ),
            }

    @property
    def _connect_s(self) -> float | None:
        # A proxy that accepts a connection may be slow to say whether it made the other.
        return None if self._proxy is None else self._timeouts.connect_s

    def _limit_of(self, verb: Verb) -> aiohttp.ClientTimeout:
        # A submit's answer may take all of its time: giving up on one early would
        # make an unknown job of it.
        read_s = None if verb in _COSTLY else self._timeouts.read_s
        return aiohttp.ClientTimeout(
            total=self._timeouts.for_verb(verb),
            connect=self._connect_s,
            sock_connect=self._timeouts.connect_s,
            sock_read=read_s,
        )

    def _exchange(
        self, keepalive_s: float, *, read_s: float | None, may_repeat: bool
    ) -> ExchangePool:
        return ExchangePool(
            self._gateway.queue_root,
            self._headers,
            ssl_context=self._ssl,
            connect_s=self._timeouts.connect_s,
            read_s=read_s,
            keepalive_s=keepalive_s,
            limits=self._limits,
            may_repeat=may_repeat,
        )

    def _pool(
        self,
        keepalive_s: float,
        tracing: list[aiohttp.TraceConfig],
        middlewares: list[aiohttp.ClientMiddlewareType],
    ) -> aiohttp.ClientSession:
        # No limit here: the engine's lanes are the limit, and a second line
        # behind them would hold up cancels.
        connector = Connector(
            limit=0, ssl=self._ssl, keepalive_timeout=keepalive_s, ttl_dns_cache=60
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            trace_configs=tracing,
            middlewares=middlewares,
            max_field_size=LONGEST_HEADER_BYTES,
        )

    async def send(self, call: Call) -> Reply:
        """Carry one call; see `Transport.send`."""
        if not self._pools:
            raise ConnectError("the transport is not open; open the session first")
        is_costly = call.verb in _COSTLY
        if self._exchanges and call.origin is Origin.QUEUE:
            exchange = self._exchanges[is_costly]
            reply = await exchange.send(call, total_s=self._timeouts.for_verb(call.verb))
        else:
            limit = self._limits_of[call.verb]
            if call.timeout_s is not None:
                limit = aiohttp.ClientTimeout(
                    total=call.timeout_s,
                    connect=self._connect_s,
                    sock_connect=self._timeouts.connect_s,
                )
            response = await self._request(call, limit)
            reply = await self._finish(call.verb, response)
        return self._masked(reply)

    def _masked(self, reply: Reply) -> Reply:
        if reply.status_code < 400:
            return reply
        return evolve(reply, body=self._without_key(reply.body))

    async def listen(self, call: Call, *, idle_s: float) -> AioReplyStream:
        """Carry one call whose reply is read as it comes; see `Transport.listen`."""
        if not self._pools:
            raise ConnectError("the transport is not open; open the session first")
        limit = aiohttp.ClientTimeout(
            total=None,
            connect=self._connect_s,
            sock_connect=self._timeouts.connect_s,
            sock_read=idle_s,
        )
        response = await self._request(call, limit)

        async def finish() -> Reply:
            return self._masked(await self._finish(call.verb, response))

        return AioReplyStream(response, finish)

    async def _request(self, call: Call, limit: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        is_costly = call.verb in _COSTLY
        headers = CIMultiDict(self._headers)
        headers.update(call.headers)
        # Last, so that nothing before it can put it elsewhere.
        headers.update(self._gateway.auth_headers())
        address = root_of(self._gateway, call.origin) + call.target
        was_sent = SimpleNamespace(yes=not is_costly)
        failure: BaseException
        try:
            response = await self._pools[is_costly].request(
                call.method,
                URL(address, encoded=True),
                data=_payload_of(call),
                headers=headers,
                allow_redirects=False,
                timeout=limit,
                trace_request_ctx=was_sent,
                **({} if self._proxy is None else self._proxy.arguments_for(address)),
            )
        except FAILURES as error:
            failure = error
        else:
            return response
        raise map_failure(failure, was_sent=was_sent.yes)

    async def _finish(self, verb: Verb, response: aiohttp.ClientResponse) -> Reply:
        try:
            body, fault = await read_body(
                response.content,
                status_code=response.status,
                headers=response.headers,
                limit=self._limits.for_reply(verb, response.status),
            )
        except BaseException:
            response.close()
            raise
        # Returns the connection if the body was read to its end, else drops it.
        if fault is None:
            response.release()
        else:
            response.close()
        return Reply(response.status, response.headers, body, fault)

    def _without_key(self, body: bytes) -> bytes:
        # Some proxies answer a fault with the request's own headers: their page
        # becomes an error's detail, and would carry the key into logs.
        key = self._headers.get("Authorization", "").rpartition(" ")[2]
        return body.replace(key.encode(), b"<secret>") if key else body

    async def aclose(self) -> None:
        """Close all pools; safe to call twice."""
        for pool in self._pools.values():
            await pool.close()
        for exchange in self._exchanges.values():
            await exchange.aclose()


def _payload_of(call: Call) -> bytes | io.BytesIO | None:
    # Above this aiohttp warns of bytes, and a program may have made warnings errors. What
    # may be sent twice stays bytes: the stream would be at its end.
    if call.body is None or len(call.body) <= _LARGE_BODY_BYTES or call.method != "POST":
        return call.body
    return io.BytesIO(call.body)


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending again what makes a bill, as it does GET, PUT and DELETE."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        # Never sent, and never repeated.
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        failure = type(error).__name__
    # What is neither of them is not repeated.
    raise aiohttp.ClientConnectionError(failure)


async def _record_sent(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _params: Any
) -> None:
    context.trace_request_ctx.yes = True
