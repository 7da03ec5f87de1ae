"""Which job is checked when.

Owns the due time of every accepted job, in one heap, the budgets, and who goes
first. After how long a job is due again is for `intervals` to say, by the rules 1,
2, 3 and 7. It never waits and never sends: `poller` asks who is due, checks, and
tells what it found.

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
from collections.abc import Hashable, Iterator, Sequence

from attrs import define, field

from falq._core.flow import TokenBucket
from falq._core.forecast import Forecaster
from falq._core.intervals import Intervals
from falq._core.lines import Line
from falq._core.pollsettings import PollSettings
from falq._core.watch import Watch
from falq.model import Completed, InProgress, Queued, Status

_HEAD = 16
"""How many of a queue are looked through for the two to check."""


@define(eq=False)
class PollPlan:
    """The due times of all jobs of a session.

    Args:
        settings: The curves and budgets.
        burst: Checks that may start at once after a rest.
    """

    settings: PollSettings
    burst: int = 32
    _intervals: Intervals = field(init=False)
    _budget: TokenBucket = field(init=False)
    _queued_budget: TokenBucket = field(init=False)
    _heap: list[tuple[float, int, Watch]] = field(init=False, factory=list)
    _tickets: Iterator[int] = field(init=False)
    _watches: dict[Hashable, Watch] = field(init=False, factory=dict)
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
        self._intervals = Intervals(chosen)
        self.forecaster = self._intervals.forecaster
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
            watch.pace_s = self._intervals.announced_s(draw)
        self._watches[job] = watch
        wait_s = self._intervals.learned_s(watch, now, draw)
        if wait_s is None:
            # Who has a forecast and waits behind nobody is believed to run.
            waiting = self._lines.setdefault(line, Line())
            waiting.place(job, position)
            wait_s = self._intervals.first_s(watch, waiting, draw)
        self._plan(watch, now, wait_s)
        return watch

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
        self._intervals.record_run(watch, status, now, alive_at=watch.checked_at)
        self._learn_pace(watch, status, now)
        if watch.steps == 0 and not watch.pace_s:
            self._intervals.record_first(watch, is_early=isinstance(status, Completed))
        has_news = watch.take_in(status, now)
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
        wait_s = self._intervals.next_s(watch, self._lines.get(watch.line), now, draw)
        self._plan(watch, now, wait_s)
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
        self._intervals.record_run(watch, status, now, alive_at=now)
        self._learn_pace(watch, status, now)
        watch.take_in(status, now)
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
        delay_s = self._intervals.after_failure_s(watch, floor_s)
        self._plan(watch, now, delay_s)
        return delay_s

    def _learn_pace(self, watch: Watch, status: Status, now: float) -> None:
        if not isinstance(status, Queued) or status.position is None or watch.position is None:
            return
        line = self._lines.get(watch.line)
        if line is not None and not watch.is_running:
            line.record_pace(watch.position - status.position, now - watch.checked_at)

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
                heapq.heappush(
                    self._ready_running, (-self._intervals.chance(watch, now), ticket, watch)
                )
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
        fresh_s = self._intervals.fresh_s(line)
        # Who stood behind the two when the queue moved last had not started then.
        moved_at, self._moved_at[line] = self._moved_at.get(line, float("-inf")), now
        believed_queued = (
            watch
            for watch in map(self._watches.__getitem__, waiting.head(_HEAD))
            if not watch.pace_s
            and (watch.started_at is None or self._intervals.forecast(watch, now) is None)
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
