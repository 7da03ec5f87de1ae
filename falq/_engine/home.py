"""Where a session may be used: the process and the loop that opened it.

Owns what tells them apart from others. It knows no jobs, and not whether the
session is closed; the `engine` asks it before it does anything for a caller.
"""

from __future__ import annotations

import asyncio
import os
import threading

from falq.errors import ForkedSessionError, WrongLoopError


class Home:
    """The process, the thread and the loop that run this when it is made."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._pid = os.getpid()

    @property
    def is_of_parent(self) -> bool:
        """Whether this process is a child of the one that opened the session."""
        return os.getpid() != self._pid

    def check(self) -> None:
        """Raise unless this is the process and the loop that opened the session.

        Raises:
            ForkedSessionError: This process is a child of the one that opened it.
            WrongLoopError: Another loop or thread runs this.
        """
        if self.is_of_parent:
            raise ForkedSessionError(
                "this process was forked after the session was opened; connections cannot be "
                "shared, so open a session in the child"
            )
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is not self.loop:
            where = "loop" if threading.get_ident() == self._thread else "thread"
            raise WrongLoopError(
                f"the session belongs to another event loop and is used from another {where}; "
                "open one session per loop, inside it"
            )
