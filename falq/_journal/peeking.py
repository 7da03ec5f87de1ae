"""Look at a journal that another process may have.

Owns the one reading of a file without its lock: how many of its jobs were sent and
have not come to an end. It changes nothing, and what it says may be out of date at
once: whoever acts on it takes the lock first. It blocks.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from falq._journal import queries
from falq._journal.opening import address_of
from falq._journal.schema import APPLICATION_ID
from falq._journal.states import IN_FLIGHT
from falq.errors import JournalError

_BUSY_S = 1.0


def count_in_flight(path: Path) -> int:
    """Return how many jobs of a journal may be out, or have a result that nobody took.

    Args:
        path: The journal.

    Raises:
        JournalError: It is none, or cannot be read now.
    """
    address = address_of(path, mode="ro")
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=_BUSY_S)) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            (kind,) = connection.execute("PRAGMA application_id").fetchone()
            counts = queries.counts(connection) if kind == APPLICATION_ID else {}
    except (sqlite3.Error, ValueError) as error:
        raise JournalError(f"the journal {path} cannot be read: {error}") from None
    return sum(jobs for state, jobs in counts.items() if state in IN_FLIGHT)
