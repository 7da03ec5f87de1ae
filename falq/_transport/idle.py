"""Connections between two exchanges: the ones worth keeping, and for how long.

Owns what a connection must be to carry another request. aiohttp's connector
makes them and counts one as in use for as long as it is kept here: giving it
back and asking for it again costs more than the exchange around it.

Rules:
    1. The last one kept is the first one taken: few stay warm, the others age.
    2. A connection on which something came that nobody asked for is closed: it
       would be read as the answer to the next request.
"""

from __future__ import annotations

import asyncio

from aiohttp.connector import Connection


class IdleConnections:
    """Open connections to one origin that no exchange uses now.

    Args:
        keepalive_s: Seconds that one is kept.
    """

    __slots__ = ("_is_closed", "_keepalive_s", "_kept", "_loop", "_sweep")

    def __init__(self, *, keepalive_s: float) -> None:
        self._keepalive_s = keepalive_s
        self._loop = asyncio.get_running_loop()
        # By the time since which each is kept.
        self._kept: list[tuple[float, Connection]] = []
        self._sweep: asyncio.TimerHandle | None = None
        self._is_closed = False

    def take(self) -> Connection | None:
        """Return a connection that is good for another request, if there is one."""
        if not self._kept:
            return None
        oldest = self._loop.time() - self._keepalive_s
        while self._kept:
            since, connection = self._kept.pop()
            if since >= oldest and _is_clean(connection):
                return connection
            connection.close()
        return None

    def keep(self, connection: Connection) -> None:
        """Keep a connection whose answer was read to its end, if it can be used again."""
        if self._is_closed or not _is_clean(connection):
            connection.close()
            return
        self._kept.append((self._loop.time(), connection))
        if self._sweep is None:
            self._sweep = self._loop.call_later(self._keepalive_s, self._close_old)

    def _close_old(self) -> None:
        oldest = self._loop.time() - self._keepalive_s
        while self._kept and self._kept[0][0] <= oldest:
            self._kept.pop(0)[1].close()
        self._sweep = None
        if self._kept:
            left_s = max(self._kept[0][0] - oldest, 0.0)
            self._sweep = self._loop.call_later(left_s, self._close_old)

    def close(self) -> None:
        """Close them all; what is kept from now on is closed too."""
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        while self._kept:
            self._kept.pop()[1].close()


def _is_clean(connection: Connection) -> bool:
    protocol = connection.protocol
    return protocol is not None and not protocol.should_close and protocol.is_connected()
