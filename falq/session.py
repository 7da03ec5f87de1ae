"""The session: its settings, its opening and its closing.

What a user gives it to do is checked by the parts of `_face`, and the engine does
the work. One session belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import os
import random
import ssl
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from falq._core.messages import Call, CallLimits, CallTimeouts, Reply
from falq._core.pollsettings import PollSettings
from falq._core.retry import RetrySettings
from falq._engine.engine import Engine
from falq._engine.run_times_file import load_run_times, save_run_times
from falq._engine.session_statistics import SessionStatistics
from falq._face.base import utc_now
from falq._face.direct import DirectFace
from falq._face.files import FilesFace
from falq._face.jobs import JobsFace
from falq._face.journalled import JournalFace
from falq._journal.base import Journal
from falq._journal.sqlite import SqliteJournal
from falq._transport.aio import AioTransport
from falq._transport.base import Transport
from falq.config import (
    DEFAULT_MAX_CALLS,
    DEFAULT_MAX_STREAMS,
    DEFAULT_SETTLE_S,
    SessionConfig,
    build_config,
)
from falq.errors import SessionClosedError
from falq.events import Hook
from falq.gateways import PLATFORM, QUEUE, Fal, Gateway, Secret
from falq.keywords import SubmitKeywords as SubmitKeywords
from falq.keywords import full_ids
from falq.media.upload import Uploader
from falq.model import Completion, Delivery, EndpointId, OnCancel, OnUnknown, Unfinished
from falq.models import MODELS
from falq.models.checking import Validator
from falq.platform import HistoryItem, Models, Send, Tries, find_requests
from falq.preparation import Preparation
from falq.proxies import Proxy
from falq.secrets import hold


class Session(JobsFace, DirectFace, FilesFace, JournalFace):
    """Runs jobs on the fal queue, from one event loop.

    Open it with `async with`, or with `open` and `aclose`. Making one checks the
    settings and does no I/O.

    Args:
        gateway: `falq.Fal(...)` or `falq.Maton(...)`; None chooses by the
            environment: `FAL_KEY`, else `MATON_API_KEY`; see `falq.config`.
        timeout: Seconds after which a job is given up and cancelled, from the
            moment it is given to the session; None for no limit.
        max_jobs: Jobs between submission and end at once; more wait in line.
            Default 1000, or `FALQ_MAX_CONCURRENCY`. fal runs as many at once as
            the account allows and queues the rest.
        per_endpoint: The same for single endpoints, by full id.
        max_calls: HTTP calls in flight at most, 8 or more; a rush of cancels may double it.
        calls_per_s: Calls a second at most, polls included; default is what the
            gateway is known to allow (Maton: 10).
        poll: How accepted jobs are watched.
        retry: How failed calls are tried again.
        completion: How a job's end is noticed: `"poll"` asks for statuses,
            `"stream"` opens a status stream for each of up to `max_streams` jobs and
            polls the others, and every job whose stream breaks. A job's own
            `completion` comes before it.
        max_streams: See `completion`; they come on top of `max_calls`.
        call_timeouts: How long one HTTP call may take.
        call_limits: How large an answer may be.
        delivery: What happens to a submit whose answer was lost.
            `"at_most_once"` raises `SubmissionUnknownError`; `"at_least_once"`
            sends it again, up to `max_resends` times, and may cost twice;
            `"reconcile"` looks for the job in fal's request history, matched by
            its input, and goes on with it.
        max_resends: See `delivery`.
        on_unknown: What `"reconcile"` does with a submit that was not found
            `settle_s` after it was sent: `"hold"` raises
            `SubmissionUnknownError`; `"resubmit"` sends it again, if the history
            was read after that time and lists nothing that could be it. That is
            no proof: it may cost twice.
        settle_s: See `on_unknown`; seconds, default 900.
        journal: Where every job is written down before and after its submit, so
            that a restarted program can go on with `recover`: a path, which the
            session opens and closes, or an open `Journal`. One session at a time
            uses a journal.
        webhook_base_url: Address of a `falq.webhooks.WebhookReceiver` of this session,
            as fal reaches it. Each submit then asks fal to call an address below it,
            which ends in the job's intent id, unless it has a `webhook_url` of its
            own. Jobs are polled seldom (`PollSettings.announced_s`) while webhooks
            come, and as usual while they do not.
        validate: Whether arguments are checked against the endpoint's schema before
            anything is sent. The schema is asked for once; it needs the extra
            `schema`. It holds for direct runs and streams as well; a submission may
            say otherwise.
        run_times: A JSON file that keeps how long jobs took, by endpoint, so that the
            next process knows when to look; read on opening, written on closing.
        on_event: Hears of everything that happens; see `falq.events`.
        on_exit: What leaving does with jobs that run: `"detach"` leaves them to
            the server, `"cancel"` asks it to cancel them.
        exit_grace_s: Seconds that leaving takes at most, network or not.
        ssl_context: Whom to trust, instead of the system's authorities.
        proxy: Through whom to go: a `falq.Proxy`, its URL, or `"environment"` for
            `HTTPS_PROXY` and `NO_PROXY`; None takes `FALQ_PROXY`, and no proxy without.
            Media and uploads go through it only if it is filtering; see `falq.Proxy`.
        seed: Seed of the jitter, for runs that repeat.
        transport: What carries calls, for tests; see `falq.testing`.

    Raises:
        ConfigError: A setting is missing or wrong.

    Example:
        >>> import asyncio, falq
        >>> from falq.emulator import Emulator
        >>> async def main():
        ...     async with Emulator() as emulator, falq.Session(emulator.gateway) as session:
        ...         return await session.subscribe("acme/echo", {"say": "hello"})
        >>> asyncio.run(main())
        {'say': 'hello'}
    """

    def __init__(
        self,
        gateway: Gateway | None = None,
        *,
        timeout: float | None = None,
        max_jobs: int | None = None,
        per_endpoint: Mapping[str, int] | None = None,
        max_calls: int = DEFAULT_MAX_CALLS,
        calls_per_s: float | None = None,
        poll: PollSettings | None = None,
        completion: Completion = "poll",
        max_streams: int = DEFAULT_MAX_STREAMS,
        retry: RetrySettings | None = None,
        call_timeouts: CallTimeouts | None = None,
        call_limits: CallLimits | None = None,
        delivery: Delivery = "at_most_once",
        max_resends: int = 1,
        on_unknown: OnUnknown = "hold",
        settle_s: float = DEFAULT_SETTLE_S,
        journal: str | os.PathLike[str] | Journal | None = None,
        run_times: str | os.PathLike[str] | None = None,
        webhook_base_url: str | None = None,
        validate: bool = False,
        on_event: Hook | None = None,
        on_exit: OnCancel = "detach",
        exit_grace_s: float = 5.0,
        ssl_context: ssl.SSLContext | None = None,
        proxy: Proxy | str | None = None,
        seed: int | None = None,
        transport: Transport | None = None,
    ) -> None:
        # Before anything can fail: whoever sees this frame shall not see a password.
        gateway, proxy = hold(gateway, Gateway), hold(proxy, Proxy)
        self._config: SessionConfig = build_config(
            gateway=gateway,
            timeout=timeout,
            max_jobs=max_jobs,
            per_endpoint=full_ids(per_endpoint or {}),
            max_calls=max_calls,
            calls_per_s=calls_per_s,
            poll=poll or PollSettings(),
            completion=completion,
            max_streams=max_streams,
            retry=retry or RetrySettings(),
            call_timeouts=call_timeouts or CallTimeouts(),
            call_limits=call_limits or CallLimits(),
            delivery=delivery,
            max_resends=max_resends,
            on_unknown=on_unknown,
            settle_s=settle_s,
            webhook_base_url=webhook_base_url,
            validate=validate,
            on_event=on_event,
            on_exit=on_exit,
            exit_grace_s=exit_grace_s,
            ssl_context=ssl_context,
            proxy=proxy,
            seed=seed,
        )
        self._config.gateway.require(QUEUE)
        self._transport = transport
        self._engine: Engine | None = None
        self._uploader: Uploader | None = None
        self._preparation = Preparation(self.gateway, self._uploads)
        self._models = Models(
            self._ask,
            tries=Tries(
                settings=self._config.retry,
                # Spread, not secrecy.
                draw=random.Random(seed).random,  # noqa: S311  as said
                wall_clock=getattr(transport, "wall_clock", utc_now),
            ),
        )
        self._validator = Validator(self.gateway, self._models, MODELS)
        self._run_times = None if run_times is None else Path(run_times)
        self._owned_journal: SqliteJournal | None = None
        self._journal: Journal | None = None
        if isinstance(journal, str | os.PathLike):
            self._journal = self._owned_journal = SqliteJournal(journal)
        else:
            self._journal = journal

    async def open(self) -> Self:
        """Start the session on the running loop.

        Raises:
            SessionClosedError: It was opened before; make a new one.
            JournalLockedError: Another process has the journal.
            JournalError: The journal cannot be used, or is another account's.
            ConfigError: `run_times` lies in no folder.
        """
        if self._engine is not None:
            raise SessionClosedError("a session is opened once; make a new one")
        transport = self._transport or AioTransport(
            self._config.gateway,
            timeouts=self._config.call_timeouts,
            limits=self._config.call_limits,
            ssl_context=self._config.ssl_context,
            proxy=self._config.proxy,
        )
        try:
            known = (
                {}
                if self._run_times is None
                else await asyncio.to_thread(load_run_times, self._run_times)
            )
            await self._open_journal()
            self._engine = self._make_engine(transport)
            self._engine.forecaster.load(known)
            await self._engine.open()
        except BaseException:
            await self._close_journal()
            raise
        return self

    def _make_engine(self, transport: Transport) -> Engine:
        is_reached = PLATFORM in self.gateway.abilities
        # A transport that has a world of its own brings that world's time as well.
        wall_clock = getattr(transport, "wall_clock", utc_now)
        return Engine(
            self._config,
            transport,
            journal=self._journal,
            find_requests=_find_requests if is_reached else None,
            cost_of=self._models.cost_of,
            wall_clock=wall_clock,
        )

    async def _open_journal(self) -> None:
        if self._owned_journal is not None:
            await self._owned_journal.open()
        if self._journal is not None:
            await self._journal.check_account(
                account_of(self.gateway), gateway=self.gateway.queue_root
            )
            await self._journal.mark_interrupted()

    async def _close_journal(self) -> None:
        journal, self._owned_journal = self._owned_journal, None
        if journal is None:
            return
        closing = asyncio.ensure_future(journal.aclose())
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            # What is still in its thread is written all the same, and soon.
            await asyncio.wait({closing})
            raise

    async def aclose(self) -> None:
        """Close the session: bounded by `exit_grace_s`, leaving no task or socket.

        Jobs in line are dropped unsubmitted. A submit on the way is waited for,
        because its answer is the only trace of a job. Jobs that run are left to
        the server or cancelled (`on_exit`); `unfinished` names them. Closing
        twice is harmless; a cancelled close finishes first. In a child made by
        fork it does nothing: the connections are the parent's.

        Raises:
            WrongLoopError: Another loop or thread runs this; nothing was closed.
            JournalError: Something could not be written to the session's journal.
        """
        if self._engine is None:
            return
        try:
            await self._engine.aclose()
        except asyncio.CancelledError:
            # The engine is closed by then; a journal that stays open would stay locked.
            await self._close_rest(self._engine)
            raise
        await self._close_rest(self._engine)

    async def _close_rest(self, engine: Engine) -> None:
        if engine.is_of_parent:
            return
        try:
            await self._keep_run_times(engine)
        finally:
            try:
                if self._uploader is not None:
                    await self._uploader.aclose()
            finally:
                await self._close_journal()

    async def _keep_run_times(self, engine: Engine) -> None:
        path, self._run_times = self._run_times, None
        if path is not None:
            known = engine.forecaster.dump()
            await asyncio.shield(asyncio.to_thread(save_run_times, path, known))

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        # One that is refused half-made is shown in tracebacks too.
        engine = getattr(self, "_engine", None)
        if engine is None:
            name = self._config.gateway.name if hasattr(self, "_config") else "unknown"
            return f"<falq.Session gateway={name} not open>"
        now = engine.statistics()
        return (
            f"<falq.Session gateway={self._config.gateway.name} waiting={now.waiting} "
            f"in_flight={now.in_flight} succeeded={now.succeeded} failed={now.failed}>"
        )

    @property
    def journal(self) -> Journal | None:
        """Where jobs are written down, to read in it while the session is open; None without."""
        return self._journal

    @property
    def proxy(self) -> Proxy | None:
        """Through whom calls go."""
        return self._config.proxy

    @property
    def models(self) -> Models:
        """Models, their schemas and prices, and what was requested and used."""
        return self._models

    @property
    def unfinished(self) -> tuple[Unfinished, ...]:
        """After closing: the jobs that had not ended, with the ids to find them by."""
        return () if self._engine is None else self._engine.unfinished

    def statistics(self) -> SessionStatistics:
        """Return the counts of this moment, also after it was closed.

        Raises:
            SessionClosedError: It was never opened.
        """
        return self._opened.statistics()

    def set_limits(
        self, *, max_jobs: int | None = None, per_endpoint: Mapping[str, int] | None = None
    ) -> None:
        """Change limits while running.

        Args:
            max_jobs: The new total; None leaves it.
            per_endpoint: New limits of these endpoints; others keep theirs.

        Jobs above a lowered limit keep their slots.

        Raises:
            ConfigError: A limit is below 1.
        """
        self._use()
        limits = full_ids(per_endpoint or {})
        build_config(
            gateway=self.gateway, max_jobs=1 if max_jobs is None else max_jobs, per_endpoint=limits
        )
        self._opened.scheduler.set_limits(total=max_jobs, per_endpoint=limits)

    def stop_submitting(self) -> None:
        """Submit nothing more in this session; jobs that the server may have go on.

        Jobs in line, and those whose submit was not sent and is to be tried again,
        end at once with `SessionClosedError`, and in a journal they stay planned. So
        does every later `submit`. An attempt that is on the way is waited for.
        Calling it twice, or after closing, is harmless.

        Raises:
            WrongLoopError: Another loop or thread runs this.
        """
        self._opened.check_place()
        self._opened.hold_back()

    async def _ask(self, call: Call) -> Reply:
        self._use()
        return await self._opened.client.ask(call)


def account_of(gateway: Gateway) -> str:
    """Return a text that stands for a gateway's account, for `Journal.check_account`.

    fal's key id, so that a journal outlives a new secret under the same id; Maton's
    whole key, which has no parts.

    Args:
        gateway: With its key.
    """
    key = getattr(gateway, "key", None)
    text = key.reveal() if isinstance(key, Secret) else ""
    return text.partition(":")[0] if isinstance(gateway, Fal) else text


def _find_requests(
    send: Send, endpoint: EndpointId, start: datetime, end: datetime
) -> AsyncIterator[HistoryItem]:
    return find_requests(send, endpoint, start, end, with_payloads=True)
