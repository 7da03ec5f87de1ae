"""The word that an app is about to end, and the signals that bring it.

Owns one event of one app, and the signal handlers put before a server's own. It never
ends anything: `app_session` does, and `following` lets go of who follows a job.

Rules:
    1. A server's own handler is called, with what it expects, after the word was given.
    2. At the end a handler is put back only where nobody else has put another one.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any


class Draining:
    """Whether an app takes no more jobs. Make it on the app's loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        # Of each signal: the server's handler, and the one put before it.
        self._handlers: dict[int, tuple[Any, Any]] = {}

    @property
    def has_begun(self) -> bool:
        """Whether the word was given."""
        return self._event.is_set()

    def begin(self) -> None:
        """Give the word; harmless twice."""
        self._event.set()

    async def wait(self) -> None:
        """Wait for the word."""
        await self._event.wait()

    def heed(self, signals: Iterable[int]) -> None:
        """Give the word at signals as well.

        Args:
            signals: Which; one whose handler was made outside Python is left alone,
                because it can be neither called nor put back.

        Outside the main thread, where Python allows no handlers, it does nothing: there
        are the apps of test clients, whom nobody sends a signal.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        for number in signals:
            previous = signal.getsignal(number)
            if previous is not None:
                own = self._before(previous)
                signal.signal(number, own)
                self._handlers[number] = (previous, own)

    def _before(self, previous: Any) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            # A handler runs between any two instructions, also while the loop sleeps.
            self._loop.call_soon_threadsafe(self.begin)
            if callable(previous):
                previous(number, frame)
            elif previous == signal.SIG_DFL:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)

        return handle

    def close(self) -> None:
        """Give the word, and the signals back."""
        self.begin()
        for number, (previous, own) in self._handlers.items():
            if signal.getsignal(number) is own:
                signal.signal(number, previous)
        self._handlers.clear()
