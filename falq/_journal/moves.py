"""The moves of jobs, written many at a time.

Owns the updates of a job's state, and how the moves of one group become few
statements. Each statement that runs gives up and takes back Python's global
lock, which takes milliseconds while the loop is busy: a group of two hundred
must not do so two hundred times.

Rules:
    1. Moves of different jobs change places freely; two of one job never do.
    2. Any doubt about a group is an error: the caller then runs its moves one
       by one, which tells whose it was.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from falq._journal.states import RecordState, may_move
from falq.errors import JournalError

CHUNKS = (64, 16, 4, 1)
"""Moves in one statement. Few sizes, so that SQLite's compiled statements are reused."""


@frozen
class MoveKind:
    """One way to move a job.

    Attributes:
        change: The assignments of the update; the row's values are `given.a`,
            `given.b` and so on.
        values: How many values a row has, beside its job's number.
        only_from: Change jobs in this state only, and pass over others.
    """

    change: str
    values: int
    only_from: RecordState | None = None


SENDING = MoveKind(
    "state = 'sending', attempts = attempts + 1, intent_id = given.a, sent_at = given.b, "
    "sent_mono = given.c, reason = NULL",
    3,
)
UNKNOWN = MoveKind("state = 'unknown', reason = given.a", 1)
ACCEPTED = MoveKind("state = 'accepted', request_id = given.a, accepted_at = given.b", 2)
COMPLETED = MoveKind("state = 'completed', completed_at = given.a", 1, RecordState.ACCEPTED)
FETCHED = MoveKind(
    "state = 'fetched', completed_at = coalesce(completed_at, given.a), "
    "billable_units = given.b, inference_s = given.c, cost_usd = given.d",
    4,
)
DELIVERED = MoveKind("state = 'delivered', ended_at = given.a", 1)
ENDED = MoveKind("state = given.a, error = given.b, ended_at = given.c", 3)
RETRIED = MoveKind(
    "state = 'planned', reason = given.a, error = NULL, request_id = NULL, accepted_at = NULL, "
    "completed_at = NULL, ended_at = NULL",
    1,
)


@frozen(eq=False)
class Move:
    """One move of one job; calling it runs it alone.

    Attributes:
        kind: How it moves.
        number: The job.
        after: The state it moves to.
        values: What the kind takes.
        result: Body and hash to keep with it.
    """

    kind: MoveKind
    number: int
    after: RecordState
    values: tuple[Any, ...]
    result: tuple[bytes, str] | None = None

    def __call__(self, connection: sqlite3.Connection) -> None:
        """Run it alone.

        Raises:
            JournalError: There is no such job, it cannot move there, or an id is
                another attempt's.
        """
        why = ""
        try:
            if run_moves(connection, [self]):
                return
        except sqlite3.IntegrityError as error:
            why = str(error)
        raise self._error(connection, why)

    def _error(self, connection: sqlite3.Connection, why: str) -> JournalError:
        row = connection.execute(
            "SELECT state FROM job WHERE number = ?", (self.number,)
        ).fetchone()
        if row is None:
            return JournalError(f"the journal has no job {self.number}; plan it first")
        before = RecordState(row[0])
        if may_move(before, self.after) and "attempt." in why:
            return JournalError(
                f"job {self.number} cannot become {self.after}: the id {self.values[0]!r} belongs "
                "to another attempt"
            )
        return JournalError(
            f"job {self.number} is {before} in the journal and cannot become {self.after}; "
            "load it again"
        )


def run_moves(connection: sqlite3.Connection, moves: Sequence[Move]) -> bool:
    """Run moves of one kind, of different jobs.

    Returns:
        Whether every one of them found its job.
    """
    kind = moves[0].kind
    changed = 0
    done = 0
    for size in CHUNKS:
        while len(moves) - done >= size:
            chunk = moves[done : done + size]
            rows = [value for move in chunk for value in (move.number, *move.values)]
            changed += connection.execute(_update(kind, size), rows).rowcount
            bodies = [
                value
                for move in chunk
                if move.result is not None
                for value in (move.number, *move.result)
            ]
            if bodies:
                connection.execute(_insert_results(len(bodies) // 3), bodies)
            done += size
    return changed == len(moves) or kind.only_from is not None


@functools.cache
def _update(kind: MoveKind, rows: int) -> str:
    names = ", ".join(
        f"column{place} AS {name}"
        for place, name in enumerate(["number", *"abcd"[: kind.values]], start=1)
    )
    given = ", ".join([f"({', '.join('?' * (kind.values + 1))})"] * rows)
    guard = "" if kind.only_from is None else f" AND job.state = '{kind.only_from}'"
    # Begins with UPDATE, not WITH: Python counts changed rows by the first word.
    return (
        f"UPDATE job SET {kind.change} FROM (SELECT {names} FROM (VALUES {given})) AS given "  # noqa: S608  parts of this module and placeholders only
        f"WHERE job.number = given.number{guard}"
    )


@functools.cache
def _insert_results(rows: int) -> str:
    return f"INSERT INTO result VALUES {', '.join(['(?, ?, ?)'] * rows)}"  # noqa: S608  placeholders only


class MoveMissedError(Exception):
    """A move of a group found no job: the group has to be run one by one."""


class Bundle:
    """Gathers the moves of a group and runs them together.

    Args:
        connection: In a transaction.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._moves: dict[MoveKind, list[Move]] = {}
        self._numbers: set[int] = set()

    def add(self, move: Move) -> None:
        """Take a move; what was taken before of its job runs first."""
        if move.number in self._numbers:
            self.run()
        self._numbers.add(move.number)
        self._moves.setdefault(move.kind, []).append(move)

    def run(self) -> None:
        """Run what was taken.

        Raises:
            MoveMissedError: A move found no job.
            sqlite3.IntegrityError: A move is illegal, or an id is taken.
        """
        moves, self._moves, self._numbers = self._moves, {}, set()
        for of_kind in moves.values():
            if not run_moves(self._connection, of_kind):
                raise MoveMissedError
