"""The Platform API beside the queue: models, prices, history, usage, deletion.

Owns its paths and the form of its errors, `{"error": {…}}`, which is not the
queue's. The rows are `history`'s, the prices `prices`', the models `catalogue`'s,
the sums `usage`'s. It never reads a clock; `routes` checks the key and carries out
the faults, and passes every refusal through `in_own_form`.

| call | what |
|---|---|
| `GET /models` | the catalogue, with documents if asked; a key is not needed |
| `GET /models/pricing` | unit prices |
| `POST /models/pricing/estimate` | the cost of a number of calls or units |
| `GET /models/usage` | what was used in a window |
| `GET /models/requests/by-endpoint` | the requests of endpoints in a window |
| `DELETE /models/requests/{id}/payloads` | forget a request's input, output and files |
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from attrs import evolve, frozen

from falq.emulator.catalogue import list_models
from falq.emulator.endings import encode
from falq.emulator.files import MediaShelf
from falq.emulator.history import BadQueryError, list_page, read_endpoints, read_query
from falq.emulator.messages import Reply, Request
from falq.emulator.prices import PRICES, BadEstimateError, UnpricedError, estimate, list_prices
from falq.emulator.scenario import Scenario
from falq.emulator.state import Queue
from falq.emulator.usage import tell_usage

# No endpoint's owner begins with an underscore, so no id can stand in its way.
PREFIX = "/_platform"
CATALOGUE = "/models"
HISTORY = "/models/requests/by-endpoint"
PRICING = "/models/pricing"
ESTIMATE = "/models/pricing/estimate"
USAGE = "/models/usage"
PAYLOADS = "/models/requests/{request_id}/payloads"

_PAYLOADS = re.compile(r"/models/requests/(?P<request_id>[^/]+)/payloads")
_JSON = (("content-type", "application/json"),)
_TYPES = {
    400: "validation_error",
    401: "authorization_error",
    403: "authorization_error",
    404: "not_found",
    429: "rate_limited",
}
_DOCS_URL = "https://docs.fal.ai/platform-apis/errors"


class _RefusalError(Exception):
    """A call cannot be carried out."""

    def __init__(self, status_code: int, message: str) -> None:
        super().__init__(message)
        self.status_code = status_code


@frozen
class _Route:
    """One call: its method, the word that faults know it by, and what answers it."""

    method: str
    verb: str
    answer: Callable[[Request, str, float], dict[str, Any]]


class PlatformApi:
    """Answers the calls of the Platform API.

    Args:
        scenario: Its behavior.
        queue: The jobs that the history is about.
        files: The media that deletions are about.
    """

    def __init__(self, scenario: Scenario, queue: Queue, files: MediaShelf) -> None:
        self._scenario = scenario
        self._queue = queue
        self._files = files
        self._errors = 0
        self._deletions: dict[tuple[str, str], dict[str, Any]] = {}
        self._routes = {
            CATALOGUE: _Route("GET", "catalogue", lambda asked, _, __: list_models(asked.query)),
            HISTORY: _Route("GET", "history", self._tell_history),
            PRICING: _Route("GET", "prices", self._tell_prices),
            ESTIMATE: _Route("POST", "prices", lambda asked, _, __: _estimate(asked)),
            USAGE: _Route("GET", "usage", self._tell_usage),
            PAYLOADS: _Route("DELETE", "payloads", self._delete_payloads),
        }

    def verb_of(self, path: str) -> str:
        """Return the word that faults and counts know a path by."""
        route = self._route_of(path)
        return "unknown" if route is None else route.verb

    def needs_key(self, request: Request, path: str) -> bool:
        """Return whether a call is refused without a key; one that is there must be good."""
        is_public = path.rstrip("/") == CATALOGUE
        return not is_public or "authorization" in request.headers

    def answer(self, request: Request, path: str, now: float) -> Reply:
        """Answer a call that has a good key, or needs none.

        Args:
            request: The request.
            path: Its path below `PREFIX`.
            now: The instant in seconds.
        """
        route = self._route_of(path)
        if route is None:
            return _refuse(404, f"Path {path} not found")
        if request.method != route.method:
            return _refuse(405, "Method Not Allowed", ("allow", route.method))
        try:
            body = encode(route.answer(request, path.rstrip("/"), now))
        except _RefusalError as error:
            return _refuse(error.status_code, str(error))
        except (BadQueryError, BadEstimateError) as error:
            return _refuse(400, str(error))
        return Reply(status_code=200, headers=_JSON, body=body)

    def _route_of(self, path: str) -> _Route | None:
        path = path.rstrip("/")
        return self._routes.get(PAYLOADS if _PAYLOADS.fullmatch(path) else path)

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

    def _wall(self, now: float) -> datetime:
        return datetime.fromtimestamp(self._queue.wall_s(now), UTC)

    def _tell_history(self, request: Request, _: str, now: float) -> dict[str, Any]:
        query = read_query(request.query, self._wall(now))
        return list_page(query, self._queue, self._scenario, now)

    def _tell_prices(self, request: Request, _: str, __: float) -> dict[str, Any]:
        endpoints = read_endpoints(request.query)
        if self._scenario.unpriced == "not_found":
            for endpoint in endpoints:
                if endpoint not in PRICES:
                    raise _RefusalError(404, f"Endpoint {endpoint} not found")
        return {"prices": list_prices(endpoints), "next_cursor": None, "has_more": False}

    def _tell_usage(self, request: Request, _: str, now: float) -> dict[str, Any]:
        return tell_usage(request.query, self._queue, self._wall(now))

    def _delete_payloads(self, request: Request, path: str, now: float) -> dict[str, Any]:
        found = _PAYLOADS.fullmatch(path)
        request_id = "" if found is None else found["request_id"]
        seen = (request.headers.get("idempotency-key", ""), request_id)
        if seen[0] and seen in self._deletions:
            return self._deletions[seen]
        job = self._queue.jobs.get(request_id)
        if job is None or job.is_gone or job.has_lost_payloads:
            raise _RefusalError(404, f"Request {request_id} not found")
        if not self._queue.delete_payloads(job, now):
            raise _RefusalError(400, "The request has not completed")
        links = [] if job.ending is None else _links_in(json.loads(job.ending.body))
        kept = set(_links_in(job.order.arguments))
        told = {
            "cdn_delete_results": [
                {"link": link, "exception": None}
                for link in links
                if link not in kept and self._files.remove(link)
            ]
        }
        self._deletions[seen] = told
        return told


def _links_in(value: object) -> Iterator[str]:
    """Yield the addresses of the files that an output names."""
    if isinstance(value, dict):
        link = value.get("url")
        if isinstance(link, str):
            yield link
        for inner in value.values():
            yield from _links_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _links_in(inner)


def _estimate(request: Request) -> dict[str, Any]:
    try:
        wish = json.loads(request.body)
    except (ValueError, RecursionError):
        raise _RefusalError(400, "The body is no JSON") from None
    try:
        return estimate(wish)
    except UnpricedError as error:
        raise _RefusalError(404, f"Endpoint {error} not found") from None


def _refuse(status_code: int, message: str, *headers: tuple[str, str]) -> Reply:
    return Reply(status_code=status_code, headers=_JSON + headers, body=encode({"detail": message}))
