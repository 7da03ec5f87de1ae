"""Serve the report page while a batch runs, up to date by server-sent events.

Owns the small web server: the page, its media and the events that tell a
browser to look again. It listens on loopback, answers only below a path that
holds a random token, and never changes anything. At the end each page that is
open gets a last look, so that it shows what the terminal says. The command line
calls it.
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
from attrs import evolve

from falq.batch.page import render_page
from falq.batch.progress import BatchProgress
from falq.batch.report import ReportSource, build_page
from falq.errors import ConfigError

HOST = "127.0.0.1"

BEAT_S = 1.0
"""Seconds between two looks at the progress."""

LAST_LOOK_S = 3.0
"""Seconds that the end waits for open pages to look once more."""

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
        self._source = evolve(source, is_running=True)
        self._out = out.resolve()
        self._progress = progress
        self._port = port
        self._beat_s = beat_s
        self._token = secrets.token_urlsafe(24)
        self._runner: web.AppRunner | None = None
        self._drawing = asyncio.Lock()
        self._drawn: tuple[int, str] | None = None
        self._is_over = asyncio.Event()
        self._watching = 0
        self._last_looks = asyncio.Semaphore(0)

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
        if self._runner is None:
            return
        # Who leaves at once waits for no page.
        watching = self._watching if kind is None else 0
        self._is_over.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_LOOK_S):
                for _ in range(watching):
                    await self._last_looks.acquire()
        await self._runner.cleanup()

    async def _page(self, request: web.Request) -> web.Response:
        async with self._drawing:
            # Many tabs, one drawing: it takes seconds for thousands of rows.
            done = self._progress().done
            if self._drawn is None or self._drawn[0] != done:
                page = await build_page(self._source)
                html = await asyncio.to_thread(render_page, page, events="events")
                self._drawn = done, html
        response = web.Response(text=self._drawn[1], content_type="text/html", headers=_HEADERS)
        if self._is_over.is_set():
            # To the last byte: the server goes when every page has it.
            await response.prepare(request)
            await response.write_eof()
            self._last_looks.release()
        return response

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={**_HEADERS, "Content-Type": "text/event-stream; charset=utf-8"}
        )
        await response.prepare(request)
        told = ""
        self._watching += 1
        try:
            while not self._is_over.is_set():
                told = await self._tell(response, "progress", told)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._is_over.wait(), self._beat_s)
            await self._tell(response, "end", "")
        except ConnectionError:
            if self._is_over.is_set():
                # A page that was closed looks no more.
                self._last_looks.release()
        finally:
            self._watching -= 1
        return response

    async def _tell(self, response: web.StreamResponse, name: str, told: str) -> str:
        """Send where the batch stands if that is news, and return what was told last."""
        news = json.dumps(_facts(self._progress()))
        if news != told:
            await response.write(f"event: {name}\ndata: {news}\n\n".encode())
        return news

    async def _media(self, request: web.Request) -> web.StreamResponse:
        root = self._out / "media"
        path = await asyncio.to_thread((root / request.match_info["name"]).resolve)
        if not path.is_relative_to(root) or not await asyncio.to_thread(path.is_file):
            raise web.HTTPNotFound(headers=_HEADERS)
        # A model's file may be a page or a drawing with scripts of its own.
        # What was seen once stays in the page when the server has gone.
        own = {"Content-Security-Policy": "sandbox", "Cache-Control": "private, max-age=3600"}
        return web.FileResponse(path, headers=_HEADERS | own)


def _facts(now: BatchProgress) -> dict[str, int | str]:
    # The words are those of the terminal; of the counts the page needs one, to see
    # whether it has to look again.
    return {"done": now.done, "text": str(now)}
