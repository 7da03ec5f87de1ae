"""Tell the machines that watch an app how it is: alive, ready, and its counts.

Owns the three answers and their forms. It never tells a key, an endpoint or an id,
and calls nobody: what fal does is no reason to restart an app.
"""

from __future__ import annotations

import json
import weakref
from typing import Protocol

from aiohttp import web

from falq._asgi import Message, Receive, Send, live
from falq._engine.session_statistics import SessionStatistics
from falq.web import aio, asgi
from falq.web.metrics import CONTENT_TYPE, families_beside, families_of, render
from falq.web.proxy import Answer, plain, refuse
from falq.web.relay import ProxyStatistics
from falq.webhooks import ReceiverStatistics

_METHODS = ("GET", "HEAD")


class Watched(Protocol):
    """What is asked how it is."""

    def why_not_ready(self) -> str | None:
        """Return why no job is taken now, None if one is."""
        ...

    def statistics(self) -> SessionStatistics | None:
        """Return its counts, None if it is not open."""
        ...

    @property
    def opened_at(self) -> float | None:
        """When it was opened, Unix seconds, None if it is not open."""
        ...


class Counted(Protocol):
    """What has counts of its own: a `WebhookReceiver`, a `FalProxy`."""

    def statistics(self) -> ReceiverStatistics | ProxyStatistics:
        """Return them."""
        ...


class Monitor:
    """Answers `/healthz`, `/readyz` and `/metrics`: an ASGI application and an aiohttp handler.

    The last part of the path chooses, so that it may be mounted anywhere.

        healthz   200 as long as the event loop answers: restart what does not
        readyz    200 if a job would be taken now, else 503: send others elsewhere
        metrics   the session's counts in Prometheus' text format

    Args:
        watched: The app's session.

    Example:
        app.router.add_get("/healthz", fal.monitor.handle)  # aiohttp
        app.add_route("/healthz", fal.monitor)  # FastAPI, Starlette
    """

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._beside: weakref.WeakSet[Counted] = weakref.WeakSet()

    def add(self, counted: Counted) -> None:
        """Tell the counts of a receiver or a proxy among the metrics, while it lives.

        Args:
            counted: Those of several receivers, or several proxies, are added up.
        """
        self._beside.add(counted)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one ASGI call."""
        if scope["type"] == "lifespan":
            await live(receive, send, _nothing)
        elif scope["type"] == "http":
            await asgi.write(self.answer(scope["method"], scope["path"]), send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request of aiohttp's web server."""
        return aio.response_of(self.answer(request.method, request.path))

    def answer(self, method: str, path: str) -> Answer:
        """Return the answer to one call, for a server that has neither face.

        Args:
            method: HTTP method.
            path: Its path, without a query.
        """
        if method not in _METHODS:
            return refuse(405, "Method not allowed", allow=", ".join(_METHODS))
        match path.rstrip("/").rpartition("/")[2]:
            case "healthz":
                return _told(200, status="ok")
            case "readyz":
                return self._readiness()
            case "metrics":
                return self._metrics()
            case _:
                return refuse(404, "there are healthz, readyz and metrics")

    def _readiness(self) -> Answer:
        reason, now = self._watched.why_not_ready(), self._watched.statistics()
        counts = {} if now is None else {"waiting": now.waiting, "in_flight": now.in_flight}
        return _told(200 if reason is None else 503, status=reason or "ready", **counts)

    def _metrics(self) -> Answer:
        families = families_of(
            self._watched.statistics(),
            is_ready=self._watched.why_not_ready() is None,
            opened_at=self._watched.opened_at,
        )
        families += families_beside(one.statistics() for one in self._beside)
        return plain(200, CONTENT_TYPE, render(families).encode())


def _told(status_code: int, **facts: object) -> Answer:
    return plain(status_code, "application/json", json.dumps(facts).encode())


async def _nothing() -> None:
    """Close what has nothing to close."""
