"""Chance that repeats: numbers that follow from words.

Owns the stream of numbers behind every drawing. It never touches the random
module's state: the same parts give the same numbers in every process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")
BLOCK_BYTES = 512


class Draws:
    """An endless row of uniform draws, settled by `parts`.

    Example:
        >>> Draws("a cat", 7).between(0, 1) == Draws("a cat", 7).between(0, 1)
        True
    """

    def __init__(self, *parts: object) -> None:
        # Hexadecimal, because the decimal text of a huge seed is refused by int.
        texts = (format(part, "x") if isinstance(part, int) else str(part) for part in parts)
        self._key = "\0".join(texts).encode("utf-8", "backslashreplace")
        self._block = 0
        self._buffer = b""

    def bytes(self, count: int) -> bytes:
        """Return `count` bytes, apart from the row of draws."""
        return hashlib.shake_128(b"bytes\0" + self._key).digest(count)

    def draw(self) -> float:
        """Return the next number from [0, 1)."""
        if not self._buffer:
            key = self._block.to_bytes(8, "big") + self._key
            self._buffer = hashlib.shake_128(key).digest(BLOCK_BYTES)
            self._block += 1
        head, self._buffer = self._buffer[:4], self._buffer[4:]
        return int.from_bytes(head, "big") / 2**32

    def between(self, low: float, high: float) -> float:
        """Return the next number, scaled to [low, high)."""
        return low + (high - low) * self.draw()

    def pick(self, items: Sequence[Item]) -> Item:
        """Return one of `items`, which must not be empty."""
        return items[int(self.draw() * len(items))]
