"""A session's life under ASGI servers: opened before the app's start-up, closed after its end.

Owns the lifespan messages of one application, and the composing of two lifespans. It
needs no framework. `app_session` opens and closes.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias

from falq._asgi import Message, Receive, Send
from falq.session import Session

logger = logging.getLogger("falq")

Application: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]
Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]
"""What Starlette and FastAPI take as `lifespan`."""


class Keeper(Protocol):
    """What opens and closes the session."""

    async def open(self) -> Session:
        """Open it."""
        ...

    async def aclose(self) -> None:
        """Close it; safe to call twice."""
        ...


def around(outer: Lifespan, own: Lifespan) -> Lifespan:
    """Return a lifespan that holds `outer` while `own` runs.

    Args:
        outer: Entered first and left last.
        own: The app's; what it yields goes before what `outer` yields.
    """

    @contextlib.asynccontextmanager
    async def both(app: Any) -> AsyncIterator[dict[str, Any]]:
        async with outer(app) as state, own(app) as more:
            yield {**(state or {}), **(more or {})}

    return both


class Life:
    """An ASGI application with a session around its life.

    Args:
        keeper: Opens and closes the session.
        app: The application; one that does not know of lifespans is left in peace.
    """

    def __init__(self, keeper: Keeper, app: Application) -> None:
        self._keeper = keeper
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a call on; a lifespan goes through the session's own first."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _live(self, scope: Message, receive: Receive, send: Send) -> None:
        first = await receive()
        try:
            session = await self._keeper.open()
        except Exception as error:
            # An error alone would tell the server that there are no lifespans here.
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        scope.setdefault("state", {})["falq"] = session
        try:
            await self._live_within(scope, first, receive, send)
        finally:
            await self._keeper.aclose()

    async def _live_within(
        self, scope: Message, first: Message, receive: Receive, send: Send
    ) -> None:
        told: set[str] = set()
        waiting = [first]

        async def hear() -> Message:
            return waiting.pop() if waiting else await receive()

        async def tell(message: Message) -> None:
            told.add(message["type"])
            if message["type"] != "lifespan.startup.complete":
                # The end is told when it is the end: the server may exit at once.
                await self._keeper.aclose()
            await send(message)

        try:
            await self._app(scope, hear, tell)
        except Exception:
            if told:
                raise
            logger.debug("the application knows no lifespan", exc_info=True)
        if not told:
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await tell({"type": "lifespan.shutdown.complete"})
