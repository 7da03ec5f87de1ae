"""Run a batch: every row once, through one session, with a trace of each step.

Owns the one task that takes up rows, how many are on the way, and the end of a
batch. `planning` puts rows into the journal, `work` says which is next, `row`
tells what happens to one, `folder` holds what is left behind. Programs and the
command line call it.

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
from collections.abc import AsyncIterator, Callable, Container, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from falq._journal.base import Journal
from falq._journal.sqlite import SqliteJournal
from falq.batch.budget import Budget
from falq.batch.checking import check_manifest
from falq.batch.entries import ManifestReport
from falq.batch.folder import JOURNAL_NAME, OutFolder, is_on_loopback
from falq.batch.manifest import Manifest, OnBadRow
from falq.batch.outcomes import RowOutcome
from falq.batch.planning import BATCH_KIND, is_planned_whole, plan_manifest
from falq.batch.pricing import prepare_budget
from falq.batch.progress import BatchProgress, ProgressCounter
from falq.batch.reading import SETTLED, has_run, load_template_used
from falq.batch.row import RowRunner, TimeLimits
from falq.batch.summary import BatchSummary, RunFigures
from falq.batch.tally import RowTally, count_failed, count_rows
from falq.batch.validation import check_arguments
from falq.batch.work import Work, work_of_journal, work_of_manifest
from falq.config import DEFAULT_SETTLE_S, build_config, hold_secrets
from falq.errors import ArgumentError, AuthenticationError, ConfigError, FalqError, JournalError
from falq.gateways import UPLOAD, Gateway
from falq.media import NameTemplate
from falq.model import EndpointId
from falq.platform import Price
from falq.secrets import hold
from falq.session import Session

OnUnknown: TypeAlias = Literal["hold", "resubmit"]
OnProgress: TypeAlias = Callable[[BatchProgress], None]

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
            it is its turn; for one that an earlier run left, from when this one
            takes it up.
        budget_usd: Most that is spent, in US dollars, the rows of earlier
            invocations included. None takes the limit that the journal's batch
            had before, if it had one.
        prices: Prices of endpoints, instead of what the Platform API tells.
        on_bad_row: `"stop"` refuses a manifest with bad rows, `"skip"` runs the
            others and lists these in `OUT/bad-rows.jsonl`.
        validate: Whether rows are bad whose arguments do not fit the schema of their
            endpoint. Each schema is asked for once; it needs the extra `schema`.
        on_unknown: What to do with a submit whose answer stays lost: keep the
            row back, or send it again.
        settle_s: Seconds until a submit whose answer was lost counts as lost
            for good.
        download: Whether media are fetched to `OUT/media`.
        name_template: How media are called below `OUT/media`, such as
            `{id}-{index}.{ext}`; see `falq.media.naming`. None takes what the
            run before had, else that one.
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
        validate: bool = False,
        on_unknown: OnUnknown = "hold",
        settle_s: float | None = None,
        download: bool = True,
        name_template: str | None = None,
        sorted_lines: bool = False,
        on_progress: OnProgress | None = None,
        **session_settings: Any,
    ) -> None:
        # Before anything can fail: whoever sees this frame shall not see a password.
        gateway, session_settings = hold(gateway, Gateway), hold_secrets(session_settings)
        self._manifest = _as_manifest(rows, endpoint, on_bad_row)
        self._on_bad_row = on_bad_row
        self._validate = validate
        self._journal, self._owns_journal = _as_journal(journal, out)
        is_rebuilt = isinstance(self._journal, SqliteJournal)
        self._folder = None if out is None else OutFolder(out, is_rebuilt=is_rebuilt)
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
        self._limits = TimeLimits(
            timeout_s=timeout, settle_s=DEFAULT_SETTLE_S if settle_s is None else settle_s
        )
        self._budget = Budget(budget_usd, prices or {})
        self._template = name_template
        if name_template is not None:
            NameTemplate.parse(name_template)
        self._download = download
        self._sorted = sorted_lines
        self._on_progress = on_progress
        self._report: ManifestReport | None = None
        self._left_out: frozenset[str] = frozenset()
        self._session: Session | None = None
        self._counter = ProgressCounter(0.0)
        self._places = asyncio.Semaphore(2 * self._max_jobs + _EXTRA_PLACES)
        self._ready: asyncio.Queue[RowOutcome | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._row: RowRunner | None = None
        self._run_number: int | None = None
        self._failure: Exception | None = None
        self._has_run = False
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
    def left_out(self) -> frozenset[str]:
        """Ids of rows that an earlier manifest had and this one has not; they are not started."""
        return self._left_out

    @property
    def budget(self) -> Budget:
        """Prices, and what was spent."""
        return self._budget

    @property
    def out(self) -> Path | None:
        """The output folder."""
        return None if self._folder is None else self._folder.path

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

    @property
    def failure(self) -> Exception | None:
        """What stopped the batch, while those on the way end; iterating raises it then."""
        return self._failure

    @property
    def settle_s(self) -> float:
        """Seconds for which a submit is looked for whose answer was lost."""
        return self._limits.settle_s

    @property
    def in_flight(self) -> Container[str]:
        """Ids of the rows that were taken up and have not ended."""
        return () if self._row is None else self._row.in_flight

    async def summary(self) -> BatchSummary:
        """Return what the batch came to so far, while it is open.

        Raises:
            JournalError: The journal cannot be read.
        """
        run = self._figures()
        tally, files, file_bytes, failed_files = self._tally(), 0, 0, 0
        if self._journal is None:
            files, file_bytes, failed_files = run.files, run.file_bytes, run.failed_files
        else:
            tally = await count_rows(self._journal)
            totals = await self._journal.load_totals()
            files, file_bytes = totals.files, totals.file_bytes
            failed_files = totals.failed_files
        return BatchSummary(
            rows=tally.rows - len(self._left_out),
            succeeded=tally.statuses.get("succeeded", 0),
            failed=tally.statuses.get("failed", 0),
            cancelled=tally.statuses.get("cancelled", 0),
            timed_out=tally.statuses.get("timed_out", 0),
            unknown=tally.unknown,
            left=tally.left - len(self._left_out),
            left_out=len(self._left_out),
            duplicates=tally.duplicates,
            bad_rows=0 if self._report is None else self._report.bad_count,
            files=files,
            file_bytes=file_bytes,
            failed_files=failed_files,
            spent_usd=self._budget.spent_usd if self._budget.prices else None,
            this_run=run,
            has_earlier_runs=self._has_run,
            is_over_budget=self._is_over_budget,
            is_stopped=self._is_stopped,
        )

    def _figures(self) -> RunFigures:
        counter, budget = self._counter, self._budget
        return RunFigures(
            succeeded=counter.succeeded,
            failed=counter.ended - counter.succeeded - counter.statuses["unknown"],
            unknown=counter.statuses["unknown"],
            files=counter.files,
            file_bytes=counter.file_bytes,
            failed_files=counter.failed_files,
            spent_usd=budget.spent_usd - budget.before_usd if budget.prices else None,
            elapsed_s=self.progress().elapsed_s,
        )

    def _tally(self) -> RowTally:
        """Return where rows stand that no journal has."""
        statuses: dict[Any, int] = dict(self._counter.statuses)
        unknown = statuses.pop("unknown", 0)
        ended = unknown + sum(statuses.values())
        return RowTally(rows=max(self._counter.total, ended), statuses=statuses, unknown=unknown)

    def _now(self) -> float:
        if self._ended_at is not None:
            return self._ended_at
        return asyncio.get_running_loop().time()

    async def _open(self) -> None:
        self._counter = ProgressCounter(self._now())
        if self._manifest is not None:
            self._report = await self._check(self._manifest)
        if self._folder is not None:
            await self._folder.make(self._report)
        if self._journal is not None and self._owns_journal:
            await self._journal.open()
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
        await prepare_budget(
            self._budget,
            self._gateway,
            () if self._report is None else self._report.endpoints,
            journal=self._journal,
            ssl_context=self._session_settings.get("ssl_context"),
            proxy=session.proxy,
        )
        if self._journal is not None:
            await self._plan(self._journal)
        self._row = await self._open_row(session)

    async def _check(self, manifest: Manifest) -> ManifestReport:
        if UPLOAD not in self._gateway.abilities:
            manifest.refuse_uploads(self._gateway.name)
        report = await check_manifest(manifest)
        if self._validate and not (report.bad_count and self._on_bad_row == "stop"):
            report = await check_arguments(
                manifest,
                report,
                self._gateway,
                ssl_context=self._session_settings.get("ssl_context"),
                proxy=self._session_settings.get("proxy"),
            )
        if self._on_bad_row == "stop":
            report.raise_for_bad_rows()
        if self._journal is None and report.duplicates:
            raise ConfigError("equal rows run once only with a journal", setting="dedupe")
        self._counter.total = report.count
        return report

    async def _plan(self, journal: Journal) -> None:
        if self._manifest is not None and self._report is not None:
            self._left_out = await plan_manifest(self._manifest, journal, self._report)
        elif not await is_planned_whole(journal):
            raise ArgumentError(
                "the journal has no batch, or not all of it: planning was interrupted; run "
                "'falq batch' with the manifest again",
                argument="journal",
            )
        counts = await journal.load_counts()
        self._counter.total = sum(counts.values()) - len(self._left_out)
        self._counter.before = sum(counts.get(state, 0) for state in SETTLED)
        self._counter.failed_before = await count_failed(journal)
        self._has_run = await has_run(journal)
        if self._template is None:
            # Otherwise the files of one batch would be called in two ways.
            self._template = await load_template_used(journal)

    async def _open_row(self, session: Session) -> RowRunner:
        downloads = None
        if self._folder is not None and self._download:
            downloads = await self._folder.open_downloads(
                self._template,
                allow_loopback=is_on_loopback(self._gateway),
                proxy=session.proxy,
                journal=self._journal,
            )
        return RowRunner(
            session,
            journal=self._journal,
            lines=None if self._folder is None else self._folder.lines,
            downloads=downloads,
            budget=self._budget,
            max_jobs=self._max_jobs,
            per_endpoint=self._per_endpoint,
            limits=self._limits,
            counter=self._counter,
            on_over_budget=self._stop_over_budget,
        )

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
        folder, row, journal = self._folder, self._row, self._journal
        if folder is not None and row is not None:
            if journal is None:
                await folder.clear_lines()
                return
            # Rows may be taken up meanwhile; their lines wait, and their ids are in
            # flight from before the journal hears of them.
            folder.lines.hold()
            group.create_task(self._rebuild(journal, folder, row))
        if journal is not None:
            self._run_number = await journal.begin_run(self._settings())

    async def _rebuild(self, journal: Journal, folder: OutFolder, row: RowRunner) -> None:
        try:
            await folder.rebuild_lines(journal, self._budget, without=row.in_flight)
        except (FalqError, OSError) as error:
            self._break(error)

    def _settings(self) -> dict[str, Any]:
        return {
            "kind": BATCH_KIND,
            "max_jobs": self._max_jobs,
            "budget_usd": self._budget.limit_usd,
            "download": self._download and self._folder is not None,
            "name_template": self._template,
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
            if work.is_fresh and work.id in self._left_out:
                continue
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
        try:
            outcome = await row.run(work)
        except asyncio.CancelledError:
            self._places.release()
            raise
        except _BREAKS as error:
            self._break(error)
        finally:
            row.leave(work)
        if outcome is None:
            self._places.release()
            return
        if not outcome.is_unsent:
            self._counter.count(outcome, self._now())
        self._ready.put_nowait(outcome)
        if self._on_progress is not None:
            self._on_progress(self.progress())

    async def _finish(self) -> None:
        if self._folder is not None:
            await self._folder.lines.flush()
        journal = self._journal
        if journal is None:
            return
        if self._folder is not None and self._sorted:
            await self._folder.sort_lines(journal, self._budget)
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
        # Each whatever the others meet: a journal that stays open would stay locked.
        try:
            if self._session is not None:
                await self._session.aclose()
        finally:
            try:
                if self._folder is not None:
                    await self._folder.aclose()
            finally:
                if self._journal is not None and self._owns_journal:
                    await self._journal.aclose()


def _as_manifest(
    rows: Manifest | str | Path | Iterable[Any] | None,
    endpoint: str | None,
    on_bad_row: OnBadRow,
) -> Manifest | None:
    if rows is None or isinstance(rows, Manifest):
        return rows
    return Manifest(rows, endpoint=endpoint, on_bad_row=on_bad_row)


def _as_journal(
    journal: str | os.PathLike[str] | Journal | Literal[False] | None,
    out: str | os.PathLike[str] | None,
) -> tuple[Journal | None, bool]:
    if journal is False or (journal is None and out is None):
        return None, False
    if journal is None and out is not None:
        return SqliteJournal(Path(out).absolute() / JOURNAL_NAME), True
    if isinstance(journal, str | os.PathLike):
        return SqliteJournal(journal), True
    return journal, False
