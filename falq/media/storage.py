"""Connections to storage hosts for uploads, which never carry the key.

Owns where a file's bytes may be sent and the sockets that they leave by. It never
has the key: what travels is a token of the CDN, for the CDN alone, or nothing but
a signature in the address. `upload` and `multipart` say what to send.

Rules:
    1. Addresses are the gateway's own CDN, or https of a public host that fal's API
       named. What the gateway has on this machine, an emulator, may name this machine.
    2. No redirect is followed, no cookie kept, no proxy setting read.
    3. A call ends when nothing moves for `stall_s`, however long the file is.
    4. aiohttp's errors end here: they carry addresses whole, with their signatures.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp
from attrs import field, frozen
from yarl import URL

from falq._core.messages import Reply
from falq._transport.connector import Connector
from falq._version import __version__
from falq.errors import (
    ArgumentError,
    ConnectError,
    FalqError,
    ResponseTooLargeError,
    TransportError,
    TransportTimeoutError,
    WireError,
)
from falq.gateways import Fal, is_loopback
from falq.media.addresses import AddressRule, check_media_url, is_loopback_address
from falq.media.download import make_checked_socket, shown_url
from falq.proxies import Proxy

MOST_CALLS = 16
"""Calls to storage hosts at once, of all uploads of a session together."""

_STALL_S = 60.0
_CONNECT_S = 10.0
_ANSWER_BYTES = 1024 * 1024
_MEDIA_DOMAIN = "fal.media"
# ValueError is an address that cannot be read, RuntimeError what aiohttp raises when
# its session was closed meanwhile.
_FAILURES = (aiohttp.ClientError, TimeoutError, OSError, ValueError, FalqError, RuntimeError)


@frozen(kw_only=True)
class StorageCall:
    """One request to a storage host.

    Attributes:
        method: HTTP method.
        url: Where to; its query may be a signature.
        headers: All of them but those of the connection.
        size_bytes: Size of the body.
        pieces: Gives the body anew each time it is called; None without one.
    """

    method: str
    url: str = field(repr=lambda url: shown_url(url))
    headers: Mapping[str, str]
    size_bytes: int = 0
    pieces: Callable[[], AsyncIterator[bytes]] | None = field(default=None, repr=False)


class StorageHosts(Protocol):
    """What carries calls to storage hosts."""

    async def send(self, call: StorageCall) -> Reply:
        """Carry one call.

        Raises:
            WireError: The address is none that bytes may be sent to; nothing was.
            TransportError: There is no whole answer.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection; safe to call twice."""
        ...


class HttpStorageHosts:
    """The storage hosts of every session that a user opens.

    Args:
        gateway: Whose CDN is trusted with tokens.
        ssl_context: Whom to trust, instead of the system's authorities.
        proxy: Through whom to go; places that a server names, only if it is filtering.
        stall_s: Seconds without a byte in either direction after which a call ends.
    """

    def __init__(
        self,
        gateway: Fal,
        *,
        ssl_context: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        stall_s: float = _STALL_S,
    ) -> None:
        self._cdn = origin_of(gateway.cdn_url)
        self._allow_loopback = is_loopback(urlsplit(gateway.rest_url).hostname or "")
        self._ssl: ssl.SSLContext | bool = True if ssl_context is None else ssl_context
        self._proxy = proxy
        self._stall_s = stall_s
        self._turns = asyncio.Semaphore(MOST_CALLS)
        self._pools: dict[str, aiohttp.ClientSession] = {}
        self._is_closed = False

    async def send(self, call: StorageCall) -> Reply:
        """Carry one call; see `StorageHosts`."""
        # Its own line, not aiohttp's: waiting in it must not count as a stall.
        async with self._turns:
            pool = self._pool_for(call)
            body = _Body(call, self._stall_s)
            failure: FalqError
            try:
                return await self._exchange(pool, call, body)
            except _FAILURES as error:
                # aiohttp puts its own error in place of what the source raised.
                failure = body.refusal or _as_own(error, call.url)
            raise failure

    async def aclose(self) -> None:
        """Close every connection; a call that is on its way breaks."""
        self._is_closed = True
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            await pool.close()

    async def _exchange(self, pool: aiohttp.ClientSession, call: StorageCall, body: _Body) -> Reply:
        async with asyncio.timeout(self._stall_s + _CONNECT_S) as body.limit:
            response = await pool.request(
                call.method,
                _as_url(call.url),
                # Announced, so that the body is not sent in chunks, which storage refuses.
                headers={**call.headers, "Content-Length": str(call.size_bytes)},
                data=body.pieces() if call.size_bytes else None,
                allow_redirects=False,
                **({} if self._proxy is None else self._proxy.arguments_for(call.url)),
            )
            async with response:
                answer = b""
                async for piece in response.content.iter_any():
                    answer += piece
                    if len(answer) > _ANSWER_BYTES:
                        raise ResponseTooLargeError(
                            f"{shown_url(call.url)} answers with more than any storage should",
                            status_code=response.status,
                        )
                return Reply(response.status, response.headers, answer)

    def _pool_for(self, call: StorageCall) -> aiohttp.ClientSession:
        if self._is_closed:
            raise TransportError("the session was closed during an upload", request_sent=False)
        pool = self._allowed_pool(call.url)
        if pool is None:
            raise WireError(
                f"the server named {shown_url(call.url)} as a place to upload to, which is no "
                "https:// address of a public host; nothing was sent there"
            )
        return pool

    def _allowed_pool(self, url: str) -> aiohttp.ClientSession | None:
        if origin_of(url) == self._cdn:
            return self._pool("own", None)
        try:
            names_loopback = check_media_url(url, allow_loopback=self._allow_loopback)
        except ArgumentError:
            return None
        if names_loopback:
            return self._pool("loopback", is_loopback_address)
        if self._proxy is not None and self._proxy.serves(url):
            self._proxy.check_filtering(url)
            return self._pool("proxy", None)
        return self._pool("public", AddressRule().allows)

    def _pool(self, kind: str, is_allowed: Callable[[str], bool] | None) -> aiohttp.ClientSession:
        pool = self._pools.get(kind)
        if pool is None:
            factory = None
            if is_allowed is not None:
                factory = functools.partial(make_checked_socket, is_allowed=is_allowed)
            pool = self._pools[kind] = aiohttp.ClientSession(
                connector=Connector(limit=0, ssl=self._ssl, socket_factory=factory),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                headers={"User-Agent": f"falq/{__version__}", "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
            )
        return pool


class _Body:
    """The body of one call on its way: it puts off the call's end while it moves."""

    def __init__(self, call: StorageCall, stall_s: float) -> None:
        self._call = call
        self._stall_s = stall_s
        self.limit: asyncio.Timeout | None = None
        self.refusal: FalqError | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        if self._call.pieces is None:
            return
        try:
            async for piece in self._call.pieces():
                if self.limit is not None:
                    self.limit.reschedule(loop.time() + self._stall_s)
                yield piece
        except FalqError as error:
            self.refusal = error
            raise


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of a URL; empty texts if it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "", "", None
    if "@" in parts.netloc:
        return "", "", None
    usual = {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", usual if port is None else port


def may_have_token(url: str, cdn_url: str) -> bool:
    """Return whether a token of the CDN may be sent to a URL that a server named.

    Args:
        url: The URL.
        cdn_url: The gateway's own address of the CDN.

    Its own origin may; beside fal's own CDN every host of fal's media domain,
    compared by whole labels, over https.
    """
    origin = origin_of(url)
    own = origin_of(cdn_url)
    if origin == own and origin[1]:
        return True
    is_of_fal = all(one[0] == "https" and _is_media_host(one[1]) for one in (origin, own))
    return is_of_fal and origin[2] == 443


def _is_media_host(host: str) -> bool:
    return host == _MEDIA_DOMAIN or host.endswith(f".{_MEDIA_DOMAIN}")


def _as_url(url: str) -> URL:
    # Taken as it is: requoting would break what was signed.
    return URL(url, encoded=url.isascii() and url.isprintable() and " " not in url)


def _as_own(error: Exception, url: str) -> FalqError:
    shown = shown_url(url)
    if isinstance(error, FalqError):
        return error
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return TransportTimeoutError(
            f"{shown}: no connection within the time-out", request_sent=False
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        return ConnectError(f"{shown}: {error.os_error}; check the network")
    if isinstance(error, ValueError):
        return WireError(f"{shown} cannot be read as an address; nothing was sent there")
    if isinstance(error, TimeoutError):
        return TransportTimeoutError(f"{shown}: nothing moved for too long; try again")
    return TransportError(f"{shown}: the upload broke off ({type(error).__name__}); try again")
