"""What the emulator's queue asks of a model, and where a model leaves its media.

Owns the two values that cross between the queue and the models. It never draws
a picture and never knows of HTTP beyond a status code: the models fill an
`Answer`, the queue replays it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from attrs import field, frozen


@frozen(kw_only=True)
class Answer:
    """What one run of a model ends with.

    Attributes:
        status_code: HTTP status that the result call replays.
        body: JSON value that the result call replays.
        billable_units: Text of `x-fal-billable-units`, as a number.
        headers: Further headers that the result call replays.
    """

    body: Any
    status_code: int = 200
    billable_units: float = 1.0
    headers: Mapping[str, str] = field(factory=dict)


@frozen(kw_only=True)
class StoredFile:
    """The bytes of one media file and their type."""

    data: bytes
    content_type: str


class FileShelf(Protocol):
    """Where a model leaves media and looks up pictures that it was given."""

    def add(self, *, name: str, content_type: str, draw: Callable[[], bytes]) -> str:
        """Promise a file and return its absolute URL; `draw` runs when it is first read."""
        ...

    def find(self, url: str) -> StoredFile | None:
        """Return the file behind one of this shelf's own URLs or a `data:` URL, else None."""
        ...


class Model(Protocol):
    """One endpoint's behavior, without time, sockets or chance of its own."""

    def run_time_s(self, arguments: object, *, draw: float) -> float:
        """Return how long a run takes in seconds, for a uniform `draw` from [0, 1)."""
        ...

    def logs(self, arguments: object) -> tuple[str, ...]:
        """Return the messages that the run prints, in order, spread over its time."""
        ...

    def run(self, arguments: object, *, seed: int, files: FileShelf) -> Answer:
        """Return what the run ends with; `seed` is drawn by the queue for inputs without one."""
        ...
