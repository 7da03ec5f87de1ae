"""Run batches: batch, resume, retry, report.

Owns what each does with a `falq.batch.Batch`, what Ctrl-C means to it, what it
says at the end and its exit code. It never decides how a row ends.

Exit codes beside the usual ones: 4 the budget was reached, 5 stopped with work
left. The first Ctrl-C takes up no more rows and lets those on the way end; the
second leaves at once. Either way the journal knows where to go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from falq._journal.base import Journal
from falq._journal.sqlite import SqliteJournal
from falq._journal.states import RecordState
from falq.batch import Batch, BatchSummary, ManifestReport
from falq.batch.folder import JOURNAL_NAME
from falq.batch.live import LiveReport
from falq.batch.outcomes import status_of_record
from falq.batch.reading import original_of
from falq.batch.report import REPORT_NAME, ReportSource, write_report
from falq.cli.batch_display import BatchDisplay
from falq.cli.batch_reasons import Reasons
from falq.cli.batch_words import ManifestWords, RunWords
from falq.cli.failures import FAILED, OK, describe_failure, exit_code_of, failure_as_data
from falq.cli.journals import folder_of, open_to_read
from falq.cli.output import Output, describe_count, dump_json
from falq.cli.running import Interrupted
from falq.errors import ArgumentError, ConfigError, FalqError
from falq.text import printable

OVER_BUDGET = 4
WORK_LEFT = 5

_SHOWN_IDS = 5

_ENDS_WITHOUT_RESULT = frozenset(
    {RecordState.FAILED, RecordState.REFUSED, RecordState.GONE, RecordState.CANCELLED}
)


async def run_manifest(rows: ManifestWords, how: RunWords, out: Path, output: Output) -> int:
    """Run a manifest, or go on with it."""
    _refuse_file(out)
    batch = Batch(
        rows.open(),
        out=out,
        on_bad_row=rows.on_bad_row,
        validate=rows.validate,
        **how.settings(),
    )
    return await _run(batch, how, out / JOURNAL_NAME, output)


def _refuse_file(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise ArgumentError(f"--out {out} is a file; name a folder", argument="out")


async def resume(journal: Path, how: RunWords, output: Output) -> int:
    """Go on with a batch, without its manifest."""
    batch = Batch(None, out=folder_of(journal), journal=journal, **how.settings())
    return await _run(batch, how, journal, output)


async def retry(journal: Path, how: RunWords, error_types: Sequence[str], output: Output) -> int:
    """Plan the failed rows of a batch again, and run them."""
    folder_of(journal)
    async with SqliteJournal(journal) as opened:
        reasons: Counter[str] = Counter()
        numbers = await _failed_numbers(opened, frozenset(error_types), reasons)
        if not numbers:
            failed = ", ".join(f"{printable(name)} ({n:,})" for name, n in reasons.most_common())
            there_are = f"; rows failed with {failed}" if failed else ""
            output.note(f"no failed row fits{there_are}; nothing was sent")
            return OK
        for first in range(0, len(numbers), 1000):
            await opened.record_retry(numbers[first : first + 1000])
    output.note(f"to be run again: {describe_count(len(numbers), 'row')}")
    return await resume(journal, how, output)


async def _failed_numbers(
    journal: Journal, error_types: frozenset[str], reasons: Counter[str]
) -> list[int]:
    """Return the numbers of failed rows that fit, and count in `reasons` why rows failed."""
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
            words |= {str(record.state), status_of_record(record)}
            reasons[str(error.get("error_type") or error.get("kind") or record.state)] += 1
            if not error_types or error_types & words:
                numbers.append(record.number)
                originals[record.key or ""] = record.number
    return numbers + [number for number, original_id in duplicates if original_id in originals]


async def report(journal: Path, target: Path | None, output: Output, *, has_inputs: bool) -> int:
    """Write the page of a batch."""
    folder = folder_of(journal)
    path = folder / REPORT_NAME if target is None else target
    async with open_to_read(journal) as reading:
        source = ReportSource(
            journal=reading.journal,
            path=journal,
            has_inputs=has_inputs,
            media_from=_way_to(folder, path.absolute().parent),
            is_running=reading.is_in_use,
        )
        page = await write_report(source, path)
    output.data({"report": str(page)})
    return OK


def _way_to(folder: Path, start: Path) -> str:
    way = Path(os.path.relpath(folder.resolve(), start.resolve())).as_posix()
    return "" if way == "." else f"{way}/"


async def _run(batch: Batch, how: RunWords, journal: Path, output: Output) -> int:
    go_on = f"falq resume {shlex.quote(str(journal))}"
    failure: FalqError | OSError | None = None
    summary: BatchSummary | None = None
    page: Path | None = None
    reasons = Reasons()
    is_open = False
    try:
        async with batch:
            is_open = True
            tell_bad_rows(batch.report, output)
            _tell_left_out(batch.left_out, go_on, output)
            async with _served(batch, how, journal, output):
                with BatchDisplay(batch, output) as display, _two_interrupts(batch, output, go_on):
                    try:
                        await _show(batch, display, reasons, output)
                    except BrokenPipeError:
                        raise
                    except (FalqError, OSError) as error:
                        failure = error
                summary = await batch.summary()
            page = await _write_page(batch, how, journal, output)
    except asyncio.CancelledError:
        began = f"left at once; the journal has every job. Go on with: {go_on}"
        output.error(
            began if is_open else "interrupted before the batch began; run the same command again"
        )
        raise Interrupted from None
    except BrokenPipeError:
        # Whoever read the rows has gone, as `head` does; the command ends as any other.
        output.note(f"nobody reads the rows any more. Go on with: {go_on}")
        raise
    except (FalqError, OSError) as error:
        if not is_open:
            raise _named(error, batch.out) from None
        # What stopped the batch says more than what its closing met after it.
        failure = failure or error
    _tell_reasons(reasons, output)
    _tell_summary(summary, page, output)
    code = _exit_code(summary, failure)
    if failure is not None:
        _tell_failure(failure, code, output)
    _tell_next(summary, journal, output, is_broken=failure is not None)
    return code


def _named(error: FalqError | OSError, out: Path | None) -> FalqError | OSError:
    """Return what kept a batch from beginning; a folder that cannot be made is the user's."""
    if isinstance(error, FalqError) or out is None:
        return error
    return ArgumentError(
        f"the output folder cannot be used: {describe_failure(error)[0]}", argument="out"
    )


def _tell_failure(failure: FalqError | OSError, code: int, output: Output) -> None:
    output.error(describe_failure(failure)[0])
    if output.is_json:
        output.data(failure_as_data(failure, exit_code=code))


def _tell_next(
    summary: BatchSummary | None, journal: Path, output: Output, *, is_broken: bool
) -> None:
    name = shlex.quote(str(journal))
    if summary is not None and summary.is_over_budget:
        output.note(f"go on with a higher limit: falq resume {name} --budget-usd AMOUNT")
    elif summary is None or is_broken or summary.left or summary.failed_files:
        output.note(f"go on with: falq resume {name}")
    if summary is not None and summary.failed_files:
        output.note(f"fetch the missing files alone with: falq journal fetch {name}")
    if summary is not None and summary.unknown:
        output.note(
            f"{describe_count(summary.unknown, 'row')} may have been paid for, so nothing was sent "
            f"again; look once more with: falq resume {name}"
        )
    if summary is not None and (summary.failed or summary.timed_out or summary.cancelled):
        output.note(f"run failed rows again with: falq retry {name}")


async def _show(batch: Batch, display: BatchDisplay, reasons: Reasons, output: Output) -> None:
    beat = asyncio.create_task(display.beat())
    try:
        async for outcome in batch:
            line = reasons.take(outcome)
            if line is not None:
                output.note(line, style="red")
            if output.is_json and not outcome.is_unsent:
                output.line(dump_json(outcome.as_json()))
    finally:
        beat.cancel()
        await asyncio.wait({beat})


def tell_bad_rows(found: ManifestReport | None, output: Output) -> None:
    """Name the first bad rows of a manifest, and count the others."""
    if found is None:
        return
    for endpoint in found.unchecked:
        output.note(f"{endpoint} has no schema; its arguments are not checked", style="yellow")
    if not found.bad_count:
        return
    output.note(f"{describe_count(found.bad_count, 'bad row')} cannot be run:", style="yellow")
    for bad in found.bad_rows:
        output.note(f"  {bad}")
    more = found.bad_count - len(found.bad_rows)
    if more > 0:
        output.note(f"  and {more:,} more")


def _tell_left_out(row_ids: frozenset[str], go_on: str, output: Output) -> None:
    if not row_ids:
        return
    rows = describe_count(len(row_ids), "row")
    shown = ", ".join(printable(row_id, limit=80) for row_id in sorted(row_ids)[:_SHOWN_IDS])
    rest = ", ..." if len(row_ids) > _SHOWN_IDS else ""
    output.note(
        f"{rows} not in the manifest any more, left out: {shown}{rest}; to run all: {go_on}",
        style="yellow",
    )


def _tell_reasons(reasons: Reasons, output: Output) -> None:
    for line in reasons.counted():
        output.note(line, style="red")


def _tell_summary(summary: BatchSummary | None, page: Path | None, output: Output) -> None:
    if summary is not None and not output.is_json:
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
        name = shlex.quote(str(journal))
        reason = describe_failure(error)[0].removesuffix(".")
        output.note(f"the page was not written: {reason}", style="yellow")
        output.note(f"write it later with: falq report {name}")
        return None


@contextlib.asynccontextmanager
async def _served(
    batch: Batch, how: RunWords, journal: Path, output: Output
) -> AsyncIterator[None]:
    if how.serve is None or batch.journal is None or batch.out is None:
        yield
        return
    source = ReportSource(
        journal=batch.journal,
        path=journal,
        has_inputs=how.has_inputs,
        in_flight=lambda: batch.in_flight,
    )
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
