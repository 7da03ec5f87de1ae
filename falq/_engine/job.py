"""One job in the session: its record, and how those who wait for it are woken.

Owns the state, the last status and the outcome of one job. Only the driver
moves it; handles and status streams read it and wait on it.

No future is ever shared between waiters: cancelling one would cancel it for
all. Each waiter brings its own.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeAlias

from attrs import define, field, frozen

from falq._core.lifecycle import JobMove, JobState, next_state
from falq._journal.records import JobRecord
from falq._journal.states import RecordState
from falq.errors import FalqError, JobTimeoutError
from falq.model import Completion, Status, Submission, Ticket, Timings


@frozen
class Input:
    """Arguments as they are sent, for a job whose record has them in another form.

    Attributes:
        body: The arguments as JSON.
        sha256: Hash of their canonical form.
    """

    body: bytes = field(repr=False)
    sha256: str


LoadInput: TypeAlias = Callable[[], Awaitable[Input]]
"""Makes a job's input when it is to be sent, such as by uploading the files in it."""


class Stop(enum.Enum):
    """Why the driver lets go of a job before its end."""

    TIMEOUT = "timeout"
    ABANDONED = "abandoned"
    WITHDRAWN = "withdrawn"
    CLOSED = "closed"


@define(eq=False)
class Noted:
    """What this session wrote of a job into the journal; instants are Unix seconds.

    Attributes:
        sent_at: When its last attempt was sent, as for the others None if that was
            written before this session.
        sent_sha256: Hash of what was sent, if it was planned under another.
        accepted_at: When its id was written.
        completed_at: When it was seen completed.
        reason: Why its last attempt was not sent, or is unknown.
        inference_s: Run time as the server measured it, in seconds.
        billable_units: What the server billed, in the endpoint's units.
        has_result: Whether its result is committed.
    """

    sent_at: float | None = None
    sent_sha256: str | None = None
    accepted_at: float | None = None
    completed_at: float | None = None
    reason: str | None = None
    inference_s: float | None = None
    billable_units: float | None = None
    has_result: bool = False


@define(eq=False)
class Job:
    """The record of one job.

    Attributes:
        job_id: falq's number of it within the session.
        endpoint: Full id of the endpoint.
        intent_id: falq's id of the submission, None for an attached job.
        created: Loop instant at which it was given to the session.
        deadline: Loop instant at which `client_timeout` passes.
        timeout_s: That limit in seconds.
        rank: Its place among priorities.
        keeps_pace: Whether it must be checked often even in the queue.
        submission: What to send; dropped once the server has it.
        kinds: What its run time is learned under, the most special first.
        ticket: The server's receipt.
        state: Where it stands.
        status: What the server last said.
        with_logs: How many readers want logs.
        polls: Checks answered so far.
        submitted_at: When the submit was last sent, UTC.
        sent: Loop instant of the same; None if another session did.
        is_sent: Whether a server may know of it: from the first byte of a submit
            until that is known to have made no job; of a job that the journal has
            as sent, from the start.
        cancel_outcome: What became of a cancel, if one was asked for.
        stop_cause: Why the driver was told to let go of it; `Stop`.
        stop_error: What a stopped job ends with, if the cause alone does not say.
        has_begun: Whether the driver has taken it up.
        failing_since: Loop instant of the first failed check in a row, or of the last
            look for its result that they led to.
        first_missing: Loop instant of the first 404 in a row.
        missing: 404 answers in a row.
        key: The caller's own name for it in the journal.
        completion: How its end is noticed, if not as the session's jobs'.
        journal_number: Number of its row in the journal, if it has one.
        record: That row as it was found, if it was there before this session.
        noted: What this session wrote into it.
        input_sha256: Hash of its canonical input as it is or was sent, once it was
            asked for.
        planned_sha256: What the journal knows its input by, if that is another hash.
        load_input: Makes what is sent, if that is not what `submission` holds.
        attempts_noted: Intents that this session wrote for it.
        is_noting: Whether a record of it is being written: it is not interrupted.
        is_reconciling: Whether its lost submit is being looked for.
        is_restored: Whether its end comes from the journal.
        leader: The job of this session that has the same row, if it was not the first.
        on_settled: Hears of the end, before any waiter.
        is_reconciled: Whether its lost submit was found.
        has_webhook: Whether fal was given an address of this session's to call.
        is_announced: Whether it is checked seldom, because a webhook will tell its end.
        billable_units: What the service said that it billed for it, in the endpoint's
            units. None if this session did not fetch its end, or was not told.
        is_told: Whether a webhook has told that it ended.
        told_result: Its result as JSON, if a webhook brought it.
    """

    job_id: int
    endpoint: str
    created: float
    intent_id: str | None = None
    deadline: float | None = None
    timeout_s: float | None = None
    rank: int = 0
    keeps_pace: bool = False
    submission: Submission | None = None
    kinds: tuple[str, ...] = ()
    ticket: Ticket | None = None
    state: JobState = JobState.WAITING
    status: Status | None = None
    with_logs: int = 0
    polls: int = 0
    submitted_at: datetime | None = None
    sent: float | None = None
    is_sent: bool = False
    cancel_outcome: Any = None
    stop_cause: Stop | None = None
    stop_error: FalqError | None = None
    has_begun: bool = False
    on_settled: Callable[[Job], None] | None = field(default=None, repr=False)
    failing_since: float | None = None
    first_missing: float | None = None
    missing: int = 0
    key: str | None = None
    completion: Completion | None = None
    journal_number: int | None = None
    record: JobRecord | None = field(default=None, repr=False)
    noted: Noted | None = field(default=None, repr=False)
    input_sha256: str | None = None
    planned_sha256: str | None = None
    load_input: LoadInput | None = field(default=None, repr=False)
    attempts_noted: int = 0
    is_noting: bool = False
    is_reconciling: bool = False
    is_restored: bool = False
    is_reconciled: bool = False
    has_webhook: bool = False
    is_announced: bool = False
    billable_units: float | None = None
    is_told: bool = False
    told_result: bytes | None = field(default=None, repr=False)
    leader: Job | None = field(default=None, repr=False)
    admitted: float | None = None
    accepted: float | None = None
    completed: float | None = None
    settled: float | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)
    result: Any = field(default=None, repr=False)
    error: FalqError | None = None
    _turn: asyncio.Future[None] | None = field(init=False, default=None, repr=False)
    _waiters: list[tuple[Callable[[Job], bool], asyncio.Future[None]]] | None = field(
        init=False, default=None, repr=False
    )
    _readers: list[Callable[[], None]] | None = field(init=False, default=None, repr=False)

    @property
    def request_id(self) -> str | None:
        """The server's id, None before the job was accepted."""
        return None if self.ticket is None else self.ticket.request_id

    @property
    def is_settled(self) -> bool:
        """Whether its outcome is known."""
        return self.state is JobState.SETTLED

    @property
    def may_run_on(self) -> bool:
        """Whether the server may still run it though it has ended here."""
        if self.ticket is None or self.error is None:
            return False
        return isinstance(self.error, JobTimeoutError) or self.error.resume_token is not None

    @property
    def is_unsent(self) -> bool:
        """Whether it is alive and certain that no server knows of it: it can be dropped."""
        return self.state in {JobState.WAITING, JobState.SUBMITTING} and not self.is_sent

    @property
    def is_on_the_way(self) -> bool:
        """Whether a submit of it was sent and there is no answer yet."""
        return self.state is JobState.SUBMITTING and self.is_sent

    @property
    def is_uninterruptible(self) -> bool:
        """Whether letting go of it now would leave something behind that nobody knows of."""
        return self.is_noting or self.is_on_the_way

    @property
    def has_turn(self) -> bool:
        """Whether its driver was told to go on, and has not yet."""
        return self._turn is not None and self._turn.done()

    @property
    def has_readers(self) -> bool:
        """Whether somebody wants to hear of every status."""
        return bool(self._readers)

    def move(self, move: JobMove) -> None:
        """Go to the state that `move` leads to, and wake those who wait."""
        self.state = next_state(self.state, move)
        self._notify()

    def accept(self, ticket: Ticket, now: float) -> None:
        """Take in the server's receipt."""
        self.ticket = ticket
        self.submission = None
        self.accepted = now
        self.move(JobMove.ACCEPT)

    def hear(self, status: Status) -> None:
        """Take in a status."""
        self.status = status
        self._notify()

    def settle(self, now: float, *, result: Any = None, error: FalqError | None = None) -> None:
        """Record the outcome and wake everyone; later calls change nothing."""
        if self.is_settled:
            return
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.result = result
        self.error = error
        self.settled = now
        self.submission = None
        self.state = next_state(self.state, JobMove.SETTLE)
        if self.on_settled is not None:
            self.on_settled(self)
        self._notify()

    async def wait_turn(self) -> None:
        """Wait, as the job's driver, until `give_turn`."""
        self._turn = asyncio.get_running_loop().create_future()
        try:
            await self._turn
        finally:
            self._turn = None

    def give_turn(self) -> None:
        """Let the driver go on: the job is completed, or lost."""
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def interrupt(self) -> None:
        """Cancel its driver, unless that has not begun or must not be disturbed now."""
        if self.has_begun and self.task is not None and not self.is_uninterruptible:
            self.task.cancel()

    async def wait_until(self, condition: Callable[[Job], bool]) -> None:
        """Wait until `condition` holds; it is asked whenever something changed.

        It is asked before the waiter is woken: a job changes half a dozen times, and
        most wait for its end.
        """
        while not condition(self):
            waiter = asyncio.get_running_loop().create_future()
            entry = (condition, waiter)
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(entry)
            try:
                await waiter
            finally:
                if self._waiters is not None and entry in self._waiters:
                    self._waiters.remove(entry)

    def add_reader(self, reader: Callable[[], None]) -> None:
        """Call `reader` whenever something changed, until it is removed."""
        if self._readers is None:
            self._readers = []
        self._readers.append(reader)

    def remove_reader(self, reader: Callable[[], None]) -> None:
        """Stop calling `reader`."""
        if self._readers is not None and reader in self._readers:
            self._readers.remove(reader)

    def timings(self, now: float) -> Timings:
        """Return where its time went so far."""
        metrics = getattr(self.status, "metrics", {})
        inference_s = metrics.get("inference_time")
        return Timings(
            waited_s=_between(self.created, self.admitted),
            submit_s=_between(self.admitted, self.accepted),
            finish_s=_between(self.accepted, self.completed),
            result_s=_between(self.completed, self.settled),
            total_s=(now if self.settled is None else self.settled) - self.created,
            inference_s=inference_s if isinstance(inference_s, int | float) else None,
        )

    def written_record(self) -> JobRecord | None:
        """Return its row in the journal, with the result that this session wrote.

        None if the journal has to be asked: the row is new, its end was there before,
        or the result could not be written.
        """
        record, noted = self.record, self.noted
        if record is None or noted is None or not noted.has_result:
            return None
        seen_at = noted.completed_at if record.completed_at is None else record.completed_at
        # Written out: a copy by name costs several times as much, once for each job.
        return JobRecord(
            number=record.number,
            run=record.run,
            key=record.key,
            seq=record.seq,
            endpoint=record.endpoint,
            input=record.input,
            input_sha256=record.input_sha256,
            options=record.options,
            extra=record.extra,
            planned_at=record.planned_at,
            ended_at=record.ended_at,
            cost_usd=record.cost_usd,
            error=record.error,
            state=RecordState.FETCHED,
            request_id=self.request_id,
            intent_id=self.intent_id,
            attempts=record.attempts + self.attempts_noted,
            sent_at=record.sent_at if noted.sent_at is None else noted.sent_at,
            sent_sha256=record.sent_sha256 if noted.sent_at is None else noted.sent_sha256,
            accepted_at=record.accepted_at if noted.accepted_at is None else noted.accepted_at,
            completed_at=seen_at,
            reason=record.reason if noted.sent_at is None else noted.reason,
            inference_s=noted.inference_s,
            billable_units=noted.billable_units,
        )

    def _notify(self) -> None:
        if self._waiters:
            self._waiters = [entry for entry in self._waiters if not self._wake(*entry)] or None
        for reader in tuple(self._readers or ()):
            reader()

    def _wake(self, condition: Callable[[Job], bool], waiter: asyncio.Future[None]) -> bool:
        """Wake a waiter whose condition holds; return whether it waits no more."""
        if not waiter.done():
            if not condition(self):
                return False
            waiter.set_result(None)
        return True


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else end - start
