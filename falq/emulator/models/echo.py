"""Answer with the input: the model behind every id that has none of its own.

Owns nothing. It never validates, so that any JSON value makes the round trip.
"""

from __future__ import annotations

from attrs import frozen

from falq.emulator.models.base import Answer, FileShelf
from falq.emulator.models.pace import Pace

PACE = Pace(median_s=0.2)


@frozen(kw_only=True)
class Echo:
    """A `Model` whose answer is the input itself."""

    def run_time_s(self, arguments: object, *, draw: float) -> float:  # noqa: ARG002  # the protocol's signature
        """Return a short run time in seconds."""
        return PACE.run_time_s(draw=draw)

    def logs(self, arguments: object) -> tuple[str, ...]:  # noqa: ARG002  # the protocol's signature
        """Return the one line that it prints."""
        return ("echoing the input",)

    def run(self, arguments: object, *, seed: int, files: FileShelf) -> Answer:  # noqa: ARG002  # the protocol's signature
        """Return the input as the answer, billed as one unit."""
        return Answer(body=arguments)
