"""How often a command looks for cyclic garbage: seldom.

Owns the settings of Python's collector for a process that is a command of falq's.
It never turns the collector off, and nothing of it happens in a program that uses
falq as a library: there the settings are the program's. `running` calls it.

A batch holds hundreds of rows at a time, each made of dozens of objects that the
collector walks again and again. None of them is garbage: falq's objects leave no
cycles behind, so that looking seldom costs no memory.
"""

from __future__ import annotations

import gc

_NEW_OBJECTS = 20_000
"""Objects that are made, and not let go, before the collector looks at the new ones;
Python says 700 up to 3.13 and 2,000 after it (docs.python.org/3/library/gc.html)."""


def collect_seldom() -> None:
    """Let the collector pass over what was imported, and look at the rest less often."""
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
