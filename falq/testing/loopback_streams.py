"""A reply of an emulator in memory that is read as it comes, in loop time.

Owns the travel of its pieces; `loopback` makes it. The network's faults happen
here as they would on a connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

from multidict import CIMultiDict

from falq._core.messages import Reply
from falq.emulator import Reply as Answer
from falq.emulator.streams_delivery import FeedReader
from falq.errors import FalqError, ResponseTooLargeError, TransportError, TransportTimeoutError


class LoopbackReplyStream:
    """See `ReplyStream`.

    Args:
        answer: What the emulator said; with a feed, how it goes on.
        idle_s: Seconds that may pass without a byte.
        limit_of: Largest body of a reply with this status, in bytes.
    """

    def __init__(self, answer: Answer, *, idle_s: float, limit_of: Callable[[int], int]) -> None:
        self._answer = answer
        self._idle_s = idle_s
        self._limit_of = limit_of
        self._pieces: deque[bytes] = deque()
        # A fault of the network strikes before a feed could say anything.
        feed = answer.feed if answer.transmission.manner == "normal" else None
        self._is_over = feed is None
        self._is_cut = answer.transmission.manner == "cut"
        self._reader: FeedReader | None = None
        if feed is not None:
            self._reader = FeedReader(feed, asyncio.get_running_loop().time)
        elif answer.body:
            end = answer.transmission.cut_at_bytes if self._is_cut else len(answer.body)
            self._pieces.append(answer.body[:end])

    async def begin(self, latency_s: float) -> None:
        """Wait for the head: of a stream the first step, of a run its end.

        Args:
            latency_s: Seconds that it takes on the way.

        Raises:
            TransportError: No head came.
        """
        how = self._answer.transmission
        if how.manner == "stall":
            await asyncio.sleep(self._idle_s)
            raise TransportTimeoutError("no complete answer within the time-out")
        await asyncio.sleep(latency_s + how.delay_s)
        if how.manner in {"reset", "fin"}:
            raise TransportError("the connection broke")
        if self._reader is not None:
            await self._advance()

    @property
    def status_code(self) -> int:
        """HTTP status."""
        return self._answer.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        """By case-insensitive name."""
        return CIMultiDict(self._answer.headers)

    async def read(self) -> bytes:
        """Return the next bytes; see `ReplyStream.read`."""
        while not self._pieces:
            if self._is_cut and self._is_over:
                raise TransportError("the connection broke")
            if self._is_over:
                return b""
            await self._advance()
        return self._pieces.popleft()

    async def read_rest(self) -> Reply:
        """Return what is left as a whole reply; see `ReplyStream.read_rest`."""
        body = bytearray()
        limit = self._limit_of(self.status_code)
        fault: FalqError | None = None
        try:
            while len(body) <= limit and (piece := await self.read()):
                body += piece
        except TransportError as error:
            fault = error
        if len(body) > limit:
            body.clear()
            fault = ResponseTooLargeError(
                f"the answer is larger than {limit} bytes", status_code=self.status_code
            )
        return Reply(self.status_code, self.headers, bytes(body), fault)

    def close(self) -> None:
        """Drop the connection; safe to call twice."""
        reader, self._reader = self._reader, None
        self._is_over = True
        if reader is not None:
            reader.close()

    async def _advance(self) -> None:
        if self._reader is None:
            self._is_over = True
            return
        try:
            async with asyncio.timeout(self._idle_s):
                step = await self._reader.next_step()
        except TimeoutError:
            raise TransportTimeoutError("no complete answer within the time-out") from None
        self._pieces += step.pieces
        self._is_over, self._is_cut = step.is_over, step.is_cut
        if step.reply is not None:
            self._answer = step.reply
            self._pieces.append(step.reply.body)
