"""Run a batch: every row once, through one session, with a trace of each step.

Owns the one task that takes up rows, how many are on the way, and the end of a
batch. `planning` puts rows into the journal, `work` says which is next, `row`
tells what happens to one, `lines` and `downloads` write what is left behind.
Programs and the command line call it.

Rules:
    1. Nothing is sent before the whole manifest was checked and planned.
    2. A row takes a place from its start until its outcome was taken by the
       reader: a million rows never sit in memory.
    3. What breaks the batch (a journal or a disk that cannot be written, a key
       that is refused) stops the taking up of rows; those on the way end first.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias
from urllib.parse import urlsplit

from falq._journal.base import Journal
from falq._journal.sqlite import SqliteJournal
from falq._journal.states import RecordState
from falq.batch.budget import Budget
from falq.batch.downloads import MEDIA_FOLDER, NAME_TEMPLATE, RowDownloads
from falq.batch.entries import ManifestReport
from falq.batch.lines import ResultLines, write_line
from falq.batch.manifest import Manifest, OnBadRow
from falq.batch.outcomes import RowOutcome, status_of_record
from falq.batch.planning import BATCH_KIND, is_planned_whole, plan_manifest
from falq.batch.pricing import load_known_prices
from falq.batch.progress import BatchProgress, ProgressCounter
from falq.batch.reading import (
    SETTLED,
    cost_of_record,
    load_limit_used,
    load_outcomes,
    load_prices_used,
    original_of,
)
from falq.batch.row import RowRunner
from falq.batch.summary import BatchSummary
from falq.batch.work import Work, work_of_journal, work_of_manifest
from falq.config import build_config
from falq.errors import ArgumentError, AuthenticationError, ConfigError, FalqError, JournalError
from falq.gateways import Gateway, is_loopback
from falq.media import Downloader, NameTemplate
from falq.model import EndpointId
from falq.platform import Price
from falq.session import Session

OnUnknown: TypeAlias = Literal["hold", "resubmit"]
OnProgress: TypeAlias = Callable[[BatchProgress], None]

RESULTS_NAME = "results.jsonl"
BAD_ROWS_NAME = "bad-rows.jsonl"
JOURNAL_NAME = "journal.sqlite"

_EXTRA_PLACES = 64
"""Rows beyond twice `max_jobs` that may be fetching files or waiting for the reader.

Twice, because a crash leaves up to `max_jobs` rows to be looked for, which hold
up no others."""

_BREAKS = (JournalError, AuthenticationError, OSError)


class Batch:
    """A batch of rows, for `async with` and then `async for`.

    Each outcome that is yielded is on disk already: its files, its line and its
    mark in the journal. Making one checks nothing and does no I/O.

    Args:
        rows: What to run: a `Manifest`, the path of one, or rows as mappings or
            prompts. None goes on with what the journal has.
        gateway: As for `Session`.
        endpoint: For rows that name none, if `rows` is not a `Manifest`.
        out: Output folder; made if it is not there. None writes no files.
        journal: Path of the journal, or an open one; None is
            `OUT/journal.sqlite`, and no journal without `out`. False is none.
        max_jobs: Jobs on the way at once; as for `Session`.
        per_endpoint: The same for single endpoints.
        timeout: Seconds after which a job is given up and cancelled, from when
            it is its turn.
        budget_usd: Most that is spent, in US dollars, the rows of earlier
            invocations included. None takes the limit that the journal's batch
            had before, if it had one.
        prices: Prices of endpoints, instead of what the Platform API tells.
        on_bad_row: `"stop"` refuses a manifest with bad rows, `"skip"` runs the
            others and lists these in `OUT/bad-rows.jsonl`.
        on_unknown: What to do with a submit whose answer stays lost: keep the
            row back, or send it again.
        settle_s: Seconds until a submit whose answer was lost counts as lost
            for good.
        download: Whether media are fetched to `OUT/media`.
        name_template: How media are called below `OUT/media`, such as
            `{id}-{index}.{ext}`, which is the default; see `falq.media.naming`.
        sorted_lines: Whether the lines are put into the order of the rows at
            the end.
        on_progress: Called with a `BatchProgress` after each row.
        session_settings: Further settings of the `Session`.

    Example:
        >>> import asyncio
        >>> from falq.batch import Batch
        >>> from falq.emulator import Emulator
        >>> async def main():
        ...     rows = [{"say": "hello"}, {"say": "bye"}]
        ...     async with Emulator(speed=1000) as emulator:
        ...         async with Batch(rows, gateway=emulator.gateway, endpoint="acme/echo") as batch:
        ...             return sorted([outcome.result["say"] async for outcome in batch])
        >>> asyncio.run(main())
        ['bye', 'hello']
    """

    def __init__(
        self,
        rows: Manifest | str | Path | Iterable[Any] | None,
        *,
        gateway: Gateway | None = None,
        endpoint: str | None = None,
        out: str | os.PathLike[str] | None = None,
        journal: str | os.PathLike[str] | Journal | Literal[False] | None = None,
        max_jobs: int | None = None,
        per_endpoint: Mapping[str, int] | None = None,
        timeout: float | None = None,
        budget_usd: float | None = None,
        prices: Mapping[str, Price] | None = None,
        on_bad_row: OnBadRow = "stop",
        on_unknown: OnUnknown = "hold",
        settle_s: float | None = None,
        download: bool = True,
        name_template: str | None = None,
        sorted_lines: bool = False,
        on_progress: OnProgress | None = None,
        **session_settings: Any,
    ) -> None:
        self._manifest = _as_manifest(rows, endpoint, on_bad_row)
        self._on_bad_row = on_bad_row
        self._out = None if out is None else Path(out).absolute()
        self._journal, self._owns_journal = _as_journal(journal, self._out)
        if self._manifest is None and self._journal is None:
            raise ArgumentError("give rows to run, or a journal to go on with", argument="rows")
        config = build_config(gateway=gateway, max_jobs=max_jobs, per_endpoint=per_endpoint or {})
        self._gateway = config.gateway
        self._max_jobs = config.max_jobs
        self._per_endpoint = {
            EndpointId.parse(name).full: n for name, n in (per_endpoint or {}).items()
        }
        settings: dict[str, Any] = {
            "timeout": timeout,
            "delivery": "reconcile",
            "on_unknown": on_unknown,
        }
        if settle_s is not None:
            settings["settle_s"] = settle_s
        self._session_settings = settings | session_settings
        self._budget = Budget(budget_usd, prices or {})
        self._template = NameTemplate.parse(name_template or NAME_TEMPLATE)
        self._download = download and self._out is not None
        self._sorted = sorted_lines
        self._on_progress = on_progress
        self._report: ManifestReport | None = None
        self._session: Session | None = None
        self._downloader: Downloader | None = None
        self._lines: ResultLines | None = None
        self._counter = ProgressCounter(0.0)
        self._places = asyncio.Semaphore(2 * self._max_jobs + _EXTRA_PLACES)
        self._ready: asyncio.Queue[RowOutcome | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._row: RowRunner | None = None
        self._run_number: int | None = None
        self._failure: Exception | None = None
        self._is_stopped = False
        self._is_over_budget = False
        self._ended_at: float | None = None
        self._is_opened = False

    async def __aenter__(self) -> Self:
        """Check, plan and open everything; nothing is sent.

        Raises:
            ArgumentError: The manifest is bad.
            ConfigError: A setting is wrong, or a budget cannot be held.
            JournalError: The journal cannot be used, or the input has changed.
            OSError: The output folder cannot be written.
        """
        if self._is_opened:
            raise ArgumentError("a batch is opened once; make a new one", argument="batch")
        self._is_opened = True
        try:
            await self._open()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close()

    def __aiter__(self) -> AsyncIterator[RowOutcome]:
        return self

    async def __anext__(self) -> RowOutcome:
        """Return the next outcome; cancelling it loses none.

        Raises:
            StopAsyncIteration: Every row that was started has ended.
            Exception: What broke the batch, after the outcomes before it.
        """
        if self._session is None:
            raise ArgumentError("the batch is not open; use 'async with'", argument="batch")
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        if self._task.done() and self._ready.empty():
            raise StopAsyncIteration
        outcome = await self._ready.get()
        if outcome is None:
            await self._task
            if self._failure is not None:
                raise self._failure
            raise StopAsyncIteration
        self._places.release()
        return outcome

    def __repr__(self) -> str:
        now = self.progress()
        return f"<falq.batch.Batch done={now.done} of {now.total} failed={now.failed}>"

    def _repr_html_(self) -> str:
        return self.progress()._repr_html_()

    @property
    def report(self) -> ManifestReport | None:
        """What the check of the manifest found; None if there was none."""
        return self._report

    @property
    def budget(self) -> Budget:
        """Prices, and what was spent."""
        return self._budget

    @property
    def out(self) -> Path | None:
        """The output folder."""
        return self._out

    @property
    def journal(self) -> Journal | None:
        """The journal, open while the batch is."""
        return self._journal

    def stop(self) -> None:
        """Take up no more rows; those on the way end as usual."""
        self._is_stopped = True
        self._hold_back()

    def progress(self) -> BatchProgress:
        """Return where it stands."""
        return self._counter.snapshot(
            self._now(),
            spent_usd=self._budget.spent_usd,
            reserved_usd=self._budget.reserved_usd,
            limit_usd=self._budget.limit_usd,
            is_stopping=self._row is not None and self._row.is_stopping,
        )

    async def summary(self) -> BatchSummary:
        """Return the counts of the whole batch, while it is open."""
        counter = self._counter
        statuses = dict(counter.statuses)
        rows, unknown, left = counter.total, statuses.get("unknown", 0), 0
        if self._journal is not None:
            statuses, unknown, left, rows = await _count_all(self._journal)
        else:
            left = max(0, rows - counter.ended)
        return BatchSummary(
            rows=rows,
            succeeded=statuses.get("succeeded", 0),
            failed=statuses.get("failed", 0),
            cancelled=statuses.get("cancelled", 0),
            timed_out=statuses.get("timed_out", 0),
            unknown=unknown,
            left=left,
            bad_rows=0 if self._report is None else self._report.bad_count,
            files=counter.files,
            file_bytes=counter.file_bytes,
            failed_files=counter.failed_files,
            spent_usd=self._budget.spent_usd if self._budget.prices else None,
            elapsed_s=self.progress().elapsed_s,
            is_over_budget=self._is_over_budget,
            is_stopped=self._is_stopped,
        )

    def _now(self) -> float:
        if self._ended_at is not None:
            return self._ended_at
        return asyncio.get_running_loop().time()

    async def _open(self) -> None:
        self._counter = ProgressCounter(self._now())
        if self._manifest is not None:
            self._report = await asyncio.to_thread(self._manifest.check)
            if self._on_bad_row == "stop":
                self._report.raise_for_bad_rows()
        if self._out is not None:
            await asyncio.to_thread(self._out.mkdir, parents=True, exist_ok=True)
            await asyncio.to_thread(self._write_bad_rows)
        if self._journal is not None:
            await self._open_journal(self._journal)
        elif self._report is not None:
            if self._report.duplicates:
                raise ConfigError("equal rows run once only with a journal", setting="dedupe")
            self._counter.total = self._report.count
        await self._open_session()

    async def _open_journal(self, journal: Journal) -> None:
        if self._owns_journal:
            await journal.open()

    async def _open_session(self) -> None:
        session = Session(
            self._gateway,
            max_jobs=self._max_jobs,
            per_endpoint=self._per_endpoint,
            journal=self._journal,
            on_event=self._counter.hear,
            **self._session_settings,
        )
        # Opening it checks that the journal is of this account: before anything is planned.
        self._session = await session.open()
        await self._load_prices()
        if self._journal is not None:
            await self._plan(self._journal)
        await self._open_out()
        self._row = RowRunner(
            session,
            journal=self._journal,
            lines=self._lines,
            downloads=self._downloads(),
            budget=self._budget,
            max_jobs=self._max_jobs,
            per_endpoint=self._per_endpoint,
            has_timeout=self._session_settings.get("timeout") is not None,
            on_over_budget=self._stop_over_budget,
        )

    async def _load_prices(self) -> None:
        if self._journal is not None:
            self._budget.prices = await load_prices_used(self._journal) | self._budget.prices
            if self._budget.limit_usd is None:
                # A limit holds for the batch, not for one start of it.
                self._budget.limit_usd = await load_limit_used(self._journal)
        endpoints = await self._endpoints()
        lacking = endpoints - self._budget.prices.keys()
        try:
            self._budget.prices |= await load_known_prices(
                self._gateway, lacking, ssl_context=self._session_settings.get("ssl_context")
            )
        except FalqError:
            # Without a limit a price only decorates; with one it cannot be done without.
            if self._budget.limit_usd is not None:
                raise
        self._budget.check_prices(endpoints)

    async def _endpoints(self) -> set[str]:
        if self._report is not None:
            return set(self._report.endpoints)
        if self._journal is None or self._budget.limit_usd is None:
            return set()
        endpoints: set[str] = set()
        async for page in self._journal.load_jobs():
            endpoints.update(record.endpoint for record in page)
        return endpoints

    async def _plan(self, journal: Journal) -> None:
        if self._manifest is not None and self._report is not None:
            await plan_manifest(self._manifest, journal, self._report)
        elif not await is_planned_whole(journal):
            raise ArgumentError(
                "the journal has no batch, or not all of it: planning was interrupted; run "
                "'falq batch' with the manifest again",
                argument="journal",
            )
        counts = await journal.load_counts()
        self._counter.total = sum(counts.values())
        self._counter.before = sum(counts.get(state, 0) for state in SETTLED)
        if self._budget.limit_usd is not None:
            async for page in journal.load_jobs(states=SETTLED):
                for record in page:
                    self._budget.spent_usd += cost_of_record(record, self._budget) or 0.0

    async def _open_out(self) -> None:
        if self._out is None:
            return
        self._lines = ResultLines(self._out / RESULTS_NAME)
        if self._download:
            downloader = Downloader(
                self._out / MEDIA_FOLDER,
                allow_loopback=is_on_loopback(self._gateway),
                name_template=self._template,
                # Fetched before and not noted, because a crash came between: the
                # same file is not kept twice.
                if_taken="same",
            )
            self._downloader = await downloader.__aenter__()

    def _downloads(self) -> RowDownloads | None:
        if self._downloader is None or self._out is None:
            return None
        return RowDownloads(self._downloader, self._out, journal=self._journal)

    def _write_bad_rows(self) -> None:
        if self._out is None or self._report is None:
            return
        path = self._out / BAD_ROWS_NAME
        if not self._report.bad_rows:
            path.unlink(missing_ok=True)
            return
        facts = (
            {"line": bad.line, "id": bad.id, "field": bad.field, "reason": bad.reason}
            for bad in self._report.bad_rows
        )
        path.write_bytes(b"".join(write_line(fact) for fact in facts))

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                await self._start_lines(group)
                await self._take_up_rows(group)
        except Exception as error:  # noqa: BLE001  handed to the reader, after the outcomes before it
            self._break(error.exceptions[0] if isinstance(error, ExceptionGroup) else error)
        try:
            if self._failure is None:
                await self._finish()
        except (FalqError, OSError) as error:
            self._break(error)
        finally:
            self._ended_at = asyncio.get_running_loop().time()
            self._ready.put_nowait(None)

    async def _start_lines(self, group: asyncio.TaskGroup) -> None:
        lines, row = self._lines, self._row
        if lines is None or row is None:
            return
        if self._journal is None:
            await lines.rebuild(_no_lines())
            return
        # Rows may be taken up meanwhile; their lines wait, and their ids are in
        # flight from before the journal hears of them.
        lines.hold()
        group.create_task(self._rebuild(self._journal, lines, row))
        self._run_number = await self._journal.begin_run(self._settings())

    async def _rebuild(self, journal: Journal, lines: ResultLines, row: RowRunner) -> None:
        try:
            pages = load_outcomes(journal, self._budget, without=row.in_flight)
            await lines.rebuild(_lines_of(pages))
        except (FalqError, OSError) as error:
            self._break(error)

    def _settings(self) -> dict[str, Any]:
        return {
            "kind": BATCH_KIND,
            "max_jobs": self._max_jobs,
            "budget_usd": self._budget.limit_usd,
            "download": self._download,
            "prices": {
                name: {"unit_price": price.unit_price, "unit": price.unit}
                for name, price in self._budget.prices.items()
            },
        }

    async def _take_up_rows(self, group: asyncio.TaskGroup) -> None:
        row = self._row
        if row is None:
            return
        if self._journal is not None:
            works = work_of_journal(self._journal)
        elif self._manifest is not None:
            works = work_of_manifest(self._manifest)
        else:
            return
        async for work in works:
            await self._places.acquire()
            if row.is_stopping and work.is_fresh:
                self._places.release()
                # Jobs that are out come first, so nothing but fresh ones follows.
                break
            row.enter(work)
            group.create_task(self._run_row(row, work))
            await asyncio.sleep(0)

    async def _run_row(self, row: RowRunner, work: Work) -> None:
        outcome: RowOutcome | None = None
        self._counter.in_flight += 1
        try:
            outcome = await row.run(work)
        except _BREAKS as error:
            self._break(error)
        finally:
            self._counter.in_flight -= 1
            row.leave(work)
        if outcome is None:
            self._places.release()
            return
        self._counter.count(outcome, self._now())
        self._ready.put_nowait(outcome)
        if self._on_progress is not None:
            self._on_progress(self.progress())

    async def _finish(self) -> None:
        journal, lines = self._journal, self._lines
        if journal is None:
            return
        if lines is not None and self._sorted:
            states = SETTLED | {RecordState.FETCHED, RecordState.UNKNOWN}
            await lines.rebuild(_lines_of(load_outcomes(journal, self._budget, states=states)))
        if self._run_number is not None:
            await journal.record_run_ended(self._run_number)

    def _break(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
        self._hold_back()

    def _stop_over_budget(self) -> None:
        self._is_over_budget = True
        self._hold_back()

    def _hold_back(self) -> None:
        if self._row is not None:
            self._row.stop()

    async def _close(self) -> None:
        if self._task is not None and not self._task.done():
            self._hold_back()
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._session is not None:
            await self._session.aclose()
        if self._downloader is not None:
            await self._downloader.__aexit__(None, None, None)
        if self._lines is not None:
            await self._lines.aclose()
        if self._journal is not None and self._owns_journal:
            await self._journal.aclose()


def is_on_loopback(gateway: Gateway) -> bool:
    """Return whether a gateway is on this machine, so that its media may be too."""
    return is_loopback(urlsplit(gateway.queue_root).hostname or "")


def _as_manifest(
    rows: Manifest | str | Path | Iterable[Any] | None,
    endpoint: str | None,
    on_bad_row: OnBadRow,
) -> Manifest | None:
    if rows is None or isinstance(rows, Manifest):
        return rows
    return Manifest(rows, endpoint=endpoint, on_bad_row=on_bad_row)


def _as_journal(
    journal: str | os.PathLike[str] | Journal | Literal[False] | None, out: Path | None
) -> tuple[Journal | None, bool]:
    if journal is False or (journal is None and out is None):
        return None, False
    if journal is None and out is not None:
        return SqliteJournal(out / JOURNAL_NAME), True
    if isinstance(journal, str | os.PathLike):
        return SqliteJournal(journal), True
    return journal, False


async def _count_all(journal: Journal) -> tuple[dict[str, int], int, int, int]:
    """Return rows by how they ended, those unknown, those left, and all of them."""
    counts = await journal.load_counts()
    statuses = {
        "succeeded": counts.get(RecordState.DELIVERED, 0) + counts.get(RecordState.FETCHED, 0)
    }
    unsuccessful = {
        RecordState.FAILED,
        RecordState.CANCELLED,
        RecordState.REFUSED,
        RecordState.GONE,
    }
    async for page in journal.load_jobs(states=unsuccessful):
        for record in page:
            original_id = original_of(record)
            found = None if original_id is None else await journal.load_job(key=original_id)
            status = status_of_record(found or record)
            statuses[status] = statuses.get(status, 0) + 1
    unknown = counts.get(RecordState.UNKNOWN, 0)
    rows = sum(counts.values())
    return statuses, unknown, rows - unknown - sum(statuses.values()), rows


async def _no_lines() -> AsyncIterator[list[bytes]]:
    return
    yield


async def _lines_of(pages: AsyncIterator[list[RowOutcome]]) -> AsyncIterator[list[bytes]]:
    async for page in pages:
        yield [write_line(outcome.as_json()) for outcome in page]
