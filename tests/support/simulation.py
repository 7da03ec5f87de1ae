"""A poller without a loop: a `PollPlan`, a server that is a function of time, and a heap.

Nothing waits: the clock jumps from one thing that happens to the next.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Hashable

from falq._core.pollplan import PollPlan
from falq._core.pollsettings import PollSettings
from falq._core.watch import Watch
from falq.model import Completed, Status

Server = Callable[[Hashable, float], Status | None]
"""Tells a job's status at an instant; None if the check fails."""


class StuckError(Exception):
    """The plan asks to be woken at an instant at which it has nothing to give."""


class DoubleCheckError(Exception):
    """Two checks of one job were in flight at once."""


class Simulation:
    """Carries out what a plan asks for.

    Args:
        server: Tells each job's status.
        settings: Of the plan.
        room: Checks in flight at most.
        latency_s: Seconds that a check takes.
        draw: Returns a uniform draw; by default from a generator with a seed.

    Attributes:
        checks: Instants at which each job's checks began.
        found_at: When each job was found completed.
    """

    def __init__(
        self,
        server: Server,
        *,
        settings: PollSettings | None = None,
        room: int = 33,
        latency_s: float = 0.0,
        draw: Callable[[], float] | None = None,
        start: float = 0.0,
    ) -> None:
        self.plan = PollPlan(settings or PollSettings())
        self.now = start
        self.checks: defaultdict[Hashable, list[float]] = defaultdict(list)
        self.found_at: dict[Hashable, float] = {}
        self._server = server
        self._room = room
        self._latency_s = latency_s
        self._draw = draw or random.Random(7).random
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._in_flight: set[Hashable] = set()

    @property
    def total(self) -> int:
        return sum(map(len, self.checks.values()))

    def add(self, job: Hashable, *, line: str = "a", **more: object) -> Watch:
        return self.plan.add(job, line=line, now=self.now, draw=self._draw(), **more)  # type: ignore[arg-type]

    def at(self, instant: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (instant, next(self._order), action))

    def run(self, until: float) -> None:
        """Let time pass until `until`, or until nothing can happen any more."""
        while True:
            self._check_what_is_due()
            instants = [self._events[0][0]] if self._events else []
            has_room = len(self._in_flight) < self._room
            due = self.plan.next_due(self.now) if has_room else None
            if due is not None:
                if due <= self.now and not self.plan.take_due(due, 0):
                    self._expect_progress()
                instants.append(due)
            if not instants or min(instants) > until:
                self.now = until
                return
            self.now = min(instants)
            while self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()

    def _expect_progress(self) -> None:
        taken = self.plan.take_due(self.now, 1)
        if not taken:
            raise StuckError(self.now)
        self._begin(taken[0])

    def _check_what_is_due(self) -> None:
        for watch in self.plan.take_due(self.now, self._room - len(self._in_flight)):
            self._begin(watch)

    def _begin(self, watch: Watch) -> None:
        if watch.job in self._in_flight:
            raise DoubleCheckError(watch.job)
        self._in_flight.add(watch.job)
        self.checks[watch.job].append(self.now)
        self.at(self.now + self._latency_s, lambda: self._end(watch))

    def _end(self, watch: Watch) -> None:
        self._in_flight.discard(watch.job)
        status = self._server(watch.job, self.now)
        if status is None:
            self.plan.record_failure(watch, now=self.now)
            return
        self.plan.record_status(watch, status, now=self.now, draw=self._draw())
        if isinstance(status, Completed):
            self.found_at.setdefault(watch.job, self.now)
