"""Bring home the jobs of workers that are gone.

Owns the looking into a folder of journals for those that no process has, and the
sessions that are open on them until their jobs have ended. It never decides what
becomes of a result: the app's `recover` does. `app_session` starts it.

Rules:
    1. A journal's lock decides: of several workers that look at the same moment one
       has it, and with it each of its jobs.
    2. Workers that start together take their own journals first: nothing is looked
       for until some time after the start.
    3. A job whose `recover` failed is not tried again by the same worker, as at its
       start; another worker, or the next start, tries it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias

from falq._engine.handle import Handle
from falq._journal.peeking import count_in_flight
from falq.errors import FalqError, JournalError, JournalLockedError
from falq.session import Session
from falq.web.draining import Draining
from falq.web.settings import SessionKeywords

logger = logging.getLogger("falq")

OnRecovered: TypeAlias = Callable[[Session, Handle], Awaitable[object]]
Spawn: TypeAlias = Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]


class Adoption:
    """Takes up the journals in a folder that no process has.

    Args:
        folder: Where the journals are.
        own: The worker's own, which is none of them.
        settings: Those of the sessions, without a journal.
        recover: Called with a session and the handle of each of its jobs.
        spawn: Starts tasks that end with the app.
        draining: Once it has begun nothing is taken up any more.
    """

    def __init__(
        self,
        folder: Path,
        own: Path,
        *,
        settings: SessionKeywords,
        recover: OnRecovered,
        spawn: Spawn,
        draining: Draining,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._recover = recover
        self._spawn = spawn
        self._draining = draining
        self._in_use = {own.absolute()}
        self._left: dict[Path, int] = {}

    async def watch(self, every_s: float) -> None:
        """Look again and again, until the app drains or this is cancelled.

        Args:
            every_s: Seconds before the first look and between two.
        """
        while True:
            await asyncio.sleep(every_s)
            for path in await asyncio.to_thread(self._find_waiting):
                if self._draining.has_begun:
                    return
                await self._adopt(path)

    def _find_waiting(self) -> list[Path]:
        """Return the journals with jobs that wait, whether or not a process has them."""
        return [
            path
            for path in sorted(self._folder.absolute().glob("worker-*.sqlite"))
            if path not in self._in_use and self._has_more(path)
        ]

    def _has_more(self, path: Path) -> bool:
        try:
            count = count_in_flight(path)
        except JournalError as error:
            logger.debug("%s", error)
            return False
        left = self._left[path] = min(count, self._left.get(path, 0))
        return count > left

    async def _adopt(self, path: Path) -> None:
        settings: SessionKeywords = {**self._settings, "journal": path}
        session = Session(**settings)
        try:
            await session.open()
        except JournalLockedError:
            return
        except FalqError as error:
            logger.warning("the jobs in %s wait: %s", path, error)
            return
        self._in_use.add(path)
        try:
            self._spawn(self._bring_home(path, session))
        except BaseException:
            await session.aclose()
            raise

    async def _bring_home(self, path: Path, session: Session) -> None:
        try:
            handles = await session.recover()
            logger.info("%d jobs of a worker that is gone are taken up from %s", len(handles), path)
            tasks = {self._spawn(self._see_to(session, handle)) for handle in handles}
            if tasks:
                await asyncio.wait(tasks)
        finally:
            await session.aclose()
            with contextlib.suppress(JournalError):
                self._left[path] = await asyncio.to_thread(count_in_flight, path)
            self._in_use.discard(path)

    async def _see_to(self, session: Session, handle: Handle) -> None:
        await self._recover(session, handle)
