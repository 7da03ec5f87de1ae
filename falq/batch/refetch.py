"""Fetch media again that are gone from the disk or were changed there.

Owns which rows of a journal need it, and that nothing is ever submitted for it:
it has no session and no key. A file that was changed stays as it is, and the
new one gets a name of its own. It never decides what is wrong with a file:
`downloads` does. The command line and programs call it.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from attrs import frozen

from falq._journal.base import Journal
from falq._journal.records import FileRecord, JobRecord
from falq._journal.states import RecordState
from falq.batch.budget import Budget
from falq.batch.downloads import RowDownloads, trouble_with
from falq.batch.folder import OutFolder
from falq.batch.outcomes import SavedFile
from falq.batch.reading import load_outcome, load_prices_used, load_template_used
from falq.proxies import Proxy

MOST_PROBLEMS = 100
"""Files that could not be fetched and are named."""

_RESULT_STATES = frozenset({RecordState.FETCHED, RecordState.DELIVERED})


@frozen(kw_only=True)
class Refetched:
    """What fetching media again came to.

    Attributes:
        files: Files that are on disk again.
        file_bytes: Their size.
        failures: Files that could not be fetched.
        problems: One sentence each about the first of these, at most `MOST_PROBLEMS`.
    """

    files: int = 0
    file_bytes: int = 0
    failures: int = 0
    problems: tuple[str, ...] = ()


async def refetch_files(
    journal: Journal,
    out: str | os.PathLike[str],
    *,
    allow_loopback: bool = False,
    proxy: Proxy | None = None,
) -> Refetched:
    """Fetch every media file of a batch that is not on disk as it was noted.

    fal keeps media for a while only (by default as long as the account's settings
    say): what its storage no longer has stays missing. `results.jsonl` is written
    anew if a file came back.

    Args:
        journal: Of the batch; open.
        out: Its output folder.
        allow_loopback: Whether media may lie on this machine, as an emulator's do.
        proxy: Through whom to go; it must be filtering.

    Raises:
        JournalError: The journal cannot be read or written.
        OSError: The output folder cannot be written.

    If it is cancelled, the files so far are there and noted; `results.jsonl` may
    still name the old ones, until the next batch or call.
    """
    folder = OutFolder(out)
    files = file_bytes = failures = 0
    problems: list[str] = []
    try:
        downloads = await folder.open_downloads(
            await load_template_used(journal),
            allow_loopback=allow_loopback,
            proxy=proxy,
            journal=journal,
            with_hashes=True,
        )
        budget = Budget(None, await load_prices_used(journal))
        async for page in journal.load_jobs(states=_RESULT_STATES):
            for record in page:
                for file in await _mend(journal, record, downloads, folder.path, budget):
                    if file.error is None:
                        files += 1
                        file_bytes += file.size_bytes or 0
                        continue
                    failures += 1
                    if len(problems) < MOST_PROBLEMS:
                        problems.append(f"{record.key}: {file.error}")
        if files:
            await folder.sort_lines(journal, budget)
    finally:
        await folder.aclose()
    return Refetched(
        files=files, file_bytes=file_bytes, failures=failures, problems=tuple(problems)
    )


async def _mend(
    journal: Journal, record: JobRecord, downloads: RowDownloads, out: Path, budget: Budget
) -> list[SavedFile]:
    """Fetch what a row lacks; return those files, the ones that did not come among them."""
    known = await journal.load_files(record.number)
    lacking = await asyncio.to_thread(_lacking, known, out)
    if not lacking:
        return []
    outcome = await load_outcome(journal, record, budget)
    files = await downloads.fetch(outcome, number=record.number, known=known)
    return [file for file in files if file.url in lacking]


def _lacking(known: list[FileRecord], out: Path) -> set[str]:
    return {
        file.url
        for file in known
        if file.state != "saved" or trouble_with(file, out, with_hashes=True) is not None
    }
