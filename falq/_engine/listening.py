"""A reply that is read as it comes, and the place in a lane that it holds.

Owns giving the place back: once, when the reply is closed. `carrier` makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from falq._core.messages import Reply
from falq._transport.base import ReplyStream


class HeldStream:
    """A `ReplyStream` that gives back its place when it is closed."""

    def __init__(self, stream: ReplyStream, leave: Callable[[], None]) -> None:
        self._stream = stream
        self._leave: Callable[[], None] | None = leave

    @property
    def status_code(self) -> int:
        """HTTP status."""
        return self._stream.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        """By case-insensitive name."""
        return self._stream.headers

    async def read(self) -> bytes:
        """Return the next bytes; see `ReplyStream.read`."""
        return await self._stream.read()

    async def read_rest(self) -> Reply:
        """Return what is left as a whole reply; see `ReplyStream.read_rest`."""
        return await self._stream.read_rest()

    def close(self) -> None:
        """Drop the connection, or give it back if the reply was read to its end."""
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()
            self._stream.close()
