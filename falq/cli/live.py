"""Show what a job does, while it does it.

Owns the line about one job: drawn anew on a terminal, printed now and then
elsewhere; and what is said in its place where there is none. It never asks the
server: it is told each status, and by the session's events whether the server
answers at all.
"""

from __future__ import annotations

import time

from rich.spinner import Spinner
from rich.text import Text

from falq.cli.output import Output, describe_time
from falq.cli.picture import Picture
from falq.events import Accepted, Event, Polled, PollFailed, Retrying, StatusChanged
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
        phase: What it does first; default is submitting, or waiting if there is an id.
    """

    def __init__(
        self,
        output: Output,
        endpoint: str,
        request_id: str | None = None,
        *,
        phase: str | None = None,
    ) -> None:
        self._output = output
        self._endpoint = endpoint
        self._request_id = request_id
        usual = "submitting" if request_id is None else "waiting for its status"
        self._phase = usual if phase is None else phase
        self._since = self._answered = time.monotonic()
        self._is_silent = False
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

    def hear(self, event: Event) -> None:
        """Take in an event of the session: whether the server answers."""
        if isinstance(event, PollFailed):
            self._is_silent = True
        elif isinstance(event, Accepted | Polled | StatusChanged):
            self._answered, self._is_silent = time.monotonic(), False
        elif isinstance(event, Retrying) and event.verb == "submit":
            self.tell(f"submitting again: {printable(str(event.error), limit=100)}")

    def show(self, status: Status) -> None:
        """Tell a status, with its new log lines."""
        for entry in getattr(status, "logs", ()):
            self._output.log_line(entry.message)
        phase = describe_status(status)
        if phase != self._phase:
            self._phase = phase
            self.beat()

    def tell(self, phase: str) -> None:
        """Take in where the job stands; it is seen with the next beat or drawing."""
        self._phase = phase

    def beat(self) -> None:
        """Say where the job stands, where no line is drawn."""
        self._say(f"{self._where()} ({describe_time(self.elapsed_s)})")

    def _where(self) -> str:
        if not self._is_silent:
            return self._phase
        silent_s = time.monotonic() - self._answered
        return f"no answer for {silent_s:.0f} s, last seen {self._phase}"

    def _say(self, text: str) -> None:
        if self._live is None:
            self._output.note(text)

    def _draw(self) -> Spinner:
        color = "yellow" if self._is_silent else "cyan"
        parts = [(f"{self._endpoint} ", "bold"), (self._where(), color)]
        parts.append((f"  {describe_time(self.elapsed_s)}", "dim"))
        if self._request_id is not None:
            parts.append((f"  {self._request_id}", "dim"))
        self._spinner.update(text=Text.assemble(*parts, no_wrap=True, overflow="ellipsis"))
        return self._spinner


class Silence:
    """Says once that the server does not answer, and once that it does again.

    For commands that draw no line because stdout is theirs.

    Args:
        output: Where to.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._is_silent = False

    def hear(self, event: Event) -> None:
        """Take in an event of the session."""
        if isinstance(event, PollFailed) and not self._is_silent:
            self._is_silent = True
            reason = printable(str(event.error), limit=200)
            self._output.note(f"no status: {reason}; still trying", style="yellow")
        elif isinstance(event, Polled) and self._is_silent:
            self._is_silent = False
            self._output.note("the server answers again")


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
