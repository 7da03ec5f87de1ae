"""Tell the new log lines of a job from those already seen.

Owns what one reader has seen. A status brings a moving window of lines, not a
growing list (fal's own command line, `cli/api.py`), so lines are told apart by
time and text and never by their place.
"""

from __future__ import annotations

from collections import OrderedDict

from attrs import define, field

from falq.model import LogEntry

_REMEMBERED = 5000
"""Lines that are remembered: several windows, and a bound on what a job can make us keep."""


@define
class LogWindow:
    """The lines that one reader has seen."""

    _seen: OrderedDict[tuple[str | None, str], None] = field(init=False, factory=OrderedDict)

    def take_new(self, logs: tuple[LogEntry, ...]) -> tuple[LogEntry, ...]:
        """Return those of `logs` that were not returned before, in order."""
        new = []
        for entry in logs:
            key = entry.timestamp, entry.message
            if key in self._seen:
                continue
            self._seen[key] = None
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
            new.append(entry)
        return tuple(new)
