"""Test code that uses falq: an emulator without sockets, and time that does not pass.

    LoopbackEmulator    an emulated queue in memory, for a session's `transport`
    VirtualTimeLoop     an event loop whose clock jumps when everyone waits

and the pytest fixtures `falq_emulator` and `falq_session`, which come with falq
by themselves; see `falq.testing.fixtures`.
"""

from falq.testing.loopback import LoopbackEmulator as LoopbackEmulator
from falq.testing.loopback import LoopbackTransport as LoopbackTransport
from falq.testing.virtual_time import VirtualTimeLoop as VirtualTimeLoop
from falq.testing.virtual_time import WaitsForeverError as WaitsForeverError

__all__ = ["LoopbackEmulator", "LoopbackTransport", "VirtualTimeLoop", "WaitsForeverError"]
