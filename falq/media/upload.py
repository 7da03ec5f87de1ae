"""Bring files to fal's storage and tell their URLs.

Owns the story of one upload: open the source, send it in one piece or in parts,
fall back to another way in, count. Equal content is uploaded once for as long as
`share` remembers it. It never sees a key; `upload_api` and `multipart` make the
calls. `session` has one and closes it.

Rules:
    1. An upload belongs to the session: it ends with it, at the latest.
    2. Callers of equal content share one upload. It is cancelled when the last of
       them is.
    3. A failed upload leaves no URL, and the next caller starts anew.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import random
import ssl
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, Literal, TypeAlias, TypedDict, cast

from attrs import define, field, frozen, validators

from falq._core.options import check_options, option_headers
from falq._core.retry import RetrySettings
from falq.errors import (
    ArgumentError,
    AuthenticationError,
    ConfigError,
    FalqError,
    SessionClosedError,
    UnsupportedError,
    WireError,
)
from falq.gateways import UPLOAD, Fal, Gateway
from falq.media.multipart import send_in_parts
from falq.media.storage import HttpStorageHosts, StorageCall, StorageHosts
from falq.media.upload_api import Ask, UploadApi, read_told
from falq.media.upload_progress import Meter, OnProgress, UploadStatistics
from falq.media.upload_source import (
    Source,
    Span,
    Stamp,
    Upload,
    changed,
    check_digest,
    digest_of,
    open_source,
)
from falq.model import ObjectLifecycle, SubmitOptions
from falq.proxies import Proxy

logger = logging.getLogger("falq")

Repository: TypeAlias = Literal["fal_v3", "fal", "cdn"]
Spawn: TypeAlias = Callable[[Coroutine[Any, Any, str]], asyncio.Task[str]]

MIB = 1024 * 1024
MULTIPART_THRESHOLD = 100 * MIB
MULTIPART_CHUNK_SIZE = 10 * MIB
MULTIPART_MAX_CONCURRENCY = 10

FILES_AT_ONCE = 8
"""Uploads of a session under way at once; others wait in line."""

_REPOSITORIES: tuple[Repository, ...] = ("fal_v3", "fal")
# The CDN that had this name is switched off; fal_client 1.0.3 goes the same way, with a
# warning.
_OLD_NAMES: dict[Repository, Repository] = {"cdn": "fal_v3"}
_MOST_REMEMBERED = 10_000
# fal keeps uploads for seven days at least (its FAQ, 2026): far from the end of that.
_REMEMBERED_S = 24 * 3600.0


class UploadKeywords(TypedDict, total=False):
    """What uploads take beside the data.

    Attributes:
        repository: The way in: `"fal_v3"`, fal's CDN, or `"fal"`, a signed address.
            `"cdn"` is the older name of the first.
        fallback_repository: Ways to try after it, in order. Default: the other one;
            `[]` for none.
        lifecycle: How long the file lives and who may read it.
        multipart_threshold: Bytes above which a file goes in parts; 100 MiB.
        chunk_size: Bytes of a part; 10 MiB.
        max_concurrency: Parts on their way at once; 10.
        on_progress: Hears of each piece; see `falq.media.UploadProgress`.
    """

    repository: Repository
    fallback_repository: Repository | list[Repository] | None
    lifecycle: ObjectLifecycle | None
    multipart_threshold: int
    chunk_size: int
    max_concurrency: int
    on_progress: OnProgress | None


_at_least_1: Any = validators.and_(validators.instance_of(int), validators.ge(1))


@frozen(kw_only=True)
class UploadSettings:
    """The options of one upload, checked; see `UploadKeywords`."""

    repositories: tuple[Repository, ...] = _REPOSITORIES
    lifecycle: ObjectLifecycle | None = None
    multipart_threshold: int = field(default=MULTIPART_THRESHOLD, validator=_at_least_1)
    chunk_size: int = field(default=MULTIPART_CHUNK_SIZE, validator=_at_least_1)
    max_concurrency: int = field(default=MULTIPART_MAX_CONCURRENCY, validator=_at_least_1)
    on_progress: OnProgress | None = None


def settings_of(keywords: UploadKeywords) -> UploadSettings:
    """Return the options of an upload.

    Raises:
        ArgumentError: There is no such option, or a value is none that it takes.
    """
    unknown = keywords.keys() - UploadKeywords.__annotations__.keys()
    if unknown:
        raise ArgumentError(
            f"there is no option {min(unknown)!r}; the options are "
            f"{', '.join(sorted(UploadKeywords.__annotations__))}",
            argument=min(unknown),
        )
    given: dict[str, Any] = dict(keywords)
    first = given.pop("repository", None) or _REPOSITORIES[0]
    others = given.pop("fallback_repository", None)
    if others is None:
        others = list(_REPOSITORIES)
    elif isinstance(others, str):
        others = [others]
    chain = dict.fromkeys(_OLD_NAMES.get(name, name) for name in [first, *others])
    if not set(chain) <= set(_REPOSITORIES):
        raise ArgumentError(
            f"repository and fallback_repository are of {', '.join(_REPOSITORIES)}; nothing was "
            "sent",
            argument="repository",
        )
    if given.get("lifecycle") is not None:
        check_options(SubmitOptions(lifecycle=given["lifecycle"]))
    try:
        return UploadSettings(repositories=tuple(chain), **given)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{error.args[0]}; nothing was sent", argument="upload") from None


@define
class _Flight:
    """An upload and how many wait for it."""

    task: asyncio.Task[str]
    waiting: int = 0


@define
class _Tally:
    files: int = 0
    failures: int = 0
    in_flight: int = 0
    reused: int = 0


class Uploader:
    """The uploads of one session.

    Args:
        api: Makes the calls.
        hosts: What carries those without the key; closed with this.
        spawn: Starts a task that ends with the session.
        clock: Loop time in seconds.
    """

    def __init__(
        self, api: UploadApi, hosts: StorageHosts, *, spawn: Spawn, clock: Callable[[], float]
    ) -> None:
        self._api = api
        self._hosts = hosts
        self._spawn = spawn
        self._clock = clock
        self._turns = asyncio.Semaphore(FILES_AT_ONCE)
        self._hashing = asyncio.Semaphore(FILES_AT_ONCE)
        self._flights: dict[tuple[str, str], _Flight] = {}
        self._urls: dict[tuple[str, str], tuple[str, float]] = {}
        self._contents: dict[str, tuple[str, str]] = {}
        self._tally = _Tally()

    def __repr__(self) -> str:
        tally = self._tally
        return (
            f"<Uploader files={tally.files} failures={tally.failures} in_flight={tally.in_flight}>"
        )

    async def aclose(self) -> None:
        """Close the connections to storage hosts; safe to call twice."""
        await self._hosts.aclose()

    def statistics(self) -> UploadStatistics:
        """Return the counts so far."""
        tally, counts = self._tally, self._api.counts
        return UploadStatistics(
            files=tally.files,
            failures=tally.failures,
            in_flight=tally.in_flight,
            sent_bytes=counts.sent_bytes,
            retries=counts.retries,
            reused=tally.reused,
        )

    async def upload(self, upload: Upload, settings: UploadSettings) -> str:
        """Upload something and return its URL.

        Args:
            upload: What.
            settings: How.

        Raises:
            ArgumentError: It cannot be read, or changed meanwhile.
            ApiError: fal or its storage says no.
            TransportError: It did not get through.
            WireError: An answer could not be read.
            SessionClosedError: The session ended before it.

        If it is cancelled, nothing is under way any more; parts that arrived are
        dropped by the storage.
        """
        return await self._wait(_Flight(self._spawn(self._run(upload, settings))))

    async def share(self, upload: Upload) -> str:
        """Upload something once, whoever asks for equal content, and return its URL.

        Content of the same bytes and type is equal. What was uploaded is remembered
        for a day.

        Args:
            upload: What.

        Raises:
            ArgumentError: It is not what its `sha256` says; nothing was sent.
            FalqError: See `upload`.
        """
        async with self._hashing:
            source = await open_source(upload)
            try:
                key = await digest_of(source), source.content_type
                check_digest(upload, source, key[0])
            finally:
                source.close()
        if source.stamp is None:
            # Read or written once: a stream has moved on, an image may be drawn on.
            data = await source.read_at(0, source.size_bytes)
            upload = Upload(data, source.content_type, file_name=source.file_name)
        known = self._urls.get(key)
        if known is not None and self._clock() - known[1] < _REMEMBERED_S:
            self._tally.reused += 1
            return known[0]
        flight = self._flights.get(key)
        if flight is None:
            work = self._run(upload, UploadSettings(), source.stamp)
            flight = self._flights[key] = _Flight(self._spawn(work))
        else:
            self._tally.reused += 1
        try:
            url = await self._wait(flight)
        finally:
            if flight.task.done() or not flight.waiting:
                self._forget_flight(key, flight)
        self._remember(key, url)
        return url

    async def _wait(self, flight: _Flight) -> str:
        flight.waiting += 1
        try:
            # Not awaited itself: cancelling one who waits must not cancel it for all.
            await asyncio.wait({flight.task})
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                flight.task.cancel()
        if flight.task.cancelled():
            raise SessionClosedError("the session was closed before a file was uploaded")
        error = flight.task.exception()
        if error is not None:
            # Each gets one of its own: tracebacks grow where an error is raised.
            raise copy.copy(error) if isinstance(error, FalqError) else error
        return flight.task.result()

    def _forget_flight(self, key: tuple[str, str], flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    def content_of(self, url: str) -> str | None:
        """Return text that stands for the content and type behind a URL of `share`.

        None if that is not remembered any more.
        """
        known = self._contents.get(url)
        return None if known is None else f"{known[1]}; sha256={known[0]}"

    def _remember(self, key: tuple[str, str], url: str) -> None:
        if len(self._urls) >= _MOST_REMEMBERED:
            del self._urls[next(iter(self._urls))]
        self._urls[key] = url, self._clock()
        if len(self._contents) >= _MOST_REMEMBERED:
            del self._contents[next(iter(self._contents))]
        self._contents[url] = key

    async def _run(
        self, upload: Upload, settings: UploadSettings, stamp: Stamp | None = None
    ) -> str:
        self._tally.in_flight += 1
        try:
            async with self._turns:
                url = await self._open_and_send(upload, settings, stamp)
        except BaseException:
            self._tally.failures += 1
            raise
        finally:
            self._tally.in_flight -= 1
        self._tally.files += 1
        return url

    async def _open_and_send(
        self, upload: Upload, settings: UploadSettings, stamp: Stamp | None
    ) -> str:
        source = await open_source(upload)
        try:
            if stamp is not None and source.stamp != stamp:
                # What was hashed is not what would be sent.
                raise changed(source)
            return await self._send(source, settings)
        finally:
            source.close()

    async def _send(self, source: Source, settings: UploadSettings) -> str:
        ways = {"fal_v3": self._send_to_cdn, "fal": self._send_signed}
        *others, last = settings.repositories
        for name in others:
            try:
                return await ways[name](source, settings)
            except (ArgumentError, AuthenticationError, ConfigError, SessionClosedError):
                # Another way in would meet the same.
                raise
            except FalqError as error:
                logger.warning("an upload to %s failed (%s); trying another way", name, error)
        return await ways[last](source, settings)

    async def _send_to_cdn(self, source: Source, settings: UploadSettings) -> str:
        meter = Meter(source.file_name, source.size_bytes, settings.on_progress)
        headers = {
            "Content-Type": source.content_type,
            "X-Fal-File-Name": source.file_name,
            "Accept": "application/json",
            **_lifecycle_headers(settings.lifecycle),
        }
        if source.size_bytes > settings.multipart_threshold:
            url = await send_in_parts(
                self._api,
                source,
                headers,
                part_bytes=settings.chunk_size,
                at_once=settings.max_concurrency,
                meter=meter,
            )
            return _checked_url(url)
        doing = f"upload {source.file_name}"
        call = StorageCall(
            method="POST",
            url="/files/upload",
            headers=headers,
            size_bytes=source.size_bytes,
            pieces=Span(source, 0, source.size_bytes, meter).pieces,
        )
        told = read_told(await self._api.send_to_cdn(call, doing=doing), doing)
        await source.check_unchanged()
        return _checked_url(told.get("access_url"))

    async def _send_signed(self, source: Source, settings: UploadSettings) -> str:
        meter = Meter(source.file_name, source.size_bytes, settings.on_progress)
        place = await self._api.initiate(
            source.file_name, source.content_type, _lifecycle_headers(settings.lifecycle)
        )
        call = StorageCall(
            method="PUT",
            url=place.upload_url,
            headers={"Content-Type": source.content_type},
            size_bytes=source.size_bytes,
            pieces=Span(source, 0, source.size_bytes, meter).pieces,
        )
        await self._api.put_signed(call)
        await source.check_unchanged()
        return _checked_url(place.file_url)


def make_uploader(
    gateway: Gateway,
    ask: Ask,
    hosts: StorageHosts | None,
    *,
    ssl_context: ssl.SSLContext | None,
    proxy: Proxy | None = None,
    retry: RetrySettings,
    seed: int | None,
    wall_clock: Callable[[], datetime],
    spawn: Spawn,
) -> Uploader:
    """Return the uploads of a session.

    Args:
        gateway: The session's.
        ask: Carries calls with the key to its own addresses.
        hosts: Carries calls without it; None for sockets.
        ssl_context: Whom to trust, instead of the system's authorities.
        proxy: Through whom to go.
        retry: How waits between attempts grow.
        seed: Seed of their jitter.
        wall_clock: Aware UTC time.
        spawn: Starts a task that ends with the session.

    Raises:
        UnsupportedError: The gateway has no uploads.
    """
    gateway.require(UPLOAD)
    if not isinstance(gateway, Fal):
        raise UnsupportedError(
            f"the {gateway.name} gateway names no address for uploads; use falq.Fal",
            setting="gateway",
        )
    carrier = hosts or HttpStorageHosts(gateway, ssl_context=ssl_context, proxy=proxy)
    api = UploadApi(
        ask,
        carrier,
        cdn_url=gateway.cdn_url,
        retry=retry,
        draw=random.Random(seed).random,  # noqa: S311  spreads waits, guards nothing
        wall_clock=wall_clock,
    )
    return Uploader(api, carrier, spawn=spawn, clock=asyncio.get_running_loop().time)


def _lifecycle_headers(lifecycle: ObjectLifecycle | None) -> dict[str, str]:
    """Return both headers: the CDN reads one, signed uploads the other (fal_client 1.0.3)."""
    if lifecycle is None:
        return {}
    name = "X-Fal-Object-Lifecycle-Preference"
    text = option_headers(SubmitOptions(lifecycle=lifecycle))[name]
    return {"X-Fal-Object-Lifecycle": text, name: text}


def _checked_url(url: object) -> str:
    is_url = isinstance(url, str) and url.startswith(("https://", "http://"))
    if not is_url or not cast("str", url).isprintable():
        raise WireError("an upload was answered without the URL of the file; try again later")
    return cast("str", url)
