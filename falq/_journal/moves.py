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
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, frozen

from falq._journal.states import RecordState, may_move
from falq.errors import JournalError

SIZES = (1, 4, 16, 64, 256)
"""Rows of one statement: few sizes, so that SQLite's compiled statements are reused.

Moves that are fewer leave rows of nulls, which belong to no job."""

_VALUES = "abcd"


@frozen(eq=False)
class MoveKind:
    """One way to move a job.

    Attributes:
        changes: What its columns become beside `state`; the move's values are
            `given.a`, `given.b` and so on.
        only_from: Change jobs in this state only, and pass over others.
    """

    changes: Mapping[str, str]
    only_from: RecordState | None = None


SENDING = MoveKind(
    {
        "attempts": "attempts + 1",
        "intent_id": "given.a",
        "sent_at": "given.b",
        "sent_mono": "given.c",
        "sent_sha256": "given.d",
        "reason": "NULL",
    }
)
UNKNOWN = MoveKind({"reason": "given.a"})
ACCEPTED = MoveKind({"request_id": "given.a", "accepted_at": "given.b"})
COMPLETED = MoveKind({"completed_at": "given.a"}, only_from=RecordState.ACCEPTED)
FETCHED = MoveKind(
    {
        "completed_at": "coalesce(completed_at, given.a)",
        "billable_units": "given.b",
        "inference_s": "given.c",
        "cost_usd": "given.d",
    }
)
DELIVERED = MoveKind({"ended_at": "given.a"})
ENDED = MoveKind({"error": "given.a", "ended_at": "given.b"})
RETRIED = MoveKind(
    {
        "reason": "given.a",
        "error": "NULL",
        "request_id": "NULL",
        "accepted_at": "NULL",
        "completed_at": "NULL",
        "ended_at": "NULL",
    }
)
_PLACES = {
    kind: place
    for place, kind in enumerate(
        (SENDING, UNKNOWN, ACCEPTED, COMPLETED, FETCHED, DELIVERED, ENDED, RETRIED)
    )
}


@define(eq=False)
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
    """Run moves of different jobs.

    Returns:
        Whether every one found its job, those apart that may pass over it.
    """
    certain = [move for move in moves if move.kind.only_from is None]
    if len(certain) < len(moves):
        for move in moves:
            if move.kind.only_from is not None:
                _run(connection, [move], only_from=move.kind.only_from)
    return _run(connection, certain) == len(certain)


def _run(
    connection: sqlite3.Connection, moves: Sequence[Move], *, only_from: RecordState | None = None
) -> int:
    """Run moves and return how many found their job."""
    changed = 0
    for start in range(0, len(moves), SIZES[-1]):
        chunk = moves[start : start + SIZES[-1]]
        rows: list[Any] = []
        bodies: list[Any] = []
        for move in chunk:
            # The plain word: sqlite3 looks for an adapter for each value of another type.
            rows += (move.number, _PLACES[move.kind], str(move.after), *move.values)
            rows += _NULLS[len(move.values) :]
            if move.result is not None:
                bodies += (move.number, *move.result)
        size = _fill_up(rows, columns=3 + len(_VALUES))
        changed += connection.execute(_update(size, only_from), rows).rowcount
        if bodies:
            size = _fill_up(bodies, columns=3)
            connection.execute(_insert_results(size), bodies)
    return changed


_NULLS = (None,) * len(_VALUES)


def _fill_up(values: list[Any], *, columns: int) -> int:
    """Add rows of nulls up to a size of `SIZES`, and return it."""
    size = next(size for size in SIZES if size * columns >= len(values))
    values.extend([None] * (size * columns - len(values)))
    return size


@functools.cache
def _update(rows: int, only_from: RecordState | None) -> str:
    names = ", ".join(
        f"column{place} AS {name}"
        for place, name in enumerate(["number", "kind", "state", *_VALUES], start=1)
    )
    row = f"({', '.join('?' * (3 + len(_VALUES)))})"
    given = ", ".join([row] * rows)
    guard = "" if only_from is None else f" AND job.state = '{only_from}'"
    # Begins with UPDATE, not WITH: Python counts changed rows by the first word.
    return (
        f"UPDATE job SET state = given.state, {_changes()} "  # noqa: S608  parts of this module and placeholders only
        f"FROM (SELECT {names} FROM (VALUES {given})) AS given "
        f"WHERE job.number = given.number{guard}"
    )


def _changes() -> str:
    """Return what each column becomes, whichever way a row's job moves."""
    cases: dict[str, str] = {}
    for kind, place in _PLACES.items():
        for column, value in kind.changes.items():
            cases[column] = cases.get(column, "") + f" WHEN {place} THEN {value}"
    return ", ".join(
        f"{column} = CASE given.kind{case} ELSE {column} END" for column, case in cases.items()
    )


@functools.cache
def _insert_results(rows: int) -> str:
    given = ", ".join(["(?, ?, ?)"] * rows)
    return f"INSERT INTO result SELECT * FROM (VALUES {given}) WHERE column1 IS NOT NULL"  # noqa: S608  placeholders only


class MoveMissedError(Exception):
    """A move of a group found no job: the group has to be run one by one."""


class Bundle:
    """Gathers the moves of a group and runs them together.

    Args:
        connection: In a transaction.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._moves: dict[int, Move] = {}

    def add(self, move: Move) -> None:
        """Take a move; what was taken before of its job runs first."""
        if move.number in self._moves:
            self.run()
        self._moves[move.number] = move

    def run(self) -> None:
        """Run what was taken.

        Raises:
            MoveMissedError: A move found no job.
            sqlite3.IntegrityError: A move is illegal, or an id is taken.
        """
        moves, self._moves = tuple(self._moves.values()), {}
        if not run_moves(self._connection, moves):
            raise MoveMissedError
