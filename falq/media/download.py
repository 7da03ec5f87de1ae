"""Ask storage hosts for files, without trusting where a URL leads.

Owns the connections to storage hosts. It never has a key, a cookie or a proxy,
and never touches a file: `downloader` says what to ask for and takes the bytes.
`addresses` says where it may connect.

Rules:
    1. Storage hosts get a plain GET: no header of the API travels with it.
    2. Redirects are followed by hand, three at most, each checked like the first.
    3. Every address is checked at the socket, after the resolver has spoken.
    4. aiohttp's errors end here: they carry URLs whole, with their signatures.
"""

from __future__ import annotations

import errno
import functools
import socket
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
from yarl import URL

from falq._transport.connector import Connector
from falq._version import __version__
from falq.errors import (
    ArgumentError,
    ConnectError,
    FalqError,
    TransportError,
    TransportTimeoutError,
    UnexpectedRedirectError,
)
from falq.media.addresses import AddressRule, check_media_url, is_loopback_address
from falq.media.limits import DownloadLimits
from falq.proxies import Proxy
from falq.text import printable

MOST_HOPS = 3
_PIECE_BYTES = 512 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_FAILURES = (aiohttp.ClientError, TimeoutError, OSError)


def shown_url(url: str) -> str:
    """Return a URL as it may be printed: short, without its query, which may hold a token."""
    return printable(url.partition("?")[0], limit=160)


class StorageReply:
    """The head of an answer, with its body still to come.

    Attributes:
        status: The HTTP status.
        headers: Looked up in any case.
    """

    def __init__(self, response: aiohttp.ClientResponse, url: str) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._url = url
        self._failure: FalqError | None = None

    async def read(self) -> bytes:
        """Return the next piece of the body, empty at its end.

        Raises:
            TransportError: It ended early or took too long.
        """
        if self._failure is None:
            try:
                return await self._response.content.read(_PIECE_BYTES)
            except _FAILURES as error:
                self._failure = _map_failure(error, self._url)
            if piece := self._read_remains():
                return piece
        raise self._failure

    def _read_remains(self) -> bytes:
        """Return what came before a break: aiohttp would tell of the break alone."""
        content = self._response.content
        if content.exception() is None:
            return b""
        content.set_exception(None)  # type: ignore[arg-type]  # how an error is cleared
        return content.read_nowait()

    def close(self) -> None:
        """Let go of the connection; it is used again if the body was read to its end."""
        self._response.close()


class StorageHosts:
    """Connections to storage hosts, shared by many downloads.

    Args:
        limits: Time-outs.
        rule: Addresses that may be connected to.
        allow_loopback: Whether URLs of this machine are asked.
        proxy: Through whom to go; it must be filtering.
        most_connections: Open at once.
    """

    def __init__(
        self,
        limits: DownloadLimits,
        *,
        rule: AddressRule,
        allow_loopback: bool,
        proxy: Proxy | None = None,
        most_connections: int,
    ) -> None:
        self._limits = limits
        self._rule = rule
        self._allow_loopback = allow_loopback
        self._proxy = proxy
        self._most_connections = most_connections
        self._remote: aiohttp.ClientSession | None = None
        self._proxied: aiohttp.ClientSession | None = None
        self._loopback: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the pools; nothing is sent yet."""
        self._remote = self._pool(self._rule.allows)
        if self._proxy is not None:
            # The address is the proxy's own, which may well be private.
            self._proxied = self._pool(lambda _: True)
        self._loopback = self._pool(is_loopback_address)

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in (self._remote, self._loopback, self._proxied):
            if pool is not None:
                await pool.close()
        self._remote = self._loopback = self._proxied = None

    def _pool(self, is_allowed: Callable[[str], bool]) -> aiohttp.ClientSession:
        limits = self._limits
        return aiohttp.ClientSession(
            connector=Connector(
                limit=self._most_connections,
                socket_factory=functools.partial(make_checked_socket, is_allowed=is_allowed),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            # Media are packed already, and the announced length must be the file's.
            auto_decompress=False,
            read_bufsize=_PIECE_BYTES,
            headers={"User-Agent": f"falq/{__version__}", "Accept-Encoding": "identity"},
            # The total is the caller's: it spans all attempts.
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=limits.connect_s, sock_read=limits.read_s
            ),
        )

    async def get(self, url: str, headers: Mapping[str, str]) -> StorageReply:
        """Send a GET and return the answer's head, that of the last hop.

        Args:
            url: A media URL.
            headers: Further headers: those of a range.

        Raises:
            ArgumentError: The URL, or one that it redirects to, is refused.
            UnexpectedRedirectError: It redirects too often, or to nowhere.
            TransportError: No answer came.
        """
        failure: FalqError
        try:
            return await self._follow(url, headers)
        except _FAILURES as error:
            if isinstance(error, FalqError):
                raise
            failure = _map_failure(error, url)
        raise failure

    async def _follow(self, first_url: str, headers: Mapping[str, str]) -> StorageReply:
        url = first_url
        for _ in range(MOST_HOPS + 1):
            names_loopback = check_media_url(url, allow_loopback=self._allow_loopback)
            pool = self._loopback if names_loopback else self._remote
            way: dict[str, Any] = {}
            if self._proxy is not None and not names_loopback and self._proxy.serves(url):
                self._proxy.check_filtering(url)
                pool, way = self._proxied, self._proxy.arguments_for(url)
            if pool is None:
                raise ArgumentError(
                    "the downloader is not open; use 'async with'", argument="downloader"
                )
            response = await pool.get(_as_url(url), headers=headers, allow_redirects=False, **way)
            if response.status not in _REDIRECTS:
                return StorageReply(response, first_url)
            # What else it says is of no interest, however long it is.
            response.close()
            url = _next_hop(url, response.headers.get("Location", ""))
        raise UnexpectedRedirectError(
            f"{shown_url(first_url)} redirects more than {MOST_HOPS} times; it was not fetched"
        )


# aiohttp folds the errors of several addresses into one text, so the text is the mark.
_NOT_PUBLIC = "is not a public address"


def make_checked_socket(
    info: tuple[Any, ...], *, is_allowed: Callable[[str], bool]
) -> socket.socket:
    """Return a socket for an address that may be connected to.

    Args:
        info: What the resolver gave for it.
        is_allowed: Whether an address may.

    Raises:
        OSError: It may not.
    """
    family, kind, protocol, _, address = info
    if not is_allowed(address[0]):
        raise OSError(errno.EACCES, f"{address[0]} {_NOT_PUBLIC}")
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setblocking(False)  # noqa: FBT003  the standard library's own signature
    return made


def _as_url(url: str) -> URL:
    try:
        # Taken as it is where it can be: requoting would break a signed URL.
        return URL(url, encoded=_is_plain(url))
    except ValueError:
        raise ArgumentError(
            f"media URL {shown_url(url)} cannot be read; it was not fetched", argument="url"
        ) from None


def _next_hop(url: str, location: str) -> str:
    try:
        return str(_as_url(url).join(URL(location, encoded=_is_plain(location))))
    except ValueError:
        raise UnexpectedRedirectError(f"{shown_url(url)} redirects to nowhere") from None


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _map_failure(error: Exception, url: str) -> FalqError:
    shown = shown_url(url)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return TransportTimeoutError(
            f"{shown}: no connection within the time-out", request_sent=False
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        if _NOT_PUBLIC in str(error):
            return ArgumentError(
                f"media URL {shown} leads to an address that is not public; it was not fetched "
                "(allow_private names networks that may be)",
                argument="url",
            )
        return ConnectError(f"{shown}: {error}")
    if isinstance(error, aiohttp.InvalidURL):
        return ArgumentError(
            f"media URL {shown} cannot be read; it was not fetched", argument="url"
        )
    if isinstance(error, TimeoutError):
        return TransportTimeoutError(f"{shown} did not arrive within the time-out")
    return TransportError(f"{shown} did not arrive whole ({type(error).__name__})")
