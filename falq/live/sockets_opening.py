"""Open websockets at a gateway's own address for runs.

Owns the handshake: with a token in the address or the key in a header, and what
becomes of an answer that is no websocket. It never reads or sends a frame:
`sockets` does. `realtime` and `sockets_raw` call it. aiohttp's exceptions carry
the address and the headers, so they are neither raised on nor chained.

Rules:
    1. No redirect is followed, and a handshake is repeated only if no byte of it
       left. One that is refused becomes the error that its status and body mean.
    2. Each socket has connections of its own, which end with it.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

import aiohttp
from attrs import evolve
from multidict import CIMultiDict
from yarl import URL

from falq._core.messages import MIB, Call, Origin, Reply
from falq._core.realtime import TOKEN_PARAMETER, build_socket_path, build_socket_query
from falq._core.refusal import read_error
from falq._core.retry import Failure, RetrySettings, decide_wait_s
from falq._engine.engine import Engine
from falq._transport.base import root_of
from falq._transport.bodies import FAILURES, map_failure, read_body
from falq._version import __version__
from falq.errors import FalqError, SocketClosedError, TransportError, TransportTimeoutError
from falq.gateways import REALTIME, RUN, Gateway, Secret
from falq.live.sockets import Socket
from falq.live.sockets_options import SocketOptions
from falq.live.tokens import TokenKeeper
from falq.model import EndpointId

ATTEMPTS = 3
"""Tries of a handshake of which it is certain that no byte left."""

_CLOSE_S = 1.0


class _RefusedError(Exception):
    """A handshake was answered with something else than a socket."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status_code)
        self.reply = reply


class _BrokenError(Exception):
    """A handshake ended without an answer."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(type(cause).__name__)
        self.cause = cause


async def _refuse_all_but_sockets(
    request: aiohttp.ClientRequest,
    handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
) -> aiohttp.ClientResponse:
    """Stop where a client session would redirect, repeat, or drop a refusal's body."""
    try:
        response = await handler(request)
    except FAILURES as error:
        raise _BrokenError(error) from None
    if response.status == 101:
        return response
    try:
        body, fault = await read_body(
            response.content, status_code=response.status, headers=response.headers, limit=MIB
        )
    finally:
        response.close()
    raise _RefusedError(Reply(response.status, CIMultiDict(response.headers), body, fault))


class SocketOpener:
    """Opens sockets of one endpoint, with a token or with the key.

    Args:
        engine: The session's.
        endpoint: Whose sockets they are.
        options: How they are opened.

    Raises:
        UnsupportedError: The gateway has no sockets.
    """

    def __init__(self, engine: Engine, endpoint: EndpointId, options: SocketOptions) -> None:
        config = engine.config
        self.endpoint = endpoint
        self._engine = engine
        self._gateway: Gateway = config.gateway
        self._gateway.require(REALTIME if options.use_jwt else RUN)
        self._options = options
        self._retry: RetrySettings = config.retry
        self._connect_s = config.call_timeouts.connect_s
        self._proxy = config.proxy
        self._ssl: ssl.SSLContext | bool = (
            True if config.ssl_context is None else config.ssl_context
        )
        self._address = root_of(self._gateway, Origin.RUN) + build_socket_path(
            endpoint, options.path
        )
        self._query = build_socket_query(options.max_buffering)
        self.tokens: TokenKeeper | None = None
        if options.use_jwt:
            self.tokens = TokenKeeper(
                self._ask,
                endpoint,
                life_s=options.token_expiration,
                retry=config.retry,
                clock=asyncio.get_running_loop().time,
            )

    async def _ask(self, call: Call) -> Reply:
        # A repeated call may come after the session's end.
        self._engine.check_use()
        return await self._engine.client.ask(call)

    async def open(self) -> Socket:
        """Get a token if it takes one, and make the handshake.

        Repeated only while it is certain that nothing was sent. A cancelled call
        leaves no connection.

        Raises:
            AuthenticationError: Key or token were refused.
            RateLimitError: Too many sockets at once.
            ApiError: The server says no.
            WireError: It answers something else than a socket.
            TransportError: There was no answer.
            SessionClosedError: The session was closed meanwhile.
        """
        token = None if self.tokens is None else await self.tokens.get()
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._open_once(token)
            except TransportError as error:
                if error.request_sent or attempt >= ATTEMPTS:
                    raise
            wait_s = decide_wait_s(
                self._retry,
                Failure.NOT_SENT,
                attempt=attempt,
                draw=random.random(),  # noqa: S311  spread, not secrecy
            )
            await asyncio.sleep(wait_s or 0.0)

    async def _open_once(self, token: Secret | None) -> Socket:
        client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._ssl),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            middlewares=(_refuse_all_but_sockets,),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_s),
        )
        failure: FalqError
        try:
            async with asyncio.timeout(self._options.open_s):
                frames = await client.ws_connect(
                    self._url(token),
                    **self._way(),
                    headers=self._headers(token),
                    autoping=False,
                    max_msg_size=self._options.max_message_bytes + 1,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_S),
                )
        except _RefusedError as error:
            failure = read_error(
                evolve(error.reply, body=self._without_secrets(error.reply.body, token)),
                endpoint=self.endpoint,
                request_id=None,
                doing="open a socket",
                advise=self._gateway.advise,
            )
        except _BrokenError as error:
            failure = self._map(error.cause)
        except FAILURES as error:
            failure = self._map(error)
        except BaseException:
            await client.close()
            raise
        else:
            return Socket(client, frames, endpoint=self.endpoint, options=self._options)
        await client.close()
        raise failure

    def _without_secrets(self, body: bytes, token: Secret | None) -> bytes:
        # Some proxies answer a fault with the request itself, address and headers.
        key = self._gateway.auth_headers().get("Authorization", "").rpartition(" ")[2]
        for secret in (key, "" if token is None else token.reveal()):
            body = body.replace(secret.encode(), b"<secret>") if secret else body
        return body

    def _map(self, error: BaseException) -> FalqError:
        if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientError):
            return TransportTimeoutError(
                f"no socket within {self._options.open_s:g} s; the app may be starting, try again",
                endpoint=str(self.endpoint),
            )
        if isinstance(error, aiohttp.WSServerHandshakeError):
            return SocketClosedError(
                "the answer to the handshake is no websocket's; check the gateway's address",
                endpoint=str(self.endpoint),
            )
        return map_failure(error, was_sent=True)

    def _url(self, token: Secret | None) -> URL:
        query = dict(self._query)
        if token is not None:
            query[TOKEN_PARAMETER] = token.reveal()
        address = f"{self._address}?{urlencode(query)}" if query else self._address
        return URL(address, encoded=True)

    def _way(self) -> dict[str, Any]:
        return {} if self._proxy is None else self._proxy.arguments_for(self._address)

    def _headers(self, token: Secret | None) -> dict[str, str]:
        headers = {"User-Agent": f"falq/{__version__}"}
        return headers if token is not None else headers | self._gateway.auth_headers()
