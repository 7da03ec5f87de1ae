"""A reply on one of aiohttp's connections, read as it comes.

Owns the connection of one such reply until it is closed: it is read to its end
or dropped, and never waited for. `aio` makes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import aiohttp

from falq._core.messages import Reply
from falq._transport.bodies import FAILURES, map_failure


class AioReplyStream:
    """See `ReplyStream`.

    Args:
        response: Whose head has come.
        finish: Reads the rest of it as a whole reply.
    """

    def __init__(
        self, response: aiohttp.ClientResponse, finish: Callable[[], Awaitable[Reply]]
    ) -> None:
        self._response = response
        self._finish = finish

    @property
    def status_code(self) -> int:
        """HTTP status."""
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """By case-insensitive name."""
        return self._response.headers

    async def read(self) -> bytes:
        """Return the next bytes; see `ReplyStream.read`."""
        try:
            return await self._response.content.readany()
        except FAILURES as error:
            failure: BaseException = error
        raise map_failure(failure, was_sent=True)

    async def read_rest(self) -> Reply:
        """Return what is left as a whole reply; see `ReplyStream.read_rest`."""
        return await self._finish()

    def close(self) -> None:
        """Drop the connection; safe to call twice."""
        self._response.close()
