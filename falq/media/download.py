"""Fetch the media that a result points to, without trusting the result.

Owns the connections to storage hosts, the limits of a download and the walk over
a result. It never has a key, a cookie or a proxy, and never writes a short file
under a final name (`files`). `addresses` says where it may connect, `names` what
files are called. Programs and the command line call it.

Rules:
    1. Storage hosts get a plain GET: no header of the API travels with it.
    2. Redirects are followed by hand, three at most, each checked like the first.
    3. Every address is checked at the socket, after the resolver has spoken.
    4. What arrives must be as long as announced and below the limit.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import functools
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, unquote_to_bytes

import aiohttp
from attrs import field, frozen, validators
from yarl import URL

from falq._version import __version__
from falq.errors import (
    ApiError,
    ArgumentError,
    ConnectError,
    FalqError,
    ResponseTooLargeError,
    TransportError,
    TransportTimeoutError,
    UnexpectedRedirectError,
    WireError,
)
from falq.media.addresses import check_media_url, is_loopback_address, is_public_address
from falq.media.files import PartFile
from falq.media.names import name_from_url, safe_name
from falq.text import printable

GIB = 1024**3
MOST_HOPS = 3
_CHUNK_BYTES = 512 * 1024
_DEEPEST_NESTING = 60
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@frozen(kw_only=True)
class DownloadLimits:
    """What one download may cost.

    Attributes:
        file_bytes: Largest file, in bytes; 2 GiB by default.
        connect_s: To make a connection, in seconds.
        read_s: Between two pieces, in seconds.
        total_s: For a whole file, in seconds.
    """

    file_bytes: int = field(default=2 * GIB, validator=validators.gt(0))
    connect_s: float = field(default=10.0, validator=validators.gt(0))
    read_s: float = field(default=30.0, validator=validators.gt(0))
    total_s: float = field(default=3600.0, validator=validators.gt(0))


@frozen(kw_only=True)
class MediaRef:
    """A media URL found in a result.

    Attributes:
        url: An https or `data:` URL, as the model wrote it.
        file_name: What the model called it, if it did.
        content_type: What the model said it is, if it did.
    """

    url: str = field(repr=lambda url: printable(repr(url), limit=120))
    file_name: str | None = None
    content_type: str | None = None


@frozen(kw_only=True)
class DownloadedFile:
    """A media file on disk.

    Attributes:
        path: Where it is.
        url: Where it came from; of a `data:` URL only its start.
        size_bytes: Its size.
        sha256: Its digest, in hex.
        content_type: What the server said it is, else what the model said.
    """

    path: Path
    url: str
    size_bytes: int
    sha256: str
    content_type: str | None


def find_media(result: object) -> tuple[MediaRef, ...]:
    """Return the media of a result, in its order, each URL once.

    Args:
        result: A JSON value. Media are objects with a text `url`, at any depth,
            as fal's models answer.

    Example:
        >>> find_media({"images": [{"url": "https://example.com/a.png"}], "seed": 7})[0].url
        'https://example.com/a.png'
    """
    found: dict[str, MediaRef] = {}
    for item in _objects(result, 0):
        url = item.get("url")
        if isinstance(url, str) and url.startswith(("https://", "http://", "data:")):
            name, kind = item.get("file_name"), item.get("content_type")
            ref = MediaRef(
                url=url,
                file_name=name if isinstance(name, str) else None,
                content_type=kind if isinstance(kind, str) else None,
            )
            found.setdefault(url, ref)
    return tuple(found.values())


def _objects(value: object, depth: int) -> Iterator[dict[str, Any]]:
    if depth > _DEEPEST_NESTING:
        return
    if isinstance(value, dict):
        yield value
        inner: Any = value.values()
    elif isinstance(value, list):
        inner = value
    else:
        return
    for one in inner:
        yield from _objects(one, depth + 1)


async def download_media(
    result: object,
    folder: str | Path,
    *,
    allow_loopback: bool = False,
    limits: DownloadLimits | None = None,
) -> list[DownloadedFile]:
    """Fetch every media URL of a result into a folder.

    Args:
        result: What a model answered.
        folder: Where to; made if it is not there. Nothing in it is overwritten:
            a name that is taken gets a number.
        allow_loopback: Whether URLs of this machine are fetched, as an emulator
            makes them. Off by default.
        limits: Sizes and times; see `DownloadLimits`.

    Returns:
        The files, in the order of the result.

    Raises:
        ArgumentError: A URL is refused: no https, or not a public address.
        ApiError: A storage host answered no.
        TransportError: A file did not arrive whole.
        ResponseTooLargeError: A file is above the limit.
        OSError: The disk refused.

    The files before the one that failed are kept. If it is cancelled, no part of
    a file is left behind.
    """
    async with Downloader(folder, allow_loopback=allow_loopback, limits=limits) as downloader:
        return await downloader.fetch(result)


class Downloader:
    """Fetches the media of many results into one folder; see `download_media`.

    Use it as an async context manager. It may be used by many tasks at once.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        allow_loopback: bool = False,
        limits: DownloadLimits | None = None,
    ) -> None:
        self._folder = Path(folder)
        self._allow_loopback = allow_loopback
        self._limits = limits or DownloadLimits()
        self._public: aiohttp.ClientSession | None = None
        self._loopback: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
        self._public = self._pool(is_public_address)
        self._loopback = self._pool(is_loopback_address)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for pool in (self._public, self._loopback):
            if pool is not None:
                await pool.close()

    def _pool(self, is_allowed: Callable[[str], bool]) -> aiohttp.ClientSession:
        limits = self._limits
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=16, socket_factory=functools.partial(_make_socket, is_allowed=is_allowed)
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            # Media are packed already, and the announced length must be the file's.
            auto_decompress=False,
            headers={"User-Agent": f"falq/{__version__}", "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(
                total=limits.total_s, sock_connect=limits.connect_s, sock_read=limits.read_s
            ),
        )

    async def fetch(self, result: object) -> list[DownloadedFile]:
        """Fetch every media URL of a result; see `download_media`."""
        return [await self.fetch_one(ref) for ref in find_media(result)]

    async def fetch_one(self, ref: MediaRef) -> DownloadedFile:
        """Fetch one media URL.

        Raises:
            FalqError: See `download_media`.
            OSError: The disk refused.
        """
        if ref.url.startswith("data:"):
            return await self._decode(ref)
        failure: FalqError
        try:
            return await self._fetch_url(ref)
        except (aiohttp.ClientError, TimeoutError) as error:
            if isinstance(error, FalqError):
                raise
            failure = _map_failure(error, ref.url)
        raise failure

    async def _decode(self, ref: MediaRef) -> DownloadedFile:
        content_type, data = await asyncio.to_thread(
            read_data_url, ref.url, limit_bytes=self._limits.file_bytes
        )
        name = safe_name(ref.file_name or "", content_type=content_type)

        async def whole() -> AsyncIterator[bytes]:
            yield data

        return await self._save(name, whole(), ref.url[:40], content_type)

    async def _fetch_url(self, ref: MediaRef) -> DownloadedFile:
        url = ref.url
        for _ in range(MOST_HOPS + 1):
            names_loopback = check_media_url(url, allow_loopback=self._allow_loopback)
            pool = self._loopback if names_loopback else self._public
            if pool is None:
                raise ArgumentError(
                    "the downloader is not open; use 'async with'", argument="downloader"
                )
            async with pool.get(_as_url(url), allow_redirects=False) as response:
                if response.status in _REDIRECTS:
                    url = _next_hop(url, response.headers.get("Location", ""))
                    continue
                return await self._receive(ref, response)
        raise UnexpectedRedirectError(
            f"{_shown(ref.url)} redirects more than {MOST_HOPS} times; it was not fetched"
        )

    async def _receive(self, ref: MediaRef, response: aiohttp.ClientResponse) -> DownloadedFile:
        if response.status != 200:
            raise ApiError(
                f"{_shown(ref.url)} answered {response.status}; media are kept for a while "
                "only, so it may be gone",
                status_code=response.status,
                retryable=response.status >= 500,
            )
        announced = response.content_length
        self._check_size(ref.url, announced or 0)
        content_type = response.headers.get("Content-Type") or ref.content_type
        hint = ref.file_name or name_from_url(ref.url)
        name = safe_name(hint, content_type=content_type)
        pieces = response.content.iter_chunked(_CHUNK_BYTES)
        return await self._save(name, pieces, ref.url, content_type, announced)

    async def _save(
        self,
        name: str,
        pieces: AsyncIterator[bytes],
        url: str,
        content_type: str | None,
        announced: int | None = None,
    ) -> DownloadedFile:
        part = await self._open_part(name)
        try:
            async for piece in pieces:
                self._check_size(url, part.size_bytes + len(piece))
                await asyncio.to_thread(part.write, piece)
            _check_whole(url, part.size_bytes, announced)
            path = await asyncio.to_thread(part.keep)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(part.discard))
            raise
        return DownloadedFile(
            path=path,
            url=url,
            size_bytes=part.size_bytes,
            sha256=part.sha256,
            content_type=content_type,
        )

    async def _open_part(self, name: str) -> PartFile:
        opening = asyncio.ensure_future(asyncio.to_thread(PartFile, self._folder, name))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The thread goes on: what it makes must not be left behind.
            part = await opening
            await asyncio.to_thread(part.discard)
            raise

    def _check_size(self, url: str, size_bytes: int) -> None:
        if size_bytes > self._limits.file_bytes:
            raise ResponseTooLargeError(
                f"{_shown(url)} is larger than {self._limits.file_bytes} bytes; raise "
                "file_bytes in DownloadLimits if that is right"
            )


def _check_whole(url: str, size_bytes: int, announced: int | None) -> None:
    if announced is not None and size_bytes != announced:
        raise TransportError(f"{_shown(url)} sent {size_bytes} of {announced} bytes; try again")


def read_data_url(url: str, *, limit_bytes: int) -> tuple[str, bytes]:
    """Return content type and bytes of a `data:` URL.

    Args:
        url: The URL.
        limit_bytes: Most bytes to decode to.

    Raises:
        WireError: It is damaged.
        ResponseTooLargeError: It is above the limit.

    Example:
        >>> read_data_url("data:text/plain;base64,aGk=", limit_bytes=10)
        ('text/plain', b'hi')
    """
    head, comma, payload = url[len("data:") :].partition(",")
    if not comma:
        raise WireError("a data: URL in the result has no comma, so no data", excerpt=url[:80])
    content_type, *parameters = head.split(";")
    is_base64 = parameters[-1:] == ["base64"]
    # Base64 makes four letters of three bytes; other letters may each be escaped.
    if len(payload) > limit_bytes * (3 if not is_base64 else 1.34) + 4:
        raise ResponseTooLargeError(f"a data: URL in the result is above {limit_bytes} bytes")
    try:
        data = (
            base64.b64decode(unquote(payload), validate=True)
            if is_base64
            else unquote_to_bytes(payload)
        )
    except (binascii.Error, ValueError):
        raise WireError("a data: URL in the result is damaged", excerpt=url[:80]) from None
    if len(data) > limit_bytes:
        raise ResponseTooLargeError(f"a data: URL in the result is above {limit_bytes} bytes")
    return content_type or "text/plain", data


# aiohttp folds the errors of several addresses into one text, so the text is the mark.
_NOT_PUBLIC = "is not a public address"


def _make_socket(info: tuple[Any, ...], *, is_allowed: Callable[[str], bool]) -> socket.socket:
    family, kind, protocol, _, address = info
    if not is_allowed(address[0]):
        raise OSError(errno.EACCES, f"{address[0]} {_NOT_PUBLIC}")
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setblocking(False)  # noqa: FBT003  the standard library's own signature
    return made


def _as_url(url: str) -> URL:
    try:
        # Taken as it is where it can be: requoting would break a signed URL.
        is_quoted = url.isascii() and url.isprintable() and " " not in url
        return URL(url, encoded=is_quoted)
    except ValueError:
        raise ArgumentError(
            f"media URL {_shown(url)} cannot be read; it was not fetched", argument="url"
        ) from None


def _next_hop(url: str, location: str) -> str:
    try:
        return str(_as_url(url).join(URL(location)))
    except ValueError:
        raise UnexpectedRedirectError(f"{_shown(url)} redirects to nowhere") from None


def _shown(url: str) -> str:
    """Return the URL as it may be printed: short, without its query, which may hold a token."""
    return printable(url.partition("?")[0], limit=160)


def _map_failure(error: Exception, url: str) -> FalqError:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return TransportTimeoutError(
            f"{_shown(url)}: no connection within the time-out", request_sent=False
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        if _NOT_PUBLIC in str(error):
            return ArgumentError(
                f"media URL {_shown(url)} leads to an address that is not public; it was not "
                "fetched",
                argument="url",
            )
        return ConnectError(f"{_shown(url)}: {error}")
    if isinstance(error, TimeoutError):
        return TransportTimeoutError(f"{_shown(url)} did not arrive within the time-out")
    return TransportError(f"{_shown(url)} did not arrive whole ({type(error).__name__})")
