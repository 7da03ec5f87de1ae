"""One row of a batch from top to bottom: budget, job, files, line, mark.

Owns the order of these, and how many jobs are in the session at once. It never
decides which row is next or what ends a batch: `runner` does. A failed download
costs nothing but itself, and nothing is marked as delivered before its files
and its line are on the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import Any

from attrs import evolve, frozen

from falq._core.refusal import is_account_wide
from falq._engine.handle import Handle
from falq._journal.base import Journal
from falq._journal.records import JobRecord
from falq._journal.states import RecordState
from falq.batch.budget import Budget, Reserve
from falq.batch.downloads import RowDownloads
from falq.batch.lines import ResultLines, write_line
from falq.batch.outcomes import (
    DUPLICATE_KIND,
    RowOutcome,
    describe_error,
    status_of_error,
    timings_of_record,
)
from falq.batch.progress import ProgressCounter
from falq.batch.reading import SETTLED, as_duplicate, load_outcome
from falq.batch.work import Work
from falq.errors import FalqError, JournalError, SessionClosedError
from falq.session import Session


@frozen(kw_only=True)
class TimeLimits:
    """How long the jobs of a batch may take, in seconds.

    Attributes:
        timeout_s: For a job whose row has no `client_timeout` of its own.
        settle_s: For the search for a submit whose answer was lost.
    """

    timeout_s: float | None
    settle_s: float

    def of_fresh(self, work: Work) -> float | None:
        """Return the limit of a row that is submitted, from its submit on."""
        own = work.options.get("client_timeout")
        return self.timeout_s if own is None else float(own)

    def of_resumed(self, work: Work) -> float | None:
        """Return the limit of a job that an earlier run left, from when it is taken up.

        The time that a lost submit may be looked for comes on top: to give it up
        sooner would end no job, and lose the trace of one.
        """
        limit_s = self.of_fresh(work)
        if limit_s is None:
            return None
        return limit_s + self.settle_s if work.is_lost else limit_s


class RowRunner:
    """Runs single rows.

    Args:
        session: Open.
        journal: The session's, if it has one.
        lines: Where the lines go; None writes none.
        downloads: Fetches media; None fetches none.
        budget: The money.
        max_jobs: Jobs in the session at once.
        per_endpoint: The same for single endpoints.
        limits: How long a job may take, and be looked for.
        counter: Hears that a row's job has ended.
        on_over_budget: Called when a reserve would pass the limit.
    """

    def __init__(
        self,
        session: Session,
        *,
        journal: Journal | None,
        lines: ResultLines | None,
        downloads: RowDownloads | None,
        budget: Budget,
        max_jobs: int,
        per_endpoint: Mapping[str, int],
        limits: TimeLimits,
        counter: ProgressCounter,
        on_over_budget: Callable[[], None],
    ) -> None:
        self._session = session
        self._journal = journal
        self._lines = lines
        self._downloads = downloads
        self._budget = budget
        # Gates of its own, because a job's time limit runs while it waits in the
        # session's line.
        self._gate = asyncio.Semaphore(max_jobs)
        self._gates = {name: asyncio.Semaphore(limit) for name, limit in per_endpoint.items()}
        self._limits = limits
        self._counter = counter
        self._on_over_budget = on_over_budget
        self._in_flight: dict[str, asyncio.Event] = {}
        self._money = asyncio.Event()
        self._awaiting: dict[int, tuple[asyncio.Task[Any] | None, Work]] = {}
        counter.on_lost = self._leave_lost
        self.is_stopping = False

    @property
    def in_flight(self) -> Container[str]:
        """Ids of the rows that were taken up and have no line yet."""
        return self._in_flight

    def stop(self) -> None:
        """Submit no more rows, take back those that could not be sent, leave the lost ones."""
        self.is_stopping = True
        self._session.stop_submitting()
        self._money.set()
        self._leave_lost()

    def _leave_lost(self) -> None:
        # They may be looked for over minutes, and the next run does that as well.
        if not self.is_stopping:
            return
        for job_id, (task, work) in self._awaiting.items():
            if task is not None and self._counter.is_lost(job_id, before=work.is_lost):
                task.cancel()

    def enter(self, work: Work) -> None:
        """Note that a row is taken up."""
        self._in_flight[work.id] = asyncio.Event()

    def leave(self, work: Work) -> None:
        """Note that a row has its line, or was left."""
        self._in_flight.pop(work.id).set()

    async def run(self, work: Work) -> RowOutcome | None:
        """Run one row; return None if it was left for another time.

        It is cancelled when the batch stops while its job is looked for.

        Raises:
            AuthenticationError: The key is refused or the account is locked, so that
                every row would be refused.
            JournalError: The journal cannot be written.
            OSError: The output folder cannot be written.
        """
        if work.duplicate_of is not None:
            return await self._follow(work, work.duplicate_of)
        outcome, record = await self._settle(work)
        if outcome is None:
            return None
        with self._saving():
            return await self._save(outcome, record)

    @contextmanager
    def _saving(self) -> Iterator[None]:
        self._counter.saving += 1
        try:
            yield
        finally:
            self._counter.saving -= 1

    async def _save(self, outcome: RowOutcome, record: JobRecord | None) -> RowOutcome:
        if outcome.is_success and self._downloads is not None:
            outcome = await self._fetch_files(outcome, record)
        if record is not None and record.state is RecordState.PLANNED:
            return evolve(outcome, is_unsent=True)
        await self._write(outcome)
        if record is not None and outcome.is_success and not outcome.lacks_files:
            # Not waited for: without it the row's line is written once more.
            self._journal_or_raise().record_delivered_nowait(record.number)
        return outcome

    async def _settle(self, work: Work) -> tuple[RowOutcome | None, JobRecord | None]:
        """Bring the row's job to its end; return its outcome and what the journal knows."""
        record = work.record
        if record is not None and record.state is RecordState.FETCHED:
            return await self._load(record.number)
        async with AsyncExitStack() as stack:
            # A lost submit may be looked for over minutes, and runs nothing meanwhile.
            for gate in () if work.is_lost else self._gates_of(work.endpoint):
                await stack.enter_async_context(gate)
            if self.is_stopping and (work.is_fresh or work.is_lost):
                return None, None
            held = await self._reserve(work)
            if held is None:
                return None, None
            try:
                return await self._run_job(work, held)
            except SessionClosedError as error:
                if error.possibly_billed or not self.is_stopping:
                    raise
                return None, None
            finally:
                self._money.set()

    def _gates_of(self, endpoint: str) -> list[asyncio.Semaphore]:
        own_gate = self._gates.get(endpoint)
        return [self._gate] if own_gate is None else [own_gate, self._gate]

    async def _reserve(self, work: Work) -> Reserve | None:
        # Nobody reads them where nothing has a price.
        arguments = work.read_arguments() if self._budget.prices else {}
        if not work.is_fresh:
            return self._budget.hold(work.endpoint, arguments)
        while not self.is_stopping:
            held = self._budget.reserve(work.endpoint, arguments)
            if held is not None:
                return held
            if self._budget.reserved_usd == 0:
                self._on_over_budget()
                return None
            # Jobs on the way may turn out cheaper than what is held back for them.
            self._money.clear()
            await self._money.wait()
        return None

    async def _run_job(
        self, work: Work, held: Reserve
    ) -> tuple[RowOutcome | None, JobRecord | None]:
        result: Any = None
        error: FalqError | None = None
        is_settled = False
        try:
            result, error, record = await self._submit(work)
            if record is None and self._journal is not None:
                record = await self._journal.load_job(key=work.id)
            units = None if record is None else record.billable_units
            is_billed = error is None or error.possibly_billed
            cost_usd = self._budget.settle(
                held,
                billable_units=units,
                is_billed=is_billed,
                is_sent_before=_is_sent_before(work, record),
            )
            is_settled = True
        finally:
            if not is_settled:
                self._budget.settle(held, billable_units=None, is_billed=False)
        request_id = None if error is None else error.request_id
        outcome = RowOutcome(
            seq=work.seq,
            id=work.id,
            endpoint=work.endpoint,
            status="succeeded" if error is None else status_of_error(error),
            request_id=request_id if record is None else record.request_id,
            result=result,
            error=None if error is None else describe_error(error),
            cost_usd=cost_usd,
            timings={} if record is None else timings_of_record(record),
        )
        return outcome, record

    async def _submit(self, work: Work) -> tuple[Any, FalqError | None, JobRecord | None]:
        """Return result or error, and the journal's record if that need not be read."""
        try:
            if work.record is not None:
                limit_of = self._limits.of_fresh if work.is_fresh else self._limits.of_resumed
                handle = self._session.resume(
                    work.record,
                    client_timeout=limit_of(work),
                    # Files are read and uploaded once it is sure that the row is sent.
                    arguments=work.load_arguments if work.files else None,
                )
                return await self._await_result(handle, work), None, handle.journal_record
            handle = await self._session.submit(
                work.endpoint,
                await work.load_arguments(),
                on_cancel="detach",
                **work.submit_keywords(),
            )
            return await handle.result(), None, handle.journal_record
        except (JournalError, SessionClosedError):
            raise
        except FalqError as error:
            if is_account_wide(error):
                raise
            return None, error, None

    async def _await_result(self, handle: Handle, work: Work) -> Any:
        self._awaiting[handle.job_id] = asyncio.current_task(), work
        try:
            return await handle.result()
        finally:
            self._awaiting.pop(handle.job_id, None)

    async def _load(self, number: int) -> tuple[RowOutcome | None, JobRecord | None]:
        journal = self._journal_or_raise()
        record = await journal.load_job(number=number)
        if record is None:
            return None, None
        return await load_outcome(journal, record, self._budget), record

    async def _fetch_files(self, outcome: RowOutcome, record: JobRecord | None) -> RowOutcome:
        if self._downloads is None:
            return outcome
        known = () if record is None else await self._journal_or_raise().load_files(record.number)
        files = await self._downloads.fetch(
            outcome,
            number=None if record is None else record.number,
            known=known,
        )
        return evolve(outcome, files=files)

    async def _write(self, outcome: RowOutcome) -> None:
        if self._lines is not None:
            await self._lines.append(write_line(outcome.as_json()))

    async def _follow(self, work: Work, original_id: str) -> RowOutcome | None:
        """Take over the outcome of an equal row, once it has one."""
        running = self._in_flight.get(original_id)
        if running is not None:
            await running.wait()
        journal = self._journal_or_raise()
        original = await journal.load_job(key=original_id)
        ready = SETTLED | {RecordState.FETCHED}
        if original is None or original.state not in ready or work.record is None:
            return None
        found = await load_outcome(journal, original, self._budget)
        outcome = as_duplicate(found, seq=work.seq, row_id=work.id)
        await self._write(outcome)
        await journal.record_ended(
            work.record.number,
            RecordState.CANCELLED,
            {"kind": DUPLICATE_KIND, "duplicate_of": original_id, "status": outcome.status},
        )
        return outcome

    def _journal_or_raise(self) -> Journal:
        if self._journal is None:
            raise JournalError("the batch has no journal")
        return self._journal


def _is_sent_before(work: Work, record: JobRecord | None) -> bool:
    """Return whether the job is one that an earlier run sent."""
    if work.is_fresh or work.record is None or record is None:
        return False
    # A lost submit may have been made anew meanwhile.
    return record.attempts == work.record.attempts
