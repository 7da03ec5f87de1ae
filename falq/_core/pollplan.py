"""Which job is checked when.

Owns the due time of every accepted job, in one heap. It never waits and never
sends: `poller` asks who is due, checks, and tells what it found.

How the time is chosen:
    1. A running job is checked on an exponential curve from `initial_s` to
       `cap_s`, spread by jitter, and never less often than `longest_gap_s`.
    2. A queued job is checked the less often the further back it stands, on a
       curve that starts again whenever its position falls.
    3. A failed check is not repeated; it makes the interval half as long again.
    4. Queues are served in order. When one job of an endpoint is found to have
       left the queue, the two that were accepted next after it are checked at
       once. A queue that moves is so followed as fast as it moves, by checks
       that find something; one that stands costs next to nothing.
    5. Only checks that find nothing new use up the budgets: `queued_per_s` for
       queued jobs, at most half of `per_s`, and `per_s` for all. What is due
       beyond them waits: running jobs first, whose last check is the longest
       ago before the others. A running job that was not checked for most of
       `longest_gap_s` goes whatever the budget says.
    6. Of those that wait for the queued budget, the one with the shortest
       interval goes first: who stands at the head of a queue is looked at
       before a thousand who stand far behind.
    7. Where jobs end before their first check, the next job of that endpoint is
       checked after half the wait; where they do not, after twice as long, up
       to `initial_s`. The tenth job to wait at an endpoint that nothing is known
       of is checked early, to find out.

Every operation is O(log n) in the jobs that wait.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Hashable, Iterator

from attrs import define, field, frozen, validators

from falq._core.backoff import Backoff
from falq._core.flow import TokenBucket
from falq.model import Completed, InProgress, Queued, Status

GROWTH_AFTER_FAILURE = 1.5

_SCOUT = 10
"""Which job of an unknown endpoint is checked early: not the first, so that one job
alone costs no check more."""


@frozen(kw_only=True)
class PollSettings:
    """How falq watches accepted jobs.

    Attributes:
        initial_s: Seconds from acceptance to the first check at most; less at an
            endpoint whose jobs end sooner.
        factor: Growth of the interval from check to check.
        cap_s: Longest interval of a running job, in seconds.
        jitter: Share of an interval that chance takes away at most.
        queued_cap_s: Longest interval that is planned for a queued job, in seconds.
        per_position_s: What each place in the queue adds to it, in seconds.
        queued_per_s: Checks a second that may find queued jobs still queued, for
            the whole session.
        per_s: Checks a second that may find nothing new, for the whole session.
        longest_gap_s: No running job goes unchecked for longer, in seconds. The
            same holds for queued jobs with `store_io=False`, because their
            results are gone minutes after completion.
    """

    initial_s: float = field(default=0.5, validator=validators.gt(0))
    factor: float = field(default=1.6, validator=validators.ge(1))
    cap_s: float = field(default=10.0, validator=validators.gt(0))
    jitter: float = field(default=0.1, validator=[validators.ge(0), validators.lt(1)])
    queued_cap_s: float = field(default=15.0, validator=validators.gt(0))
    per_position_s: float = field(default=0.5, validator=validators.ge(0))
    queued_per_s: float = field(default=10.0, validator=validators.gt(0))
    per_s: float = field(default=200.0, validator=validators.gt(0))
    longest_gap_s: float = field(default=60.0, validator=validators.gt(0))


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


@define(eq=False)
class PollPlan:
    """The due times of all jobs of a session.

    Args:
        settings: The curves and budgets.
        burst: Checks that may start at once after a rest.
    """

    settings: PollSettings
    burst: int = 32
    _curve: Backoff = field(init=False)
    _queue_curve: Backoff = field(init=False)
    _budget: TokenBucket = field(init=False)
    _queued_budget: TokenBucket = field(init=False)
    _heap: list[tuple[float, int, Watch]] = field(init=False, factory=list)
    _tickets: Iterator[int] = field(init=False)
    _watches: dict[Hashable, Watch] = field(init=False, factory=dict)
    _first_s: dict[str, float] = field(init=False, factory=dict)
    _lines: dict[str, OrderedDict[Hashable, Watch]] = field(init=False, factory=dict)
    _ready_running: list[tuple[float, int, Watch]] = field(init=False, factory=list)
    _ready_queued: list[tuple[float, int, Watch]] = field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        chosen = self.settings
        self._curve = Backoff(
            base_s=chosen.initial_s,
            cap_s=min(chosen.cap_s, chosen.longest_gap_s),
            factor=chosen.factor,
            jitter=chosen.jitter,
        )
        self._queue_curve = Backoff(
            base_s=chosen.initial_s,
            cap_s=chosen.queued_cap_s,
            factor=chosen.factor,
            jitter=chosen.jitter,
        )
        self._budget = TokenBucket(chosen.per_s, max(self.burst, chosen.per_s / 10))
        # A share of their own: what runs must not keep it from being seen that
        # one of those believed to be queued runs as well, or has ended.
        queued_per_s = min(chosen.queued_per_s, chosen.per_s / 2)
        self._queued_budget = TokenBucket(queued_per_s, max(1.0, queued_per_s))
        self._tickets = itertools.count(1)

    def __len__(self) -> int:
        return len(self._watches)

    def __contains__(self, job: Hashable) -> bool:
        return job in self._watches

    def add(
        self,
        job: Hashable,
        *,
        line: str,
        now: float,
        draw: float,
        position: int | None = None,
        keeps_pace: bool = False,
    ) -> Watch:
        """Watch a job that was accepted now.

        Args:
            job: Anything that names it.
            line: Name of the queue that it stands in.
            now: Loop time in seconds.
            draw: A uniform draw from [0, 1).
            position: Its place in the queue, if known.
            keeps_pace: Whether `longest_gap_s` holds for it in the queue as well.
        """
        watch = Watch(job, line, now, keeps_pace, position)
        self._watches[job] = watch
        self._lines.setdefault(line, OrderedDict())[job] = watch
        first_s = self._first_s.get(line)
        if first_s is None:
            is_scout = len(self._lines[line]) == _SCOUT
            first_s = self.settings.initial_s / (16 if is_scout else 1)
        share = first_s / self.settings.initial_s
        self._plan(watch, now, self._curve.delay_s(1, draw=draw) * share)
        return watch

    def remove(self, job: Hashable) -> None:
        """Forget a job; nothing happens if it is not watched."""
        watch = self._watches.pop(job, None)
        if watch is not None:
            watch.ticket = 0
            self._leave_line(watch)

    def hurry(self, job: Hashable, now: float) -> None:
        """Make a watched job due now; one that is being checked stays as it is."""
        watch = self._watches.get(job)
        if watch is not None and watch.ticket and watch.due > now:
            self._push(watch, now)

    def take_due(self, now: float, room: int) -> list[Watch]:
        """Return the jobs to check now, at most `room`; each is then being checked.

        The caller must `record_status`, `record_failure` or `remove` each.
        """
        self._gather(now)
        taken: list[Watch] = []
        while len(taken) < room and self._ready_running:
            _, ticket, watch = self._ready_running[0]
            if watch.ticket == ticket:
                if not self._budget.take(now) and not self._is_overdue(watch, now):
                    break
                watch.ticket = 0
                taken.append(watch)
            heapq.heappop(self._ready_running)
        while len(taken) < room and self._ready_queued:
            _, ticket, watch = self._ready_queued[0]
            if watch.ticket == ticket:
                if not self._take_queued(now):
                    break
                watch.ticket = 0
                taken.append(watch)
            heapq.heappop(self._ready_queued)
        return taken

    def next_due(self, now: float) -> float | None:
        """Return the loop instant at which `take_due` may give something; None if never."""
        self._gather(now)
        instants = []
        if self._ready_running:
            watch = self._ready_running[0][2]
            overdue_at = watch.checked_at + self._patience_s()
            instants.append(min(now + self._budget.wait_s(now), overdue_at))
        if self._ready_queued:
            instants.append(now + self._queued_budget.wait_s(now))
        if self._heap:
            instants.append(self._heap[0][0])
        return max(now, min(instants)) if instants else None

    def soonest(self) -> float:
        """Return a loop instant before which `take_due` surely gives nothing new."""
        if self._ready_running or self._ready_queued:
            return float("-inf")
        return self._heap[0][0] if self._heap else float("inf")

    def record_status(
        self, watch: Watch, status: Status, *, now: float, draw: float
    ) -> float | None:
        """Take in what a check found, and plan the next.

        Args:
            watch: From `take_due`.
            status: What the server said.
            now: Loop time in seconds.
            draw: A uniform draw from [0, 1).

        Returns:
            Seconds until the next check; None if the job is completed and no
            longer watched.
        """
        was_running = watch.is_running
        if watch.steps == 0:
            self._learn_first(watch, is_early=isinstance(status, Completed))
        has_news = self._take_in(watch, status)
        if has_news:
            self._budget.give_back()
            if not was_running:
                self._queued_budget.give_back()
        watch.checked_at = now
        if self._watches.get(watch.job) is not watch:
            return None
        if isinstance(status, Completed):
            del self._watches[watch.job]
            self._leave_line(watch)
            self._follow_line(watch.line, now)
            return None
        if watch.is_running and not was_running:
            self._leave_line(watch)
            self._follow_line(watch.line, now)
        elif was_running and not watch.is_running:
            self._lines.setdefault(watch.line, OrderedDict())[watch.job] = watch
        delay_s = self._interval_s(watch, draw)
        self._plan(watch, now, delay_s)
        return delay_s

    def record_failure(self, watch: Watch, *, now: float, floor_s: float = 0.0) -> float | None:
        """Plan the next check after one that failed.

        Args:
            watch: From `take_due`.
            now: Loop time in seconds.
            floor_s: Seconds that the server asked to wait at least.

        Returns:
            Seconds until the next check; None if the job is no longer watched.
        """
        if self._watches.get(watch.job) is not watch:
            return None
        watch.checked_at = now
        grown_s = max(watch.interval_s, self.settings.initial_s) * GROWTH_AFTER_FAILURE
        delay_s = max(min(grown_s, self.settings.longest_gap_s), floor_s)
        self._plan(watch, now, delay_s)
        return delay_s

    def _learn_first(self, watch: Watch, *, is_early: bool) -> None:
        """Move the first wait of a line's next jobs: see rule 7."""
        longest_s = self.settings.initial_s
        first_s = self._first_s.get(watch.line, longest_s)
        if is_early:
            moved_s = min(first_s, watch.interval_s) / 2
            self._first_s[watch.line] = moved_s if moved_s > longest_s / 1000 else 0.0
        else:
            self._first_s[watch.line] = min(longest_s, max(first_s * 2, longest_s / 16))

    def _take_in(self, watch: Watch, status: Status) -> bool:
        """Move the watch along its curve; return whether the status was news."""
        if isinstance(status, Queued):
            has_moved = watch.is_running or (
                status.position is not None
                and watch.position is not None
                and status.position < watch.position
            )
            watch.steps = 1 if has_moved else watch.steps + 1
            is_news = watch.is_running
            watch.is_running = False
            watch.position = status.position
            return is_news
        is_running = isinstance(status, InProgress)
        is_news = isinstance(status, Completed) or is_running is not watch.is_running
        watch.steps = 1 if is_news else watch.steps + 1
        watch.is_running = is_running
        return is_news

    def _interval_s(self, watch: Watch, draw: float) -> float:
        curve = self._curve if watch.is_running else self._queue_curve
        delay_s = curve.delay_s(watch.steps + 1, draw=draw)
        if not watch.is_running and watch.position:
            by_place_s = self.settings.initial_s + self.settings.per_position_s * watch.position
            delay_s = max(delay_s, min(self.settings.queued_cap_s, by_place_s))
        return min(delay_s, self.settings.longest_gap_s) if watch.keeps_pace else delay_s

    def _plan(self, watch: Watch, now: float, delay_s: float) -> None:
        watch.interval_s = delay_s
        self._push(watch, now + delay_s)

    def _push(self, watch: Watch, due: float) -> None:
        watch.due = due
        watch.ticket = next(self._tickets)
        heapq.heappush(self._heap, (due, watch.ticket, watch))

    def _gather(self, now: float) -> None:
        """Move what is due from the heap to the lines of ready jobs."""
        heap = self._heap
        while heap and (heap[0][0] <= now or heap[0][2].ticket != heap[0][1]):
            _, ticket, watch = heapq.heappop(heap)
            if watch.ticket != ticket:
                continue
            if watch.is_running or watch.keeps_pace:
                # Whose last check is the longest ago goes first, so that nobody
                # overdue stands behind one that is not.
                heapq.heappush(self._ready_running, (watch.checked_at, ticket, watch))
            else:
                heapq.heappush(self._ready_queued, (watch.interval_s, ticket, watch))

    def _take_queued(self, now: float) -> bool:
        if not self._queued_budget.take(now):
            return False
        self._budget.spend()
        return True

    def _patience_s(self) -> float:
        # A check takes a moment and may fail once: what is due goes well before
        # the gap is too long.
        return self.settings.longest_gap_s * 0.75

    def _is_overdue(self, watch: Watch, now: float) -> bool:
        # Summed as in `next_due`: rounding must not make the two disagree.
        return now >= watch.checked_at + self._patience_s()

    def _leave_line(self, watch: Watch) -> None:
        line = self._lines.get(watch.line)
        if line is not None and line.pop(watch.job, None) is not None and not line:
            del self._lines[watch.line]

    def _follow_line(self, line: str, now: float) -> None:
        """Make the two at the head of a queue that moved due now."""
        waiting = self._lines.get(line)
        if waiting is None:
            return
        fresh_s = self._first_s.get(line, self.settings.initial_s)
        for watch in itertools.islice(waiting.values(), 2):
            is_fresh = now - watch.checked_at < fresh_s
            if not watch.ticket or is_fresh:
                continue
            if watch.keeps_pace:
                self._push(watch, min(watch.due, now))
            else:
                # Before those who are due already: behind them the news would
                # reach it only after the budget had passed them all.
                watch.due, watch.ticket = now, next(self._tickets)
                heapq.heappush(self._ready_queued, (0.0, watch.ticket, watch))
