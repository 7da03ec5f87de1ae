"""Choose the event loop that a command runs on.

Owns that choice and its words. uvloop, which `falq[speed]` brings, is taken where it
is installed; `FALQ_LOOP` says otherwise. It never changes a loop outside the command
line: a library's user chooses that loop. `running` and `doctor` call it.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping

from falq.errors import ConfigError

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def choose_loop(environ: Mapping[str, str]) -> LoopFactory | None:
    """Return what makes a command's loop, None for Python's own.

    Args:
        environ: Such as `os.environ`; `FALQ_LOOP` is `asyncio`, `uvloop`, or not set.

    Raises:
        ConfigError: The variable has another word, or asks for uvloop, which is not
            installed.
    """
    wanted = environ.get("FALQ_LOOP", "").strip().lower()
    if wanted not in {"", "asyncio", "uvloop"}:
        raise ConfigError(
            "FALQ_LOOP is 'asyncio' or 'uvloop'; without it, uvloop is used where it is installed",
            setting="FALQ_LOOP",
        )
    if wanted == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        if not wanted:
            return None
        raise ConfigError(
            "FALQ_LOOP asks for uvloop, which is not installed: pip install 'falq[speed]' "
            "(there is none for Windows)",
            setting="FALQ_LOOP",
        ) from None
    return uvloop.new_event_loop


def describe_loop(loop: asyncio.AbstractEventLoop) -> str:
    """Return which loop a command runs on, what changes that, and what reads its JSON."""
    if type(loop).__module__.partition(".")[0] == "uvloop":
        name = f"uvloop {importlib.metadata.version('uvloop')} (FALQ_LOOP=asyncio for Python's own)"
    elif importlib.util.find_spec("uvloop") is not None:
        name = "Python's own (FALQ_LOOP=asyncio; without it uvloop)"
    else:
        name = "Python's own (pip install 'falq[speed]' brings uvloop, except for Windows)"
    return f"{name}; JSON is read by Python's json"
