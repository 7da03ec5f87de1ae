"""Find the journal that a command names, and open it to be read.

Owns what is refused as no journal, and that a journal may be read while a batch
writes it: the command then reads a copy, of the moment in which it began. It never
opens one to be written; `batch` and `journal` do.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from attrs import frozen

from falq._journal.snapshot import copy_journal
from falq._journal.sqlite import SqliteJournal
from falq.batch.folder import JOURNAL_NAME
from falq.errors import ArgumentError, JournalLockedError

_SQLITE_START = b"SQLite format 3\0"
"""What every SQLite file begins with (sqlite.org/fileformat2.html)."""


@frozen(kw_only=True)
class Reading:
    """A journal that is open to be read.

    Attributes:
        journal: Open.
        is_in_use: Whether another process writes it, and this is a copy.
    """

    journal: SqliteJournal
    is_in_use: bool = False


@contextlib.asynccontextmanager
async def open_to_read(path: Path) -> AsyncIterator[Reading]:
    """Open a journal for a command that only reads.

    Raises:
        ArgumentError: There is no such journal, or what is there is none.
        JournalError: It cannot be read.
        OSError: It cannot be read, or there is no room for a copy.
    """
    folder_of(path)
    async with contextlib.AsyncExitStack() as stack:
        try:
            journal = await stack.enter_async_context(SqliteJournal(path))
        except JournalLockedError:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="falq-"))
            copy = Path(folder) / JOURNAL_NAME
            await asyncio.to_thread(copy_journal, path, copy)
            journal = await stack.enter_async_context(SqliteJournal(copy))
            yield Reading(journal=journal, is_in_use=True)
        else:
            yield Reading(journal=journal)


def folder_of(journal: Path) -> Path:
    """Return the folder that a journal is in.

    Raises:
        ArgumentError: There is no such journal, or what is there is none.
        OSError: It cannot be read.
    """
    if not journal.is_file():
        raise ArgumentError(
            f"there is no journal at {journal}; it is named {JOURNAL_NAME} in the output folder",
            argument="journal",
        )
    with journal.open("rb") as stream:
        start = stream.read(len(_SQLITE_START))
    # An empty one is what a crash leaves that came before its first page.
    if start and start != _SQLITE_START:
        raise ArgumentError(
            f"{journal} is no journal but another file; a journal is named {JOURNAL_NAME}, in the "
            "output folder",
            argument="journal",
        )
    return journal.absolute().parent
