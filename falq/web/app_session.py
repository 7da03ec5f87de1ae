"""One session for a web app: opened in the server's loop, closed with it.

Owns the session between start-up and shutdown, the tasks that the app starts beside
it, and the word whether there is room for another job. It never answers a call:
`monitor` and the app do. `asgi_life` and `aio` bring it to web servers.

Rules:
    1. A session is made at start-up and not before: a module that is imported has no
       loop, and a server that forks has none of its children's.
    2. Shutdown begins with draining: no more jobs are taken, who follows a job is let
       go. Then the app's tasks end, then the session. What runs at fal runs on; it is
       never cancelled and never submitted again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Collection,
    Coroutine,
)
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Unpack, cast

from aiohttp import web
from attrs import define, field

from falq._engine.handle import Handle
from falq._engine.session_statistics import SessionStatistics
from falq.config import hold_secrets
from falq.errors import ConfigError, SessionClosedError
from falq.model import Status
from falq.session import Session
from falq.web.adoption import Adoption, OnRecovered
from falq.web.asgi_life import Application, Life, Lifespan, around
from falq.web.draining import Draining
from falq.web.following import follow
from falq.web.monitor import Monitor
from falq.web.proxy import Answer, refuse
from falq.web.settings import SessionKeywords
from falq.web.workers import open_session, open_with_free_journal

logger = logging.getLogger("falq")

SESSION: Final = web.AppKey("falq", Session)
"""Where an aiohttp app keeps its session."""

_TASKS_END_S = 5.0
"""How long cancelled tasks may clean up: servers are killed some 10 to 30 s after a signal."""

_HEARTBEAT_S = 15.0
"""Below the idle limits of the proxies in front of most apps, which begin at 30 s."""


@define(eq=False)
class _Opened:
    """What there is between start-up and shutdown."""

    session: Session
    opened_at: float
    draining: Draining = field(factory=Draining)
    tasks: set[asyncio.Task[Any]] = field(factory=set)
    is_closing: bool = False


class AppSession:
    """Keeps one `falq.Session` for a web app, from its start to its end.

    Make it where the app is made; the session itself is made at start-up, in the
    server's loop, and made anew if the app is started again, as tests do. With more
    than one worker process each has a session and limits of its own.

    Args:
        make: Returns a session that is not open; None makes one of `settings`.
        recover: Called at start-up with the session and the handle of each job that
            an earlier process left in the journal, in a task of its own. It awaits the
            handle, keeps the result and acknowledges it. None leaves them where they
            are.
        max_waiting: Jobs in line for a slot with which the app counts as full; None
            for no limit.
        retry_after_s: Seconds after which somebody who was turned away shall try again.
        drain_on: Signals that start the draining, before the server's own handlers are
            called: `{signal.SIGTERM, signal.SIGINT}` under uvicorn, which tells an app
            of its end only after every stream has ended. Not heeded in other threads
            than the main one.
        journal_folder: A folder with a journal for each worker process, instead of
            `journal`: a journal has one writer. A worker takes the first that is free,
            so that after a restart with as many workers each of them is taken up.
        adopt_every_s: Seconds between two looks for journals in the folder that no
            process has, as after a restart with fewer workers or the death of one, and
            before the first. Their jobs are given to `recover` with a session of their
            own, which ends with them. None never looks.
        settings: The arguments of `falq.Session`.

    Raises:
        ConfigError: Settings contradict each other.

    Example:
        fal = AppSession(journal="jobs.sqlite", max_waiting=200)
        app = FastAPI(lifespan=fal.lifespan)  # request.state.falq is the session
        app.cleanup_ctx.append(fal.cleanup_ctx)  # aiohttp: request.app[web.SESSION]
    """

    def __init__(
        self,
        make: Callable[[], Session] | None = None,
        *,
        recover: OnRecovered | None = None,
        max_waiting: int | None = None,
        retry_after_s: float = 5.0,
        drain_on: Collection[int] = (),
        journal_folder: str | os.PathLike[str] | None = None,
        adopt_every_s: float | None = 30.0,
        **settings: Unpack[SessionKeywords],
    ) -> None:
        # Before anything can fail: whoever sees this frame shall not see a password.
        settings = cast("SessionKeywords", hold_secrets(settings))
        if make is not None and (settings or journal_folder is not None):
            raise ConfigError(
                "make returns a whole session: give it what the session takes, or leave it out",
                setting="make",
            )
        if journal_folder is not None and settings.get("journal") is not None:
            raise ConfigError(
                "journal names one file, journal_folder a file for each worker; give one of them",
                setting="journal_folder",
            )
        if max_waiting is not None and max_waiting < 1:
            raise ConfigError(f"max_waiting is 1 or more, got {max_waiting}", setting="max_waiting")
        if not retry_after_s > 0:
            raise ConfigError(
                f"retry_after_s is a number of seconds above 0, got {retry_after_s}",
                setting="retry_after_s",
            )
        if adopt_every_s is not None and not adopt_every_s > 0:
            raise ConfigError(
                f"adopt_every_s is a number of seconds above 0 or None, got {adopt_every_s}",
                setting="adopt_every_s",
            )
        self._make = make
        self._recover = recover
        self._max_waiting = max_waiting
        self._retry_after_s = retry_after_s
        self._drain_on = tuple(drain_on)
        self._journal_folder = None if journal_folder is None else Path(journal_folder)
        self._adopt_every_s = adopt_every_s
        self._settings = settings
        self._opened: _Opened | None = None
        self.monitor = Monitor(self)

    def __repr__(self) -> str:
        return f"<falq.web.AppSession {self.why_not_ready() or 'ready'}>"

    # Start and end.

    async def open(self) -> Session:
        """Open the session on the running loop, and go on with what the journal has.

        Raises:
            SessionClosedError: It is open already.
            JournalLockedError: Another process has the journal; see `journal_folder`.
            FalqError: See `Session.open` and `Session.recover`.

        If it is cancelled, nothing is left open.
        """
        if self._opened is not None:
            raise SessionClosedError("the app's session is open; an AppSession keeps one at a time")
        session = await self._open_session()
        self._opened = opened = _Opened(session, time.time())
        try:
            opened.draining.heed(self._drain_on)
            if self._recover is not None:
                for handle in await session.recover():
                    self.spawn(_see_to(self._recover, session, handle))
                self._start_adopting(opened, self._recover)
        except BaseException:
            await self.aclose()
            raise
        return session

    def _start_adopting(self, opened: _Opened, recover: OnRecovered) -> None:
        own = getattr(opened.session.journal, "path", None)
        if self._journal_folder is None or self._adopt_every_s is None or own is None:
            return
        adoption = Adoption(
            self._journal_folder,
            own,
            settings=self._settings,
            recover=recover,
            spawn=self.spawn,
            draining=opened.draining,
        )
        self.spawn(adoption.watch(self._adopt_every_s))

    async def _open_session(self) -> Session:
        if self._journal_folder is not None:
            return await open_with_free_journal(self._settings, self._journal_folder)
        return await open_session(self._make or (lambda: Session(**self._settings)))

    async def aclose(self) -> None:
        """Drain, end the app's tasks and close the session. Safe to call twice.

        Jobs in line are dropped unsubmitted; those that run are left to fal, unless the
        session was made with `on_exit="cancel"`. A cancelled close finishes first.

        Raises:
            JournalError: Something could not be written to the session's journal.
        """
        opened = self._opened
        if opened is None:
            return
        opened.is_closing = True
        opened.draining.close()
        try:
            await _end(opened.tasks)
        finally:
            await opened.session.aclose()
            if self._opened is opened:
                self._opened = None
                left = len(opened.session.unfinished)
                if left:
                    logger.info("the app ends; %d jobs run on at fal", left)

    async def __aenter__(self) -> Session:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    # For web servers.

    @contextlib.asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[dict[str, Session]]:  # noqa: ARG002  as below
        """Be the lifespan of a Starlette or FastAPI app: `FastAPI(lifespan=fal.lifespan)`.

        Handlers find the session as `request.state.falq`.

        Args:
            app: The app, which Starlette gives; not used.
        """
        async with self as session:
            yield {"falq": session}

    def lifespan_around(self, own: Lifespan) -> Lifespan:
        """Return a lifespan that opens the session before the app's own and closes it after.

        Args:
            own: The app's own; what it yields is added to the state.
        """
        return around(self.lifespan, own)

    def wrap(self, app: Application) -> Application:
        """Return an ASGI application of any framework with the session around its life.

        Handlers find the session in `scope["state"]["falq"]`, if the server has such a
        state, and as `fal.session` in any case.

        Args:
            app: The application; it need not know of lifespans.
        """
        return Life(self, app)

    async def cleanup_ctx(self, app: web.Application) -> AsyncIterator[None]:
        """Be a cleanup context of aiohttp: `app.cleanup_ctx.append(fal.cleanup_ctx)`.

        Handlers find the session as `request.app[falq.web.SESSION]`. At the server's
        shutdown it drains, before the server waits for its connections.

        Args:
            app: The app.
        """
        app[SESSION] = await self.open()
        if not app.on_shutdown.frozen:
            # That of an app within another is frozen before it starts.
            app.on_shutdown.append(self._drain_with)
        yield
        await self.aclose()

    async def _drain_with(self, app: web.Application) -> None:  # noqa: ARG002  aiohttp's contract
        self.drain()

    # In use.

    @property
    def session(self) -> Session:
        """The open session.

        Raises:
            SessionClosedError: The app has not started, or has ended.
        """
        return self._required().session

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task that ends with the app at the latest; what it raises is logged.

        Args:
            work: What outlives the call that started it.

        Raises:
            SessionClosedError: The app has not started, or is at its end.
        """
        opened = self._opened
        if opened is None or opened.is_closing:
            work.close()
            raise SessionClosedError("the app starts no more tasks: it is not up, or at its end")
        tasks, task = opened.tasks, asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(_log_end)
        return task

    def follow(
        self, handle: Handle, *, logs: bool = False, heartbeat_s: float = _HEARTBEAT_S
    ) -> AsyncGenerator[Status | None, None]:
        """Yield the statuses of a job for a page, until it ends or the app drains.

        Close it as any generator whose loop may be left: `contextlib.aclosing`.

        Args:
            handle: The job.
            logs: Whether to bring log lines.
            heartbeat_s: After so many seconds of silence None comes: time for a sign of
                life, without which proxies cut a stream and nobody notices a reader
                who is gone.

        Raises:
            SessionClosedError: The app has not started, or has ended.
            FalqError: While it is read, as `Handle.events`.

        A cancelled reader leaves the job running.
        """
        draining = self._required().draining
        return follow(handle, draining, logs=logs, heartbeat_s=heartbeat_s)

    # Room.

    def drain(self) -> None:
        """Take no more jobs and let go of who follows one; those taken go on."""
        if self._opened is not None:
            self._opened.draining.begin()

    def why_not_ready(self) -> str | None:
        """Return why no job is taken now, None if one is.

        `closed`, `draining`, `halted` (fal refuses the key or the account; see
        `SessionStatistics.is_halted`) or `full`.
        """
        if self._opened is None:
            return "closed"
        if self._opened.draining.has_begun:
            return "draining"
        now = self._opened.session.statistics()
        if now.is_halted:
            return "halted"
        is_full = self._max_waiting is not None and now.waiting >= self._max_waiting
        return "full" if is_full else None

    def refusal(self) -> Answer | None:
        """Return what to answer to somebody who wants a job now, None if there is room.

        It is a 503 with `Retry-After`, in the form of fal's errors.
        """
        reason = self.why_not_ready()
        if reason is None:
            return None
        wait_s = max(1, round(self._retry_after_s))
        detail = "too many jobs wait" if reason == "full" else f"the app is {reason}"
        return refuse(503, f"{detail}; try again in {wait_s} s", retry_after=str(wait_s))

    def statistics(self) -> SessionStatistics | None:
        """Return the session's counts of this moment; None if it is not open."""
        return None if self._opened is None else self._opened.session.statistics()

    @property
    def opened_at(self) -> float | None:
        """When the session was opened, Unix seconds; None if it is not open."""
        return None if self._opened is None else self._opened.opened_at

    def _required(self) -> _Opened:
        if self._opened is None:
            raise SessionClosedError(
                "the app's session is not open; hand `lifespan`, `wrap` or `cleanup_ctx` to the "
                "server, and use the session while it serves"
            )
        return self._opened


async def _end(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        # Twice would interrupt the cleaning up after the first.
        if not task.cancelling():
            task.cancel()
    if tasks:
        _, left = await asyncio.wait(set(tasks), timeout=_TASKS_END_S)
        if left:
            logger.warning("%d tasks of the app go on after its end", len(left))


async def _see_to(recover: OnRecovered, session: Session, handle: Handle) -> None:
    await recover(session, handle)


def _log_end(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("a task of the app ended with an error", exc_info=task.exception())
