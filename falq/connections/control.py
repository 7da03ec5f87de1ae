"""Ask Maton's control API for the connections of an account.

Owns the path, the query and the fields of that list (Maton's fal-ai skill 1.0,
2026-03, and fal-wire 13.2). It never opens a socket: a transport does, with the
limits, time-outs and masking that every call has.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from attrs import field, frozen

from falq._core import codec
from falq._core.messages import Call, CallLimits, CallTimeouts, Reply, Verb
from falq._transport.aio import AioTransport
from falq.errors import ApiError, AuthenticationError, WireError
from falq.gateways import Gateway, Maton
from falq.text import printable

APP = "fal-ai"


@frozen(kw_only=True)
class Connection:
    """One stored fal key of a Maton account.

    Attributes:
        connection_id: Its id, for `Maton(connection_id=...)`.
        status: `ACTIVE`, `PENDING`, `FAILED`, or a word that falq does not know.
        app: `fal-ai`.
        url: Where its owner enters the fal key; it holds a session token, so
            it is in no repr.
        created_at: When it was made, as sent.
    """

    connection_id: str
    status: str
    app: str
    url: str | None = field(default=None, repr=lambda url: "None" if url is None else "<secret>")
    created_at: str | None = None

    @property
    def is_active(self) -> bool:
        """Whether jobs can go through it."""
        return self.status == "ACTIVE"


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


async def list_connections(
    gateway: Maton, *, status: str | None = None, timeouts: CallTimeouts | None = None
) -> tuple[Connection, ...]:
    """Return the fal-ai connections of a Maton account.

    Args:
        gateway: Where to ask, and with which key.
        status: Only those of this status, such as `ACTIVE`; None for all.
        timeouts: How long the call may take; the usual ones by default.

    Raises:
        ConfigError: The gateway has no key.
        AuthenticationError: The key is refused.
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
    query = {"app": APP} | ({} if status is None else {"status": status})
    transport = AioTransport(
        _ControlOrigin(maton=gateway), timeouts=timeouts or CallTimeouts(), limits=CallLimits()
    )
    await transport.open()
    try:
        reply = await transport.send(Call(Verb.STATUS, "GET", f"/connections?{urlencode(query)}"))
    finally:
        await transport.aclose()
    return _read_connections(reply)


def _read_connections(reply: Reply) -> tuple[Connection, ...]:
    if reply.fault is not None:
        raise reply.fault
    if reply.status_code in {401, 403}:
        raise AuthenticationError(
            "Maton refuses the key; copy MATON_API_KEY again from maton.ai/settings",
            status_code=reply.status_code,
        )
    if not 200 <= reply.status_code < 300:
        raise ApiError(
            f"Maton's control API answered {reply.status_code}; try again later",
            status_code=reply.status_code,
            retryable=reply.status_code >= 500,
        )
    try:
        body: Any = codec.load_json(reply.body)
        return tuple(_read_connection(one) for one in body["connections"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise WireError(
            "Maton's control API did not answer with a list of connections; is control_url right?",
            status_code=reply.status_code,
        ) from None


def _read_connection(fields: dict[str, Any]) -> Connection:
    url = fields.get("url")
    return Connection(
        connection_id=printable(str(fields["connection_id"]), limit=120),
        status=printable(str(fields.get("status", "")), limit=40),
        app=printable(str(fields.get("app", "")), limit=80),
        url=url if isinstance(url, str) else None,
        created_at=fields.get("creation_time"),
    )
