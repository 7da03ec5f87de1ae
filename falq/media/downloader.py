"""Bring the media that results point to onto the disk, whole or not at all.

Owns the story of one file, from its URL to its final name, and what the downloads
of a run share. `transfer` fetches the bytes, `files` keeps them, `naming` and
`folder` give them a name. Programs and the command line call it.

Rules:
    1. What has its final name is as long as announced.
    2. A download that is given up for now leaves a part that a later one, also
       of another process, goes on with; one that can never work leaves nothing.
    3. A result that names the same URL twice has it once; a second download of
       a URL that is under way has a part of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from attrs import field, frozen

from falq._core.backoff import Backoff
from falq.errors import ArgumentError, FalqError, TransportTimeoutError
from falq.media.addresses import AddressRule
from falq.media.download import StorageHosts, shown_url
from falq.media.files import PartFile
from falq.media.folder import IfTaken, MediaFolder
from falq.media.found import MediaRef, find_media
from falq.media.limits import Allowance, DownloadLimits
from falq.media.names import name_from_url
from falq.media.naming import DEFAULT_TEMPLATE, NameTemplate
from falq.media.progress import DownloadProgress, DownloadStatistics, Tally
from falq.media.transfer import Means, Transfer
from falq.proxies import Proxy
from falq.text import printable

T = TypeVar("T")

_DATA_URL_START = 40


@frozen(kw_only=True)
class DownloadedFile:
    """A media file on disk.

    Attributes:
        path: Where it is.
        url: Where it came from; of a `data:` URL only its start.
        size_bytes: Its size.
        sha256: Its digest, in hex.
        content_type: What the server said it is, else what the model said.
        json_path: Where its URL stands in the result, such as `images[0].url`.
    """

    path: Path
    url: str = field(repr=lambda url: printable(repr(url.partition("?")[0]), limit=120))
    size_bytes: int
    sha256: str
    content_type: str | None
    json_path: str = "url"


async def download_media(
    result: object,
    folder: str | Path,
    *,
    allow_loopback: bool = False,
    limits: DownloadLimits | None = None,
    proxy: Proxy | None = None,
) -> list[DownloadedFile]:
    """Fetch every media URL of a result into a folder.

    Args:
        result: What a model answered.
        folder: Where to; made if it is not there. Nothing in it is overwritten:
            a name that is taken gets a number.
        allow_loopback: Whether URLs of this machine are fetched, as an emulator
            makes them. Off by default.
        limits: Sizes and times; see `DownloadLimits`.
        proxy: Through whom to go; it must be filtering.

    Returns:
        The files, in the order of the result.

    Raises:
        ArgumentError: A URL is refused: no https, or not a public address.
        ApiError: A storage host answered no.
        TransportError: A file did not arrive whole.
        ResponseTooLargeError: A file is above the limit.
        OSError: The disk refused.

    The files before the one that failed are kept. If it is cancelled or breaks
    off, a hidden `.part` may stay that the next call with the same URL goes on with.
    """
    async with Downloader(
        folder, allow_loopback=allow_loopback, limits=limits, proxy=proxy
    ) as downloader:
        return await downloader.fetch(result)


class Downloader:
    """Fetches the media of many results into one folder; see `download_media`.

    Use it as an async context manager. It may be used by many tasks at once.

    Args:
        folder: Where to; made if it is not there.
        allow_loopback: Whether URLs of this machine are fetched, over http too.
        allow_private: Networks in CIDR form that are connected to though they
            are not public, such as `10.0.0.0/8`; over https only.
        limits: Sizes and times; see `DownloadLimits`.
        proxy: Through whom to go; it must be filtering.
        name_template: How files are called, such as `{id}-{index}.{ext}`; see
            `falq.media.naming`. Default: the server's own name, made safe.
        if_taken: What to do if a name is taken: `number` the new file; keep the
            old one if it is the `same`, else number; or `replace` the old one.
        most_at_once: Files under way at once; others wait. Default 16.
        backoff: Waits between attempts.
        on_progress: Hears of each piece of each file.

    Raises:
        ConfigError: `allow_private` holds no networks.
        ArgumentError: The template is broken.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        allow_loopback: bool = False,
        allow_private: Iterable[str] = (),
        limits: DownloadLimits | None = None,
        proxy: Proxy | None = None,
        name_template: str | NameTemplate = DEFAULT_TEMPLATE,
        if_taken: IfTaken = "number",
        most_at_once: int = 16,
        backoff: Backoff | None = None,
        on_progress: Callable[[DownloadProgress], None] | None = None,
    ) -> None:
        self._path = Path(folder)
        self._limits = limits or DownloadLimits()
        self._template = (
            NameTemplate.parse(name_template) if isinstance(name_template, str) else name_template
        )
        self._if_taken = if_taken
        self._turns = asyncio.Semaphore(most_at_once)
        self._backoff = backoff or Backoff()
        self._chance = random.Random()  # noqa: S311  spreads waits, guards nothing
        self._on_progress = on_progress
        self._hosts = StorageHosts(
            self._limits,
            rule=AddressRule.parse(allow_private),
            allow_loopback=allow_loopback,
            proxy=proxy,
            most_connections=most_at_once,
        )
        self._folder: MediaFolder | None = None
        self._allowance: Allowance | None = None
        self._tally = Tally()

    def __repr__(self) -> str:
        tally = self._tally
        return (
            f"<Downloader files={tally.files} failures={tally.failures} "
            f"in_flight={tally.in_flight}>"
        )

    async def __aenter__(self) -> Self:
        folder = await asyncio.to_thread(MediaFolder, self._path)
        self._folder = folder
        self._allowance = Allowance(self._limits, free_bytes=folder.root.free_bytes)
        await self._hosts.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._hosts.aclose()
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def statistics(self) -> DownloadStatistics:
        """Return the counts so far."""
        return self._tally.frozen()

    async def fetch(
        self, result: object, *, values: Mapping[str, object] | None = None
    ) -> list[DownloadedFile]:
        """Fetch every media URL of a result, one after the other; see `download_media`.

        Args:
            result: What a model answered.
            values: For the name template, such as `id`; `index`, `json_path`
                and a `seed` of the result are known by themselves.
        """
        known = dict(values or {})
        if isinstance(result, Mapping):
            known.setdefault("seed", result.get("seed"))
        return [
            await self.fetch_one(ref, values={**known, "index": index})
            for index, ref in enumerate(find_media(result))
        ]

    async def fetch_one(
        self, ref: MediaRef, *, values: Mapping[str, object] | None = None
    ) -> DownloadedFile:
        """Fetch one media URL.

        Args:
            ref: What to fetch.
            values: For the name template.

        Raises:
            FalqError: See `download_media`.
            OSError: The disk refused.
        """
        known = {"index": 0, **(values or {}), "json_path": ref.json_path}
        async with self._turns:
            self._tally.in_flight += 1
            try:
                file = await self._fetch_in_time(ref, known)
            except BaseException:
                self._tally.failures += 1
                raise
            finally:
                self._tally.in_flight -= 1
            self._tally.files += 1
            return file

    async def _fetch_in_time(self, ref: MediaRef, values: Mapping[str, object]) -> DownloadedFile:
        try:
            async with asyncio.timeout(self._limits.total_s):
                return await self._fetch(ref, values)
        except TimeoutError as error:
            if isinstance(error, FalqError):
                raise
        raise TransportTimeoutError(
            f"{shown_url(ref.url)} did not arrive within {self._limits.total_s:g} s"
        )

    async def _fetch(self, ref: MediaRef, values: Mapping[str, object]) -> DownloadedFile:
        folder, allowance = self._folder, self._allowance
        if folder is None or allowance is None:
            raise ArgumentError(
                "the downloader is not open; use 'async with'", argument="downloader"
            )
        # A signed URL is a secret for as long as it holds: its digest names the part.
        key = hashlib.sha256(ref.url.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        part = await _finish(
            lambda: PartFile(folder, key, checkpoint_bytes=self._limits.checkpoint_bytes),
            undo=PartFile.suspend,
        )
        transfer = Transfer(ref, part, self._means(allowance))
        try:
            content_type = await transfer.receive()
            parts = self._template.fill(values, hint=_hint(ref), content_type=content_type)
            path = await asyncio.to_thread(part.keep, parts, if_taken=self._if_taken)
        except BaseException as error:
            is_over = isinstance(error, FalqError) and not error.retryable
            put_away = part.discard if is_over else part.suspend
            await asyncio.shield(asyncio.to_thread(put_away))
            allowance.release(transfer.share)
            raise
        return DownloadedFile(
            path=path,
            url=ref.url[:_DATA_URL_START] if ref.url.startswith("data:") else ref.url,
            size_bytes=part.size_bytes,
            sha256=part.sha256,
            content_type=content_type,
            json_path=ref.json_path,
        )

    def _means(self, allowance: Allowance) -> Means:
        return Means(
            hosts=self._hosts,
            limits=self._limits,
            allowance=allowance,
            backoff=self._backoff,
            chance=self._chance,
            tally=self._tally,
            on_progress=self._on_progress,
        )


def _hint(ref: MediaRef) -> str:
    if ref.file_name:
        return ref.file_name
    return "" if ref.url.startswith("data:") else name_from_url(ref.url)


async def _finish(make: Callable[[], T], *, undo: Callable[[T], None]) -> T:
    """Make something in a thread; if nobody waits for it any more, undo it."""
    making = asyncio.ensure_future(asyncio.to_thread(make))
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        # The thread goes on: what it makes must not stay open.
        with suppress(OSError):
            await asyncio.to_thread(undo, await making)
        raise
