"""The commands about a journal: show, export, verify.

Owns what each reads and prints. None of them writes to the journal, and none
talks to the service.
"""

from __future__ import annotations

from pathlib import Path

from falq._journal.sqlite import SqliteJournal
from falq._journal.states import RecordState
from falq.batch.budget import Budget
from falq.batch.outcomes import write_instant
from falq.batch.reading import load_outcome, load_prices_used
from falq.cli.batch import folder_of
from falq.cli.failures import FAILED, OK
from falq.cli.output import Output, dump_json
from falq.errors import JournalError

_RESULT_STATES = frozenset({RecordState.FETCHED, RecordState.DELIVERED})


def _open(journal: Path) -> SqliteJournal:
    folder_of(journal)
    return SqliteJournal(journal)


async def show(journal: Path, output: Output) -> int:
    """Print how many jobs are in which state, and the runs."""
    async with _open(journal) as opened:
        counts = await opened.load_counts()
        runs = await opened.load_runs()
    output.data(
        {
            "journal": str(journal),
            "jobs": sum(counts.values()),
            "states": {str(state): count for state, count in counts.items() if count},
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
    async with _open(journal) as opened:
        budget = Budget(None, await load_prices_used(opened))
        async for page in opened.load_jobs():
            for record in page:
                outcome = await load_outcome(opened, record, budget)
                output.line(dump_json(outcome.as_json() | {"state": str(record.state)}))
    return OK


async def verify(journal: Path, output: Output) -> int:
    """Check the journal's pages, every result's hash and every saved file."""
    folder = folder_of(journal)
    problems: list[str] = []
    jobs = files = 0
    async with _open(journal) as opened:
        async for page in opened.load_jobs(states=_RESULT_STATES):
            for record in page:
                jobs += 1
                name = record.key or f"job {record.number}"
                try:
                    if await opened.load_result(record.number) is None:
                        problems.append(f"{name}: its result is missing")
                except JournalError as error:
                    problems.append(f"{name}: {error}")
                for file in await opened.load_files(record.number):
                    if file.state == "saved" and file.name is not None:
                        files += 1
                        problems += _file_problems(folder / file.name, file.size_bytes, name)
    output.data({"results": jobs, "files": files, "problems": problems})
    return FAILED if problems else OK


def _file_problems(path: Path, size_bytes: int | None, name: str) -> list[str]:
    try:
        found = path.stat().st_size
    except OSError:
        return [f"{name}: {path.name} is not there; 'falq resume' does not fetch it again"]
    if found != size_bytes:
        return [f"{name}: {path.name} has {found} bytes and not {size_bytes}"]
    return []
