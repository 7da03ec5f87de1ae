"""Post the emulator's webhooks.

Owns the connections to receivers and the one task that waits for what is due.
It never decides what to post or when: `webhooks` does. `server` starts it, wakes
it when a request may have changed what is due, and closes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

import aiohttp

from falq.emulator.routes import App
from falq.emulator.webhooks import Post, WebhookDesk
from falq.errors import ConfigError

logger = logging.getLogger("falq")

_MOST_CONNECTIONS = 100


class Postman:
    """Posts what one emulator has to deliver.

    Args:
        app: The emulator.
        clock: The instants that the emulator lives by, in seconds.
    """

    def __init__(self, app: App, clock: Callable[[], float]) -> None:
        self._app = app
        self._clock = clock
        self._news = asyncio.Event()
        self._pool: aiohttp.ClientSession | None = None
        self._tasks = {asyncio.create_task(self._run(), name="falq emulator's webhooks")}

    def wake(self) -> None:
        """Look again at what is due, if anything will be."""
        if self._app.webhooks.is_busy:
            self._news.set()

    async def aclose(self) -> None:
        """Break off every delivery and close the connections."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._pool is not None:
            await self._pool.close()

    async def _run(self) -> None:
        while True:
            self._news.clear()
            # A reset brings another desk; what becomes of these is the old one's to know.
            desk = self._app.webhooks
            try:
                posts = self._app.take_webhooks(self._clock())
            except ConfigError:
                logger.exception("the emulator posts no webhooks")
                return
            for post in posts:
                task = asyncio.create_task(self._deliver(post, desk))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            due = self._app.next_webhook()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else max(0.0, due - self._clock())):
                    await self._news.wait()

    async def _deliver(self, post: Post, desk: WebhookDesk) -> None:
        code = await self._send(post)
        desk.record_answer(post, code, self._clock())
        self._news.set()

    async def _send(self, post: Post) -> int | None:
        if self._pool is None:
            self._pool = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_MOST_CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                headers={"User-Agent": "falq emulator"},
            )
        try:
            async with self._pool.post(
                post.url,
                data=post.body,
                headers=dict(post.headers),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=post.timeout_s),
            ) as response:
                return response.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None
