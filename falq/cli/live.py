"""Show what a job does, while it does it.

Owns the line about one job: drawn anew on a terminal, printed now and then
elsewhere. It never asks the server: it is told each status.
"""

from __future__ import annotations

import time

from rich.spinner import Spinner
from rich.text import Text

from falq.cli.output import Output, describe_time
from falq.cli.picture import Picture
from falq.model import Completed, InProgress, Queued, Status
from falq.text import printable

BEAT_S = 5.0
"""Seconds between two plain lines about a job that has nothing new to tell."""


class JobLine(Picture):
    """The line about one job. Use it as a context manager around the wait.

    Args:
        output: Where to.
        endpoint: Full id of the endpoint.
        request_id: The server's id, if it is known by now.
    """

    def __init__(self, output: Output, endpoint: str, request_id: str | None = None) -> None:
        self._output = output
        self._endpoint = endpoint
        self._request_id = request_id
        self._phase = "submitting" if request_id is None else "waiting for its status"
        self._since = time.monotonic()
        self._spinner = Spinner("dots", style="cyan")
        super().__init__(output, refresh_per_second=10, transient=True)

    @property
    def elapsed_s(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._since

    def accepted(self, request_id: str) -> None:
        """Tell that the server has the job."""
        self._request_id = request_id
        self._phase = "accepted"
        self._say(f"{self._endpoint} accepted as {request_id}")

    def show(self, status: Status) -> None:
        """Tell a status, with its new log lines."""
        for entry in getattr(status, "logs", ()):
            self._output.log_line(entry.message)
        phase = describe_status(status)
        if phase != self._phase:
            self._phase = phase
            self.beat()

    def beat(self) -> None:
        """Say where the job stands, where no line is drawn."""
        self._say(f"{self._phase} ({describe_time(self.elapsed_s)})")

    def _say(self, text: str) -> None:
        if self._live is None:
            self._output.note(text)

    def _draw(self) -> Spinner:
        parts = [(f"{self._endpoint} ", "bold"), (self._phase, "cyan")]
        parts.append((f"  {describe_time(self.elapsed_s)}", "dim"))
        if self._request_id is not None:
            parts.append((f"  {self._request_id}", "dim"))
        self._spinner.update(text=Text.assemble(*parts, no_wrap=True, overflow="ellipsis"))
        return self._spinner


def describe_status(status: Status) -> str:
    """Return a status in words for a reader."""
    if isinstance(status, Queued):
        if status.position is None:
            return "queued"
        return (
            "queued, next in line" if status.position == 0 else f"queued, {status.position} ahead"
        )
    if isinstance(status, InProgress):
        return "running"
    if isinstance(status, Completed):
        return (
            "completed" if status.error is None else f"ended: {printable(status.error, limit=200)}"
        )
    return printable(status.word, limit=60) or "unknown"
