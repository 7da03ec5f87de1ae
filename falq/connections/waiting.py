"""Wait until the owner of a connection has entered the fal key.

Owns the intervals and the end of that wait. Maton documents no interval; calls
count towards the account's ten a second, so the wait between two grows. The
command line and programs that set an account up call it.
"""

from __future__ import annotations

import asyncio
import math
import random
import ssl
from collections.abc import Callable

from falq._core.messages import CallTimeouts
from falq.connections.connection import Connection
from falq.connections.control import Control, open_control
from falq.errors import (
    ArgumentError,
    ConfigError,
    RateLimitError,
    ServerError,
    TransportError,
    TransportTimeoutError,
)
from falq.gateways import Maton

DEFAULT_WAIT_S = 600.0
"""What a person gets to find a fal key and enter it, in seconds."""

FIRST_INTERVAL_S = 2.0
LONGEST_INTERVAL_S = 15.0
_GROWTH = 1.5


async def wait_active(
    gateway: Maton,
    connection_id: str,
    *,
    timeout: float = DEFAULT_WAIT_S,  # noqa: ASYNC109  the bound of the whole wait
    interval_s: float = FIRST_INTERVAL_S,
    timeouts: CallTimeouts | None = None,
    ssl_context: ssl.SSLContext | None = None,
    draw: Callable[[], float] = random.random,
) -> Connection:
    """Wait until a connection is ACTIVE and return it.

    It is asked for at once, then after `interval_s`, then 1.5 times as long each
    time up to 15 seconds, each wait shortened by up to a quarter by chance. An
    outage of Maton does not end the wait. A cancelled wait leaves the connection
    as it is.

    Args:
        gateway: Where to ask, and with which key.
        connection_id: Its id.
        timeout: Seconds to wait at most.
        interval_s: First wait between two calls, in seconds.
        timeouts: How long a call may take; the usual ones by default.
        ssl_context: Whom to trust, instead of the system's authorities.
        draw: Returns a uniform draw from [0, 1).

    Raises:
        ArgumentError: The id is none, or a length of time is no number above 0.
        ConfigError: The connection is FAILED, or the gateway has no key.
        RequestNotFoundError: There is no such connection, or it was deleted.
        TransportTimeoutError: `timeout` passed; the connection is as it was.
        AuthenticationError: The key is refused.
        ApiError: Maton answered no.
        WireError: An answer holds no connection.
    """
    _check_seconds("timeout", timeout)
    _check_seconds("interval_s", interval_s)
    last = "not known"
    try:
        async with (
            asyncio.timeout(timeout),
            open_control(gateway, timeouts=timeouts, ssl_context=ssl_context) as control,
        ):
            while True:
                connection, least_s = await _look(control, connection_id)
                if connection is not None:
                    last = connection.status
                    if connection.is_active:
                        return connection
                # A quarter, not all of it: full jitter would ask again at once.
                wait_s = interval_s * (1 - 0.25 * draw())
                await asyncio.sleep(max(wait_s, least_s))
                interval_s = min(interval_s * _GROWTH, max(LONGEST_INTERVAL_S, interval_s))
    except TimeoutError:
        raise TransportTimeoutError(
            f"connection {connection_id} is not ACTIVE after {timeout:g} s (status: {last}); open "
            "its url, enter the fal key and wait again"
        ) from None


async def _look(control: Control, connection_id: str) -> tuple[Connection | None, float]:
    """Return the connection, None in an outage, and the least seconds to wait."""
    try:
        connection = await control.get(connection_id)
    except RateLimitError as error:
        return None, error.retry_after_s or 0.0
    except (TransportError, ServerError):
        return None, 0.0
    if connection.is_failed:
        raise ConfigError(
            f"connection {connection_id} is FAILED: the fal key that was entered is of no use; "
            "make a new connection with 'falq connections create'",
            setting="connection_id",
        )
    return connection, 0.0


def _check_seconds(name: str, value: float) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value < math.inf:
        raise ArgumentError(f"{name} is a number of seconds above 0", argument=name)
