"""One transaction for many orders.

Owns what an order is, how a group of them is carried out, and whose fault a
failure is: an order's, which fails alone, or the storage's, which fails all.
`writer` decides when, and what becomes of a group that failed.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define

from falq._journal.moves import MOST_MOVES, Move, run_moves
from falq.errors import JournalError

logger = logging.getLogger("falq")

ORDER_BYTES = 512
"""What an order takes in memory beside its body, roughly."""

_ORDER_FAULTS = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)
"""SQLite's errors about what it was told to do; all others are about the storage."""


class Kind(enum.Enum):
    """What an order is, which says what a failed commit does to it."""

    INTENT = "intent"
    REPORT = "report"
    READ = "read"
    FLUSH = "flush"


@define(eq=False)
class Order:
    """Something for the thread to do.

    Attributes:
        act: What; it may be run twice.
        kind: What a failed commit does to it.
        label: How a person is told of it, unless it is a move, which knows.
        size_bytes: What it takes in memory.
        waiter: Who is told, if anyone.
        outcome: What `act` returned.
        error: What it raised.
    """

    act: Callable[[sqlite3.Connection], Any]
    kind: Kind
    label: str = ""
    size_bytes: int = ORDER_BYTES
    waiter: asyncio.Future[Any] | None = None
    outcome: Any = None
    error: Exception | None = None

    @property
    def name(self) -> str:
        """How a person is told of it."""
        return self.act.label if isinstance(self.act, Move) else self.label

    @property
    def is_write(self) -> bool:
        """Whether it changes the file."""
        # By identity, because Python hashes an enum's member by a function of its own.
        return self.kind is Kind.REPORT or self.kind is Kind.INTENT


class StorageError(Exception):
    """The storage, not an order, is at fault."""


def transact(connection: sqlite3.Connection, orders: Sequence[Order], *, is_careful: bool) -> None:
    """Carry out orders in one transaction.

    Args:
        connection: With no transaction open.
        orders: What to do.
        is_careful: Run each apart, so that one that fails undoes nothing but itself.

    Raises:
        StorageError: The storage is at fault; nothing was written.
        Exception: An order is at fault and `is_careful` is False; nothing was written.
    """
    try:
        if is_careful:
            _begin_and_commit(connection, orders, _run_apart)
        else:
            moves = [order.act for order in orders if isinstance(order.act, Move)]
            if len(moves) == len(orders) <= MOST_MOVES:
                for order in orders:
                    order.outcome = order.error = None
                run_moves(connection, moves)
            else:
                _begin_and_commit(connection, orders, _run_together)
    except Exception as error:
        _roll_back(connection)
        if not _is_storage_fault(error):
            raise
        name = getattr(error, "sqlite_errorname", "no name")
        raise StorageError(f"{error}, {name}") from None


def _begin_and_commit(
    connection: sqlite3.Connection,
    orders: Sequence[Order],
    run: Callable[[sqlite3.Connection, Sequence[Order]], None],
) -> None:
    connection.execute("BEGIN IMMEDIATE")
    run(connection, orders)
    connection.execute("COMMIT")


def _run_together(connection: sqlite3.Connection, orders: Sequence[Order]) -> None:
    moves: list[Move] = []
    for order in orders:
        order.outcome = order.error = None
        if isinstance(order.act, Move):
            moves.append(order.act)
        else:
            run_moves(connection, moves)
            moves.clear()
            order.outcome = order.act(connection)
    run_moves(connection, moves)


def _run_apart(connection: sqlite3.Connection, orders: Sequence[Order]) -> None:
    """Run each so that its failure undoes nothing but itself."""
    for order in orders:
        order.outcome = order.error = None
        connection.execute("SAVEPOINT one")
        try:
            order.outcome = order.act(connection)
        except Exception as error:
            if _is_storage_fault(error):
                raise
            connection.execute("ROLLBACK TO one")
            order.error = told(error)
        connection.execute("RELEASE one")


def _is_storage_fault(error: Exception) -> bool:
    return isinstance(error, sqlite3.Error) and not isinstance(error, _ORDER_FAULTS)


def told(error: Exception) -> Exception:
    """Return what a caller is told: falq's own error, or a caller's mistake as it is."""
    if isinstance(error, sqlite3.Error):
        return JournalError(f"the journal refused it: {error}")
    return error


def _roll_back(connection: sqlite3.Connection) -> None:
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        # SQLite rolls back by itself after most of these; the next BEGIN tells.
        logger.debug("rollback: %s", error)


def settle(orders: Sequence[Order]) -> None:
    """Tell everyone who waits; runs on the loop."""
    for order in orders:
        waiter = order.waiter
        if waiter is None or waiter.done():
            continue
        if order.error is None:
            waiter.set_result(order.outcome)
        else:
            waiter.set_exception(order.error)
