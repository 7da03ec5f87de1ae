"""Where a batch stands, as counts that a display, a notebook or a log can show.

Owns the counts, the words for them, and what follows of them: the pace and the
time that is left. It reads no clock: loop instants are handed in. The runner
counts; the command line, the live page and notebooks read, and all say the same.

Every row is in exactly one of six places:

    waiting   here: not at the server, as far as is known
    lost      sent, its answer lost: its job is looked for
    queued    in the server's queue
    running   at the server
    saving    its job has ended; its files and its line are being written
    done      it has ended, with a result or failed
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
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
        total: Rows of the batch, those of earlier runs among them.
        before: Rows that had ended before this run.
        succeeded: Rows that ended with a result.
        failed: Rows that ended in any other way.
        waiting: Rows that wait here for their turn, or for the answer to their submit.
        lost: Rows whose submit was not answered and whose job is looked for.
        queued: Rows whose job is in the server's queue.
        running: Rows whose job the server says it runs.
        saving: Rows whose job has ended, and whose files and line are being written.
        files: Media files fetched, in this run.
        file_bytes: Their size.
        failed_files: Media files that could not be fetched, in this run.
        spent_usd: What the batch has spent, in US dollars, where prices are known.
        reserved_usd: What is held back for jobs on the way.
        limit_usd: The budget, if there is one.
        jobs_per_s: Rows that end per second, lately.
        left_s: Seconds until the end at that pace, rows that are looked for apart; None
            if nothing has ended, or if there are only such rows.
        elapsed_s: Seconds since this run began.
        last_files: Names of the newest files.
        is_stopping: Whether no more rows are started.
    """

    total: int
    before: int
    succeeded: int
    failed: int
    waiting: int
    lost: int
    queued: int
    running: int
    saving: int
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
        """Rows that have ended, in this run or before."""
        return self.succeeded + self.failed

    def counts(self) -> list[tuple[str, int]]:
        """Return the places where rows are and how many are there, as words to show.

        That of lost ones is there only if there are some.
        """
        lost = [("answer lost, looked for", self.lost)] if self.lost else []
        return [
            ("waiting here", self.waiting),
            *lost,
            ("queued at fal", self.queued),
            ("running", self.running),
            ("saving", self.saving),
            ("failed", self.failed),
        ]

    def __str__(self) -> str:
        parts = [f"{count:,} {name}" for name, count in self.counts() if count]
        if self.done > self.before:
            parts.append(f"{self.jobs_per_s:.1f} jobs/s")
        if self.is_stopping:
            parts.append("stopping")
        return ", ".join([f"{self.done:,} of {self.total:,} rows done", *parts])

    def _repr_html_(self) -> str:
        share = self.done / self.total if self.total else 1.0
        return (
            f'<div><progress max="1" value="{share:.4f}" style="width:24em"></progress>'
            f"<div>{escape(str(self))}</div></div>"
        )


def _nothing() -> None:
    pass


class ProgressCounter:
    """Counts what happens in one run.

    Args:
        now: Loop instant of the beginning.

    Attributes:
        total: Rows of the batch.
        before: Rows that had ended before.
        failed_before: Those of them that failed.
        saving: Rows whose job has ended and that have no line yet.
        statuses: Rows that ended in this run, by how.
        files: Media files fetched.
        file_bytes: Their size.
        failed_files: Media files that could not be fetched.
        on_lost: Called when the answer to a submit was lost.
    """

    def __init__(self, now: float) -> None:
        self._started = now
        self._ended_at: deque[float] = deque([now], maxlen=_PACE_WINDOW)
        self._lost: set[int] = set()
        self._queued: set[int] = set()
        self._running: set[int] = set()
        self._last_files: deque[str] = deque(maxlen=_LAST_FILES)
        self.statuses: Counter[str] = Counter()
        self.total = 0
        self.before = 0
        self.failed_before = 0
        self.saving = 0
        self.files = 0
        self.file_bytes = 0
        self.failed_files = 0
        self.on_lost: Callable[[], None] = _nothing

    def hear(self, event: events.Event) -> None:
        """Take in what a session tells: see `falq.events`."""
        if isinstance(event, events.Accepted):
            self._lost.discard(event.job_id)
            self._queued.add(event.job_id)
        elif isinstance(event, events.StatusChanged):
            if isinstance(event.status, InProgress):
                self._queued.discard(event.job_id)
                self._running.add(event.job_id)
        elif isinstance(event, events.Settled):
            self._lost.discard(event.job_id)
            self._queued.discard(event.job_id)
            self._running.discard(event.job_id)
        elif isinstance(event, events.SubmitLost):
            self._lost.add(event.job_id)
            self.on_lost()
        elif isinstance(event, events.Resending):
            self._lost.discard(event.job_id)

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

    def is_lost(self, job_id: int, *, before: bool) -> bool:
        """Return whether the answer to a job's submit was lost, and the job was not found.

        Args:
            job_id: Which.
            before: Whether it was lost when this run began.
        """
        is_found = job_id in self._queued or job_id in self._running
        return job_id in self._lost or (before and not is_found)

    @property
    def succeeded(self) -> int:
        """Rows that ended with a result, in this run."""
        return self.statuses["succeeded"]

    @property
    def ended(self) -> int:
        """Rows that ended, in this run."""
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
        lost, queued, running = len(self._lost), len(self._queued), len(self._running)
        coming = max(0, left - lost)
        failed_now = self.ended - self.succeeded
        return BatchProgress(
            total=self.total,
            before=self.before,
            succeeded=self.before - self.failed_before + self.succeeded,
            failed=self.failed_before + failed_now,
            waiting=max(0, left - lost - queued - running - self.saving),
            lost=lost,
            queued=queued,
            running=running,
            saving=self.saving,
            files=self.files,
            file_bytes=self.file_bytes,
            failed_files=self.failed_files,
            spent_usd=spent_usd,
            reserved_usd=reserved_usd,
            limit_usd=limit_usd,
            jobs_per_s=pace,
            left_s=coming / pace if pace > 0 and (coming or not left) else None,
            elapsed_s=now - self._started,
            last_files=tuple(self._last_files),
            is_stopping=is_stopping,
        )

    def _jobs_per_s(self, now: float) -> float:
        # Up to now and not to the last end: a batch that stalls is seen to slow down.
        span_s = now - self._ended_at[0]
        return (len(self._ended_at) - 1) / span_s if span_s > 0 else 0.0
