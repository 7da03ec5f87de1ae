"""The Maton gateway before the queue: its key, its rate, its connections.

Owns what Maton adds to fal and nothing of the queue itself: `routes` asks it
first and then answers the native path, whose bodies keep fal's own URLs, as the
real gateway's do. The connections themselves are `connections`'.
"""

from __future__ import annotations

from collections import deque

from attrs import frozen

from falq.emulator.connect_page import answer_page
from falq.emulator.connections import CONNECT_PATH, Connections
from falq.emulator.connections import PATH as CONNECTIONS_PATH
from falq.emulator.endings import encode
from falq.emulator.messages import Reply, Request
from falq.emulator.scenario import Scenario

PREFIX = "/_maton"
APP = "/fal-ai"

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
    """Maton's own checks, its control API and the page of a connection.

    Args:
        scenario: Which keys and connection it has.
        base_url: Origin of the page.
        wall_offset_s: Unix time of instant 0, for the connections' times.
    """

    def __init__(self, scenario: Scenario, *, base_url: str, wall_offset_s: float) -> None:
        self._scenario = scenario
        self._connections = Connections(scenario, base_url=base_url, wall_offset_s=wall_offset_s)
        self._recent: deque[float] = deque()

    def refuse(self, request: Request, now: float) -> Reply | None:
        """Return why the gateway lets nothing through, or None."""
        error = self._check_key(request) or self._check_rate(now)
        return None if error is None else error.as_reply()

    def refuse_connection(self, request: Request) -> Reply | None:
        """Return why there is no connection to send this through, or None."""
        if self._connections.choose(request.headers.get("maton-connection")) is not None:
            return None
        return MatonError(400, "No active connection for app fal-ai").as_reply()

    def control(self, request: Request, path: str, wall_s: float) -> Reply:
        """Answer a call of the control API, whose key was checked."""
        return self._connections.answer(request, path, wall_s)

    def show_page(self, request: Request, wall_s: float) -> Reply:
        """Answer a browser on the page of a connection, which asks for no Maton key."""
        return answer_page(self._connections, request, wall_s)

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


def is_control_path(path: str) -> bool:
    """Return whether a path below Maton's address is the control API's."""
    parent, _, last = path.rstrip("/").rpartition("/")
    return f"{parent}/{last}" == CONNECTIONS_PATH or parent == CONNECTIONS_PATH


def is_page_path(path: str) -> bool:
    """Return whether a path of the emulator is the page of a connection."""
    return path == CONNECT_PATH
