"""Connections on which nothing came unasked.

Owns one look at each connection before a call gets it: bytes that came while it idled
are no answer to the call. Servers and what stands before them do send them, a 400 or
408 when an idle connection's time is over, or an answer twice. aiohttp would give them
to the next call: a submit would be told that it was refused, or get the id of another
job, and its own would run and be billed unknown to anybody. It never reads or writes;
`aio` and `exchange` have one connector for each pool, and so have the rooms that send
files.
"""

from __future__ import annotations

from typing import Any

import aiohttp
from aiohttp.connector import Connection

_MOST_SPOILED = 4
"""Connections that one call drops: a server that speaks first, or hangs up, on each of
them is not to be stormed. The call was not sent then, and is tried again later."""


class Connector(aiohttp.TCPConnector):
    """aiohttp's connector, which hands out no connection with something left to read."""

    async def connect(self, *arguments: Any, **named: Any) -> Connection:
        """Return a connection for a request, one of the pool or a new one.

        Raises:
            ClientError: There is none. Nothing was sent.
        """
        for _ in range(_MOST_SPOILED):
            connection = await super().connect(*arguments, **named)
            protocol = connection.protocol
            if protocol is None or not protocol.should_close:
                return connection
            connection.close()
        raise aiohttp.ClientConnectionError("the server speaks before it is asked")
