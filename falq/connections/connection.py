"""What a connection is, and how one is read from an answer.

Owns the fields (Maton's fal-ai skill 1.0, 2026-03, and fal-wire 13.2). It never
sends anything. Unknown statuses and missing fields pass; an address that a
browser should not open does not.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen

from falq._core import codec
from falq._core.messages import Reply
from falq._core.refusal import excerpt_of
from falq.errors import WireError
from falq.gateways import is_loopback
from falq.text import printable


def mask_url(url: str | None) -> str:
    """Return an address without its secret part: everything from the query on.

    Args:
        url: Such as a connection's.

    Example:
        >>> mask_url("https://connect.maton.ai/?session_token=abc")
        'https://connect.maton.ai/?<secret>'
    """
    if url is None:
        return "None"
    place, mark, _ = url.partition("?")
    return f"{place}?<secret>" if mark else place


@frozen(kw_only=True)
class Connection:
    """One stored fal key of a Maton account.

    Attributes:
        connection_id: Its id, for `Maton(connection_id=...)`.
        status: `ACTIVE`, `PENDING`, `FAILED`, or a word that falq does not know.
        app: `fal-ai`.
        method: How the app is connected, such as `API_KEY`; the empty text if
            not told.
        url: Where its owner enters the fal key. It holds a session token: whoever
            has it can enter a key, so no repr shows it.
        created_at: When it was made, as sent.
        updated_at: When it last changed, as sent.
    """

    connection_id: str
    status: str
    app: str
    method: str = ""
    url: str | None = field(default=None, repr=mask_url)
    created_at: str | None = None
    updated_at: str | None = None

    @property
    def is_active(self) -> bool:
        """Whether jobs can go through it."""
        return self.status == "ACTIVE"

    @property
    def is_failed(self) -> bool:
        """Whether the key that was entered is of no use."""
        return self.status == "FAILED"


def read_connections(reply: Reply) -> tuple[Connection, ...]:
    """Return the connections that a good answer lists.

    Raises:
        WireError: It is no list of connections.
    """
    try:
        body: Any = codec.load_json(reply.body)
        return tuple(_read(one) for one in body["connections"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _unreadable(reply, "a list of connections") from None


def read_connection(reply: Reply) -> Connection:
    """Return the connection that a good answer holds.

    Raises:
        WireError: It holds none.
    """
    try:
        body: Any = codec.load_json(reply.body)
        return _read(body["connection"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _unreadable(reply, "a connection") from None


def _unreadable(reply: Reply, wanted: str) -> WireError:
    # Of a body with an address in it no excerpt is kept: it may hold the token.
    is_harmless = b"token" not in reply.body
    return WireError(
        f"Maton's control API did not answer with {wanted}; is control_url right?",
        status_code=reply.status_code,
        excerpt=excerpt_of(reply.body) if is_harmless else "",
    )


def _read(fields: dict[str, Any]) -> Connection:
    return Connection(
        connection_id=printable(str(fields["connection_id"]), limit=120),
        status=printable(str(fields.get("status", "")), limit=40),
        app=printable(str(fields.get("app", "")), limit=80),
        method=printable(str(fields.get("method") or ""), limit=40),
        url=_read_url(fields.get("url")),
        created_at=_read_time(fields.get("creation_time")),
        updated_at=_read_time(fields.get("last_updated_time")),
    )


def _read_time(value: Any) -> str | None:
    return printable(value, limit=60) if isinstance(value, str) else None


def _read_url(value: Any) -> str | None:
    """Return an address if a person may be told to open it in a browser."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        return None
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
    except ValueError:
        return None
    is_good = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    return value if is_good and host and " " not in value else None
