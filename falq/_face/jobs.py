"""Jobs on the queue: submit, wait, many at once, attach.

Owns what a user gives for a job and gets of it. `falq.session` has it as a part.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias, Unpack, overload

from falq._core.protocol import make_ticket
from falq._core.result import NotReadyError
from falq._engine.handle import Handle, StatusStream
from falq._engine.job import Job
from falq._engine.mapping import OutcomeStream
from falq._face.base import Face
from falq.errors import ArgumentError
from falq.keywords import (
    SubmitKeywords,
    check_callbacks,
    check_on_cancel,
    completion_of,
    key_of,
    timeout_of,
)
from falq.model import CancelOutcome, EndpointId, OnCancel, Status
from falq.models import ModelInput, TypedHandle, TypedOutcomeStream
from falq.models.typed import OutputT, make_handle, plain_arguments, plain_endpoint, plain_target

OnEnqueue: TypeAlias = Callable[[str], Awaitable[None] | None]
OnQueueUpdate: TypeAlias = Callable[[Status], Awaitable[None] | None]
_Input: TypeAlias = Mapping[str, Any] | ModelInput[Any]


class JobsFace(Face):
    """The part of a session that runs jobs on the queue."""

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
        check_callbacks(on_enqueue=on_enqueue, on_queue_update=on_queue_update)
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
            completion=completion_of(options),
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

    async def _wait_accepted(self, job: Job, on_cancel: OnCancel) -> None:
        try:
            await job.wait_until(lambda job: job.ticket is not None or job.is_settled)
        except BaseException:
            self._opened.let_go_of(job, on_cancel)
            raise
        if job.accepted is None and job.error is not None:
            raise job.error


async def _relay(statuses: StatusStream, callback: OnQueueUpdate) -> None:
    async with statuses:
        async for status in statuses:
            await _call(callback, status)


async def _call(callback: Callable[[Any], Awaitable[None] | None], value: Any) -> None:
    answer = callback(value)
    if inspect.isawaitable(answer):
        await answer
