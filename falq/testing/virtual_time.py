"""An event loop whose clock jumps to the next timer when everyone waits.

Owns the clock. Minutes of polling pass in milliseconds, and the same seed gives
the same run. It must not be used where something real is in flight: a thread, a
socket or a process makes no timer, so the clock would run ahead of it.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class WaitsForeverError(RuntimeError):
    """Every task waits and no timer is set: nothing can happen any more."""


class _JumpingSelector(selectors.DefaultSelector):
    """Moves the clock instead of waiting."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:
            raise WaitsForeverError(
                "every task waits and no timer is set; in virtual time nothing else can happen"
            )
        self.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in virtual time, which starts at 0.

    Example:
        >>> import asyncio
        >>> async def wait_an_hour():
        ...     await asyncio.sleep(3600)
        ...     return asyncio.get_running_loop().time()
        >>> with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        ...     runner.run(wait_an_hour())
        3600.0
    """

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        # asyncio's tolerance of a nanosecond is lost in a float after three months:
        # a timer would be due and never strike.
        self._clock_resolution = 1e-7

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._jumping.now
