"""Keep what is known of each job while the demonstration runs.

Owns the record of every job and the counts by state, fed by the session's
events. It never asks and never prints: `display` and `report` read it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from attrs import define, field

from falq import events
from falq.cli.demo.plan import DemoJob
from falq.errors import FalqError, JobCancelledError
from falq.media import DownloadedFile
from falq.model import InProgress, Queued

Phase = Literal["planned", "sent", "queued", "running", "done", "failed", "cancelled"]
ENDS = frozenset({"done", "failed", "cancelled"})


@define
class Entry:
    """One job: what was asked, how it stands, what came of it.

    Attributes:
        job: What was planned.
        phase: How far it is.
        arguments: What was sent.
        request_id: The server's id.
        result: What the model answered.
        error: Why there is no result.
        files: Its media on disk.
        started_s: When it was sent, in seconds from the start.
        running_s: When it was first seen running.
        ended_s: When it settled.
        total_s: From being given to the session until it settled.
        polls: Checks that it took.
    """

    job: DemoJob
    phase: Phase = "planned"
    arguments: dict[str, Any] = field(factory=dict)
    request_id: str | None = None
    result: Any = None
    error: FalqError | None = None
    files: list[DownloadedFile] = field(factory=list)
    started_s: float | None = None
    running_s: float | None = None
    ended_s: float | None = None
    total_s: float = 0.0
    polls: int = 0


class Ledger:
    """All jobs of one demonstration.

    Args:
        jobs: What was planned.
        now: Loop time of the start, in seconds.
    """

    def __init__(self, jobs: list[DemoJob], *, now: float) -> None:
        self.entries = [Entry(job) for job in jobs]
        self.started_at = now
        self.counts: Counter[str] = Counter(planned=len(jobs))
        self._by_job_id: dict[int, Entry] = {}
        # A job is told of before its handle, and so its number, is known.
        self._unlinked: dict[int, list[events.Event]] = {}
        self._per_endpoint: dict[str, Counter[str]] = {}
        for entry in self.entries:
            self._per_endpoint.setdefault(entry.job.endpoint, Counter())["planned"] += 1

    @property
    def settled(self) -> int:
        """Jobs that have ended, one way or another."""
        return sum(self.counts[phase] for phase in ENDS)

    def per_endpoint(self) -> dict[str, Counter[str]]:
        """Return the counts by phase of each endpoint."""
        return self._per_endpoint

    def link(self, entry: Entry, job_id: int) -> None:
        """Tell which of the session's jobs an entry is."""
        self._by_job_id[job_id] = entry
        for event in self._unlinked.pop(job_id, ()):
            self.hear(event)

    def fail(self, entry: Entry, error: FalqError, *, now: float) -> None:
        """Record the end of a job that the session's events do not name."""
        if entry.phase not in ENDS:
            entry.error, entry.ended_s = error, now - self.started_at
            self._move(entry, "failed")

    def hear(self, event: events.Event) -> None:
        """Take in an event of the session; the hook of `Session(on_event=...)`."""
        entry = self._by_job_id.get(event.job_id)
        if entry is None:
            self._unlinked.setdefault(event.job_id, []).append(event)
            return
        moment = event.now - self.started_at
        entry.request_id = event.request_id or entry.request_id
        if isinstance(event, events.Admitted):
            entry.started_s = moment
            self._move(entry, "sent")
        elif isinstance(event, events.StatusChanged):
            self._hear_status(entry, event, moment)
        elif isinstance(event, events.Settled):
            self._hear_end(entry, event, moment)

    def _hear_status(self, entry: Entry, event: events.StatusChanged, moment: float) -> None:
        if isinstance(event.status, Queued):
            self._move(entry, "queued")
        elif isinstance(event.status, InProgress):
            if entry.running_s is None:
                entry.running_s = moment
            self._move(entry, "running")

    def _hear_end(self, entry: Entry, event: events.Settled, moment: float) -> None:
        entry.ended_s, entry.total_s = moment, event.total_s
        entry.polls, entry.error = event.polls, event.error
        if event.error is None:
            self._move(entry, "done")
        else:
            is_cancelled = isinstance(event.error, JobCancelledError)
            self._move(entry, "cancelled" if is_cancelled else "failed")

    def _move(self, entry: Entry, phase: Phase) -> None:
        counters = (self.counts, self._per_endpoint[entry.job.endpoint])
        for counter in counters:
            counter[entry.phase] -= 1
            counter[phase] += 1
        entry.phase = phase
