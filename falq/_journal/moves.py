"""The moves of jobs, written many at a time.

Owns the updates of a job's state, and how the moves of one group become one
statement. Each statement that runs gives up and takes back Python's global lock
twice, and the writer's thread waits milliseconds for it while the loop is busy. So a
group is handed over as rows of a view that keeps nothing: a trigger carries each row
out, in order, and a statement that stands alone is a transaction by itself.

Rules:
    1. The view and its triggers are the connection's own (`install`); the file has
       none of them.
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

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Moves of one statement: few sizes, so that SQLite's compiled statements are reused.

Moves that are fewer leave rows of nulls, which move nothing."""

MOST_MOVES = SIZES[-1]

_COLUMNS = ("number", "kind", "state", "a", "b", "c", "d", "body", "sha256")
_NULLS = tuple((None,) * count for count in range(5))
_NO_RESULT = (None, None)


@frozen(eq=False)
class MoveKind:
    """One way to move a job.

    Attributes:
        says: What a person is told of such a move; `{0}` is the first of its values.
        changes: What its columns become beside `state`; the move's values are
            `NEW.a`, `NEW.b` and so on.
        only_from: Change jobs in this state only, and pass over others.
        has_result: Whether a body and its hash come with it.
    """

    says: str
    changes: Mapping[str, str]
    only_from: RecordState | None = None
    has_result: bool = False


SENDING = MoveKind(
    "job {number} is sent",
    {
        "attempts": "attempts + 1",
        "intent_id": "NEW.a",
        "sent_at": "NEW.b",
        "sent_mono": "NEW.c",
        "sent_sha256": "NEW.d",
        "reason": "NULL",
    },
)
UNKNOWN = MoveKind("job {number} is unknown", {"reason": "NEW.a"})
ACCEPTED = MoveKind(
    "job {number} was accepted as request {0}", {"request_id": "NEW.a", "accepted_at": "NEW.b"}
)
COMPLETED = MoveKind(
    "job {number} completed", {"completed_at": "NEW.a"}, only_from=RecordState.ACCEPTED
)
FETCHED = MoveKind(
    "result of job {number}",
    {
        "completed_at": "coalesce(completed_at, NEW.a)",
        "billable_units": "NEW.b",
        "inference_s": "NEW.c",
        "cost_usd": "NEW.d",
    },
    has_result=True,
)
DELIVERED = MoveKind("job {number} was delivered", {"ended_at": "NEW.a"})
ENDED = MoveKind("job {number} is {state}", {"error": "NEW.a", "ended_at": "NEW.b"})
RETRIED = MoveKind(
    "job {number} is planned again",
    {
        "reason": "NEW.a",
        "error": "NULL",
        "request_id": "NULL",
        "accepted_at": "NULL",
        "completed_at": "NULL",
        "ended_at": "NULL",
    },
)
_PLACES = {
    kind: place
    for place, kind in enumerate(
        (SENDING, UNKNOWN, ACCEPTED, COMPLETED, FETCHED, DELIVERED, ENDED, RETRIED)
    )
}


def install(connection: sqlite3.Connection) -> None:
    """Make the connection's view and triggers, which `run_moves` needs."""
    nothing = ", ".join(f"NULL AS {name}" for name in _COLUMNS)
    connection.execute(f"CREATE TEMP VIEW moving AS SELECT {nothing} WHERE FALSE")
    for kind, place in _PLACES.items():
        connection.execute(_trigger(kind, place))


def _trigger(kind: MoveKind, place: int) -> str:
    changes = ", ".join(f"{column} = {value}" for column, value in kind.changes.items())
    guard = "" if kind.only_from is None else f" AND state = '{kind.only_from}'"
    steps = [
        f"UPDATE job SET state = NEW.state, {changes} WHERE number = NEW.number{guard}"  # noqa: S608  parts of this module only
    ]
    if kind.only_from is None:
        steps.append("SELECT RAISE(ABORT, 'no such job') WHERE changes() = 0")
    if kind.has_result:
        steps.append("INSERT INTO result VALUES (NEW.number, NEW.body, NEW.sha256)")
    return (
        f"CREATE TEMP TRIGGER moving_{place} INSTEAD OF INSERT ON moving "
        f"WHEN NEW.kind = {place} BEGIN {'; '.join(steps)}; END"
    )


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

    @property
    def label(self) -> str:
        """How a person is told of it."""
        return self.kind.says.format(*self.values, number=self.number, state=self.after)

    def __call__(self, connection: sqlite3.Connection) -> None:
        """Run it alone.

        Raises:
            JournalError: There is no such job, it cannot move there, or an id is
                another attempt's.
        """
        try:
            run_moves(connection, [self])
        except sqlite3.IntegrityError as error:
            why = str(error)
        else:
            return
        raise self._error(connection, why)

    def _error(self, connection: sqlite3.Connection, why: str) -> JournalError:
        before = state_of(connection, self.number)
        if before is None:
            return JournalError(f"the journal has no job {self.number}; plan it first")
        if may_move(before, self.after) and "attempt." in why:
            return JournalError(
                f"job {self.number} cannot become {self.after}: the id {self.values[0]!r} belongs "
                "to another attempt"
            )
        return JournalError(
            f"job {self.number} is {before} in the journal and cannot become {self.after}; "
            "load it again"
        )


def state_of(connection: sqlite3.Connection, number: int) -> RecordState | None:
    """Return where a job stands; None if there is none."""
    row = connection.execute("SELECT state FROM job WHERE number = ?", (number,)).fetchone()
    return None if row is None else RecordState(row[0])


def run_moves(connection: sqlite3.Connection, moves: Sequence[Move]) -> None:
    """Run moves in order, `MOST_MOVES` a statement.

    Up to `MOST_MOVES` of them, with no transaction open, are one by themselves.

    Raises:
        sqlite3.IntegrityError: A move found no job or is illegal, or an id is taken.
    """
    for start in range(0, len(moves), MOST_MOVES):
        chunk = moves[start : start + MOST_MOVES]
        rows: list[Any] = []
        for move in chunk:
            # The plain word: sqlite3 looks for an adapter for each value of another type.
            rows += (move.number, _PLACES[move.kind], str(move.after), *move.values)
            rows += _NULLS[4 - len(move.values)]
            rows += move.result or _NO_RESULT
        size = next(size for size in SIZES if size >= len(chunk))
        rows.extend([None] * (size * len(_COLUMNS) - len(rows)))
        connection.execute(_insert(size), rows)


@functools.cache
def _insert(rows: int) -> str:
    row = f"({', '.join('?' * len(_COLUMNS))})"
    return f"INSERT INTO moving VALUES {', '.join([row] * rows)}"  # noqa: S608  placeholders only
