"""The connections of an emulated Maton account: made, listed, entered, deleted.

Owns their states and what the control API answers about them (fal-wire 13.2).
It never checks a Maton key, which `maton` does first, and never draws the page
where a fal key is entered: `connect_page` does.

    PENDING   made; its owner has not entered a fal key
    ACTIVE    the emulator accepts the key that was entered
    FAILED    it does not; entering another one is possible
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qs
from uuid import UUID

from attrs import define, field

from falq.emulator.endings import encode
from falq.emulator.messages import Reply, Request
from falq.emulator.scenario import FAL_QUEUE_URL, Scenario

APP = "fal-ai"
PATH = "/connections"
CONNECT_PATH = "/_maton/connect"
CONNECTION_ID = "7355bd0b-8aaf-4c58-9122-a1e3d454414d"

_JSON = (("content-type", "application/json"),)
# What the seed's sample shows of a connection that was just made.
_CREATED_FIELDS = ("connection_id", "status", "url", "app", "method")
_METHOD = "API_KEY"

State = Literal["PENDING", "ACTIVE", "FAILED"]


@define
class Connection:
    """One connection.

    Attributes:
        connection_id: Its id.
        token: What its page's address holds; whoever has it can enter a key.
        status: Where it stands.
        made_s: Unix time at which it was made.
        changed_s: Unix time of its last change.
    """

    connection_id: str
    token: str = field(repr=False)
    status: State
    made_s: float
    changed_s: float


class Connections:
    """The connections of the one account.

    Args:
        scenario: Status of the first, which fal keys are good, and the seed of ids.
        base_url: Origin of the page; fal's own stands for "no origin".
        wall_offset_s: Unix time of instant 0.
    """

    def __init__(self, scenario: Scenario, *, base_url: str, wall_offset_s: float) -> None:
        self._keys = frozenset(scenario.keys)
        self._seed = scenario.seed
        self._page = (
            "https://connect.maton.ai/"
            if base_url == FAL_QUEUE_URL
            else f"{base_url}{CONNECT_PATH}"
        )
        self._made = 0
        self._known: dict[str, Connection] = {}
        if scenario.maton_connection != "NONE":
            self._add(CONNECTION_ID, scenario.maton_connection, wall_offset_s)

    def choose(self, wanted: str | None) -> Connection | None:
        """Return the connection that a call goes through, or None.

        Args:
            wanted: The id that the call names; None takes the oldest ACTIVE one.
        """
        for connection in self._known.values():
            if connection.status == "ACTIVE" and wanted in {None, connection.connection_id}:
                return connection
        return None

    def find_token(self, token: str) -> Connection | None:
        """Return the connection whose page's address holds `token`, or None."""
        return next((one for one in self._known.values() if one.token == token), None)

    def enter(self, connection: Connection, key: str, wall_s: float) -> None:
        """Take the fal key that its owner entered; the key itself is not kept."""
        connection.status = "ACTIVE" if key in self._keys else "FAILED"
        connection.changed_s = wall_s

    def answer(self, request: Request, path: str, wall_s: float) -> Reply:
        """Answer a call of the control API.

        Args:
            request: The call.
            path: Its path below Maton's address.
            wall_s: Unix time of the call.
        """
        connection_id = path.rstrip("/")[len(PATH) + 1 :]
        if not connection_id:
            if request.method == "GET":
                return self._list(request)
            return self._create(request, wall_s) if request.method == "POST" else _no("GET, POST")
        if request.method not in {"GET", "DELETE"}:
            return _no("GET, DELETE")
        connection = self._known.get(connection_id)
        if connection is None:
            return _error(404, "Connection not found")
        if request.method == "GET":
            return _reply({"connection": self._shown(connection)})
        del self._known[connection_id]
        return _reply({})

    def _list(self, request: Request) -> Reply:
        query = parse_qs(request.query)
        statuses = query.get("status")
        found = [
            self._shown(one)
            for one in self._known.values()
            if query.get("app", [APP]) == [APP] and statuses in (None, [one.status])
        ]
        return _reply({"connections": found})

    def _create(self, request: Request, wall_s: float) -> Reply:
        try:
            asked: Any = json.loads(request.body)
        except ValueError:
            asked = None
        if not isinstance(asked, dict) or asked.get("app") != APP:
            return _error(400, "Unknown app")
        if asked.get("method", _METHOD) != _METHOD:
            return _error(400, "Unsupported method for app fal-ai")
        connection_id = str(UUID(bytes=self._draw("id")[:16], version=4))
        shown = self._shown(self._add(connection_id, "PENDING", wall_s))
        return _reply({"connection": {name: shown[name] for name in _CREATED_FIELDS}})

    def _add(self, connection_id: str, status: State, wall_s: float) -> Connection:
        token = self._draw("token").hex()
        connection = Connection(connection_id, token, status, wall_s, wall_s)
        self._known[connection_id] = connection
        self._made += 1
        return connection

    def _draw(self, purpose: str) -> bytes:
        # Of the seed alone, so that a run repeats; the account is nobody's.
        return hashlib.sha256(f"{self._seed} {self._made} {purpose}".encode()).digest()

    def _shown(self, connection: Connection) -> dict[str, Any]:
        return {
            "connection_id": connection.connection_id,
            "status": connection.status,
            "creation_time": _iso(connection.made_s),
            "last_updated_time": _iso(connection.changed_s),
            "url": f"{self._page}?session_token={connection.token}",
            "app": APP,
            "method": _METHOD,
            "metadata": {},
        }


def _iso(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, UTC).isoformat()


def _reply(body: dict[str, Any]) -> Reply:
    return Reply(status_code=200, headers=_JSON, body=encode(body))


def _error(status_code: int, message: str) -> Reply:
    return Reply(status_code=status_code, headers=_JSON, body=encode({"error": message}))


def _no(allowed: str) -> Reply:
    return Reply(
        status_code=405,
        headers=(*_JSON, ("allow", allowed)),
        body=encode({"error": "Method Not Allowed"}),
    )
