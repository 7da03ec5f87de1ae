"""One timer for all answers that are waited for.

Owns when an exchange that hears nothing is given up. Nearly all of them end
long before: a timer for each would be made and taken back some thousand times
a second, and that costs about as much as reading the answer.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Deadlines(Generic[T]):
    """Gives up what waits beyond its time.

    Args:
        give_up: Called with what has waited too long.
    """

    __slots__ = ("_at", "_give_up", "_loop", "_timer", "_waiting")

    def __init__(self, give_up: Callable[[T], None]) -> None:
        self._give_up = give_up
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        # When the timer ends: never later than the first deadline.
        self._at = math.inf

    def add(self, waiting: T, at: float) -> None:
        """Give it up at a loop time, in seconds, unless it is taken out before."""
        self._waiting[waiting] = at
        if at < self._at:
            self._set_timer(at)

    def discard(self, waiting: T) -> None:
        """Take it out; nothing happens if it is not in."""
        self._waiting.pop(waiting, None)

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._at = at
        self._timer = self._loop.call_at(at, self._pass)

    def _pass(self) -> None:
        # A loop may call a little early, by the grain of its clock.
        now = max(self._at, self._loop.time())
        self._timer, self._at = None, math.inf
        for late in [each for each, at in self._waiting.items() if at <= now]:
            del self._waiting[late]
            self._give_up(late)
        if self._waiting:
            self._set_timer(min(self._waiting.values()))

    def close(self) -> None:
        """Drop the timer; nothing is given up any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._at = None, math.inf
        self._waiting.clear()
