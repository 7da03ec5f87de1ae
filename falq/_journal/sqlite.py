"""The journal in a file that survives a crash: SQLite, one thread, group commits.

Owns the verbs and what each hands to the thread. `writer` owns the thread and
the groups, `opening` and `lock` what happens before the first statement,
`statements` and `queries` the SQL. It never touches the database itself: a
commit would hold up the loop. The engine and the batch runner call it, on the
loop that opened it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from falq._journal import moves, queries, statements
from falq._journal.base import only_one
from falq._journal.group import ORDER_BYTES, Kind, Order
from falq._journal.lock import JournalLock
from falq._journal.moves import Move
from falq._journal.opening import open_database
from falq._journal.records import (
    AttemptRecord,
    FileRecord,
    JobRecord,
    JournalStatistics,
    JournalTotals,
    JsonError,
    PlannedJob,
    RunRecord,
    WebhookRecord,
)
from falq._journal.states import ENDS, RecordState
from falq._journal.writer import Writer
from falq.errors import ForkedSessionError, JournalError, WrongLoopError

KEEP_BYTES = 64 * 1024 * 1024
"""How much is kept in memory while the journal cannot be written."""

RETRY_S = 1.0
"""How long to wait before what is kept is tried again, in seconds."""


class SqliteJournal:
    """A `Journal` in one SQLite file.

    Beside it stand `NAME-wal` and `NAME-shm` while it is open, which belong to
    it, and `NAME.lock`. Other programs may read it meanwhile.

    Args:
        path: The file; made if it is not there. Its folder must exist.
        wall_clock: Aware UTC time.
        monotonic: The machine's monotonic clock, in seconds.
        keep_bytes: How much is kept in memory while it cannot be written.
        retry_s: How long to wait before what is kept is tried again, in seconds.
        max_pages: Largest size in pages of 4096 bytes; None is SQLite's limit.
        vfs: SQLite's name for a way to reach files; None is the usual one.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        keep_bytes: int = KEEP_BYTES,
        retry_s: float = RETRY_S,
        max_pages: int | None = None,
        vfs: str | None = None,
    ) -> None:
        # Absolute, so that a later chdir does not lead elsewhere; not resolved,
        # so that a link is seen as one.
        self._path = Path(path).absolute()
        self._wall_clock = wall_clock
        self._monotonic = monotonic
        self._keep_bytes = keep_bytes
        self._retry_s = retry_s
        self._max_pages = max_pages
        self._vfs = vfs
        self._lock = JournalLock(self._path)
        self._writer: Writer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._is_closed = False

    @property
    def path(self) -> Path:
        """Where the journal is."""
        return self._path

    def __repr__(self) -> str:
        return f"<SqliteJournal {str(self._path)!r} {self.statistics()}>"

    async def open(self) -> None:
        """Open the file, checked and locked; see `Journal.open`."""
        if self._writer is not None:
            raise JournalError(f"the journal {self._path} was opened before; make a new object")
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._writer = Writer(
            connect=self._connect,
            disconnect=self._lock.release,
            loop=self._loop,
            keep_bytes=self._keep_bytes,
            retry_s=self._retry_s,
        )
        try:
            await self._writer.start()
        except BaseException:
            self._is_closed = True
            raise

    async def aclose(self) -> None:
        """Write what is kept, close the file and end the thread; see `Journal.aclose`."""
        writer = self._writer
        if writer is None or self._is_closed:
            return
        self._check_place()
        self._is_closed = True
        await writer.stop()

    async def __aenter__(self) -> SqliteJournal:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def flush(self) -> None:
        """Try now to write what is kept; see `Journal.flush`."""
        await self._ask(Order(_nothing, Kind.FLUSH))

    async def check_account(self, fingerprint_source: str, *, gateway: str = "") -> None:
        """Bind the journal to an account, or check it; see `Journal.check_account`."""
        salt = secrets.token_bytes(16)
        await self._intend(
            partial(
                statements.check_account,
                source=fingerprint_source,
                gateway=gateway,
                new_salt=salt,
            )
        )

    async def begin_run(self, settings: Mapping[str, Any]) -> int:
        """Note that an invocation begins; see `Journal.begin_run`."""
        text = statements.to_json(settings)
        number: int = await self._intend(
            partial(statements.begin_run, started_at=self._now(), settings=text)
        )
        return number

    async def record_run_ended(self, run: int) -> None:
        """Note that an invocation ended; see `Journal.record_run_ended`."""
        act = partial(statements.end_run, run=run, ended_at=self._now())
        await self._report(act, f"end of run {run}")

    async def plan(self, jobs: Sequence[PlannedJob]) -> list[int]:
        """Note jobs before anything is sent for them; see `Journal.plan`."""
        act = partial(statements.plan, jobs=tuple(jobs), planned_at=self._now())
        numbers: list[int] = await self._intend(act)
        return numbers

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
        values = (intent_id, sent_at, self._monotonic(), sent_sha256)
        move = Move(moves.SENDING, number, RecordState.SENDING, values)
        await self._intend(partial(statements.resend, move=move) if is_resend else move)

    async def record_not_sent(self, number: int, reason: str) -> None:
        """Note that the attempt is proven not sent; see `Journal.record_not_sent`."""
        act = partial(statements.not_sent, number=number, reason=reason)
        await self._report(act, f"job {number} was not sent")

    async def record_unknown(self, number: int, reason: str) -> None:
        """Note that the answer to the submit was lost; see `Journal.record_unknown`."""
        await self._report(Move(moves.UNKNOWN, number, RecordState.UNKNOWN, (reason,)))

    async def record_refused(self, number: int, error: JsonError) -> None:
        """Note that the submit was answered no; see `Journal.record_refused`."""
        await self.record_ended(number, RecordState.REFUSED, error)

    async def record_accepted(
        self, number: int, request_id: str, *, at: float | None = None
    ) -> None:
        """Note the server's id; see `Journal.record_accepted`."""
        values = (request_id, self._now() if at is None else at)
        await self._report(Move(moves.ACCEPTED, number, RecordState.ACCEPTED, values))

    def record_completed_nowait(self, number: int, *, at: float | None = None) -> None:
        """Note that the server said completed; see `Journal.record_completed_nowait`."""
        values = (self._now() if at is None else at,)
        act = Move(moves.COMPLETED, number, RecordState.COMPLETED, values)
        self._usable().send(Order(act, Kind.REPORT))

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
        seen_at = self._now() if completed_at is None else completed_at
        values = (seen_at, billable_units, inference_s, cost_usd)
        result = (body, hashlib.sha256(body).hexdigest())
        act = Move(moves.FETCHED, number, RecordState.FETCHED, values, result)
        await self._report(act, size_bytes=len(body))

    async def record_ended(self, number: int, state: RecordState, error: JsonError) -> None:
        """Note that the job ended without a result; see `Journal.record_ended`."""
        if state not in ENDS:
            raise ValueError(f"a job does not end as {state}")
        text = statements.to_json(error)
        act = Move(moves.ENDED, number, state, (text, self._now()))
        await self._report(act, size_bytes=len(text))

    async def record_file(self, file: FileRecord) -> None:
        """Note where one file stands; see `Journal.record_file`."""
        act = partial(statements.file, record=file)
        label = f"file {file.json_path} of job {file.job}"
        await self._report(act, label, size_bytes=len(file.url))

    async def record_delivered(self, number: int) -> None:
        """Note that the caller has everything; see `Journal.record_delivered`."""
        await self._report(self._delivery(number))

    def record_delivered_nowait(self, number: int) -> None:
        """Note the same; see `Journal.record_delivered_nowait`."""
        self._usable().send(Order(self._delivery(number), Kind.REPORT))

    def _delivery(self, number: int) -> Move:
        return Move(moves.DELIVERED, number, RecordState.DELIVERED, (self._now(),))

    async def record_webhook(self, request_id: str, *, intent_id: str | None, body: bytes) -> bool:
        """Keep a delivery; see `Journal.record_webhook`."""
        is_first: bool = await self._intend(
            partial(
                statements.webhook,
                request_id=request_id,
                intent_id=intent_id,
                received_at=self._now(),
                body=body,
            )
        )
        return is_first

    async def record_retry(self, numbers: Iterable[int], reason: str = "retry") -> None:
        """Plan jobs again; see `Journal.record_retry`."""
        await self._intend(partial(statements.retry, numbers=tuple(numbers), reason=reason))

    async def mark_interrupted(self) -> int:
        """Make every sending job unknown; see `Journal.mark_interrupted`."""
        count: int = await self._intend(statements.interrupt)
        return count

    async def load_counts(self) -> dict[RecordState, int]:
        """Return how many jobs are in each state."""
        counts: dict[RecordState, int] = await self._read(queries.counts)
        return counts

    async def load_totals(self) -> JournalTotals:
        """Return what all results and their files come to; see `Journal.load_totals`."""
        totals: JournalTotals = await self._read(queries.totals)
        return totals

    async def load_jobs(
        self,
        *,
        states: Iterable[RecordState] | None = None,
        after_seq: int | None = None,
        page: int = 1000,
    ) -> AsyncIterator[list[JobRecord]]:
        """Yield jobs by `seq`, a page at a time; see `Journal.load_jobs`."""
        wanted = tuple(RecordState if states is None else dict.fromkeys(states))
        after: queries.Place | None = queries.Place()
        if after_seq is not None:
            after = queries.Place(after_seq, queries.LAST_NUMBER)
        while after is not None:
            act = partial(queries.page, states=wanted, after=after, limit=page)
            jobs, after = await self._read(act)
            if jobs:
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
        name, value = only_one(number=number, key=key, request_id=request_id, intent_id=intent_id)
        job: JobRecord | None = await self._read(partial(queries.job, name=name, value=value))
        return job

    async def load_attempts(self, number: int) -> list[AttemptRecord]:
        """Return every attempt of a job, the oldest first."""
        attempts: list[AttemptRecord] = await self._read(partial(queries.attempts, number=number))
        return attempts

    async def load_result(self, number: int) -> bytes | None:
        """Return a job's result; see `Journal.load_result`."""
        body: bytes | None = await self._read(partial(queries.result, number=number))
        return body

    async def load_files(self, number: int) -> list[FileRecord]:
        """Return the files of a job's result, by `json_path`."""
        files: list[FileRecord] = await self._read(partial(queries.files, number=number))
        return files

    async def load_webhook(
        self, *, request_id: str | None = None, intent_id: str | None = None
    ) -> WebhookRecord | None:
        """Return a delivery by one of its ids; see `Journal.load_webhook`."""
        name, value = only_one(request_id=request_id, intent_id=intent_id)
        found: WebhookRecord | None = await self._read(
            partial(queries.webhook, name=name, value=str(value))
        )
        return found

    async def load_runs(self) -> list[RunRecord]:
        """Return every run, the oldest first."""
        runs: list[RunRecord] = await self._read(queries.runs)
        return runs

    async def load_claimed_request_ids(self, request_ids: Iterable[str]) -> set[str]:
        """Return those ids that an attempt in this journal already has."""
        act = partial(queries.claimed, request_ids=tuple(request_ids))
        claimed: set[str] = await self._read(act)
        return claimed

    def statistics(self) -> JournalStatistics:
        """Return what was done since it was opened."""
        return JournalStatistics() if self._writer is None else self._writer.statistics()

    def _connect(self) -> sqlite3.Connection:
        self._lock.acquire()
        return open_database(self._path, max_pages=self._max_pages, vfs=self._vfs)

    def _now(self) -> float:
        return self._wall_clock().timestamp()

    def _check_place(self) -> None:
        # A connection or a lock carried over a fork corrupts the file
        # (sqlite.org/howtocorrupt.html, 2.6).
        if os.getpid() != self._pid:
            raise ForkedSessionError(
                "the process was forked after the journal was opened; open one in the child, "
                "on another file"
            )
        if asyncio.get_running_loop() is not self._loop:
            raise WrongLoopError("the journal belongs to another event loop or thread")

    def _usable(self) -> Writer:
        if self._writer is None or self._is_closed:
            raise JournalError(f"the journal {self._path} is not open")
        self._check_place()
        return self._writer

    # These return the writer's future: each coroutine between it and the job would be
    # made, and run through, three times a job.

    def _ask(self, order: Order) -> asyncio.Future[Any]:
        return self._usable().ask(order)

    def _intend(self, act: Callable[[sqlite3.Connection], Any]) -> asyncio.Future[Any]:
        writer = self._usable()
        if writer.failure is not None:
            raise writer.broken_error()
        return writer.ask(Order(act, Kind.INTENT))

    def _report(
        self, act: Callable[[sqlite3.Connection], Any], label: str = "", *, size_bytes: int = 0
    ) -> asyncio.Future[Any]:
        return self._usable().ask(Order(act, Kind.REPORT, label, ORDER_BYTES + size_bytes))

    def _read(self, act: Callable[[sqlite3.Connection], Any]) -> asyncio.Future[Any]:
        return self._ask(Order(act, Kind.READ))


def _nothing(_: sqlite3.Connection) -> None:
    """Change nothing: a flush is for what waits before it."""
