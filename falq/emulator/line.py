"""A line of waiting jobs whose positions cost arithmetic, not a scan.

Owns the order of one line. It never decides who may start and knows neither
jobs nor time: `state` keeps one line per priority.

Each item has a ticket, one more than the item before it. The position of a
ticket is its distance from the head, less the tickets in between that left
early; those are kept sorted, so one bisection counts them.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Generic, TypeVar

T = TypeVar("T")

# Left tickets behind the head are dropped in batches: deleting them one by one
# from the front of a list would cost its length each time.
_DROP_AT = 4096


class Line(Generic[T]):
    """First come, first served, with leaving from the middle."""

    def __init__(self) -> None:
        self._items: dict[int, T] = {}
        self._head = 0
        self._next = 0
        self._left: list[int] = []
        self._left_behind = 0

    def __len__(self) -> int:
        return len(self._items)

    def append(self, item: T) -> int:
        """Put `item` at the end and return its ticket."""
        ticket = self._next
        self._next += 1
        self._items[ticket] = item
        return ticket

    def pop_first(self) -> T:
        """Take the first item out.

        Raises:
            IndexError: The line is empty.
        """
        if not self._items:
            raise IndexError("the line is empty")
        self._skip_left()
        item = self._items.pop(self._head)
        self._head += 1
        return item

    def discard(self, ticket: int) -> None:
        """Take the item with `ticket` out, wherever it stands.

        Raises:
            KeyError: The ticket is not in the line.
        """
        del self._items[ticket]
        insort(self._left, ticket)

    def position(self, ticket: int) -> int:
        """Return how many items stand before `ticket`, which is in the line."""
        left_before = bisect_left(self._left, ticket) - self._left_behind
        return ticket - self._head - left_before

    def _skip_left(self) -> None:
        left = self._left
        while self._left_behind < len(left) and left[self._left_behind] == self._head:
            self._left_behind += 1
            self._head += 1
        if self._left_behind >= _DROP_AT:
            del left[: self._left_behind]
            self._left_behind = 0
