"""Who stands where in the server's queues, as far as receipts and checks tell.

Owns the order of the jobs believed to wait, one line for each queue. A place is
told at different times: what compares is the place plus all who were seen to
leave the line before it was told, the number on a ticket, so to speak. Answers
arrive in any order; who says no place stands behind everyone. `pollplan` looks at
the head of a line when it moves, and asks it how long a job still waits.

Every operation is O(log n) in the jobs of a line, taken together, and nothing is
kept for long of a job that has left.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable, Iterator

from attrs import define, field

_SPARE_ENTRIES = 64
"""Entries of no use that a line may keep: tidying up a short one is not worth it."""

_FADING = 0.8
"""What an earlier look at a line's pace is worth against the next."""


@define(eq=False)
class Line:
    """The jobs of one queue, the next to start first."""

    _left: int = field(init=False, default=0)
    _heap: list[tuple[int, int, Hashable]] = field(init=False, factory=list)
    _entries: dict[Hashable, tuple[int, int, Hashable]] = field(init=False, factory=dict)
    _orders: Iterator[int] = field(init=False, factory=lambda: itertools.count(1))
    _places: float = field(init=False, default=0.0)
    _took_s: float = field(init=False, default=0.0)

    def __len__(self) -> int:
        return len(self._entries)

    def place(self, job: Hashable, position: int | None) -> None:
        """Put a job where it was told to stand, or move it there.

        Args:
            job: Anything that names it.
            position: How many the server counts before it; None leaves a job where
                it is, and puts a new one behind all others.
        """
        known = self._entries.get(job)
        if position is None and known is not None:
            return
        rank = self._left + (len(self._entries) if position is None else position)
        if known is not None and known[0] == rank:
            return
        entry = self._entries[job] = (rank, next(self._orders), job)
        heapq.heappush(self._heap, entry)
        self._tidy()

    def leave(self, job: Hashable) -> bool:
        """Take a job out of the line; return whether it was in it."""
        if self._entries.pop(job, None) is None:
            return False
        self._left += 1
        self._tidy()
        return True

    def record_pace(self, places: int, took_s: float) -> None:
        """Take in how far one of its jobs moved up between two looks.

        Args:
            places: How many; below 0 if others came before it, which is no movement.
            took_s: Seconds between the looks.
        """
        self._places = _FADING * self._places + max(0, places)
        self._took_s = _FADING * self._took_s + took_s

    def wait_s(self, position: int) -> float | None:
        """Return how long a job waits for its start, in seconds, as the line moves.

        Args:
            position: How many stand before it.

        Returns:
            None while the line was not seen to move.
        """
        if self._places < 1.0:
            return None
        return (position + 1) * self._took_s / self._places

    def _tidy(self) -> None:
        """Drop the entries of those who left or moved, before they outnumber the others."""
        # They go by themselves when they come to the head: not while a job stands there.
        if len(self._heap) > 2 * len(self._entries) + _SPARE_ENTRIES:
            self._heap = list(self._entries.values())
            heapq.heapify(self._heap)

    def head(self, most: int) -> list[Hashable]:
        """Return the first jobs of the line in order, at most `most`."""
        found: list[tuple[int, int, Hashable]] = []
        while self._heap and len(found) < most:
            entry = heapq.heappop(self._heap)
            if self._entries.get(entry[2]) is entry:
                found.append(entry)
        for entry in found:
            heapq.heappush(self._heap, entry)
        return [job for _, _, job in found]
