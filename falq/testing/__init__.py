"""Test code that uses falq: an emulator without sockets, and time that does not pass.

    LoopbackEmulator    an emulated queue in memory, for a session's `transport`
    VirtualTimeLoop     an event loop whose clock jumps when everyone waits

and the pytest fixtures `falq_emulator` and `falq_session`, which come with falq
by themselves; see `falq.testing.fixtures`.

Names are loaded at their first use: pytest imports this package for the fixtures
in every project that has falq installed.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from falq.testing.loopback import LoopbackEmulator as LoopbackEmulator
    from falq.testing.loopback import LoopbackTransport as LoopbackTransport
    from falq.testing.virtual_time import VirtualTimeLoop as VirtualTimeLoop
    from falq.testing.virtual_time import WaitsForeverError as WaitsForeverError

_HOMES = {
    "LoopbackEmulator": "falq.testing.loopback",
    "LoopbackTransport": "falq.testing.loopback",
    "VirtualTimeLoop": "falq.testing.virtual_time",
    "WaitsForeverError": "falq.testing.virtual_time",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'falq.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
