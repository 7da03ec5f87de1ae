"""Copy a journal as it stands, while another process has it open.

Owns the copy, which SQLite itself makes: it is the journal of one moment, and the
writer is not held up. It never writes to the journal and takes no lock on it. The
command line calls it to read a journal that is in use.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from falq._journal.opening import BUSY_S, address_of
from falq.errors import JournalError


def copy_journal(path: Path, to: Path) -> None:
    """Copy the journal at `path` into a new file. It blocks.

    Raises:
        JournalError: It cannot be read, or the copy cannot be written.
    """
    address = address_of(path, mode="ro")
    try:
        with (
            closing(sqlite3.connect(address, uri=True, timeout=BUSY_S)) as journal,
            closing(sqlite3.connect(to)) as copy,
        ):
            journal.backup(copy)
    except sqlite3.Error as error:
        raise JournalError(
            f"the journal {path} is in use and cannot be copied ({error}); read it when its "
            "process has ended"
        ) from None
