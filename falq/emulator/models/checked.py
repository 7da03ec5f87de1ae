"""Put a table of fields in front of a model's work.

Owns the order of things: read the input, refuse it with all its problems or
hand the values on. It never looks at a value itself. Every model but the echo
is a `Checked`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from attrs import frozen

from falq.emulator.models.base import Answer, FileShelf
from falq.emulator.models.pace import Pace
from falq.emulator.models.problems import refuse
from falq.emulator.models.schema import Record, read_input

# A refused input still occupies a runner for the moment that validation takes.
REFUSAL = Pace(median_s=0.05, spread=0.2)


class Work(Protocol):
    """What a model does with an input that has been read."""

    def pace(self, values: Mapping[str, Any]) -> Pace:
        """Return the distribution of the run time for these values."""
        ...

    def logs(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the messages that the run prints."""
        ...

    def run(self, values: Mapping[str, Any], *, seed: int, files: FileShelf) -> Answer:
        """Return what the run ends with."""
        ...


@frozen(kw_only=True)
class Checked:
    """A `Model` that refuses what its table does not allow.

    Attributes:
        record: The fields of the input.
        work: What happens with an input that fits.
    """

    record: Record
    work: Work

    def run_time_s(self, arguments: object, *, draw: float) -> float:
        """Return how long a run takes in seconds; a refusal takes a moment."""
        values, problems = read_input(self.record, arguments)
        pace = REFUSAL if problems else self.work.pace(values)
        return pace.run_time_s(draw=draw)

    def logs(self, arguments: object) -> tuple[str, ...]:
        """Return the messages that the run prints; a refusal prints none."""
        values, problems = read_input(self.record, arguments)
        return () if problems else self.work.logs(values)

    def run(self, arguments: object, *, seed: int, files: FileShelf) -> Answer:
        """Return the work's answer, or the 422 that lists every problem."""
        values, problems = read_input(self.record, arguments)
        return refuse(*problems) if problems else self.work.run(values, seed=seed, files=files)
