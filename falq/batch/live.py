"""Serve the report page while a batch runs, up to date by server-sent events.

Owns the small web server: the page, its media and the events that tell a
browser to look again. It listens on loopback, answers only below a path that
holds a random token, and never changes anything. The command line calls it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from falq.batch.page import render_page
from falq.batch.progress import BatchProgress
from falq.batch.report import ReportSource, build_page
from falq.errors import ConfigError

HOST = "127.0.0.1"

BEAT_S = 1.0
"""Seconds between two looks at the progress."""

_SHUTDOWN_S = 0.5
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class LiveReport:
    """The page of a running batch. Use it as an async context manager.

    Args:
        source: What the page is made of.
        out: The output folder: media are served from it.
        progress: Tells where the batch stands.
        port: Where to listen; 0 takes a free port.
        beat_s: Seconds between two looks at the progress.
    """

    def __init__(
        self,
        source: ReportSource,
        out: Path,
        *,
        progress: Callable[[], BatchProgress],
        port: int = 0,
        beat_s: float = BEAT_S,
    ) -> None:
        self._source = source
        self._out = out.resolve()
        self._progress = progress
        self._port = port
        self._beat_s = beat_s
        self._token = secrets.token_urlsafe(24)
        self._runner: web.AppRunner | None = None
        self._drawing = asyncio.Lock()
        self._drawn: tuple[int, str] | None = None

    @property
    def url(self) -> str:
        """Where the page is, token and all."""
        return f"http://{HOST}:{self._port}/{self._token}/"

    async def __aenter__(self) -> Self:
        """Start listening.

        Raises:
            ConfigError: The port is taken.
        """
        app = web.Application()
        app.router.add_get(f"/{self._token}/", self._page)
        app.router.add_get(f"/{self._token}/events", self._events)
        app.router.add_get(f"/{self._token}/media/{{name:.+}}", self._media)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, self._port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(
                f"--serve: port {self._port} cannot be used ({error.strerror}); 0 takes a free one",
                setting="serve",
            ) from None
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _page(self, _: web.Request) -> web.Response:
        async with self._drawing:
            # Many tabs, one drawing: it takes seconds for thousands of rows.
            done = self._progress().done
            if self._drawn is None or self._drawn[0] != done:
                page = await build_page(self._source)
                html = await asyncio.to_thread(render_page, page, events="events")
                self._drawn = done, html
        return web.Response(text=self._drawn[1], content_type="text/html", headers=_HEADERS)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={**_HEADERS, "Content-Type": "text/event-stream; charset=utf-8"}
        )
        await response.prepare(request)
        told = ""
        with contextlib.suppress(ConnectionError):
            while True:
                now = self._progress()
                news = json.dumps(_facts(now))
                if news != told:
                    told = news
                    await response.write(f"event: progress\ndata: {news}\n\n".encode())
                await asyncio.sleep(self._beat_s)
        return response

    async def _media(self, request: web.Request) -> web.StreamResponse:
        root = self._out / "media"
        path = await asyncio.to_thread((root / request.match_info["name"]).resolve)
        if not path.is_relative_to(root) or not await asyncio.to_thread(path.is_file):
            raise web.HTTPNotFound(headers=_HEADERS)
        # A model's file may be a page or a drawing with scripts of its own.
        return web.FileResponse(path, headers={**_HEADERS, "Content-Security-Policy": "sandbox"})


def _facts(now: BatchProgress) -> dict[str, int | bool]:
    return {
        "done": now.done,
        "total": now.total,
        "running": now.running,
        "queued": now.queued,
        "failed": now.failed,
        "is_stopping": now.is_stopping,
    }
