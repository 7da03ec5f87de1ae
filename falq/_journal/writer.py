"""The one thread that touches the database, and its group commits.

Owns the thread, its connection, the groups and what is kept after a failed
commit. It knows no tables: an order brings the function to run, and `group`
makes a transaction of many. `sqlite` makes the orders, on the loop.

Rules:
    1. Whatever waits when the thread comes round is one transaction, up to
       `GROUP_LIMIT` orders. An order goes to the thread at the end of its turn of
       the loop; in a stream of writes `GATHER_S` after the first of them, which
       makes few groups of many.
    2. An order that cannot be carried out (an illegal move) fails alone: its
       group is written again around it.
    3. A commit that fails breaks the writer. Its intents fail, and every later
       one until a commit succeeds. Reports are kept in order and tried again
       every `retry_s`; their callers are told at once, as long as `keep_bytes`
       holds them, and wait otherwise.
    4. The loop is woken once per group.
    5. A loop that never idles steps aside for a thread that gets nowhere: between
       two of its short turns it lets the interpreter go and takes it back before a
       waiting thread has woken up, and so could keep it out for ever.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from attrs import define, evolve, field

from falq._journal.group import Kind, Order, StorageError, settle, told, transact
from falq._journal.records import JournalStatistics
from falq.errors import JournalError

logger = logging.getLogger("falq")

GROUP_LIMIT = 500
"""Orders in one commit at most: bounds how long the first of them waits."""

GATHER_S = 0.03
"""How long the writes of a stream are gathered, from the first of them, in seconds.

A commit for each turn of the loop would cost more than what is in it, and the loop
most of all: it and the thread take turns. A job of a stream waits so long at each of
its three records, which take their time beside others."""

STREAM = 8
"""Orders of one hand-over that make a stream: who writes one thing after the other
waits for nothing but the disk."""

_PATIENCE_S = 0.02
"""How long a hand-over may take before the loop steps aside, in seconds; a commit
takes one or two milliseconds, and each of the thread's turns up to five while the
loop is busy."""

_ASIDE_S = 0.0001
"""How long it steps aside at a time, in seconds: for a thread to wake up in."""

_ASIDE_EVERY_S = 0.001
_ASIDE_MOST_S = 0.016
"""How far apart it does so at first and at last, in seconds, because a thread that
waits for a slow disk gains nothing by it."""

_PROBE_BYTES = 16 * 1024
"""Written and removed before a broken writer takes intents again: more than one
page, so that a disk with no room is noticed."""


@define(eq=False)
class _Kept:
    """Reports that could not be written, in order."""

    limit_bytes: int
    orders: deque[Order] = field(factory=deque)
    size_bytes: int = 0

    def add(self, order: Order) -> bool:
        """Keep an order and return whether its caller need not wait.

        Above the limit its caller waits, which holds its job up and so bounds
        the memory; what has no caller is only a hint and is dropped.
        """
        if self.size_bytes + order.size_bytes > self.limit_bytes:
            if order.waiter is not None:
                self.orders.append(order)
            return False
        self.orders.append(order)
        self.size_bytes += order.size_bytes
        return True

    def drop_first(self, count: int) -> None:
        """Forget the oldest orders, which are written."""
        for _ in range(count):
            order = self.orders.popleft()
            if order.waiter is None:
                self.size_bytes -= order.size_bytes


class Writer:
    """Carries out orders on a thread of its own.

    Args:
        connect: Opens the database; runs on the thread.
        disconnect: Runs on the thread after the connection was closed.
        loop: Where callers wait.
        keep_bytes: How much is kept in memory after a failed commit.
        retry_s: How long to wait before what is kept is tried again, in seconds.
        step_aside: Blocks for so many seconds, without the interpreter.
    """

    def __init__(
        self,
        *,
        connect: Callable[[], sqlite3.Connection],
        disconnect: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
        keep_bytes: int,
        retry_s: float,
        step_aside: Callable[[float], object] = time.sleep,
    ) -> None:
        self._connect = connect
        self._disconnect = disconnect
        self._loop = loop
        self._retry_s = retry_s
        self._step_aside = step_aside
        self._kept = _Kept(limit_bytes=keep_bytes)
        self._lost: list[str] = []
        self._inbox: queue.SimpleQueue[list[Order] | None] = queue.SimpleQueue()
        self._gathered: list[Order] = []
        self._timer: asyncio.TimerHandle | None = None
        self._sent = 0
        self._taken = 0
        self._done = 0
        self._is_watched = False
        self._is_stream = False
        self._is_cut_short = False
        self._is_due = False
        self._records = 0
        self._commits = 0
        self._largest_group = 0
        self._retry_at = 0.0
        self.failure: str | None = None
        self._opened: asyncio.Future[None] = loop.create_future()
        self._closed: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(target=self._work, name="falq-journal", daemon=True)

    # This half runs on the loop.

    async def start(self) -> None:
        """Start the thread and wait until the database is open."""
        self._thread.start()
        try:
            await asyncio.shield(self._opened)
        except asyncio.CancelledError:
            self._opened.add_done_callback(_look_at)
            self._inbox.put(None)
            raise

    def send(self, order: Order) -> None:
        """Hand an order over, together with all others of this turn of the loop.

        Raises:
            JournalError: The thread has ended.
        """
        if self._closed.done():
            raise JournalError(f"the journal is closed ({self.failure or 'in good order'})")
        self._gathered.append(order)
        if self._is_due:
            return
        if self._is_stream and order.is_write:
            if self._timer is None:
                self._timer = self._loop.call_later(GATHER_S, self._hand_over)
            return
        # A reader does not wait for a stream, and says nothing of it.
        self._is_cut_short = self._is_stream
        self._is_due = True
        self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        self._is_due = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._gathered:
            self._is_stream = self._is_cut_short or len(self._gathered) >= STREAM
            self._is_cut_short = False
            orders, self._gathered = self._gathered, []
            self._sent += 1
            self._inbox.put(orders)
            if not self._is_watched:
                self._is_watched = True
                self._loop.call_later(_PATIENCE_S, self._watch, self._sent, _ASIDE_EVERY_S)

    def _watch(self, sent: int, again_s: float) -> None:
        """Step aside if a hand-over is still not done, rule 5."""
        if self._closed.done():
            # What a thread that broke off left undone is waited for by nobody.
            self._is_watched = False
        elif self._done < sent:
            self._step_aside(_ASIDE_S)
            self._loop.call_later(again_s, self._watch, sent, min(2 * again_s, _ASIDE_MOST_S))
        elif self._done < self._sent:
            self._loop.call_later(_PATIENCE_S, self._watch, self._sent, _ASIDE_EVERY_S)
        else:
            self._is_watched = False

    def ask(self, order: Order) -> asyncio.Future[Any]:
        """Hand an order over, and return the future of its outcome."""
        waiter = order.waiter = self._loop.create_future()
        self.send(order)
        return waiter

    async def stop(self) -> None:
        """Write everything, close the database and end the thread.

        Raises:
            JournalError: Something could not be written.
        """
        self._hand_over()
        self._inbox.put(None)
        await asyncio.shield(self._closed)
        # Microseconds: it has told its end, and only has to return.
        while self._thread.is_alive():  # noqa: ASYNC110  nobody is told of a thread's last step
            await asyncio.sleep(0)
        if self._lost:
            raise JournalError(
                f"{len(self._lost)} records could not be written before the journal was closed, "
                f"the first: {self._lost[0]}; note the request ids in `unwritten`",
                unwritten=tuple(self._lost),
            )

    def statistics(self) -> JournalStatistics:
        """Return the counts so far."""
        return JournalStatistics(
            records=self._records,
            commits=self._commits,
            largest_group=self._largest_group,
            kept=len(self._kept.orders),
            kept_bytes=self._kept.size_bytes,
            lost=len(self._lost),
            is_broken=self.failure is not None,
        )

    # What follows runs on the thread.

    def _work(self) -> None:
        try:
            connection = self._connect()
        except Exception as error:  # noqa: BLE001  whatever it is, the opener must hear of it
            self._disconnect()
            self._tell(self._opened, error)
            return
        self._tell(self._opened, None)
        try:
            self._serve(connection)
        except Exception:
            logger.exception("a bug in falq ended the journal's thread")
            self.failure = "falq's own fault, see the log"
        finally:
            self._close(connection)
            self._refuse_rest()
            self._tell(self._closed, None)

    def _tell(self, future: asyncio.Future[None], error: Exception | None) -> None:
        def answer() -> None:
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        self._call(answer)

    def _call(self, function: Callable[..., None], *values: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *values)
        except RuntimeError:
            # The loop is closed: nobody waits any more, and what was to be
            # written is written.
            logger.debug("the journal's loop is closed")

    def _serve(self, connection: sqlite3.Connection) -> None:
        while True:
            orders, is_last = self._next()
            self._carry_out(connection, orders)
            self._done = self._taken
            if self.failure is not None and (is_last or time.monotonic() >= self._retry_at):
                self._write_kept(connection)
            if is_last:
                return

    def _next(self) -> tuple[list[Order], bool]:
        """Return what waits now, and whether it is the last; wait if nothing does."""
        try:
            first = self._inbox.get(timeout=self._retry_s if self.failure is not None else None)
        except queue.Empty:
            return [], False
        orders: list[Order] = []
        while first is not None:
            orders.extend(first)
            self._taken += 1
            if len(orders) >= GROUP_LIMIT:
                return orders, False
            try:
                first = self._inbox.get_nowait()
            except queue.Empty:
                return orders, False
        return orders, True

    def _carry_out(self, connection: sqlite3.Connection, orders: Sequence[Order]) -> None:
        writes = [order for order in orders if order.is_write]
        for start in range(0, len(writes), GROUP_LIMIT):
            self._write(connection, writes[start : start + GROUP_LIMIT])
        if len(writes) == len(orders):
            return
        rest = [order for order in orders if not order.is_write]
        for order in rest:
            try:
                if order.kind is Kind.FLUSH:
                    self._flush(connection)
                else:
                    order.outcome = order.act(connection)
            except Exception as error:  # noqa: BLE001  it is the caller's
                order.error = told(error)
        self._call(settle, rest)

    def _flush(self, connection: sqlite3.Connection) -> None:
        if self.failure is not None:
            self._write_kept(connection)
        if self.failure is not None:
            raise self.broken_error()

    def _write(self, connection: sqlite3.Connection, orders: Sequence[Order]) -> None:
        if self.failure is None:
            try:
                self._commit(connection, orders)
            except StorageError as error:
                self._break(error)
                logger.error("the journal cannot be written (%s); nothing is submitted", error)  # noqa: TRY400  the cause is in the text, and a traceback would say no more
            else:
                self._call(settle, orders)
                return
        self._keep(orders)

    def _keep(self, orders: Sequence[Order]) -> None:
        told: list[Order] = []
        for order in orders:
            order.outcome = order.error = None
            if order.kind is Kind.INTENT:
                order.error = self.broken_error()
                told.append(order)
            elif self._kept.add(order) and order.waiter is not None:
                told.append(evolve(order, error=self.broken_error(is_kept=True)))
                order.waiter = None
        if told:
            self._call(settle, told)

    def broken_error(self, *, is_kept: bool = False) -> JournalError:
        """Return what a caller is told while the journal is broken."""
        what = (
            "what is known of the job is kept in memory and written as soon as it can be"
            if is_kept
            else "nothing may be submitted until it can be"
        )
        return JournalError(
            f"the journal cannot be written ({self.failure}); {what}: make room, or check the disk",
            is_kept=is_kept,
        )

    def _write_kept(self, connection: sqlite3.Connection) -> None:
        """Write what is kept, and take intents again if all of it could be."""
        try:
            while self._kept.orders:
                orders = [
                    self._kept.orders[i] for i in range(min(GROUP_LIMIT, len(self._kept.orders)))
                ]
                self._commit(connection, orders)
                self._kept.drop_first(len(orders))
                self._note_lost(orders)
                self._call(settle, orders)
            self._probe(connection)
        except StorageError as error:
            self._break(error)
        else:
            self.failure = None
            logger.warning("the journal can be written again")

    def _break(self, error: StorageError) -> None:
        self.failure = str(error)
        self._retry_at = time.monotonic() + self._retry_s

    def _note_lost(self, orders: Sequence[Order]) -> None:
        for order in orders:
            if order.error is not None and order.waiter is None:
                logger.error("a kept record cannot be written: %s (%s)", order.name, order.error)
                self._lost.append(f"{order.name}: {order.error}")

    def _probe(self, connection: sqlite3.Connection) -> None:
        for size_bytes in (_PROBE_BYTES, 0):
            order = Order(partial(_write_probe, size_bytes=size_bytes), Kind.REPORT)
            transact(connection, [order], is_careful=False)

    def _commit(self, connection: sqlite3.Connection, orders: Sequence[Order]) -> None:
        """Carry out orders in one transaction.

        Raises:
            StorageError: Nothing of it was written.
        """
        try:
            transact(connection, orders, is_careful=False)
        except StorageError:
            raise
        except Exception:  # noqa: BLE001  one order's; the careful run finds whose
            transact(connection, orders, is_careful=True)
        self._commits += 1
        self._records += sum(order.error is None for order in orders)
        self._largest_group = max(self._largest_group, len(orders))

    def _close(self, connection: sqlite3.Connection) -> None:
        try:
            connection.close()
        except sqlite3.Error as error:
            logger.warning("the journal did not close in good order: %s", error)
        self._disconnect()

    def _refuse_rest(self) -> None:
        """Answer everyone who still waits."""
        orders = list(self._kept.orders)
        self._lost.extend(order.name for order in orders)
        while True:
            try:
                orders.extend(self._inbox.get_nowait() or ())
            except queue.Empty:
                break
        for order in orders:
            order.error = JournalError(
                "the journal was closed before this could be written; open it and write it again"
            )
        self._call(settle, orders)


def _write_probe(connection: sqlite3.Connection, *, size_bytes: int) -> None:
    connection.execute(
        "INSERT INTO meta VALUES ('probe', zeroblob(?)) "
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (size_bytes,),
    )


def _look_at(future: asyncio.Future[None]) -> None:
    """Take note of an error that nobody waits for any more."""
    if not future.cancelled():
        future.exception()
