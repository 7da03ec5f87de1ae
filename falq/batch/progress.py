"""Where a batch stands, as counts that a display, a notebook or a log can show.

Owns the counts of one invocation and what follows of them: the pace and the
time that is left. It reads no clock: loop instants are handed in. The runner
counts; the command line and notebooks read.
"""

from __future__ import annotations

from collections import Counter, deque
from html import escape

from attrs import frozen

from falq import events
from falq.batch.outcomes import RowOutcome
from falq.model import InProgress

_PACE_WINDOW = 200
_LAST_FILES = 5


@frozen(kw_only=True)
class BatchProgress:
    """Where a batch stands in one moment.

    Attributes:
        total: Rows of the batch, those of earlier invocations among them.
        before: Rows that had ended before this invocation.
        succeeded: Rows that ended with a result, in this invocation.
        failed: Rows that ended in any other way, in this invocation.
        running: Jobs that the server says it runs.
        queued: Jobs that were started here and do not run yet.
        files: Media files fetched.
        file_bytes: Their size.
        failed_files: Media files that could not be fetched.
        spent_usd: What was spent, in US dollars, where prices are known.
        reserved_usd: What is held back for jobs on the way.
        limit_usd: The budget, if there is one.
        jobs_per_s: Rows that end per second, lately.
        left_s: Seconds until the end at that pace; None if nothing has ended.
        elapsed_s: Seconds since it began.
        last_files: Names of the newest files.
        is_stopping: Whether no more rows are started.
    """

    total: int
    before: int
    succeeded: int
    failed: int
    running: int
    queued: int
    files: int
    file_bytes: int
    failed_files: int
    spent_usd: float
    reserved_usd: float
    limit_usd: float | None
    jobs_per_s: float
    left_s: float | None
    elapsed_s: float
    last_files: tuple[str, ...]
    is_stopping: bool

    @property
    def done(self) -> int:
        """Rows that have ended, in this invocation or before."""
        return self.before + self.succeeded + self.failed

    def _repr_html_(self) -> str:
        share = self.done / self.total if self.total else 1.0
        facts = (
            f"{self.done:,} of {self.total:,} rows · {self.running:,} running · "
            f"{self.queued:,} queued · {self.failed:,} failed · {self.jobs_per_s:.1f} jobs/s"
        )
        return (
            f'<div><progress max="1" value="{share:.4f}" style="width:24em"></progress>'
            f"<div>{escape(facts)}</div></div>"
        )


class ProgressCounter:
    """Counts what happens in one invocation.

    Args:
        now: Loop instant of the beginning.
    """

    def __init__(self, now: float) -> None:
        self._started = now
        self._ended_at: deque[float] = deque([now], maxlen=_PACE_WINDOW)
        self._running: set[int] = set()
        self._last_files: deque[str] = deque(maxlen=_LAST_FILES)
        self.statuses: Counter[str] = Counter()
        self.total = 0
        self.before = 0
        self.in_flight = 0
        self.files = 0
        self.file_bytes = 0
        self.failed_files = 0

    def hear(self, event: events.Event) -> None:
        """Take in what a session tells: see `falq.events`."""
        if isinstance(event, events.StatusChanged):
            if isinstance(event.status, InProgress):
                self._running.add(event.job_id)
        elif isinstance(event, events.Settled):
            self._running.discard(event.job_id)

    def count(self, outcome: RowOutcome, now: float) -> None:
        """Count a row that has ended."""
        self.statuses[outcome.status] += 1
        self._ended_at.append(now)
        if outcome.duplicate_of is not None:
            return
        for file in outcome.files:
            if file.error is not None:
                self.failed_files += 1
            elif file.name is not None:
                self.files += 1
                self.file_bytes += file.size_bytes or 0
                self._last_files.append(file.name)

    @property
    def succeeded(self) -> int:
        """Rows that ended with a result."""
        return self.statuses["succeeded"]

    @property
    def ended(self) -> int:
        """Rows that ended."""
        return self.statuses.total()

    def snapshot(
        self,
        now: float,
        *,
        spent_usd: float,
        reserved_usd: float,
        limit_usd: float | None,
        is_stopping: bool,
    ) -> BatchProgress:
        """Return the counts of this moment.

        Args:
            now: Loop instant.
            spent_usd: What was spent.
            reserved_usd: What is held back.
            limit_usd: The budget.
            is_stopping: Whether no more rows are started.
        """
        pace = self._jobs_per_s(now)
        left = max(0, self.total - self.before - self.ended)
        running = min(len(self._running), self.in_flight)
        return BatchProgress(
            total=self.total,
            before=self.before,
            succeeded=self.succeeded,
            failed=self.ended - self.succeeded,
            running=running,
            queued=self.in_flight - running,
            files=self.files,
            file_bytes=self.file_bytes,
            failed_files=self.failed_files,
            spent_usd=spent_usd,
            reserved_usd=reserved_usd,
            limit_usd=limit_usd,
            jobs_per_s=pace,
            left_s=left / pace if pace > 0 else None,
            elapsed_s=now - self._started,
            last_files=tuple(self._last_files),
            is_stopping=is_stopping,
        )

    def _jobs_per_s(self, now: float) -> float:
        # Up to now and not to the last end: a batch that stalls is seen to slow down.
        span_s = now - self._ended_at[0]
        return (len(self._ended_at) - 1) / span_s if span_s > 0 else 0.0
