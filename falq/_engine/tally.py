"""How many jobs of a session ended how.

Owns nothing but the counts: `driver` and `watcher` count, the session's statistics
show them.
"""

from __future__ import annotations

from attrs import define


@define
class Tally:
    """How many jobs ended how."""

    submitted: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    timed_out: int = 0
    polls: int = 0
