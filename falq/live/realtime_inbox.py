"""What waits for the reader of a realtime conversation.

Owns the line of results and errors, its bounds, and the word about the end. It
never reads a socket: `realtime` fills it and empties it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from falq._core.messages import MIB
from falq.errors import FalqError

MOST_UNREAD_BYTES = 64 * MIB
"""Bytes of frames that wait for the reader, beyond the one that goes over it."""


class Inbox:
    """Results and errors in order, then the end.

    Args:
        most: Items that wait at most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._items: deque[tuple[dict[str, Any] | FalqError, int]] = deque()
        self._held_bytes = 0
        self._has_ended = False
        self._end: FalqError | None = None
        self._change = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    async def put(self, item: dict[str, Any] | FalqError, size: int) -> None:
        """Add an item as soon as there is room."""
        while len(self._items) >= self._most or self._held_bytes >= MOST_UNREAD_BYTES:
            await self._wait()
        self._items.append((item, size))
        self._held_bytes += size
        self._wake()

    async def get(self) -> dict[str, Any] | None:
        """Return the next result; None at an end in good order."""
        while not self._items and not self._has_ended:
            await self._wait()
        if not self._items:
            self.check()
            return None
        item, size = self._items.popleft()
        self._held_bytes -= size
        self._wake()
        if isinstance(item, FalqError):
            raise item
        return item

    def end(self, error: FalqError | None) -> None:
        """Note how it ended; the first word stands."""
        if not self._has_ended:
            self._has_ended, self._end = True, error
        self._wake()

    def check(self) -> None:
        """Raise the error that it ended with, if it did."""
        if self._end is not None:
            # A copy for each: one that is raised twice grows its traceback each time.
            raise _copy_of(self._end)

    @property
    def has_ended(self) -> bool:
        """Whether nothing will follow what waits now."""
        return self._has_ended

    async def _wait(self) -> None:
        await self._change.wait()

    def _wake(self) -> None:
        # All who wait look again; those who come later wait for the next change.
        self._change.set()
        self._change = asyncio.Event()


def _copy_of(error: FalqError) -> FalqError:
    make, parts = error.__reduce__()
    copy: FalqError = make(*parts)
    return copy
