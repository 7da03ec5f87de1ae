"""The commands about batches: batch, resume, retry, report.

Owns what each does with a `falq.batch.Batch`, what Ctrl-C means to it, what it
says at the end and its exit code. It never decides how a row ends.

Exit codes beside the usual ones: 4 the budget was reached, 5 stopped with work
left. The first Ctrl-C takes up no more rows and lets those on the way end; the
second leaves at once. Either way the journal knows where to go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from attrs import frozen

from falq._journal.base import Journal
from falq._journal.sqlite import SqliteJournal
from falq._journal.states import RecordState
from falq.batch import Batch, BatchSummary, Manifest
from falq.batch.budget import Budget, read_price_words
from falq.batch.entries import ManifestReport
from falq.batch.live import LiveReport
from falq.batch.manifest import OnBadRow
from falq.batch.pricing import load_known_prices
from falq.batch.reading import original_of
from falq.batch.report import REPORT_NAME, ReportSource, write_report
from falq.batch.rows import Format
from falq.batch.runner import JOURNAL_NAME
from falq.cli.batch_display import BatchDisplay
from falq.cli.failures import FAILED, OK, describe_failure, exit_code_of
from falq.cli.output import Output, dump_json
from falq.cli.running import Interrupted
from falq.config import build_config
from falq.errors import ArgumentError, ConfigError, FalqError

OVER_BUDGET = 4
WORK_LEFT = 5

_ENDS_WITHOUT_RESULT = frozenset(
    {RecordState.FAILED, RecordState.REFUSED, RecordState.GONE, RecordState.CANCELLED}
)


@frozen(kw_only=True)
class ManifestWords:
    """What the command line says about the rows.

    Attributes:
        manifest: Path, or `-`.
        endpoint: For rows that name none.
        format: How to read it.
        set: `key=template` words.
        grid: `key=values` words.
        drop: Names that are not sent.
        dedupe: Whether equal rows run once.
        on_bad_row: Whether bad rows are skipped.
    """

    manifest: str
    endpoint: str | None = None
    format: Format | None = None
    set: tuple[str, ...] = ()
    grid: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    dedupe: bool = False
    on_bad_row: OnBadRow = "stop"

    def open(self) -> Manifest:
        """Return the rows."""
        return Manifest(
            self.manifest,
            endpoint=self.endpoint,
            format=self.format,
            set_words=self.set,
            grid_words=self.grid,
            drop=self.drop,
            dedupe=self.dedupe,
            on_bad_row=self.on_bad_row,
        )


@frozen(kw_only=True)
class RunWords:
    """What the command line says about the running.

    Attributes:
        max_jobs: Jobs on the way at once.
        per_endpoint: `ENDPOINT=N` words.
        timeout: Seconds for one job.
        budget_usd: Most that is spent.
        price: `ENDPOINT=USD` words.
        on_unknown: What to do with a submit whose answer stays lost.
        settle_s: Seconds until it counts as lost for good.
        download: Whether media are fetched.
        name_template: How media are called.
        sorted: Whether the lines are put into the order of the rows.
        has_inputs: Whether the page holds arguments.
        serve: Port of the live page; None serves none, 0 takes a free one.
    """

    max_jobs: int | None = None
    per_endpoint: tuple[str, ...] = ()
    timeout: float | None = None
    budget_usd: float | None = None
    price: tuple[str, ...] = ()
    on_unknown: Literal["hold", "resubmit"] = "hold"
    settle_s: float | None = None
    download: bool = True
    name_template: str | None = None
    sorted: bool = False
    has_inputs: bool = True
    serve: int | None = None

    def settings(self) -> dict[str, Any]:
        """Return what `Batch` takes."""
        return {
            "max_jobs": self.max_jobs,
            "per_endpoint": read_limits(self.per_endpoint),
            "timeout": self.timeout,
            "budget_usd": self.budget_usd,
            "prices": read_price_words(self.price),
            "on_unknown": self.on_unknown,
            "settle_s": self.settle_s,
            "download": self.download,
            "name_template": self.name_template,
            "sorted_lines": self.sorted,
        }


def read_limits(words: Sequence[str]) -> dict[str, int]:
    """Return limits given as `ENDPOINT=N`.

    Raises:
        ArgumentError: A word is none.
    """
    limits: dict[str, int] = {}
    for word in words:
        endpoint, _, number = word.rpartition("=")
        if not endpoint or not number.isdecimal() or int(number) < 1:
            raise ArgumentError(
                f"--per-endpoint {word!r} is no ENDPOINT=N, such as fal-ai/flux/dev=10",
                argument="per_endpoint",
            )
        limits[endpoint] = int(number)
    return limits


async def run_manifest(rows: ManifestWords, how: RunWords, out: Path, output: Output) -> int:
    """Run a manifest, or go on with it."""
    batch = Batch(rows.open(), out=out, on_bad_row=rows.on_bad_row, **how.settings())
    return await _run(batch, how, out / JOURNAL_NAME, output)


async def dry_run(rows: ManifestWords, how: RunWords, output: Output) -> int:
    """Say what a manifest holds and what it would cost; nothing is sent to a model."""
    manifest = rows.open()
    report = await asyncio.to_thread(manifest.check)
    prices = read_price_words(how.price)
    with contextlib.suppress(FalqError):
        # Without a key or a network the count is still worth having.
        gateway = build_config(gateway=None).gateway
        prices = await load_known_prices(gateway, report.endpoints) | prices
    budget = Budget(how.budget_usd, prices)
    expected_usd = await asyncio.to_thread(_expected_usd, manifest, report, budget)
    output.data(
        {
            "rows": report.count,
            "duplicates": report.duplicates,
            "bad_rows": report.bad_count,
            "endpoints": dict(report.endpoints),
            "unpriced": sorted(set(report.endpoints) - prices.keys()),
            "estimated_usd": expected_usd,
        }
    )
    for bad in report.bad_rows:
        output.error(str(bad))
    if report.bad_count and rows.on_bad_row == "stop":
        return FAILED
    if how.budget_usd is not None and (expected_usd or 0.0) > how.budget_usd:
        output.note(f"the budget of ${how.budget_usd:,.4f} would be reached", style="yellow")
    return OK


def _expected_usd(manifest: Manifest, report: ManifestReport, budget: Budget) -> float | None:
    if report.bad_count and not report.is_whole:
        return None
    total, is_known = 0.0, False
    for row in manifest.rows() if not report.bad_count else ():
        if row.duplicate_of is not None:
            continue
        usd = budget.expected_usd(row.endpoint, row.arguments)
        if usd is not None:
            total, is_known = total + usd, True
    return round(total, 6) if is_known else None


async def resume(journal: Path, how: RunWords, output: Output) -> int:
    """Go on with a batch, without its manifest."""
    batch = Batch(None, out=folder_of(journal), journal=journal, **how.settings())
    return await _run(batch, how, journal, output)


async def retry(journal: Path, how: RunWords, error_types: Sequence[str], output: Output) -> int:
    """Plan the failed rows of a batch again, and run them."""
    folder_of(journal)
    async with SqliteJournal(journal) as opened:
        numbers = await _failed_numbers(opened, frozenset(error_types))
        if not numbers:
            output.note("no failed row fits; nothing was sent")
            return OK
        for first in range(0, len(numbers), 1000):
            await opened.record_retry(numbers[first : first + 1000])
    output.note(f"{len(numbers):,} rows are run again")
    return await resume(journal, how, output)


async def _failed_numbers(journal: Journal, error_types: frozenset[str]) -> list[int]:
    numbers: list[int] = []
    originals: dict[str, int] = {}
    duplicates: list[tuple[int, str]] = []
    async for page in journal.load_jobs(states=_ENDS_WITHOUT_RESULT):
        for record in page:
            original_id = original_of(record)
            if original_id is not None:
                duplicates.append((record.number, original_id))
                continue
            error = record.error or {}
            words = {str(error.get(name)) for name in ("kind", "error_type", "status_code")}
            if not error_types or error_types & (words | {str(record.state)}):
                numbers.append(record.number)
                originals[record.key or ""] = record.number
    return numbers + [number for number, original_id in duplicates if original_id in originals]


async def report(journal: Path, target: Path | None, output: Output, *, has_inputs: bool) -> int:
    """Write the page of a batch."""
    path = folder_of(journal) / REPORT_NAME if target is None else target
    async with SqliteJournal(journal) as opened:
        source = ReportSource(journal=opened, path=journal, has_inputs=has_inputs)
        page = await write_report(source, path)
    output.data({"report": str(page)})
    return OK


def folder_of(journal: Path) -> Path:
    """Return the folder that a journal is in.

    Raises:
        ArgumentError: There is no such journal.
    """
    if not journal.is_file():
        raise ArgumentError(
            f"there is no journal at {journal}; it is named {JOURNAL_NAME} in the output folder",
            argument="journal",
        )
    return journal.absolute().parent


async def _run(batch: Batch, how: RunWords, journal: Path, output: Output) -> int:
    go_on = f"falq resume {shlex.quote(str(journal))}"
    failure: FalqError | OSError | None = None
    summary: BatchSummary | None = None
    page: Path | None = None
    is_open = False
    try:
        async with batch:
            is_open = True
            if batch.report is not None:
                _tell_bad_rows(batch.report, output)
            async with _served(batch, how, journal, output):
                with BatchDisplay(batch, output) as display, _two_interrupts(batch, output, go_on):
                    try:
                        await _show(batch, display, output)
                    except (FalqError, OSError) as error:
                        failure = error
                summary = await batch.summary()
            page = await _write_page(batch, how, journal, output)
    except asyncio.CancelledError:
        output.error(f"left at once; the journal has every job. Go on with: {go_on}")
        raise Interrupted from None
    except (FalqError, OSError) as error:
        if not is_open:
            raise
        # What stopped the batch says more than what its closing met after it.
        failure = failure or error
    if summary is not None:
        _tell_summary(summary, page, output)
    if failure is not None:
        output.error(describe_failure(failure)[0])
    _tell_next(summary, journal, output)
    return _exit_code(summary, failure)


def _tell_next(summary: BatchSummary | None, journal: Path, output: Output) -> None:
    name = shlex.quote(str(journal))
    if summary is not None and summary.is_over_budget:
        output.note(f"go on with a higher limit: falq resume {name} --budget-usd AMOUNT")
    elif summary is None or summary.left or summary.failed_files:
        output.note(f"go on with: falq resume {name}")
    if summary is not None and summary.unknown:
        output.note(
            f"{summary.unknown} rows may have been paid for and were not sent again; "
            f"look for them once more with: falq resume {name}"
        )
    if summary is not None and summary.failed:
        output.note(f"run failed rows again with: falq retry {name}")


async def _show(batch: Batch, display: BatchDisplay, output: Output) -> None:
    beat = asyncio.create_task(display.beat())
    try:
        async for outcome in batch:
            display.show(outcome)
            if output.is_json:
                output.line(dump_json(outcome.as_json()))
    finally:
        beat.cancel()
        await asyncio.wait({beat})


def _tell_bad_rows(found: ManifestReport, output: Output) -> None:
    if found.bad_count:
        output.note(f"{found.bad_count} bad rows are skipped:", style="yellow")
    for bad in found.bad_rows:
        output.note(f"  {bad}")


def _tell_summary(summary: BatchSummary, page: Path | None, output: Output) -> None:
    if not output.is_json:
        output.line(str(summary))
    if page is not None:
        output.note(f"the page: {page.absolute().as_uri()}")


def _exit_code(summary: BatchSummary | None, failure: FalqError | OSError | None) -> int:
    if failure is not None or summary is None:
        code = FAILED if failure is None else exit_code_of(failure)
        return WORK_LEFT if code == FAILED else code
    if summary.is_over_budget:
        return OVER_BUDGET
    if summary.left:
        return WORK_LEFT
    return OK if summary.is_complete else FAILED


async def _write_page(batch: Batch, how: RunWords, journal: Path, output: Output) -> Path | None:
    if batch.journal is None or batch.out is None:
        return None
    source = ReportSource(journal=batch.journal, path=journal, has_inputs=how.has_inputs)
    try:
        return await write_report(source, batch.out / REPORT_NAME)
    except (ConfigError, OSError) as error:
        # The rows are what counts; a page can be written again at any time.
        output.note(f"no page: {error}", style="yellow")
        return None


@contextlib.asynccontextmanager
async def _served(
    batch: Batch, how: RunWords, journal: Path, output: Output
) -> AsyncIterator[None]:
    if how.serve is None or batch.journal is None or batch.out is None:
        yield
        return
    source = ReportSource(journal=batch.journal, path=journal, has_inputs=how.has_inputs)
    async with LiveReport(source, batch.out, progress=batch.progress, port=how.serve) as live:
        output.note(f"the live page: {live.url}", style="bold")
        yield


@contextlib.contextmanager
def _two_interrupts(batch: Batch, output: Output, go_on: str) -> Iterator[None]:
    """Let the first Ctrl-C stop the batch and the second one leave it."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    presses = 0

    def pressed() -> None:
        nonlocal presses
        presses += 1
        if presses > 1:
            if task is not None:
                task.cancel()
            return
        batch.stop()
        output.error(
            "stopping: no more rows are started, those on the way end first. Ctrl-C again leaves "
            f"at once; go on later with: {go_on}"
        )

    if sys.platform == "win32":
        yield
        return
    loop.add_signal_handler(signal.SIGINT, pressed)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
