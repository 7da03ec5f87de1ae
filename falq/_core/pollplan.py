"""Which job is checked when.

Owns the due time of every accepted job, in one heap. It never waits and never
sends: `poller` asks who is due, checks, and tells what it found.

How the time is chosen:
    1. A running job is checked on an exponential curve from `initial_s` to
       `cap_s`, spread by jitter, and never less often than `longest_gap_s`.
    2. A queued job is checked the less often the further back it stands, on a
       curve that starts again whenever its position falls. Once a queue was seen to
       move, its pace says when a job starts, and the job is checked when most of
       that time has passed: a start that is seen late makes rule 7 look late.
    3. A failed check is not repeated; it makes the interval half as long again.
    4. Queues are served in order. When one job of an endpoint is found to have
       left the queue, the two that stand at its head (`lines`) are checked at
       once. A queue that moves is so followed as fast as it moves, by checks
       that find something; one that stands costs next to nothing.
    5. Only checks that find nothing new use up the budgets: `queued_per_s` for
       queued jobs, at most half of `per_s`, and `per_s` for all. What is due
       beyond them waits, running jobs first (rule 8). A running job that was not
       checked for most of `longest_gap_s` goes whatever the budget says.
    6. Of those that wait for the queued budget, the one with the shortest
       interval goes first: who stands at the head of a queue is looked at
       before a thousand who stand far behind.
    7. Once a few jobs of a kind have ended, their run times say when to look: the
       schedule of `inspection` takes the place of the curve, which is what an
       unknown kind gets and what remains when a job outlives all that is known.
       The first schedule needs `forecast.FEWEST_RUNS` jobs; until then, where jobs
       end before their first check, the next job of that endpoint is
       checked after half the wait; where they do not, after twice as long, up
       to `initial_s`. The tenth job to wait at an endpoint that nothing is known
       of is checked early, to find out.
    8. When the budget binds, the job that is the likeliest to have ended since its
       last check goes first: every second that it waits costs the most.
    9. A job whose end a webhook will tell is checked every `announced_s` only, in
       case that none comes, until somebody asks for it.
    10. After a sleep of the whole machine everybody is overdue, and nobody was late:
        the patience of rule 5 begins anew, and the budget spreads the checks.

Every operation is O(log n) in the jobs that wait.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Hashable, Iterator, Sequence

from attrs import define, field, frozen, validators

from falq._core.backoff import Backoff
from falq._core.flow import TokenBucket
from falq._core.forecast import Forecast, Forecaster
from falq._core.lines import Line
from falq.model import Completed, InProgress, Queued, Status

GROWTH_AFTER_FAILURE = 1.5

_AT_ONCE_S = 0.002
"""A shorter wait is none: a timer costs as much as the check it puts off."""

_SPREAD = 0.5
"""How much of the gap that follows, a check may be moved by chance."""

_HEAD = 16
"""How many of a queue are looked through for the two to check."""

_SHARE_OF_WAIT = 0.7
"""Share of the wait that a queued job has before it, after which it is looked at again.

The rest is for a line that moves faster than it did. In `benchmarks/poll_load.py` a half
costs a tenth more, and 0.85 a little less for a fifth more lag.
"""

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
        per_position_s: What each place in the queue adds to it, in seconds, until the
            queue was seen to move: its pace tells more.
        queued_per_s: Checks a second that may find queued jobs still queued, for
            the whole session.
        per_s: Checks a second that may find nothing new, for the whole session.
        longest_gap_s: No running job goes unchecked for longer, in seconds. The
            same holds for queued jobs with `store_io=False`, because their
            results are gone minutes after completion.
        poll_value_s: How many seconds of lag one check is worth. Smaller sees ends
            sooner, larger asks less often; the checks of a job grow with its
            inverse square root.
        learns: Whether run times that were seen decide when to check.
        announced_s: Interval, in seconds, of a job whose end a webhook will tell:
            how late its end is seen if the webhook does not come. At most
            `longest_gap_s` counts.
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
    poll_value_s: float = field(default=0.1, validator=validators.gt(0))
    learns: bool = True
    announced_s: float = field(default=45.0, validator=validators.gt(0))


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
    _moved_at: dict[str, float] = field(init=False, factory=dict)
    _lines: dict[str, Line] = field(init=False, factory=dict)
    forecaster: Forecaster = field(init=False)
    _ready_running: list[tuple[float, int, Watch]] = field(init=False, factory=list)
    _ready_by_age: list[tuple[float, int, Watch]] = field(init=False, factory=list)
    _ready_queued: list[tuple[float, int, Watch]] = field(init=False, factory=list)
    _looked_at: float = field(init=False, default=float("inf"))
    _woke_at: float = field(init=False, default=float("-inf"))

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
        self.forecaster = Forecaster(chosen.poll_value_s)

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
        kinds: Sequence[str] = (),
        is_announced: bool = False,
    ) -> Watch:
        """Watch a job that was accepted now.

        Args:
            job: Anything that names it.
            line: Name of the queue that it stands in.
            now: Loop time in seconds.
            draw: A uniform draw from [0, 1).
            position: Its place in the queue, if known.
            keeps_pace: Whether `longest_gap_s` holds for it in the queue as well.
            kinds: What its run time is learned under, the most special first.
            is_announced: Whether a webhook will tell of its end.
        """
        # Behind others it waits; who is next, or says nothing, is believed to start.
        started_at = None if position else now
        watch = Watch(job, line, now, keeps_pace, position, kinds=kinds, started_at=started_at)
        if is_announced:
            pace_s = min(self.settings.announced_s, self.settings.longest_gap_s)
            watch.pace_s = pace_s * (1.0 - self.settings.jitter * draw)
        self._watches[job] = watch
        wait_s = self._learned_s(watch, now, draw)
        if wait_s is None:
            # Who has a forecast and waits behind nobody is believed to run.
            self._lines.setdefault(line, Line()).place(job, position)
            wait_s = self._first_wait_s(watch, draw)
        self._plan(watch, now, wait_s)
        return watch

    def _first_wait_s(self, watch: Watch, draw: float) -> float:
        first_s = self._first_s.get(watch.line)
        if first_s is None:
            is_scout = len(self._lines[watch.line]) == _SCOUT
            first_s = self.settings.initial_s / (16 if is_scout else 1)
        share = first_s / self.settings.initial_s
        return self._curve.delay_s(1, draw=draw) * share

    def remove(self, job: Hashable) -> None:
        """Forget a job; nothing happens if it is not watched."""
        watch = self._watches.pop(job, None)
        if watch is not None:
            watch.ticket = 0
            self._leave_line(watch)

    def hurry(self, job: Hashable, now: float) -> None:
        """Make a watched job due now; one that is being checked stays as it is.

        From then on it is checked like any other, announced or not.
        """
        watch = self._watches.get(job)
        if watch is None:
            return
        watch.pace_s = 0.0
        if watch.ticket and watch.due > now:
            self._push(watch, now)

    def take_due(self, now: float, room: int) -> list[Watch]:
        """Return the jobs to check now, at most `room`; each is then being checked.

        The caller must `record_status`, `record_failure` or `remove` each.
        """
        self._gather(now)
        taken: list[Watch] = []
        while len(taken) < room:
            watch = self._next_running(now)
            if watch is None:
                break
            watch.ticket = 0
            taken.append(watch)
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
        for ready in (self._ready_by_age, self._ready_running):
            _drop_stale(ready)
        if self._ready_running:
            overdue_at = self._overdue_at(self._ready_by_age[0][2])
            instants.append(min(now + self._budget.wait_s(now), overdue_at))
        if self._ready_queued:
            instants.append(now + self._queued_budget.wait_s(now))
        if self._heap:
            instants.append(self._heap[0][0])
        return max(now, min(instants)) if instants else None

    def _next_running(self, now: float) -> Watch | None:
        """Take the running job to check next, if the budget or its age allows one."""
        for ready in (self._ready_by_age, self._ready_running):
            _drop_stale(ready)
        if not self._ready_running:
            return None
        oldest = self._ready_by_age[0][2]
        if self._is_overdue(oldest, now):
            self._budget.spend()
            return heapq.heappop(self._ready_by_age)[2]
        if not self._budget.take(now):
            return None
        return heapq.heappop(self._ready_running)[2]

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
        self._learn_run(watch, status, now, alive_at=watch.checked_at)
        self._learn_pace(watch, status, now)
        if watch.steps == 0 and not watch.pace_s:
            self._learn_first(watch, is_early=isinstance(status, Completed))
        has_news = self._take_in(watch, status, now)
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
        self._stand(watch, now, was_running=was_running)
        self._plan(watch, now, self._interval_s(watch, now, draw))
        return watch.interval_s

    def record_told(self, job: Hashable, status: Status, *, now: float) -> None:
        """Take in what the server told in the moment when it happened, as a stream does.

        The next check stays where it is: whoever tells goes on telling.

        Args:
            job: Whose status it is; nothing happens if it is not watched.
            status: What the server said.
            now: Loop time in seconds.
        """
        watch = self._watches.get(job)
        if watch is None:
            return
        was_running = watch.is_running
        if isinstance(status, InProgress) and watch.started_at is None:
            watch.started_at = now
        self._learn_run(watch, status, now, alive_at=now)
        self._learn_pace(watch, status, now)
        self._take_in(watch, status, now)
        watch.checked_at = now
        if isinstance(status, Completed):
            # A check that is on the way would tell of the same run again.
            watch.kinds = ()
            self._leave_line(watch)
            self._follow_line(watch.line, now)
        else:
            self._stand(watch, now, was_running=was_running)

    def _stand(self, watch: Watch, now: float, *, was_running: bool) -> None:
        """Put a job where it was told to be: in its line, or out of it."""
        if not watch.is_running:
            self._lines.setdefault(watch.line, Line()).place(watch.job, watch.position)
        elif not was_running:
            self._leave_line(watch)
            self._follow_line(watch.line, now)

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

    def _learn_pace(self, watch: Watch, status: Status, now: float) -> None:
        if not isinstance(status, Queued) or status.position is None or watch.position is None:
            return
        line = self._lines.get(watch.line)
        if line is not None and not watch.is_running:
            line.record_pace(watch.position - status.position, now - watch.checked_at)

    def _learn_run(self, watch: Watch, done: Status, now: float, *, alive_at: float) -> None:
        if not isinstance(done, Completed) or done.error is not None or not watch.kinds:
            return
        told = done.metrics.get("inference_time")
        is_told = isinstance(told, int | float) and 0 <= told < math.inf
        if watch.started_at is None:
            # It started and ended unseen: only the server can tell.
            if is_told:
                self.forecaster.record(watch.kinds, 0.0, math.inf, told_s=told)
            return
        age_s = now - watch.started_at
        low_s = min(max(0.0, alive_at - watch.started_at), age_s)
        self.forecaster.record(watch.kinds, low_s, age_s, told_s=told if is_told else None)

    def _learned_s(self, watch: Watch, now: float, draw: float) -> float | None:
        """Return the wait that the run times of the job's kind ask for, if they are known."""
        forecast = self._forecast(watch, now)
        if forecast is None or watch.started_at is None:
            return None
        age_s = now - watch.started_at
        next_s = forecast.schedule.next_after(age_s)
        if next_s is None:
            return None
        wait_s = next_s - age_s
        if wait_s < _AT_ONCE_S:
            return 0.0 if age_s == 0.0 else _AT_ONCE_S
        after_s = forecast.schedule.next_after(next_s) or next_s
        spread_s = min(self.settings.jitter * wait_s, _SPREAD * (after_s - next_s))
        return min(wait_s + spread_s * (0.5 - draw), self.settings.longest_gap_s)

    def _forecast(self, watch: Watch, now: float) -> Forecast | None:
        if not self.settings.learns:
            return None
        return self.forecaster.find(watch.kinds, now)

    def _take_in(self, watch: Watch, status: Status, now: float) -> bool:
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
            watch.started_at = None
            watch.position = status.position
            return is_news
        is_running = isinstance(status, InProgress)
        is_news = isinstance(status, Completed) or is_running is not watch.is_running
        watch.steps = 1 if is_news else watch.steps + 1
        if is_running and watch.started_at is None:
            watch.started_at = (max(watch.checked_at, watch.queued_at) + now) / 2
        watch.is_running = is_running
        return is_news

    def _interval_s(self, watch: Watch, now: float, draw: float) -> float:
        if watch.is_running:
            learned_s = self._learned_s(watch, now, draw)
            if learned_s is not None:
                return learned_s
        curve = self._curve if watch.is_running else self._queue_curve
        delay_s = curve.delay_s(watch.steps + 1, draw=draw)
        start_s = self._start_s(watch)
        if start_s is not None:
            by_pace_s = max(self.settings.initial_s, _SHARE_OF_WAIT * start_s)
            delay_s = min(self.settings.queued_cap_s, by_pace_s)
        elif not watch.is_running and watch.position:
            by_place_s = self.settings.initial_s + self.settings.per_position_s * watch.position
            delay_s = max(delay_s, min(self.settings.queued_cap_s, by_place_s))
        return min(delay_s, self.settings.longest_gap_s) if watch.keeps_pace else delay_s

    def _start_s(self, watch: Watch) -> float | None:
        """Return how long a queued job still waits for its start, in seconds, if its line tells."""
        line = self._lines.get(watch.line)
        if watch.is_running or watch.position is None or line is None or not self.settings.learns:
            return None
        return line.wait_s(watch.position)

    def _plan(self, watch: Watch, now: float, delay_s: float) -> None:
        watch.interval_s = max(delay_s, watch.pace_s)
        self._push(watch, now + watch.interval_s)

    def _push(self, watch: Watch, due: float) -> None:
        watch.due = due
        watch.ticket = next(self._tickets)
        heapq.heappush(self._heap, (due, watch.ticket, watch))

    def _gather(self, now: float) -> None:
        """Move what is due from the heap to the lines of ready jobs."""
        if now - self._looked_at > self.settings.longest_gap_s:
            self._woke_at = now
        self._looked_at = now
        heap = self._heap
        while heap and (heap[0][0] <= now or heap[0][2].ticket != heap[0][1]):
            _, ticket, watch = heapq.heappop(heap)
            if watch.ticket != ticket:
                continue
            if watch.is_running or watch.keeps_pace:
                # In two lines: who is overdue must not stand behind one that is not.
                heapq.heappush(self._ready_by_age, (watch.checked_at, ticket, watch))
                heapq.heappush(self._ready_running, (-self._chance(watch, now), ticket, watch))
            else:
                heapq.heappush(self._ready_queued, (watch.interval_s, ticket, watch))

    def _chance(self, watch: Watch, now: float) -> float:
        """Return how likely a job is to have ended since its last check."""
        started_at = watch.checked_at if watch.started_at is None else watch.started_at
        since_s, age_s = watch.checked_at - started_at, now - started_at
        forecast = self._forecast(watch, now)
        if forecast is not None:
            return forecast.chance_between(since_s, age_s)
        # Of what nothing is known, each doubling of the age is as likely as the last.
        return 0.5 * (age_s - since_s) / age_s if age_s > 0.0 else 0.0

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
        return now >= self._overdue_at(watch)

    def _overdue_at(self, watch: Watch) -> float:
        return max(watch.checked_at, self._woke_at) + self._patience_s()

    def _leave_line(self, watch: Watch) -> None:
        line = self._lines.get(watch.line)
        if line is not None and line.leave(watch.job) and not line:
            del self._lines[watch.line]

    def _follow_line(self, line: str, now: float) -> None:
        """Make the two at the head of a queue that moved due now."""
        waiting = self._lines.get(line)
        if waiting is None:
            return
        fresh_s = self._first_s.get(line, self.settings.initial_s)
        # Who stood behind the two when the queue moved last had not started then.
        moved_at, self._moved_at[line] = self._moved_at.get(line, float("-inf")), now
        believed_queued = (
            watch
            for watch in map(self._watches.__getitem__, waiting.head(_HEAD))
            if not watch.pace_s and (watch.started_at is None or self._forecast(watch, now) is None)
        )
        for watch in itertools.islice(believed_queued, 2):
            watch.queued_at = moved_at
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


def _drop_stale(ready: list[tuple[float, int, Watch]]) -> None:
    while ready and ready[0][2].ticket != ready[0][1]:
        heapq.heappop(ready)
