"""One job under watch: what is known of it between two checks.

Owns how a status moves a job along its curve. It never decides when the job is
checked: `intervals` says after how long, and `pollplan` keeps one for each job.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from attrs import define

from falq.model import Completed, InProgress, Queued, Status


@define(eq=False)
class Watch:
    """One job under watch.

    Attributes:
        job: Whose it is.
        line: Queue it stands in, such as the endpoint.
        due: Loop instant of its next check.
        checked_at: Loop instant of its last check, or of its acceptance.
        interval_s: Planned seconds between these two.
        steps: Checks on the present stretch of the curve.
        position: Last known place in the queue.
        is_running: Whether it was last seen on a runner.
        keeps_pace: Whether `longest_gap_s` holds for it in the queue as well.
        ticket: Which heap entry counts; 0 while it is being checked or has gone.
        kinds: What its run time is learned under, the most special first.
        started_at: Loop instant of its start, as near as it is known; None while it
            is believed to be queued.
        queued_at: Loop instant until which it surely was queued, if it is later than
            its last check.
        pace_s: Seconds between two of its checks at least.
    """

    job: Hashable
    line: str
    checked_at: float
    keeps_pace: bool
    position: int | None
    due: float = 0.0
    interval_s: float = 0.0
    steps: int = 0
    is_running: bool = False
    ticket: int = 0
    kinds: Sequence[str] = ()
    started_at: float | None = None
    queued_at: float = float("-inf")
    pace_s: float = 0.0

    def take_in(self, status: Status, now: float) -> bool:
        """Move along the curve to what the server said; return whether it was news.

        Args:
            status: What the server said.
            now: Loop time in seconds.
        """
        if isinstance(status, Queued):
            has_moved = self.is_running or (
                status.position is not None
                and self.position is not None
                and status.position < self.position
            )
            self.steps = 1 if has_moved else self.steps + 1
            is_news = self.is_running
            self.is_running = False
            self.started_at = None
            self.position = status.position
            return is_news
        is_running = isinstance(status, InProgress)
        is_news = isinstance(status, Completed) or is_running is not self.is_running
        self.steps = 1 if is_news else self.steps + 1
        if is_running and self.started_at is None:
            self.started_at = (max(self.checked_at, self.queued_at) + now) / 2
        self.is_running = is_running
        return is_news
