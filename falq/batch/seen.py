"""Remember which of millions of texts were seen, in a few dozen bytes each.

Owns a hash table of 128-bit fingerprints, each with a number beside it. A set
of the texts themselves takes four times the memory for a million ids. The
chance that two texts of a billion share a fingerprint is below 1 in 10**20.
"""

from __future__ import annotations

import hashlib
import struct
from array import array

_START_SLOTS = 1024
_PAIR = struct.Struct("<QQ")


class SeenTable:
    """Texts that were seen, each with a number of the caller's.

    Numbers are from 0 up.
    """

    def __init__(self) -> None:
        self._count = 0
        self._make(_START_SLOTS)

    def __len__(self) -> int:
        return self._count

    def add(self, text: bytes, number: int) -> int | None:
        """Return the number that `text` was first added with; None if it is new."""
        high, low, slot = self._look_up(text)
        if self._numbers[slot]:
            return int(self._numbers[slot]) - 1
        self._highs[slot], self._lows[slot], self._numbers[slot] = high, low, number + 1
        self._count += 1
        if self._count * 3 > self._mask * 2:
            self._grow()
        return None

    def find(self, text: bytes) -> int | None:
        """Return the number that `text` was first added with; None if it was not."""
        slot = self._look_up(text)[2]
        return int(self._numbers[slot]) - 1 if self._numbers[slot] else None

    def _look_up(self, text: bytes) -> tuple[int, int, int]:
        """Return the halves of its fingerprint, and its slot or the free one for it."""
        digest = hashlib.blake2b(text, digest_size=16, usedforsecurity=False).digest()
        high, low = _PAIR.unpack(digest)
        highs, lows, numbers, mask = self._highs, self._lows, self._numbers, self._mask
        slot = high & mask
        while numbers[slot] and (highs[slot] != high or lows[slot] != low):
            slot = (slot + 1) & mask
        return high, low, slot

    def _make(self, slots: int) -> None:
        self._mask = slots - 1
        self._highs = array("Q", [0]) * slots
        self._lows = array("Q", [0]) * slots
        # 0 marks an empty slot, so numbers are kept one higher.
        self._numbers = array("Q", [0]) * slots

    def _grow(self) -> None:
        old = self._highs, self._lows, self._numbers
        self._make((self._mask + 1) * 2)
        highs, lows, numbers, mask = self._highs, self._lows, self._numbers, self._mask
        for high, low, number in zip(*old, strict=True):
            if number:
                slot = high & mask
                while numbers[slot]:
                    slot = (slot + 1) & mask
                highs[slot], lows[slot], numbers[slot] = high, low, number
