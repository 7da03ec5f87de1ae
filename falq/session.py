"""The face: open a session, give it jobs, get their results.

Owns the checking of what a user gives, and nothing else: the engine does the
work. One session belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import secrets
import ssl
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
)
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeAlias, Unpack

from falq._core.codec import dump_arguments
from falq._core.messages import CallLimits, CallTimeouts
from falq._core.pollplan import PollSettings
from falq._core.protocol import make_ticket
from falq._core.result import NotReadyError
from falq._core.retry import RetrySettings
from falq._engine.engine import Engine, SessionStatistics
from falq._engine.handle import Handle, StatusStream
from falq._engine.job import Job
from falq._engine.mapping import OutcomeStream
from falq._journal.base import Journal
from falq._journal.records import JobRecord
from falq._journal.sqlite import SqliteJournal
from falq._journal.states import RecordState
from falq._transport.aio import AioTransport
from falq._transport.base import Transport
from falq.config import DEFAULT_MAX_CALLS, DEFAULT_SETTLE_S, SessionConfig, build_config
from falq.errors import ArgumentError, ConfigError, SessionClosedError
from falq.events import Hook
from falq.gateways import PLATFORM, QUEUE, Fal, Gateway, Secret
from falq.keywords import SubmitKeywords as SubmitKeywords
from falq.keywords import check_on_cancel, full_ids, key_of, options_of, target_of, timeout_of
from falq.model import (
    CancelOutcome,
    Delivery,
    EndpointId,
    OnCancel,
    OnUnknown,
    Outcome,
    Status,
    Submission,
    Unfinished,
)
from falq.platform import HistoryItem, Send, find_requests

OnEnqueue: TypeAlias = Callable[[str], Awaitable[None] | None]
OnQueueUpdate: TypeAlias = Callable[[Status], Awaitable[None] | None]


_IN_FLIGHT = (
    RecordState.SENDING,
    RecordState.UNKNOWN,
    RecordState.ACCEPTED,
    RecordState.COMPLETED,
    RecordState.FETCHED,
)


class Session:
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
        max_calls: HTTP calls in flight at most, 8 or more.
        calls_per_s: Calls a second at most, polls included; default is what the
            gateway is known to allow (Maton: 10).
        poll: How accepted jobs are watched.
        retry: How failed calls are tried again.
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
        on_event: Hears of everything that happens; see `falq.events`.
        on_exit: What leaving does with jobs that run: `"detach"` leaves them to
            the server, `"cancel"` asks it to cancel them.
        exit_grace_s: Seconds that leaving takes at most, network or not.
        ssl_context: Whom to trust, instead of the system's authorities.
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
        retry: RetrySettings | None = None,
        call_timeouts: CallTimeouts | None = None,
        call_limits: CallLimits | None = None,
        delivery: Delivery = "at_most_once",
        max_resends: int = 1,
        on_unknown: OnUnknown = "hold",
        settle_s: float = DEFAULT_SETTLE_S,
        journal: str | os.PathLike[str] | Journal | None = None,
        on_event: Hook | None = None,
        on_exit: OnCancel = "detach",
        exit_grace_s: float = 5.0,
        ssl_context: ssl.SSLContext | None = None,
        seed: int | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._config: SessionConfig = build_config(
            gateway=gateway,
            timeout=timeout,
            max_jobs=max_jobs,
            per_endpoint=full_ids(per_endpoint or {}),
            max_calls=max_calls,
            calls_per_s=calls_per_s,
            poll=poll or PollSettings(),
            retry=retry or RetrySettings(),
            call_timeouts=call_timeouts or CallTimeouts(),
            call_limits=call_limits or CallLimits(),
            delivery=delivery,
            max_resends=max_resends,
            on_unknown=on_unknown,
            settle_s=settle_s,
            on_event=on_event,
            on_exit=on_exit,
            exit_grace_s=exit_grace_s,
            ssl_context=ssl_context,
            seed=seed,
        )
        self._config.gateway.require(QUEUE)
        self._transport = transport
        self._engine: Engine | None = None
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
        """
        if self._engine is not None:
            raise SessionClosedError("a session is opened once; make a new one")
        transport = self._transport or AioTransport(
            self._config.gateway,
            timeouts=self._config.call_timeouts,
            limits=self._config.call_limits,
            ssl_context=self._config.ssl_context,
        )
        try:
            await self._open_journal()
            self._engine = self._make_engine(transport)
            await self._engine.open()
        except BaseException:
            await self._close_journal()
            raise
        return self

    def _make_engine(self, transport: Transport) -> Engine:
        is_reached = PLATFORM in self.gateway.abilities
        # A transport that has a world of its own brings that world's time as well.
        wall_clock = getattr(transport, "wall_clock", _utc_now)
        return Engine(
            self._config,
            transport,
            journal=self._journal,
            find_requests=_find_requests if is_reached else None,
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
        if self._engine is not None:
            await self._engine.aclose()
            if not self._engine.is_of_parent:
                await self._close_journal()

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
        if self._engine is None:
            return f"<falq.Session gateway={self._config.gateway.name} not open>"
        now = self._engine.statistics()
        return (
            f"<falq.Session gateway={self._config.gateway.name} waiting={now.waiting} "
            f"in_flight={now.in_flight} succeeded={now.succeeded} failed={now.failed}>"
        )

    @property
    def gateway(self) -> Gateway:
        """Where calls go."""
        return self._config.gateway

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

    async def submit(
        self,
        endpoint: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        on_cancel: OnCancel | None = None,
        **options: Unpack[SubmitKeywords],
    ) -> Handle:
        """Submit a job; return when the server has accepted it.

        Args:
            endpoint: `owner/alias[/path]`, such as `"fal-ai/flux/schnell"`.
            arguments: The model's input, anything that JSON has.
            on_cancel: What cancelling the wait for the handle does to the job:
                `"detach"` (default) or `"cancel"`.
            options: See `SubmitKeywords`.

        Raises:
            ArgumentError: Something cannot be sent; nothing was.
            SubmissionUnknownError: There may be a job, and a bill.
            ApiError: The server refused it; nothing was spent.
            TransportError: It could not be sent; nothing was spent.
            JobTimeoutError: `client_timeout` passed.

        If this call itself is cancelled, a job in line is dropped. One whose
        submit is on the way is accepted first and then cancelled at the server,
        since nobody has its handle; with `on_cancel="detach"` it runs on and is
        named by `unfinished`.
        """
        check_on_cancel(on_cancel or "detach")
        job = self._start(endpoint, arguments, options)
        handle = Handle(job, self._opened, on_cancel=on_cancel or "detach")
        await self._wait_accepted(job, on_cancel or "cancel")
        return handle

    async def subscribe(
        self,
        endpoint: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        with_logs: bool = False,
        on_enqueue: OnEnqueue | None = None,
        on_queue_update: OnQueueUpdate | None = None,
        on_cancel: OnCancel = "cancel",
        **options: Unpack[SubmitKeywords],
    ) -> Any:
        """Submit a job, wait for its end and return the result.

        Args:
            endpoint: `owner/alias[/path]`, such as `"fal-ai/flux/schnell"`.
            arguments: The model's input, anything that JSON has.
            with_logs: Whether statuses given to `on_queue_update` bring log lines.
            on_enqueue: Called with the request id once the server has the job;
                may be async.
            on_queue_update: Called with each status that tells something new; may
                be async. What it raises ends this call.
            on_cancel: What cancelling this call does to the job: `"cancel"` asks
                the server to cancel it, `"detach"` leaves it.
            options: See `SubmitKeywords`.

        Returns:
            What the model answered: a JSON value, or bytes if it is not JSON.

        Raises:
            ArgumentError: Something cannot be sent; nothing was.
            SubmissionUnknownError: There may be a job, and a bill.
            JobFailedError: The model or the platform ended the job with an error;
                `JobInputError` if the input was refused.
            JobTimeoutError: `client_timeout` passed.
            FalqError: Any other end; see `falq.errors`.
        """
        check_on_cancel(on_cancel)
        job = self._start(endpoint, arguments, options)
        handle = Handle(job, self._opened, on_cancel=on_cancel)
        try:
            await self._wait_accepted(job, on_cancel)
            if on_enqueue is not None:
                await _call(on_enqueue, handle.request_id)
            if on_queue_update is not None:
                await _relay(handle.events(logs=with_logs), on_queue_update)
            return await handle.result()
        except BaseException:
            self._opened.let_go_of(job, on_cancel)
            raise

    def map(
        self,
        endpoint: str,
        inputs: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]],
        *,
        ordered: bool = False,
        on_cancel: OnCancel = "detach",
        **options: Unpack[SubmitKeywords],
    ) -> OutcomeStream:
        """Run a job for each input and return the outcomes as they come.

        Args:
            endpoint: `owner/alias[/path]`, such as `"fal-ai/flux/schnell"`.
            inputs: Arguments of each job, from any plain or async iterable. They
                are taken as there is room: at most `max_jobs` are started and not
                yet returned.
            ordered: Whether outcomes come in the order of the inputs; a slow job
                then holds up those behind it.
            on_cancel: What leaving the stream early does to jobs that run.
            options: See `SubmitKeywords`; they hold for every job.

        Returns:
            An async iterator of `Outcome`. A bad input or a failed job is an
            outcome with an error and never stops the rest.

        Raises:
            ArgumentError: The endpoint or an option cannot be sent.
        """
        self._use()
        if key_of(options) is not None:
            raise ArgumentError("a key names one job; map has many", argument="key")
        check_on_cancel(on_cancel)
        build = self._builder(endpoint, options)
        return OutcomeStream(
            self._opened,
            inputs,
            build=build,
            timeout_s=timeout_of(options, self._config.timeout),
            ordered=ordered,
            window=lambda: self._opened.scheduler.total,
            on_cancel=on_cancel,
        )

    def handle(self, endpoint: str, request_id: str, *, on_cancel: OnCancel = "detach") -> Handle:
        """Attach to a job that was submitted elsewhere or before.

        Nothing is sent until the handle is used. An attached job takes no slot.

        Args:
            endpoint: Where it was submitted.
            request_id: What the submit returned.
            on_cancel: See `submit`.

        Raises:
            ArgumentError: One of the ids is none.
        """
        self._use()
        ticket = make_ticket(EndpointId.parse(endpoint), request_id)
        check_on_cancel(on_cancel)
        return Handle(self._opened.attach_job(ticket), self._opened, on_cancel=on_cancel)

    async def status(self, endpoint: str, request_id: str, *, with_logs: bool = False) -> Status:
        """Ask once for the status of a request.

        Args:
            endpoint: Where it was submitted.
            request_id: What the submit returned.
            with_logs: Whether to bring log lines.

        Raises:
            ArgumentError: One of the ids is none.
            RequestNotFoundError: The server does not know it.
            FalqError: Any other answer, or none; see `falq.errors`.
        """
        return await self.handle(endpoint, request_id).status(with_logs=with_logs)

    async def result(self, endpoint: str, request_id: str) -> Any:
        """Return the result of a request, waiting for it if it is not finished.

        Args:
            endpoint: Where it was submitted.
            request_id: What the submit returned.

        Raises:
            ArgumentError: One of the ids is none.
            RequestNotFoundError: The server does not know it, or keeps it no more.
            JobError: It ended without a result.
            FalqError: Any other end; see `falq.errors`.
        """
        self._use()
        ticket = make_ticket(EndpointId.parse(endpoint), request_id)
        try:
            return await self._opened.client.fetch(ticket, completed=None, on_retry=lambda *_: None)
        except NotReadyError:
            return await self.handle(endpoint, request_id).result()

    async def cancel(self, endpoint: str, request_id: str) -> CancelOutcome:
        """Ask the server to cancel a request; see `Handle.cancel`.

        Args:
            endpoint: Where it was submitted.
            request_id: What the submit returned.

        Raises:
            ArgumentError: One of the ids is none.
        """
        return await self.handle(endpoint, request_id).cancel()

    async def recover(self, *, resume_planned: bool = False) -> list[Handle]:
        """Go on with the jobs that the journal has and an earlier process did not end.

        Jobs with an id are watched again. Those whose result is in the journal and
        was not acknowledged have ended: their handles have it. Those whose submit
        was never answered are looked for with `delivery="reconcile"`, in the
        background; without it their handles raise `SubmissionUnknownError`.

        Args:
            resume_planned: Also submit what was planned and not sent.

        Returns:
            A handle for each, in the order in which they were given. A handle has
            no `request_id` until the server's id is known. Call `acknowledge` with
            it once its result is safe.

        Raises:
            ConfigError: The session has no journal.
            JournalError: The journal cannot be read.
        """
        self._use()
        states = [*_IN_FLIGHT, RecordState.PLANNED] if resume_planned else _IN_FLIGHT
        jobs = [
            self._opened.resume_job(record)
            async for page in self._required_journal().load_jobs(states=states)
            for record in page
            if record.state is not RecordState.PLANNED or record.input is not None
        ]
        for job in jobs:
            if job.record is not None and job.record.state is RecordState.FETCHED:
                await job.wait_until(lambda job: job.is_settled)
        return [Handle(job, self._opened) for job in jobs]

    def resume(self, record: JobRecord) -> Handle:
        """Go on with one job where the journal has it.

        A planned one is submitted, any other is treated as by `recover`; one that
        has ended gives its result or error without a call.

        Args:
            record: As this session's journal gave it.

        Raises:
            ConfigError: The session has no journal.
        """
        self._use()
        self._required_journal()
        return Handle(self._opened.resume_job(record), self._opened)

    async def acknowledge(self, job: Handle | Outcome) -> None:
        """Note in the journal that a job's result is safe with the caller.

        `recover` then gives it no more. Acknowledging twice is harmless, as is
        acknowledging a job that ended without a result.

        Args:
            job: Its handle or outcome, from this session.

        Raises:
            ConfigError: The session has no journal.
            JournalError: It could not be written; `is_kept` says whether it will be.
        """
        journal = self._required_journal()
        if job.journal_number is None:
            return
        record = await journal.load_job(number=job.journal_number)
        if record is not None and record.state is RecordState.FETCHED:
            await journal.record_delivered(record.number)

    def _required_journal(self) -> Journal:
        if self._journal is None:
            raise ConfigError(
                "the session has no journal; open it with journal='jobs.sqlite'", setting="journal"
            )
        return self._journal

    @property
    def _opened(self) -> Engine:
        if self._engine is None:
            raise SessionClosedError(
                "the session is not open; use 'async with falq.Session() as session:'"
            )
        return self._engine

    def _use(self) -> None:
        self._opened.check_use()

    def _start(
        self, endpoint: str, arguments: Mapping[str, Any] | None, options: SubmitKeywords
    ) -> Job:
        self._use()
        submission = self._builder(endpoint, options)({} if arguments is None else arguments)
        return self._opened.start_job(
            submission, timeout_s=timeout_of(options, self._config.timeout), key=key_of(options)
        )

    async def _wait_accepted(self, job: Job, on_cancel: OnCancel) -> None:
        try:
            await job.wait_until(lambda job: job.ticket is not None or job.is_settled)
        except BaseException:
            self._opened.let_go_of(job, on_cancel)
            raise
        if job.accepted is None and job.error is not None:
            raise job.error

    def _builder(
        self, endpoint: str, options: SubmitKeywords
    ) -> Callable[[Mapping[str, Any]], Submission]:
        """Check what all submissions of a call share; return what makes each of them."""
        target = target_of(endpoint, options)
        asked = options_of(options, timeout_of(options, self._config.timeout))

        def build(arguments: Mapping[str, Any]) -> Submission:
            return Submission(
                endpoint=target,
                body=dump_arguments(arguments),
                options=asked,
                intent_id=secrets.token_hex(16),
            )

        return build


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


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _find_requests(
    send: Send, endpoint: EndpointId, start: datetime, end: datetime
) -> AsyncIterator[HistoryItem]:
    return find_requests(send, endpoint, start, end, with_payloads=True)


async def _relay(statuses: StatusStream, callback: OnQueueUpdate) -> None:
    async with statuses:
        async for status in statuses:
            await _call(callback, status)


async def _call(callback: Callable[[Any], Awaitable[None] | None], value: Any) -> None:
    answer = callback(value)
    if inspect.isawaitable(answer):
        await answer
