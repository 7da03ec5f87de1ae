"""List, create, get and delete the fal-ai connections of a Maton account.

Owns the paths and bodies of Maton's control API (Maton's fal-ai skill 1.0,
2026-03, and fal-wire 13.2), and what its refusals ask the user to do. It never
opens a socket: a transport does, with the limits, time-outs and masking that
every call has. `waiting` and the command line call it.

No call that changes something is repeated: a create whose answer was lost may
have made a connection, which is PENDING, costs nothing and shows in the list.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlencode

from attrs import evolve, frozen

from falq._core.messages import Call, CallLimits, CallTimeouts, Reply, Verb
from falq._core.refusal import read_error, read_retry_after
from falq._transport.aio import AioTransport
from falq._transport.base import Transport
from falq.config import resolve_proxy
from falq.connections.connection import Connection, read_connection, read_connections
from falq.errors import RateLimitError
from falq.gateways import Gateway, Maton
from falq.model import check_path_part

APP = "fal-ai"
PATH = "/connections"

_ADVICE = {
    400: "Maton does not know this app or method; the fal-ai app takes API_KEY",
    404: "there is no such connection; 'falq connections list' shows those that there are",
}


@frozen(kw_only=True)
class _ControlOrigin(Gateway):
    """The control API seen as a transport's target: its origin, Maton's key."""

    maton: Maton

    @property
    def name(self) -> str:
        return "maton"

    @property
    def queue_root(self) -> str:
        return self.maton.control_url

    @property
    def abilities(self) -> frozenset[str]:
        return frozenset()

    def auth_headers(self) -> dict[str, str]:
        # The choice of a connection is for the gateway, not for the list of them.
        return {"Authorization": self.maton.auth_headers()["Authorization"]}


@frozen
class Control:
    """The control API of one account, open.

    Attributes:
        gateway: Whose.
        transport: What carries the calls.
    """

    gateway: Maton
    transport: Transport

    async def list(self, status: str | None) -> tuple[Connection, ...]:
        """Return the fal-ai connections, those of one status if `status` names it."""
        query = {"app": APP} | ({} if status is None else {"status": status})
        reply = await self._ask("GET", f"{PATH}?{urlencode(query)}", doing="list the connections")
        return read_connections(reply)

    async def create(self, method: str | None) -> Connection:
        """Make a connection."""
        body = {"app": APP} | ({} if method is None else {"method": method})
        return read_connection(await self._ask("POST", PATH, body, doing="create a connection"))

    async def get(self, connection_id: str) -> Connection:
        """Return one connection."""
        path = _path_of(connection_id)
        return read_connection(await self._ask("GET", path, doing="look at the connection"))

    async def delete(self, connection_id: str) -> None:
        """Delete one connection; the body of the answer is documented nowhere."""
        await self._ask("DELETE", _path_of(connection_id), doing="delete the connection")

    async def _ask(
        self, method: str, target: str, body: dict[str, str] | None = None, *, doing: str
    ) -> Reply:
        data = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        # A transport may send a read again on a connection that broke, a submit never.
        verb = Verb.STATUS if method == "GET" else Verb.SUBMIT
        reply = await self.transport.send(Call(verb, method, target, data, headers))
        if not 200 <= reply.status_code < 300:
            error = read_error(
                reply, endpoint=None, request_id=None, doing=doing, advise=self._advise
            )
            if isinstance(error, RateLimitError):
                error.retry_after_s = read_retry_after(reply, wall_now_s=time.time())
            raise error
        if reply.fault is not None:
            raise reply.fault
        return reply

    def _advise(self, status_code: int, /, *, is_own: bool | None) -> str | None:
        # Whoever answers here is Maton, whatever the form of the body.
        del is_own
        return _ADVICE.get(status_code) or self.gateway.advise(status_code, is_own=True)


def _path_of(connection_id: str) -> str:
    return f"{PATH}/{check_path_part(connection_id, what='connection_id')}"


@asynccontextmanager
async def open_control(
    gateway: Maton,
    *,
    timeouts: CallTimeouts | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[Control]:
    """Open the control API of an account and close its connections afterwards.

    Args:
        gateway: Where to ask, and with which key.
        timeouts: How long a call may take; the usual ones by default.
        ssl_context: Whom to trust, instead of the system's authorities.

    Raises:
        ConfigError: The gateway has no key.
    """
    chosen = timeouts or CallTimeouts()
    transport = AioTransport(
        _ControlOrigin(maton=gateway),
        # Nothing here is worth the long wait that a job's receipt is.
        timeouts=evolve(chosen, submit_s=chosen.total_s),
        limits=CallLimits(),
        ssl_context=ssl_context,
        proxy=resolve_proxy(None),
    )
    await transport.open()
    try:
        yield Control(gateway, transport)
    finally:
        await transport.aclose()


async def list_connections(
    gateway: Maton,
    *,
    status: str | None = None,
    timeouts: CallTimeouts | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> tuple[Connection, ...]:
    """Return the fal-ai connections of a Maton account.

    A cancelled call leaves nothing behind.

    Args:
        gateway: Where to ask, and with which key.
        status: Only those of this status, such as `ACTIVE`; None for all.
        timeouts: How long the call may take; the usual ones by default.
        ssl_context: Whom to trust, instead of the system's authorities.

    Raises:
        ConfigError: The gateway has no key.
        AuthenticationError: The key is refused.
        RateLimitError: The account made too many calls a second.
        ApiError: Maton answered no.
        TransportError: There was no whole answer.
        WireError: The answer is no list of connections.

    Example:
        >>> import asyncio
        >>> from falq.emulator import Emulator
        >>> async def main():
        ...     async with Emulator() as emulator:
        ...         return await list_connections(emulator.maton, status="ACTIVE")
        >>> [one.status for one in asyncio.run(main())]
        ['ACTIVE']
    """
    async with open_control(gateway, timeouts=timeouts, ssl_context=ssl_context) as control:
        return await control.list(status)


async def create_connection(
    gateway: Maton,
    *,
    method: str | None = None,
    timeouts: CallTimeouts | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> Connection:
    """Make a fal-ai connection; its owner enters the fal key at its `url`.

    Show the address to that person alone: it holds a secret. If the call is
    cancelled or its answer lost, there may be a PENDING connection.

    Args:
        gateway: Where to ask, and with which key.
        method: How to connect; None leaves Maton's choice, `API_KEY`.
        timeouts: How long the call may take; the usual ones by default.
        ssl_context: Whom to trust, instead of the system's authorities.

    Returns:
        The connection, PENDING.

    Raises:
        ConfigError: The gateway has no key.
        AuthenticationError: The key is refused.
        ApiError: Maton answered no.
        TransportError: There was no whole answer; a connection may be there.
        WireError: The answer holds no connection.
    """
    async with open_control(gateway, timeouts=timeouts, ssl_context=ssl_context) as control:
        return await control.create(method)


async def get_connection(
    gateway: Maton,
    connection_id: str,
    *,
    timeouts: CallTimeouts | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> Connection:
    """Return one connection.

    A cancelled call leaves nothing behind.

    Args:
        gateway: Where to ask, and with which key.
        connection_id: Its id.
        timeouts: How long the call may take; the usual ones by default.
        ssl_context: Whom to trust, instead of the system's authorities.

    Raises:
        ArgumentError: The id is none.
        RequestNotFoundError: There is no such connection.
        FalqError: As `list_connections` says.
    """
    async with open_control(gateway, timeouts=timeouts, ssl_context=ssl_context) as control:
        return await control.get(connection_id)


async def delete_connection(
    gateway: Maton,
    connection_id: str,
    *,
    timeouts: CallTimeouts | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> None:
    """Delete a connection and the fal key that it holds.

    Jobs that were submitted through it can no longer be reached through Maton.
    If the call is cancelled, the connection may be there or not.

    Args:
        gateway: Where to ask, and with which key.
        connection_id: Its id.
        timeouts: How long the call may take; the usual ones by default.
        ssl_context: Whom to trust, instead of the system's authorities.

    Raises:
        ArgumentError: The id is none.
        RequestNotFoundError: There is no such connection.
        FalqError: As `list_connections` says.
    """
    async with open_control(gateway, timeouts=timeouts, ssl_context=ssl_context) as control:
        await control.delete(connection_id)
