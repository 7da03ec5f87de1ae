"""The face: open a session, give it jobs, get their results.

Owns the checking of what a user gives, and nothing else: the engine does the
work. One session belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import random
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
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias, Unpack, overload

from falq._core.codec import dump_arguments
from falq._core.delivery import WebhookDelivery
from falq._core.direct import build_run, build_stream, stream_target
from falq._core.forecast import kinds_of
from falq._core.messages import Call, CallLimits, CallTimeouts, Reply
from falq._core.pollplan import PollSettings
from falq._core.protocol import make_ticket
from falq._core.result import NotReadyError
from falq._core.retry import RetrySettings
from falq._engine.engine import Engine, SessionStatistics
from falq._engine.handle import Handle, StatusStream
from falq._engine.job import Job
from falq._engine.mapping import OutcomeStream
from falq._engine.run_times_file import load_run_times, save_run_times
from falq._journal.base import Journal
from falq._journal.records import JobRecord
from falq._journal.sqlite import SqliteJournal
from falq._journal.states import RecordState
from falq._transport.aio import AioTransport
from falq._transport.base import Transport
from falq.config import (
    DEFAULT_MAX_CALLS,
    DEFAULT_MAX_STREAMS,
    DEFAULT_SETTLE_S,
    SessionConfig,
    build_config,
)
from falq.errors import (
    ArgumentError,
    ConfigError,
    JournalError,
    SessionClosedError,
    UnsupportedError,
)
from falq.events import Hook
from falq.gateways import PLATFORM, QUEUE, RUN, STREAM, Fal, Gateway, Secret
from falq.keywords import SubmitKeywords as SubmitKeywords
from falq.keywords import (
    check_on_cancel,
    full_ids,
    key_of,
    options_of,
    target_of,
    timeout_of,
    validate_of,
)
from falq.live.direct import DirectRuns, RunKeywords, check_method, check_timeout, run_options
from falq.live.output import OutputStream
from falq.live.realtime import RealtimeConnection
from falq.live.realtime_options import RealtimeKeywords
from falq.live.sockets_options import SocketKeywords, SocketOptions
from falq.live.sockets_raw import RunnerSocket
from falq.media import DownloadedFile, DownloadLimits, download_media
from falq.media.encode import image_bytes
from falq.media.upload import Uploader, UploadKeywords, make_uploader, settings_of
from falq.media.upload_source import Upload
from falq.model import (
    CancelOutcome,
    Completion,
    Delivery,
    EndpointId,
    OnCancel,
    OnUnknown,
    Outcome,
    Status,
    Submission,
    Unfinished,
)
from falq.models import MODELS, ModelInput, OutputPart, TypedHandle, TypedOutcomeStream
from falq.models.checking import Validator
from falq.models.typed import (
    OutputT,
    make_handle,
    plain_arguments,
    plain_endpoint,
    plain_target,
    read_result,
)
from falq.platform import HistoryItem, Models, Send, Tries, find_requests
from falq.preparation import Preparation, find_uploads, prepare_in_time

OnEnqueue: TypeAlias = Callable[[str], Awaitable[None] | None]
OnQueueUpdate: TypeAlias = Callable[[Status], Awaitable[None] | None]
_Input: TypeAlias = Mapping[str, Any] | ModelInput[Any]


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
        completion: How a job's end is noticed: `"poll"` asks for statuses,
            `"stream"` opens a status stream for each of up to `max_streams` jobs and
            polls the others, and every job whose stream breaks.
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
                wall_clock=getattr(transport, "wall_clock", _utc_now),
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
                await self._keep_run_times(self._engine)
                if self._uploader is not None:
                    await self._uploader.aclose()
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

    @overload
    async def submit(
        self,
        endpoint: ModelInput[OutputT],
        arguments: None = None,
        *,
        on_cancel: OnCancel | None = None,
        **options: Unpack[SubmitKeywords],
    ) -> TypedHandle[OutputT]: ...

    @overload
    async def submit(
        self,
        endpoint: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        on_cancel: OnCancel | None = None,
        **options: Unpack[SubmitKeywords],
    ) -> Handle: ...

    async def submit(
        self,
        endpoint: str | ModelInput[Any],
        arguments: Mapping[str, Any] | None = None,
        *,
        on_cancel: OnCancel | None = None,
        **options: Unpack[SubmitKeywords],
    ) -> Handle:
        """Submit a job; return when the server has accepted it.

        Args:
            endpoint: `owner/alias[/path]`, such as `"fal-ai/flux/schnell"`, or a
                typed input, which is endpoint and arguments in one.
            arguments: The model's input, anything that JSON has. Files, images and
                `falq.Upload` in it are uploaded first.
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
        kind, name, given = plain_target(endpoint, arguments)
        job = await self._start(name, given, options)
        handle = make_handle(kind, job, self._opened, on_cancel=on_cancel or "detach")
        await self._wait_accepted(job, on_cancel or "cancel")
        return handle

    @overload
    async def subscribe(
        self,
        endpoint: ModelInput[OutputT],
        arguments: None = None,
        *,
        with_logs: bool = False,
        on_enqueue: OnEnqueue | None = None,
        on_queue_update: OnQueueUpdate | None = None,
        on_cancel: OnCancel = "cancel",
        **options: Unpack[SubmitKeywords],
    ) -> OutputT: ...

    @overload
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
    ) -> Any: ...

    async def subscribe(
        self,
        endpoint: str | ModelInput[Any],
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
            endpoint: `owner/alias[/path]`, such as `"fal-ai/flux/schnell"`, or a
                typed input, which is endpoint and arguments in one.
            arguments: The model's input, anything that JSON has. Files, images and
                `falq.Upload` in it are uploaded first.
            with_logs: Whether statuses given to `on_queue_update` bring log lines.
            on_enqueue: Called with the request id once the server has the job;
                may be async.
            on_queue_update: Called with each status that tells something new; may
                be async. What it raises ends this call.
            on_cancel: What cancelling this call does to the job: `"cancel"` asks
                the server to cancel it, `"detach"` leaves it.
            options: See `SubmitKeywords`.

        Returns:
            What the model answered: a JSON value, or bytes if it is not JSON; typed
            if the input was.

        Raises:
            ArgumentError: Something cannot be sent; nothing was.
            SubmissionUnknownError: There may be a job, and a bill.
            JobFailedError: The model or the platform ended the job with an error;
                `JobInputError` if the input was refused.
            JobTimeoutError: `client_timeout` passed.
            FalqError: Any other end; see `falq.errors`.
        """
        check_on_cancel(on_cancel)
        kind, name, given = plain_target(endpoint, arguments)
        job = await self._start(name, given, options)
        handle = make_handle(kind, job, self._opened, on_cancel=on_cancel)
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

    @overload
    def map(
        self,
        endpoint: type[ModelInput[OutputT]],
        inputs: Iterable[_Input] | AsyncIterable[_Input],
        *,
        ordered: bool = False,
        on_cancel: OnCancel = "detach",
        **options: Unpack[SubmitKeywords],
    ) -> TypedOutcomeStream[OutputT]: ...

    @overload
    def map(
        self,
        endpoint: str,
        inputs: Iterable[_Input] | AsyncIterable[_Input],
        *,
        ordered: bool = False,
        on_cancel: OnCancel = "detach",
        **options: Unpack[SubmitKeywords],
    ) -> OutcomeStream: ...

    def map(
        self,
        endpoint: str | type[ModelInput[Any]],
        inputs: Iterable[_Input] | AsyncIterable[_Input],
        *,
        ordered: bool = False,
        on_cancel: OnCancel = "detach",
        **options: Unpack[SubmitKeywords],
    ) -> OutcomeStream | TypedOutcomeStream[Any]:
        """Run a job for each input and return the outcomes as they come.

        Args:
            endpoint: `owner/alias[/path]`, such as `"fal-ai/flux/schnell"`, or the
                class of typed inputs.
            inputs: Arguments or typed input of each job, from any plain or async iterable. They
                are taken as there is room: at most `max_jobs` are started and not
                yet returned.
            ordered: Whether outcomes come in the order of the inputs; a slow job
                then holds up those behind it.
            on_cancel: What leaving the stream early does to jobs that run.
            options: See `SubmitKeywords`; they hold for every job.

        Returns:
            An async iterator of `Outcome`, typed if the inputs are. A bad input or a
            failed job is an outcome with an error and never stops the rest.

        Raises:
            ArgumentError: The endpoint or an option cannot be sent.
        """
        self._use()
        if key_of(options) is not None:
            raise ArgumentError("a key names one job; map has many", argument="key")
        check_on_cancel(on_cancel)
        kind, name = plain_endpoint(endpoint)
        build = self._builder(name, options)
        stream = OutcomeStream(
            self._opened,
            inputs,
            build=lambda given: build(plain_arguments(given, kind)),
            prepare=lambda given: self._when_needed(name, plain_arguments(given, kind), options),
            timeout_s=timeout_of(options, self._config.timeout),
            ordered=ordered,
            window=lambda: self._opened.scheduler.total,
            on_cancel=on_cancel,
        )
        return stream if kind is None else TypedOutcomeStream(stream, kind)

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

    async def upload(
        self,
        data: str | bytes,
        content_type: str,
        file_name: str | None = None,
        **options: Unpack[UploadKeywords],
    ) -> str:
        """Upload bytes to fal's storage and return their URL.

        Whoever has the URL can read the file, unless `lifecycle` says otherwise.

        Args:
            data: Bytes, or text that becomes UTF-8.
            content_type: What they are, such as `image/png`.
            file_name: What the file is called there.
            options: See `UploadKeywords`.

        Raises:
            ArgumentError: Something cannot be sent; nothing was.
            UnsupportedError: The gateway has no uploads, as Maton's.
            ApiError: fal or its storage says no.
            TransportError: It did not get through.
            WireError: An answer could not be read.

        If it is cancelled, nothing of it is under way any more.
        """
        self._use()
        upload = Upload(data, content_type, file_name=file_name)
        return await self._uploads().upload(upload, settings_of(options))

    async def upload_file(
        self, path: str | os.PathLike[str], **options: Unpack[UploadKeywords]
    ) -> str:
        """Upload a file to fal's storage and return its URL.

        It is read piece by piece, however large it is; above `multipart_threshold`
        it goes in parts, several at once.

        Args:
            path: Which file; the ending of its name says what it is.
            options: See `UploadKeywords`.

        Raises:
            ArgumentError: It cannot be read, or changed meanwhile.
            FalqError: See `upload`.
        """
        self._use()
        return await self._uploads().upload(Upload(Path(path)), settings_of(options))

    async def upload_image(
        self,
        image: Any,
        format: str = "jpeg",  # noqa: A002  fal_client's name
        **options: Unpack[UploadKeywords],
    ) -> str:
        """Upload a Pillow image to fal's storage and return its URL.

        Args:
            image: The image.
            format: `jpeg`, which has no transparency, `png`, `webp` or another of
                Pillow's.
            options: See `UploadKeywords`.

        Raises:
            ArgumentError: It is no image, or cannot be written in that format.
            FalqError: See `upload`.
        """
        self._use()
        data = await asyncio.to_thread(image_bytes, image, format)
        return await self.upload(data, f"image/{format.lower()}", **options)

    async def download(
        self,
        result: object,
        folder: str | os.PathLike[str],
        *,
        allow_loopback: bool = False,
        limits: DownloadLimits | None = None,
    ) -> list[DownloadedFile]:
        """Fetch every media URL of a result into a folder; see `falq.media.download_media`.

        No key travels with it.

        Args:
            result: What a model answered.
            folder: Where to; made if it is not there. Nothing in it is overwritten.
            allow_loopback: Whether URLs of this machine are fetched, as an emulator
                makes them.
            limits: Sizes and times.

        Returns:
            The files, in the order of the result.

        Raises:
            ArgumentError: A URL is refused: no https, or not a public address.
            FalqError: A file did not arrive; those before it are kept.
            OSError: The disk refused.
        """
        self._use()
        plain = result.raw if isinstance(result, OutputPart) else result
        return await download_media(
            plain, Path(folder), allow_loopback=allow_loopback, limits=limits
        )

    @overload
    async def run(
        self,
        endpoint: ModelInput[OutputT],
        arguments: None = None,
        *,
        path: str = "",
        method: str = "POST",
        timeout: float | None = None,  # noqa: ASYNC109  as below
        **options: Unpack[RunKeywords],
    ) -> OutputT: ...

    @overload
    async def run(
        self,
        endpoint: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        path: str = "",
        method: str = "POST",
        timeout: float | None = None,  # noqa: ASYNC109  as below
        **options: Unpack[RunKeywords],
    ) -> Any: ...

    async def run(
        self,
        endpoint: str | ModelInput[Any],
        arguments: Mapping[str, Any] | None = None,
        *,
        path: str = "",
        method: str = "POST",
        timeout: float | None = None,  # noqa: ASYNC109  fal_client's name for the call's limit
        **options: Unpack[RunKeywords],
    ) -> Any:
        """Run an endpoint without the queue and return its output.

        Sooner than `subscribe`, and with less to hold on to: there is no request to
        attach to, nothing is retried once it may have been received, and above the
        account's limit it is refused instead of waiting. For runs of seconds.

        Args:
            endpoint: `owner/alias[/path]`, such as `"fal-ai/flux/schnell"`, or a
                typed input, whose output is typed.
            arguments: The model's input, anything that JSON has; with GET, not sent.
            path: Appended to the endpoint, as in fal_client.
            method: HTTP method.
            timeout: Seconds for the whole call; default is `CallTimeouts.run_s`.
            options: See `falq.live.RunKeywords`.

        Returns:
            What the model answered: a JSON value, or bytes if it is not JSON.

        Raises:
            ArgumentError: Something cannot be sent; nothing was.
            UnsupportedError: The gateway reaches the queue only.
            ConcurrencyLimitError: The account runs as much as it may; nothing ran.
            ApiError: The model or the platform said no.
            TransportError: There is no whole answer. With `possibly_billed` the run
                may go on at fal, and nothing can find it.
            WireError: The output cannot be read.

        If it is cancelled, the connection is dropped: fal may stop the run, or finish
        and bill it.
        """
        self._use()
        self.gateway.require(RUN)
        check_timeout(timeout)
        verb, asked = check_method(method), run_options(options)
        kind, name, given = plain_target(endpoint, arguments)
        target = EndpointId.parse(f"{name}/{path.strip('/')}" if path else name)
        body = await self._body_of(target, given)
        call = build_run(target, body, asked, method=verb, timeout_s=timeout)
        output = await self._direct_runs().run(call, target)
        return output if kind is None else read_result(kind, output, None)

    def stream(
        self,
        endpoint: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        path: str = "/stream",
        timeout: float | None = None,
        **options: Unpack[RunKeywords],
    ) -> OutputStream:
        """Run an endpoint and return its partial outputs as they come, for `async for`.

        The last part is the whole output. Leaving the loop or `async with` drops the
        connection. Nothing is repeated.

        Args:
            endpoint: `owner/alias[/path]`, of an app that streams.
            arguments: The model's input, anything that JSON has. Files, images and
                `falq.Upload` in it are uploaded first.
            path: Appended to the endpoint unless it ends with it.
            timeout: Seconds that may pass without a part; default is
                `CallTimeouts.run_s`.
            options: See `falq.live.RunKeywords`.

        Raises:
            ArgumentError: The endpoint or an option cannot be sent.
            UnsupportedError: The gateway reaches the queue only.
        """
        self._use()
        self.gateway.require(STREAM)
        check_timeout(timeout)
        asked, target = run_options(options), stream_target(endpoint, path)

        async def build() -> Call:
            self._use()
            # The schema is the endpoint's; its stream has none of its own.
            body = await self._body_of(EndpointId.parse(endpoint), arguments)
            return build_stream(target, body, asked)

        return OutputStream(
            self._direct_runs(),
            target,
            build,
            idle_s=timeout or self._config.call_timeouts.run_s,
            limit_bytes=self._config.call_limits.result_bytes,
        )

    def realtime(self, endpoint: str, **options: Unpack[RealtimeKeywords]) -> RealtimeConnection:
        """Return a conversation with a realtime app; `async with` opens it.

        Args:
            endpoint: `owner/alias[/path]`, such as `"fal-ai/fast-lcm-diffusion"`.
            options: See `falq.live.RealtimeKeywords`.

        Raises:
            ArgumentError: The endpoint or an option cannot be sent.
            ConfigError: The package msgpack is needed and not installed.
            UnsupportedError: The gateway, or the session's transport, has no sockets.
        """
        self._use_sockets()
        return RealtimeConnection(self._opened, EndpointId.parse(endpoint), options)

    def ws_connect(self, endpoint: str, **options: Unpack[SocketKeywords]) -> RunnerSocket:
        """Return a plain websocket to an app, whose frames are the app's own business.

        Args:
            endpoint: `owner/alias[/path]`.
            options: See `falq.live.SocketKeywords`.

        Raises:
            ArgumentError: The endpoint or an option cannot be sent.
            UnsupportedError: The gateway, or the session's transport, has no sockets.
        """
        self._use_sockets()
        return RunnerSocket(self._opened, EndpointId.parse(endpoint), SocketOptions(**options))

    def _use_sockets(self) -> None:
        self._use()
        if self._transport is not None:
            # It may have no network at all; a socket of our own would find one.
            raise UnsupportedError(
                "the session's transport carries calls only; open a session without transport=",
                setting="transport",
            )

    async def recover(self, *, resume_planned: bool = False) -> list[Handle]:
        """Go on with the jobs that the journal has and an earlier process did not end.

        Jobs with an id are watched again. Those whose result is in the journal and
        was not acknowledged have ended: their handles have it. Those whose submit
        was never answered are looked for with `delivery="reconcile"`, in the
        background; without it their handles raise `SubmissionUnknownError`. None of
        them has a time limit, whatever the session's `timeout`; `resume` gives one.

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

    def resume(self, record: JobRecord, *, client_timeout: float | None = None) -> Handle:
        """Go on with one job where the journal has it.

        A planned one is submitted, any other is treated as by `recover`; one that
        has ended gives its result or error without a call.

        Args:
            record: As this session's journal gave it.
            client_timeout: Seconds after which it is given up and cancelled, counted
                from this call and not from its submit: the time in which no program
                was there is not held against it. None takes the session's `timeout`.
                A job that this session runs already keeps the limit it has.

        Raises:
            ConfigError: The session has no journal.
            ArgumentError: `client_timeout` is no number of seconds above 0.
        """
        self._use()
        self._required_journal()
        timeout_s = timeout_of({"client_timeout": client_timeout}, self._config.timeout)
        return Handle(self._opened.resume_job(record, timeout_s=timeout_s), self._opened)

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
        if record is None or record.state is not RecordState.FETCHED:
            return
        try:
            await journal.record_delivered(record.number)
        except JournalError:
            # Another call for the same row may have been faster.
            record = await journal.load_job(number=job.journal_number)
            if record is None or record.state is not RecordState.DELIVERED:
                raise

    async def take_delivery(self, delivery: WebhookDelivery) -> bool:
        """Keep a verified webhook, and wake the job that it is about.

        `falq.webhooks.WebhookReceiver` calls it; so may your own handler, with what
        `falq.webhooks.verify` returned. A job in the session's journal gets the
        payload as its result; any other fetches its result now. A delivery whose
        request is not known yet is kept for it.

        Args:
            delivery: Verified: whatever is given here is believed.

        Returns:
            Whether it is the first of its request, as far as the journal goes back;
            without one, the latest 100,000 are remembered.

        Raises:
            SessionError: The session cannot be used; the sender must try again.
            JournalError: It could not be written; the sender must try again.

        A cancelled call may have kept it.
        """
        self._use()
        return await self._opened.deliveries.take(delivery)

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

    async def _ask(self, call: Call) -> Reply:
        self._use()
        return await self._opened.client.ask(call)

    async def _start(self, endpoint: str, given: Mapping[str, Any], options: SubmitKeywords) -> Job:
        self._use()
        build = self._builder(endpoint, options)
        timeout_s, key = timeout_of(options, self._config.timeout), key_of(options)
        try:
            submission = build(given)
        except ArgumentError:
            # Plain arguments pay nothing for the question whether they hold files.
            prepare = self._when_needed(endpoint, given, options)
            if prepare is None:
                raise
            ready, timeout_s = await prepare_in_time(prepare, timeout_s)
            submission = build(ready)
        return self._opened.start_job(submission, timeout_s=timeout_s, key=key)

    def _when_needed(
        self, endpoint: str, arguments: Mapping[str, Any], options: SubmitKeywords
    ) -> Callable[[], Awaitable[Mapping[str, Any]]] | None:
        """Return what makes arguments ready to be sent, None if nothing would."""
        target, check = target_of(endpoint, options), None
        is_unchecked = False
        if validate_of(options, self._config.validate):
            check, is_unchecked = self._validator.check, not self._validator.is_ready(target)
        if isinstance(arguments, Mapping) and (is_unchecked or find_uploads(arguments)):
            return functools.partial(self._preparation.prepare, target, arguments, check=check)
        return None

    async def _body_of(self, target: EndpointId, arguments: Mapping[str, Any] | None) -> bytes:
        """Return arguments as JSON, checked if wanted, with the files in them uploaded."""
        given = {} if arguments is None else arguments
        check = self._validator.check if self._config.validate else None
        if isinstance(given, Mapping) and (check is not None or find_uploads(given)):
            given = await self._preparation.prepare(target, given, check=check)
        return dump_arguments(given)

    def _direct_runs(self) -> DirectRuns:
        return DirectRuns(self._opened.client, retry=self._config.retry, draw=self._opened.draw)

    def _uploads(self) -> Uploader:
        """Return the session's uploads, made at the first need."""
        engine = self._opened
        if self._uploader is None:
            transport = self._transport
            self._uploader = make_uploader(
                self.gateway,
                engine.client.ask,
                # A transport that has a world of its own brings that world's storage.
                getattr(transport, "storage", None),
                ssl_context=self._config.ssl_context,
                retry=self._config.retry,
                seed=self._config.seed,
                wall_clock=getattr(transport, "wall_clock", _utc_now),
                spawn=engine.spawn,
            )
        return self._uploader

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
        is_validated = validate_of(options, self._config.validate)

        def build(arguments: Mapping[str, Any]) -> Submission:
            body = dump_arguments(arguments)
            if is_validated:
                self._validator.check_nowait(target, arguments)
            return Submission(
                endpoint=target,
                body=body,
                options=asked,
                intent_id=secrets.token_hex(16),
                kinds=kinds_of(target.full, arguments),
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
