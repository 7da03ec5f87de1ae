"""Jobs in the journal: take up again, acknowledge, take what a webhook brought.

Owns what a user gives for them. `falq.session` has it as a part.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, overload

from falq._core.delivery import WebhookDelivery
from falq._core.resumption import read_token
from falq._engine.handle import Handle
from falq._engine.job import Input
from falq._face.base import Face
from falq._journal.base import Journal
from falq._journal.records import JobRecord
from falq._journal.states import IN_FLIGHT, RecordState
from falq.errors import ConfigError, JournalError
from falq.keywords import timeout_of
from falq.model import EndpointId, Outcome
from falq.models import ModelInput, TypedHandle
from falq.models.typed import OutputT, make_handle, plain_endpoint


class JournalFace(Face):
    """The part of a session that works with its journal."""

    @overload
    async def recover(
        self, endpoint: type[ModelInput[OutputT]], *, resume_planned: bool = False
    ) -> list[TypedHandle[OutputT]]: ...

    @overload
    async def recover(
        self, endpoint: str | None = None, *, resume_planned: bool = False
    ) -> list[Handle]: ...

    async def recover(
        self,
        endpoint: str | type[ModelInput[Any]] | None = None,
        *,
        resume_planned: bool = False,
    ) -> list[Handle] | list[TypedHandle[Any]]:
        """Go on with the jobs that the journal has and an earlier process did not end.

        Jobs with an id are watched again. Those whose result is in the journal and
        was not acknowledged have ended: their handles have it. Those whose submit
        was never answered are looked for with `delivery="reconcile"`, in the
        background; without it their handles raise `SubmissionUnknownError`. None of
        them has a time limit, whatever the session's `timeout`; `resume` gives one.
        Rows of a batch that name files are sent by `falq resume` only.

        Args:
            endpoint: Only the jobs of this endpoint; the others stay as they are until
                a call asks for them. The class of a typed input gives typed handles.
            resume_planned: Also submit what was planned and not sent.

        Returns:
            A handle for each, in the order in which they were given. A handle has
            no `request_id` until the server's id is known. Call `acknowledge` with
            it once its result is safe.

        Raises:
            ArgumentError: The endpoint is none.
            ConfigError: The session has no journal.
            JournalError: The journal cannot be read.
        """
        self._use()
        kind, name = (None, None) if endpoint is None else plain_endpoint(endpoint)
        wanted = None if name is None else EndpointId.parse(name).full
        states = [*IN_FLIGHT, RecordState.PLANNED] if resume_planned else IN_FLIGHT
        jobs = [
            self._opened.resume_job(record)
            async for page in self._required_journal().load_jobs(states=states)
            for record in page
            if (record.state is not RecordState.PLANNED or record.input is not None)
            and (wanted is None or record.endpoint == wanted)
        ]
        for job in jobs:
            if job.record is not None and job.record.state is RecordState.FETCHED:
                await job.wait_until(lambda job: job.is_settled)
        return [make_handle(kind, job, self._opened, on_cancel="detach") for job in jobs]

    def resume(
        self,
        record: JobRecord | str,
        *,
        client_timeout: float | None = None,
        arguments: Callable[[], Awaitable[Mapping[str, Any]]] | None = None,
    ) -> Handle:
        """Go on with one job where the journal, or an error, has it.

        A planned one is submitted, any other is treated as by `recover`; one that
        has ended gives its result or error without a call.

        Args:
            record: As this session's journal gave it; or the `resume_token` of an error
                or of `unfinished`, also of another process, for which no journal is
                needed and none is written.
            client_timeout: Seconds after which it is given up and cancelled, counted
                from this call and not from its submit: the time in which no program
                was there is not held against it. None takes the session's `timeout`.
                A job that this session runs already keeps the limit it has.
            arguments: Makes what is sent, if the journal has the arguments in another
                form, such as with the names of files. Asked when a submit is about to be
                sent; files, images and `falq.Upload` in it are uploaded then.

        Raises:
            ConfigError: The session has no journal, and this is a record.
            ArgumentError: `client_timeout` is no number of seconds above 0, or the text
                is no resume token.
            SessionClosedError: The session submits no more, and this job was not sent.

        Example:
            >>> import asyncio, falq
            >>> from falq.emulator import Emulator
            >>> async def main():
            ...     async with Emulator() as emulator:
            ...         async with falq.Session(emulator.gateway) as session:
            ...             await session.submit("acme/echo", {"say": "hello"})
            ...         token = session.unfinished[0].resume_token
            ...         async with falq.Session(emulator.gateway) as session:
            ...             return await session.resume(token)
            >>> asyncio.run(main())
            {'say': 'hello'}
        """
        self._use()
        timeout_s = timeout_of({"client_timeout": client_timeout}, self._config.timeout)
        if isinstance(record, str):
            job = self._opened.attach_job(read_token(record), timeout_s=timeout_s)
            self._opened.start(job)
            return Handle(job, self._opened)
        self._required_journal()
        load_input = None
        if arguments is not None:
            load_input = functools.partial(self._make_input, record.endpoint, arguments)
        job = self._opened.resume_job(record, timeout_s=timeout_s, load_input=load_input)
        return Handle(job, self._opened)

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

    async def _make_input(
        self, endpoint: str, arguments: Callable[[], Awaitable[Mapping[str, Any]]]
    ) -> Input:
        target, check = EndpointId.parse(endpoint), None
        if self._config.validate:
            check = self._validator.check
        return await self._preparation.make_input(target, await arguments(), check=check)
