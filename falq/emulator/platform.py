"""The Platform API beside the queue: request history, prices, estimates.

Owns its paths and the form of its errors, `{"error": {…}}`, which is not the
queue's. The rows are `history`'s, the prices `prices`'. It never reads a clock;
`routes` checks the key and carries out the faults, and passes every refusal
through `in_own_form`.

| call | what |
|---|---|
| `GET /models/requests/by-endpoint` | the requests of endpoints in a window |
| `GET /models/pricing` | unit prices |
| `POST /models/pricing/estimate` | the cost of a number of calls or units |
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from attrs import evolve

from falq.emulator.endings import encode
from falq.emulator.history import BadQueryError, list_page, read_endpoints, read_query
from falq.emulator.messages import Reply, Request
from falq.emulator.prices import PRICES, BadEstimateError, UnpricedError, estimate, list_prices
from falq.emulator.scenario import Scenario
from falq.emulator.state import Queue

# No endpoint's owner begins with an underscore, so no id can stand in its way.
PREFIX = "/_platform"
HISTORY = "/models/requests/by-endpoint"
PRICING = "/models/pricing"
ESTIMATE = "/models/pricing/estimate"

_JSON = (("content-type", "application/json"),)
_VERBS = {HISTORY: "history", PRICING: "prices", ESTIMATE: "prices"}
_METHODS = {HISTORY: "GET", PRICING: "GET", ESTIMATE: "POST"}
_TYPES = {
    400: "validation_error",
    401: "authorization_error",
    403: "authorization_error",
    404: "not_found",
    429: "rate_limited",
}
_DOCS_URL = "https://docs.fal.ai/platform-apis/errors"


class PlatformApi:
    """Answers the calls of the Platform API.

    Args:
        scenario: Its behavior.
        queue: The jobs that the history is about.
    """

    def __init__(self, scenario: Scenario, queue: Queue) -> None:
        self._scenario = scenario
        self._queue = queue
        self._errors = 0

    def verb_of(self, path: str) -> str:
        """Return the word that faults and counts know a path by."""
        return _VERBS.get(path.rstrip("/"), "unknown")

    def answer(self, request: Request, path: str, now: float) -> Reply:
        """Answer a call that has a good key.

        Args:
            request: The request.
            path: Its path below `PREFIX`.
            now: The instant in seconds.
        """
        path = path.rstrip("/")
        method = _METHODS.get(path)
        if method is None:
            return _refuse(404, f"Path {path} not found")
        if request.method != method:
            return _refuse(405, "Method Not Allowed", ("allow", method))
        answers: dict[str, Callable[[], dict[str, Any]]] = {
            HISTORY: lambda: self._tell_history(request, now),
            PRICING: lambda: self._tell_prices(request),
            ESTIMATE: lambda: estimate(json.loads(request.body)),
        }
        try:
            return Reply(status_code=200, headers=_JSON, body=encode(answers[path]()))
        except UnpricedError as error:
            return _refuse(404, f"Endpoint {error} not found")
        except (BadQueryError, BadEstimateError) as error:
            return _refuse(400, str(error))
        except (ValueError, RecursionError):
            return _refuse(400, "The body is no JSON")

    def in_own_form(self, reply: Reply) -> Reply:
        """Return a refusal of the queue's form, `{"detail": …}`, in the Platform API's."""
        if reply.status_code < 400:
            return reply
        try:
            body = json.loads(reply.body)
        except ValueError:
            return reply
        if not isinstance(body, dict) or not {"detail"} <= body.keys() <= {"detail", "error_type"}:
            return reply
        self._errors += 1
        own_id = f"00000000-0000-7000-8000-{self._errors:012x}"
        error = {
            "type": body.get("error_type") or _TYPES.get(reply.status_code, "server_error"),
            "message": body["detail"],
            "docs_url": _DOCS_URL,
            "request_id": dict(reply.headers).get("x-fal-request-id", own_id),
        }
        return evolve(reply, body=encode({"error": error}))

    def _tell_history(self, request: Request, now: float) -> dict[str, Any]:
        wall_now = datetime.fromtimestamp(self._queue.wall_s(now), UTC)
        query = read_query(request.query, wall_now)
        return list_page(query, self._queue, self._scenario, now)

    def _tell_prices(self, request: Request) -> dict[str, Any]:
        endpoints = read_endpoints(request.query)
        if self._scenario.unpriced == "not_found":
            for endpoint in endpoints:
                if endpoint not in PRICES:
                    raise UnpricedError(endpoint)
        return {"prices": list_prices(endpoints), "next_cursor": None, "has_more": False}


def _refuse(status_code: int, message: str, *headers: tuple[str, str]) -> Reply:
    return Reply(status_code=status_code, headers=_JSON + headers, body=encode({"detail": message}))
