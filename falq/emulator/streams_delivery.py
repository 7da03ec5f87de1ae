"""A feed as bytes on a connection.

Owns the waiting between two steps of a feed, and the chunked form in which its
bytes travel. It never decides what is said: the feed does. The server hands it the
transport of the request's connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from falq.emulator.cors import carry_over
from falq.emulator.delivery import write_head, write_whole
from falq.emulator.messages import Feed, Reply, Step


class FeedReader:
    """Asks a feed when it is due, or woken.

    Args:
        feed: What to ask.
        clock: The instant in seconds, as the loop has it.
    """

    def __init__(self, feed: Feed, clock: Callable[[], float]) -> None:
        self._feed = feed
        self._clock = clock
        self._is_woken = asyncio.Event()
        feed.wake = self._is_woken.set

    async def next_step(self) -> Step:
        """Return the next step that has something to say; cancelling it loses none."""
        loop = asyncio.get_running_loop()
        while True:
            self._is_woken.clear()
            step = self._feed.take(self._clock())
            if step.pieces or step.is_over:
                return step
            timer = None
            if step.due < float("inf"):
                wait_s = max(0.0, step.due - self._clock())
                timer = loop.call_at(loop.time() + wait_s, self._is_woken.set)
            try:
                await self._is_woken.wait()
            finally:
                if timer is not None:
                    timer.cancel()

    def close(self) -> None:
        """Note that nobody listens any more."""
        self._feed.close(self._clock())


async def deliver_feed(
    reply: Reply,
    transport: asyncio.WriteTransport,
    *,
    clock: Callable[[], float],
    keep_alive: bool,
) -> bool:
    """Send a reply with a feed.

    Returns:
        Whether the connection is still good for another request.

    A cancelled delivery leaves whatever was sent so far, and closes the feed; its
    connection must be closed.
    """
    feed = reply.feed
    if feed is None:
        raise ValueError("the reply has no feed")
    reader = FeedReader(feed, clock)
    try:
        return await _send(reply, reader, transport, keep_alive=keep_alive)
    finally:
        reader.close()


async def _send(
    reply: Reply, reader: FeedReader, transport: asyncio.WriteTransport, *, keep_alive: bool
) -> bool:
    if reply.transmission.delay_s:
        await asyncio.sleep(reply.transmission.delay_s)
    is_begun = False
    while True:
        step = await reader.next_step()
        if step.reply is not None:
            write_whole(carry_over(reply, step.reply), transport, keep_alive=keep_alive)
            return keep_alive
        if not is_begun:
            is_begun = True
            transport.write(write_head(reply, length=None, keep_alive=keep_alive))
        for piece in step.pieces:
            transport.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await asyncio.sleep(0)
        if step.is_cut:
            transport.close()
            return False
        if step.is_over:
            transport.write(b"0\r\n\r\n")
            return keep_alive
