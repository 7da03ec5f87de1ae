"""The Maton gateway before the queue: its key, its connection, its path mapping.

Owns what Maton adds to fal and nothing of the queue itself: `routes` asks it
first and then answers the native path, whose bodies keep fal's own URLs, as the
real gateway's do.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from urllib.parse import parse_qs

from attrs import frozen

from falq.emulator.endings import encode
from falq.emulator.messages import Reply, Request
from falq.emulator.scenario import Scenario

PREFIX = "/_maton"
APP = "/fal-ai"
CONNECTIONS = "/connections"
CONNECTION_ID = "7355bd0b-8aaf-4c58-9122-a1e3d454414d"

_JSON = (("content-type", "application/json"),)
_RATE_WINDOW_S = 1.0


@frozen
class MatonError:
    """An answer of the gateway itself; the body's form is not documented."""

    status_code: int
    message: str

    def as_reply(self) -> Reply:
        """Return it as a reply."""
        return Reply(
            status_code=self.status_code, headers=_JSON, body=encode({"error": self.message})
        )


class MatonGateway:
    """Maton's own checks and its list of connections.

    Args:
        scenario: Which keys and connection it has.
        wall_offset_s: Unix time of instant 0, for the connection's times.
    """

    def __init__(self, scenario: Scenario, *, wall_offset_s: float) -> None:
        self._scenario = scenario
        self._made_at = datetime.fromtimestamp(wall_offset_s, UTC).isoformat()
        self._recent: deque[float] = deque()

    def refuse(self, request: Request, now: float) -> Reply | None:
        """Return why the gateway lets nothing through, or None."""
        error = self._check_key(request) or self._check_rate(now)
        return None if error is None else error.as_reply()

    def refuse_connection(self, request: Request) -> Reply | None:
        """Return why there is no connection to send this through, or None."""
        wanted = request.headers.get("maton-connection", CONNECTION_ID)
        if self._scenario.maton_connection == "ACTIVE" and wanted == CONNECTION_ID:
            return None
        return MatonError(400, "No active connection for app fal-ai").as_reply()

    def list_connections(self, request: Request) -> Reply:
        """Return the connections that the query asks for."""
        query = parse_qs(request.query)
        status = self._scenario.maton_connection
        is_asked = query.get("app", ["fal-ai"]) == ["fal-ai"]
        is_asked &= query.get("status", [status]) == [status]
        found = [self._connection()] if is_asked and status != "NONE" else []
        return Reply(status_code=200, headers=_JSON, body=encode({"connections": found}))

    def _connection(self) -> dict[str, object]:
        return {
            "connection_id": CONNECTION_ID,
            "status": self._scenario.maton_connection,
            "creation_time": self._made_at,
            "last_updated_time": self._made_at,
            "url": "https://connect.maton.ai/?session_token=emulated",
            "app": "fal-ai",
            "method": "API_KEY",
            "metadata": {},
        }

    def _check_key(self, request: Request) -> MatonError | None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and key in self._scenario.maton_keys:
            return None
        return MatonError(401, "Invalid or missing Maton API key")

    def _check_rate(self, now: float) -> MatonError | None:
        rate = self._scenario.maton_rate_per_s
        if rate is None:
            return None
        while self._recent and self._recent[0] <= now - _RATE_WINDOW_S:
            self._recent.popleft()
        if len(self._recent) >= rate:
            return MatonError(429, "Rate limit exceeded")
        self._recent.append(now)
        return None
