"""A journal in dicts, under the laws of the one in a file.

Owns its rows for as long as it lives. It writes nothing, has no thread and
never waits, so it can be used in virtual time. Tests and the stateful machine
use it; it is no journal for work that costs money.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import evolve

from falq._journal import statements
from falq._journal.base import only_one
from falq._journal.queries import LAST_NUMBER, PAGE_BYTES
from falq._journal.records import (
    AttemptRecord,
    EndpointUsage,
    FileRecord,
    JobRecord,
    JournalStatistics,
    JournalTotals,
    JsonError,
    PlannedJob,
    RunRecord,
    WebhookRecord,
)
from falq._journal.states import ENDS, RETRYABLE, RecordState, may_move
from falq.errors import JournalError

_SALT = b"memory"


class MemoryJournal:
    """A `Journal` that is gone with its process.

    Args:
        wall_clock: Aware UTC time.
        monotonic: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        *,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall_clock = wall_clock
        self._monotonic = monotonic
        self._is_open = False
        self._records = 0
        self._jobs: dict[int, JobRecord] = {}
        self._by_key: dict[str, int] = {}
        self._attempts: dict[str, AttemptRecord] = {}
        self._results: dict[int, bytes] = {}
        self._files: dict[tuple[int, str], FileRecord] = {}
        self._webhooks: dict[str, WebhookRecord] = {}
        self._runs: dict[int, RunRecord] = {}
        self._account: tuple[bytes, str] | None = None

    def __repr__(self) -> str:
        return f"<MemoryJournal {self.statistics()}>"

    async def open(self) -> None:
        """Get ready; it may be opened again after it was closed, which keeps its rows."""
        self._is_open = True

    async def aclose(self) -> None:
        """Refuse every verb until it is opened again."""
        self._is_open = False

    async def __aenter__(self) -> MemoryJournal:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def flush(self) -> None:
        """Do nothing: nothing is ever kept."""
        self._check_open()

    async def check_account(self, fingerprint_source: str, *, gateway: str = "") -> None:
        """Bind the journal to an account, or check it; see `Journal.check_account`."""
        self._check_open()
        known = (statements.fingerprint(fingerprint_source, _SALT), gateway)
        if self._account is None:
            self._account = known
        if self._account[0] != known[0]:
            raise statements.account_error()
        if self._account[1] != gateway:
            raise statements.gateway_error(self._account[1])

    async def begin_run(self, settings: Mapping[str, Any]) -> int:
        """Note that an invocation begins; see `Journal.begin_run`."""
        number = len(self._runs) + 1
        copy = json.loads(statements.to_json(settings))
        self._count()
        self._runs[number] = RunRecord(number=number, started_at=self._now(), settings=copy)
        return number

    async def record_run_ended(self, run: int) -> None:
        """Note that an invocation ended; see `Journal.record_run_ended`."""
        self._count()
        if run not in self._runs:
            raise JournalError(f"the journal has no run {run}")
        self._runs[run] = evolve(self._runs[run], ended_at=self._now())

    async def plan(self, jobs: Sequence[PlannedJob]) -> list[int]:
        """Note jobs before anything is sent for them; see `Journal.plan`."""
        self._count()
        fresh: dict[int, JobRecord] = {}
        fresh_keys: dict[str, int] = {}
        numbers: list[int] = []
        conflicts: list[str] = []
        for job in jobs:
            known = None if job.key is None else fresh_keys.get(job.key, self._by_key.get(job.key))
            if known is not None:
                row = fresh.get(known) or self._jobs[known]
                if (row.endpoint, row.input_sha256) != (job.endpoint, job.input_sha256):
                    conflicts.append(str(job.key))
                numbers.append(known)
                continue
            if job.run is not None and job.run not in self._runs:
                raise JournalError(f"the journal has no run {job.run}")
            number = len(self._jobs) + len(fresh) + 1
            fresh[number] = self._row(number, job)
            if job.key is not None:
                fresh_keys[job.key] = number
            numbers.append(number)
        if conflicts:
            raise statements.conflict_error(conflicts)
        self._jobs.update(fresh)
        self._by_key.update(fresh_keys)
        return numbers

    def _row(self, number: int, job: PlannedJob) -> JobRecord:
        return JobRecord(
            number=number,
            run=job.run,
            key=job.key,
            seq=number if job.seq is None else job.seq,
            endpoint=job.endpoint,
            input=job.input,
            input_sha256=job.input_sha256,
            options=json.loads(statements.to_json(job.options)),
            extra=json.loads(statements.to_json(job.extra)),
            state=RecordState.PLANNED,
            planned_at=self._now(),
        )

    async def record_sending(
        self,
        number: int,
        *,
        intent_id: str,
        sent_at: float,
        sent_sha256: str | None = None,
        is_resend: bool = False,
    ) -> None:
        """Note the intent; see `Journal.record_sending`."""
        self._count()
        if is_resend:
            job = self._movable(number, RecordState.PLANNED)
            if job.state is not RecordState.UNKNOWN:
                raise _move_error(job, RecordState.SENDING)
        else:
            job = self._movable(number, RecordState.SENDING)
        if intent_id in self._attempts:
            raise _taken_error(number, RecordState.SENDING, intent_id)
        n = job.attempts + 1
        self._attempts[intent_id] = AttemptRecord(
            job=number, n=n, intent_id=intent_id, sent_at=sent_at, sent_mono=self._monotonic()
        )
        self._jobs[number] = evolve(
            job,
            state=RecordState.SENDING,
            attempts=n,
            intent_id=intent_id,
            sent_at=sent_at,
            sent_sha256=sent_sha256,
            reason=None,
        )

    async def record_not_sent(self, number: int, reason: str) -> None:
        """Note that the attempt is proven not sent; see `Journal.record_not_sent`."""
        self._count()
        job = self._jobs.get(number)
        if job is not None and job.state is not RecordState.SENDING:
            raise _move_error(job, RecordState.PLANNED)
        self._move(number, RecordState.PLANNED, reason=reason)

    async def record_unknown(self, number: int, reason: str) -> None:
        """Note that the answer to the submit was lost; see `Journal.record_unknown`."""
        self._count()
        self._move(number, RecordState.UNKNOWN, reason=reason)

    async def record_refused(self, number: int, error: JsonError) -> None:
        """Note that the submit was answered no; see `Journal.record_refused`."""
        await self.record_ended(number, RecordState.REFUSED, error)

    async def record_accepted(
        self, number: int, request_id: str, *, at: float | None = None
    ) -> None:
        """Note the server's id; see `Journal.record_accepted`."""
        self._count()
        self._movable(number, RecordState.ACCEPTED)
        if any(attempt.request_id == request_id for attempt in self._attempts.values()):
            raise _taken_error(number, RecordState.ACCEPTED, request_id)
        accepted_at = self._now() if at is None else at
        self._move(number, RecordState.ACCEPTED, request_id=request_id, accepted_at=accepted_at)

    def record_completed_nowait(self, number: int, *, at: float | None = None) -> None:
        """Note that the server said completed; see `Journal.record_completed_nowait`."""
        self._count()
        job = self._jobs.get(number)
        if job is not None and job.state is RecordState.ACCEPTED:
            completed_at = self._now() if at is None else at
            self._move(number, RecordState.COMPLETED, completed_at=completed_at)

    async def record_result(
        self,
        number: int,
        body: bytes,
        *,
        completed_at: float | None = None,
        billable_units: float | None = None,
        inference_s: float | None = None,
        cost_usd: float | None = None,
    ) -> None:
        """Keep the result; see `Journal.record_result`."""
        self._count()
        seen_at = self._movable(number, RecordState.FETCHED).completed_at
        if seen_at is None:
            seen_at = self._now() if completed_at is None else completed_at
        self._move(
            number,
            RecordState.FETCHED,
            completed_at=seen_at,
            billable_units=billable_units,
            inference_s=inference_s,
            cost_usd=cost_usd,
        )
        self._results[number] = body

    async def record_ended(self, number: int, state: RecordState, error: JsonError) -> None:
        """Note that the job ended without a result; see `Journal.record_ended`."""
        self._count()
        if state not in ENDS:
            raise ValueError(f"a job does not end as {state}")
        copy = json.loads(statements.to_json(error))
        self._move(number, state, error=copy, ended_at=self._now())

    async def record_file(self, file: FileRecord) -> None:
        """Note where one file stands; see `Journal.record_file`."""
        self._count()
        if file.job not in self._jobs:
            raise JournalError(f"the journal has no job {file.job} for that file")
        self._files[file.job, file.json_path] = file

    async def record_delivered(self, number: int) -> None:
        """Note that the caller has everything; see `Journal.record_delivered`."""
        self.record_delivered_nowait(number)

    def record_delivered_nowait(self, number: int) -> None:
        """Note the same; see `Journal.record_delivered_nowait`."""
        self._count()
        self._move(number, RecordState.DELIVERED, ended_at=self._now())

    async def record_webhook(self, request_id: str, *, intent_id: str | None, body: bytes) -> bool:
        """Keep a delivery; see `Journal.record_webhook`."""
        self._count()
        if request_id in self._webhooks:
            return False
        self._webhooks[request_id] = WebhookRecord(
            request_id=request_id, intent_id=intent_id, received_at=self._now(), body=body
        )
        return True

    async def record_retry(self, numbers: Iterable[int], reason: str = "retry") -> None:
        """Plan jobs again; see `Journal.record_retry`."""
        self._count()
        wanted = tuple(numbers)
        for number in wanted:
            job = self._movable(number, RecordState.PLANNED)
            if job.state not in RETRYABLE:
                raise _move_error(job, RecordState.PLANNED)
        if len(set(wanted)) < len(wanted):
            raise JournalError("a job is named twice among those to be retried")
        for number in wanted:
            self._jobs[number] = evolve(
                self._jobs[number],
                state=RecordState.PLANNED,
                reason=reason,
                error=None,
                request_id=None,
                accepted_at=None,
                completed_at=None,
                ended_at=None,
            )

    async def mark_interrupted(self) -> int:
        """Make every sending job unknown; see `Journal.mark_interrupted`."""
        self._count()
        sending = [job.number for job in self._jobs.values() if job.state is RecordState.SENDING]
        for number in sending:
            self._move(number, RecordState.UNKNOWN, reason="interrupted")
        return len(sending)

    async def load_counts(self) -> dict[RecordState, int]:
        """Return how many jobs are in each state."""
        self._check_open()
        found = Counter(job.state for job in self._jobs.values())
        return {state: found[state] for state in RecordState}

    async def load_totals(self) -> JournalTotals:
        """Return what all results and their files come to; see `Journal.load_totals`."""
        self._check_open()
        has_result = (RecordState.FETCHED, RecordState.DELIVERED)
        jobs = [job for job in self._jobs.values() if job.state in has_result]
        saved = [file for file in self._files.values() if file.state == "saved"]
        return JournalTotals(
            usage=tuple(
                _usage(endpoint, [job for job in jobs if job.endpoint == endpoint])
                for endpoint in sorted({job.endpoint for job in jobs})
            ),
            files=len(saved),
            file_bytes=sum(file.size_bytes or 0 for file in saved),
            failed_files=sum(file.state == "failed" for file in self._files.values()),
        )

    async def load_jobs(
        self,
        *,
        states: Iterable[RecordState] | None = None,
        after_seq: int | None = None,
        page: int = 1000,
    ) -> AsyncIterator[list[JobRecord]]:
        """Yield jobs by `seq`, a page at a time; see `Journal.load_jobs`."""
        wanted = frozenset(RecordState if states is None else states)
        after = (-1, 0) if after_seq is None else (after_seq, LAST_NUMBER)
        while True:
            self._check_open()
            rows = [
                job
                for job in self._jobs.values()
                if job.state in wanted and (job.seq, job.number) > after
            ]
            jobs = _first_page(sorted(rows, key=lambda job: (job.seq, job.number)), page)
            if not jobs:
                return
            after = (jobs[-1].seq, jobs[-1].number)
            yield jobs

    async def load_job(
        self,
        *,
        number: int | None = None,
        key: str | None = None,
        request_id: str | None = None,
        intent_id: str | None = None,
    ) -> JobRecord | None:
        """Return one job by one of its names; see `Journal.load_job`."""
        self._check_open()
        name, value = only_one(number=number, key=key, request_id=request_id, intent_id=intent_id)
        if name == "number":
            return self._jobs.get(int(value))
        if name == "key":
            return self._jobs.get(self._by_key.get(str(value), 0))
        for attempt in self._attempts.values():
            if value == (attempt.request_id if name == "request_id" else attempt.intent_id):
                return self._jobs[attempt.job]
        return None

    async def load_attempts(self, number: int) -> list[AttemptRecord]:
        """Return every attempt of a job, the oldest first."""
        self._check_open()
        return [attempt for attempt in self._attempts.values() if attempt.job == number]

    async def load_result(self, number: int) -> bytes | None:
        """Return a job's result, as received."""
        self._check_open()
        return self._results.get(number)

    async def load_files(self, number: int) -> list[FileRecord]:
        """Return the files of a job's result, by `json_path`."""
        self._check_open()
        return [self._files[place] for place in sorted(self._files) if place[0] == number]

    async def load_webhook(
        self, *, request_id: str | None = None, intent_id: str | None = None
    ) -> WebhookRecord | None:
        """Return a delivery by one of its ids; see `Journal.load_webhook`."""
        self._check_open()
        name, value = only_one(request_id=request_id, intent_id=intent_id)
        if name == "request_id":
            return self._webhooks.get(str(value))
        return next((hook for hook in self._webhooks.values() if hook.intent_id == value), None)

    async def load_runs(self) -> list[RunRecord]:
        """Return every run, the oldest first."""
        self._check_open()
        return list(self._runs.values())

    async def load_claimed_request_ids(self, request_ids: Iterable[str]) -> set[str]:
        """Return those ids that an attempt in this journal already has."""
        self._check_open()
        known = {attempt.request_id for attempt in self._attempts.values()}
        return known.intersection(request_ids) - {None}  # type: ignore[return-value]  # None is taken out

    def statistics(self) -> JournalStatistics:
        """Return what was done since it was made."""
        return JournalStatistics(
            records=self._records, commits=self._records, largest_group=min(1, self._records)
        )

    def _now(self) -> float:
        return self._wall_clock().timestamp()

    def _check_open(self) -> None:
        if not self._is_open:
            raise JournalError("the journal is not open")

    def _count(self) -> None:
        self._check_open()
        self._records += 1

    def _movable(self, number: int, after: RecordState) -> JobRecord:
        job = self._jobs.get(number)
        if job is None:
            raise JournalError(f"the journal has no job {number}; plan it first")
        if not may_move(job.state, after):
            raise _move_error(job, after)
        return job

    def _move(self, number: int, after: RecordState, **changes: Any) -> None:
        before = self._movable(number, after)
        job = evolve(before, state=after, **changes)
        self._jobs[number] = job
        # As the trigger `attempt_answered` has it.
        if job.intent_id is not None and before.state in {RecordState.SENDING, RecordState.UNKNOWN}:
            self._attempts[job.intent_id] = evolve(
                self._attempts[job.intent_id],
                outcome=after,
                request_id=job.request_id,
                reason=job.reason,
            )


def _usage(endpoint: str, jobs: Sequence[JobRecord]) -> EndpointUsage:
    units = [job.billable_units for job in jobs if job.billable_units is not None]
    return EndpointUsage(
        endpoint=endpoint,
        results=len(jobs),
        billable_units=float(sum(units)),
        unmeasured=len(jobs) - len(units),
    )


def _move_error(job: JobRecord, after: RecordState) -> JournalError:
    return JournalError(
        f"job {job.number} is {job.state} in the journal and cannot become {after}; load it again"
    )


def _taken_error(number: int, after: RecordState, taken: str) -> JournalError:
    return JournalError(
        f"job {number} cannot become {after}: the id {taken!r} belongs to another attempt"
    )


def _first_page(jobs: Sequence[JobRecord], limit: int) -> list[JobRecord]:
    page: list[JobRecord] = []
    size_bytes = 0
    for job in jobs[:limit]:
        page.append(job)
        size_bytes += len(job.input or b"")
        if size_bytes > PAGE_BYTES:
            break
    return page
