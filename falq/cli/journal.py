"""The commands about a journal: show, export, verify, fetch.

Owns what each reads and prints. None of them submits anything or needs a key;
`fetch` alone writes to the journal, and talks to storage hosts. The others read a
journal that a batch has open, too.
"""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path

from falq._journal.records import FileRecord
from falq._journal.sqlite import SqliteJournal
from falq._journal.states import RecordState
from falq.batch.budget import Budget
from falq.batch.downloads import trouble_with
from falq.batch.folder import is_on_loopback
from falq.batch.outcomes import write_instant
from falq.batch.reading import load_outcome, load_prices_used
from falq.batch.refetch import refetch_files
from falq.batch.tally import count_duplicates
from falq.cli.failures import FAILED, OK
from falq.cli.journals import folder_of, open_to_read
from falq.cli.output import Output, describe_count, describe_size, dump_json
from falq.config import build_config, resolve_proxy
from falq.errors import ConfigError, JournalError

_RESULT_STATES = frozenset({RecordState.FETCHED, RecordState.DELIVERED})


async def show(journal: Path, output: Output) -> int:
    """Print how many jobs are in which state, and the runs."""
    async with open_to_read(journal) as reading:
        opened = reading.journal
        counts = {str(state): count for state, count in (await opened.load_counts()).items()}
        duplicates = await count_duplicates(opened)
        runs = await opened.load_runs()
    # A journal keeps a row that equals an earlier one as cancelled: it was never sent.
    counts[RecordState.CANCELLED] -= duplicates
    counts["duplicate"] = duplicates
    output.data(
        {
            "journal": str(journal),
            "jobs": sum(counts.values()),
            "states": {state: count for state, count in counts.items() if count},
            "runs": [
                {
                    "number": run.number,
                    "kind": run.settings.get("kind"),
                    "started_at": write_instant(run.started_at),
                    "ended_at": None if run.ended_at is None else write_instant(run.ended_at),
                }
                for run in runs
            ],
        }
    )
    return OK


async def export(journal: Path, output: Output) -> int:
    """Print every job as a line of JSON, those that have not ended too."""
    async with open_to_read(journal) as reading:
        opened = reading.journal
        budget = Budget(None, await load_prices_used(opened))
        async for page in opened.load_jobs():
            for record in page:
                outcome = await load_outcome(opened, record, budget)
                output.line(dump_json(outcome.as_json() | {"state": str(record.state)}))
    return OK


async def verify(journal: Path, output: Output, *, with_hashes: bool = True) -> int:
    """Check the journal's pages, every result's hash and every file.

    Args:
        journal: Where it is.
        output: How to speak.
        with_hashes: Whether files are read and compared by hash, or by size alone.
    """
    folder = folder_of(journal)
    problems: list[str] = []
    jobs = files = broken = 0
    async with open_to_read(journal) as reading:
        opened = reading.journal
        async for page in opened.load_jobs(states=_RESULT_STATES):
            for record in page:
                jobs += 1
                name = record.key or f"job {record.number}"
                problems += await _result_problems(opened, record.number, name)
                known = await opened.load_files(record.number)
                found = await asyncio.to_thread(
                    _file_problems, known, folder, name, with_hashes=with_hashes
                )
                files += len(known)
                broken += len(found)
                problems += found
    output.data({"results": jobs, "files": files, "problems": problems})
    if broken:
        name = shlex.quote(str(journal))
        output.note(f"fetch {describe_count(broken, 'file')} again with: falq journal fetch {name}")
    return FAILED if problems else OK


async def _result_problems(journal: SqliteJournal, number: int, name: str) -> list[str]:
    try:
        if await journal.load_result(number) is None:
            return [f"{name}: its result is missing"]
    except JournalError as error:
        return [f"{name}: {error}"]
    return []


def _file_problems(
    known: list[FileRecord], folder: Path, name: str, *, with_hashes: bool
) -> list[str]:
    problems = []
    for file in known:
        trouble: str | None = "was not fetched"
        if file.state == "saved":
            trouble = trouble_with(file, folder, with_hashes=with_hashes)
        if trouble is not None:
            problems.append(f"{name}: {file.name or file.json_path} {trouble}")
    return problems


async def fetch(journal: Path, output: Output) -> int:
    """Fetch every file again that is not on disk as it was noted; nothing is submitted."""
    folder = folder_of(journal)
    async with SqliteJournal(journal) as opened:
        done = await refetch_files(
            opened, folder, allow_loopback=_is_emulated(), proxy=resolve_proxy(None)
        )
    for problem in done.problems:
        output.note(problem, style="red")
    more = done.failures - len(done.problems)
    if more:
        output.note(f"and {more:,} more")
    output.data({"files": done.files, "bytes": done.file_bytes, "failed": done.failures})
    if done.files:
        output.note(
            f"back on disk: {describe_count(done.files, 'file')} "
            f"({describe_size(done.file_bytes)}); bring the page up to date with: "
            f"falq report {shlex.quote(str(journal))}"
        )
    elif not done.failures:
        output.note("every file is there; nothing was fetched")
    return FAILED if done.failures else OK


def _is_emulated() -> bool:
    try:
        return is_on_loopback(build_config(gateway=None).gateway)
    except ConfigError:
        # Without a key there is no gateway: media of public hosts need none.
        return False
