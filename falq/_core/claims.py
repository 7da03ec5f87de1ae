"""Which request ids are known to be somebody's, in a dozen bytes each.

Owns the remembering of the last ids and the forgetting of older ones. A batch of a
million rows knows a million of them at once: kept as texts they were most of its
memory. It never asks anybody: the reconciler says when an id is accepted and asks
about those that a history lists.

Rules:
    1. An id is remembered for as long as was asked for and up to twice that, which is
       harmless: it goes on being somebody's.
    2. Of an id 63 bits of its hash are kept, salted by the process. Two that share
       them would make a stranger's request look like a known one, and a lost submit
       stay lost that could have been found: once in some million million sessions.
    3. No step takes long: a table that is full, or whose time is over, is closed and
       another begun; none is ever copied into a larger one.
"""

from __future__ import annotations

from array import array
from collections import deque

FIRST_SLOTS = 256
LARGEST_SLOTS = 65536
_GROWTH = 4
_ALL_BITS = (1 << 64) - 1


class Claims:
    """The ids that were accepted lately.

    Args:
        kept_s: How long each is remembered at least, in seconds.

    Example:
        >>> claims = Claims(kept_s=60.0)
        >>> claims.add("r-1", now=5.0)
        >>> "r-1" in claims, "r-2" in claims
        (True, False)
    """

    def __init__(self, *, kept_s: float) -> None:
        self._kept_s = kept_s
        self._tables: deque[_Table] = deque([_Table(FIRST_SLOTS)])

    def __contains__(self, request_id: str) -> bool:
        mark = _mark_of(request_id)
        return any(mark in table for table in self._tables)

    def __len__(self) -> int:
        return sum(table.count for table in self._tables)

    def add(self, request_id: str, *, now: float) -> None:
        """Remember an id.

        Args:
            request_id: The id.
            now: Loop time in seconds, never less than before.
        """
        table = self._tables[-1]
        if table.is_full:
            table = self._begin(table.slots * _GROWTH)
        elif table.count and now - table.first_at > self._kept_s:
            # As large as needed in that time, in case less is going on than before.
            table = self._begin(1 << (2 * table.count).bit_length())
        table.add(_mark_of(request_id), now)

    def forget_before(self, first: float) -> None:
        """Let go of ids that no window which begins at `first` or later asks for.

        Args:
            first: Loop time in seconds.
        """
        while len(self._tables) > 1 and self._tables[0].last_at < first - self._kept_s:
            self._tables.popleft()

    def _begin(self, slots: int) -> _Table:
        table = _Table(max(FIRST_SLOTS, min(slots, LARGEST_SLOTS)))
        self._tables.append(table)
        return table


class _Table:
    """A hash table that never grows; 0 marks an empty slot."""

    __slots__ = ("_marks", "_mask", "_most", "count", "first_at", "last_at", "slots")

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.count = 0
        self.first_at = self.last_at = float("-inf")
        self._mask = slots - 1
        self._most = slots * 2 // 3
        self._marks = array("Q", [0]) * slots

    @property
    def is_full(self) -> bool:
        return self.count >= self._most

    def __contains__(self, mark: int) -> bool:
        return self._marks[self._slot_of(mark)] == mark

    def add(self, mark: int, now: float) -> None:
        slot = self._slot_of(mark)
        if not self._marks[slot]:
            self._marks[slot] = mark
            self.count += 1
        if self.count == 1:
            self.first_at = now
        self.last_at = now

    def _slot_of(self, mark: int) -> int:
        """Return where a mark is, or would be."""
        marks, mask = self._marks, self._mask
        slot = (mark >> 1) & mask
        while marks[slot] and marks[slot] != mark:
            slot = (slot + 1) & mask
        return slot


def _mark_of(request_id: str) -> int:
    # Odd, so that it is never the 0 of an empty slot.
    return hash(request_id) & _ALL_BITS | 1
