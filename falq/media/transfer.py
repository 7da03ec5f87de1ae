"""Fetch the bytes of one file into its part, over as many attempts as it takes.

Owns the attempts: what is asked for, when a body is taken or dropped, how long
to wait, when to give up. It never names the file and never puts it away;
`downloader` does both.

Rules:
    1. A body that breaks off goes on where it broke, if the host can; bytes of
       another version of the file are dropped.
    2. Attempts that bring the file further do not count against it.
    3. What is never worth another attempt, such as 404, gets none.
"""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Callable

from attrs import frozen

from falq._core.backoff import Backoff
from falq.errors import FalqError, TransportError, TransportTimeoutError
from falq.media.answers import Answer, range_headers, read_answer, read_wait_s
from falq.media.download import StorageHosts, StorageReply, shown_url
from falq.media.files import PartFile
from falq.media.found import MediaRef, read_data_url
from falq.media.limits import Allowance, DownloadLimits, Pace, Share, no_room
from falq.media.progress import DownloadProgress, Tally

_DISK_IS_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# A slow host gives small pieces; each write costs a turn in a thread.
_WRITE_BYTES = 256 * 1024


@frozen(kw_only=True)
class Means:
    """What the downloads of one run share; see `Downloader`."""

    hosts: StorageHosts
    limits: DownloadLimits
    allowance: Allowance
    backoff: Backoff
    chance: random.Random
    tally: Tally
    on_progress: Callable[[DownloadProgress], None] | None


class Transfer:
    """The fetching of one file.

    Args:
        ref: What to fetch.
        part: Where to; it may hold a beginning already.
        means: What it shares with others.
    """

    def __init__(self, ref: MediaRef, part: PartFile, means: Means) -> None:
        self._ref = ref
        self._part = part
        self._means = means
        self._shown = shown_url(ref.url)
        self._attempt = 0
        self._asked_wait_s = 0.0
        self.share = Share()

    async def receive(self) -> str | None:
        """Fill the part with the whole file and return its content type, if known.

        Raises:
            FalqError: It did not arrive, or is refused.
            OSError: The disk refused.
        """
        if self._ref.url.startswith("data:"):
            return await self._decode()
        means = self._means
        furthest, failures = self._part.size_bytes, 0
        while True:
            self._attempt += 1
            try:
                return await self._fetch()
            except FalqError as error:
                has_progress = self._part.size_bytes > furthest
                failures = 0 if has_progress else failures + 1
                furthest = max(furthest, self._part.size_bytes)
                if not error.retryable or failures >= means.limits.attempts:
                    raise
            means.tally.retries += 1
            wait_s = means.backoff.delay_s(max(failures, 1), draw=means.chance.random())
            await asyncio.sleep(max(wait_s, self._asked_wait_s))

    async def _decode(self) -> str:
        content_type, data = await asyncio.to_thread(
            read_data_url, self._ref.url, limit_bytes=self._means.limits.file_bytes
        )
        await asyncio.to_thread(self._begin, Answer(start=0, total_bytes=len(data)))
        await self._write(data)
        return content_type

    async def _fetch(self) -> str | None:
        held = self._part.held
        reply = await self._means.hosts.get(self._ref.url, range_headers(held))
        try:
            self._asked_wait_s = read_wait_s(reply.headers) if reply.status >= 400 else 0.0
            answer = read_answer(reply.status, reply.headers, held=held, shown=self._shown)
            if answer is None:
                await asyncio.to_thread(self._part.restart)
                raise TransportError(f"{self._shown} is not what it was; it starts again")
            await asyncio.to_thread(self._begin, answer)
            await self._take(reply, answer.total_bytes)
        finally:
            reply.close()
        return reply.headers.get("Content-Type") or self._ref.content_type

    def _begin(self, answer: Answer) -> None:
        """Get ready for a body; blocks."""
        self._means.tally.resumed_bytes += answer.start
        self._part.begin(
            start=answer.start, total_bytes=answer.total_bytes, validator=answer.validator
        )
        self._means.allowance.record(self.share, self._part.size_bytes)
        size_bytes = answer.total_bytes
        self._means.allowance.claim(
            self.share,
            self._part.size_bytes if size_bytes is None else size_bytes,
            shown=self._shown,
            is_announced=size_bytes is not None,
        )

    async def _take(self, reply: StorageReply, total_bytes: int | None) -> None:
        loop = asyncio.get_running_loop()
        pace = Pace(self._means.limits, loop.time())
        enough_bytes = min(_WRITE_BYTES, self._means.limits.checkpoint_bytes)
        waiting = bytearray()
        try:
            while piece := await reply.read():
                self._means.tally.received_bytes += len(piece)
                waiting += piece
                received_bytes = self._part.size_bytes + len(waiting)
                # More than announced is claimed too: a body cannot be endless.
                if total_bytes is None or received_bytes > total_bytes:
                    self._means.allowance.claim(
                        self.share, received_bytes, shown=self._shown, is_announced=False
                    )
                if len(waiting) >= enough_bytes:
                    await self._write(waiting)
                    waiting = bytearray()
                self._tell(total_bytes, received_bytes)
                if pace.is_too_slow(loop.time(), len(piece)):
                    raise TransportTimeoutError(f"{self._shown} comes too slowly")
        finally:
            # Also what came before a break: the next attempt goes on behind it.
            if waiting:
                await self._write(waiting)
        if total_bytes is not None and self._part.size_bytes > total_bytes:
            await asyncio.to_thread(self._part.restart)
            raise TransportError(f"{self._shown} sent more than the {total_bytes} bytes it named")
        if total_bytes is not None and self._part.size_bytes < total_bytes:
            raise TransportError(
                f"{self._shown} sent {self._part.size_bytes} of {total_bytes} bytes; try again"
            )

    async def _write(self, data: bytes | bytearray) -> None:
        failure = None
        try:
            await asyncio.to_thread(self._part.write, data)
        except OSError as error:
            if error.errno not in _DISK_IS_FULL:
                raise
            failure = no_room(self._shown)
        finally:
            self._means.allowance.record(self.share, self._part.size_bytes)
        if failure is not None:
            raise failure

    def _tell(self, total_bytes: int | None, received_bytes: int) -> None:
        if self._means.on_progress is not None:
            self._means.on_progress(
                DownloadProgress(
                    ref=self._ref,
                    received_bytes=received_bytes,
                    total_bytes=total_bytes,
                    attempt=self._attempt,
                )
            )
