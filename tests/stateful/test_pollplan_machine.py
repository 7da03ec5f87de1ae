"""`PollPlan` against a dictionary of the jobs that are watched and being checked."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from falq._core.pollplan import PollPlan
from falq._core.pollsettings import PollSettings
from falq._core.watch import Watch
from falq.model import Completed, InProgress, Queued, Status

DRAWS = st.floats(0, 1, exclude_max=True)
STATUSES = st.sampled_from(
    [Queued(0), Queued(3), Queued(None), InProgress(), Completed(), Status("PAUSED")]
)
LONGEST_GAP_S = 60.0


class PollPlanMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.plan = PollPlan(PollSettings(per_s=4.0, queued_per_s=2.0), burst=1)
        self.now = 0.0
        self.added = 0
        self.watched: set[int] = set()
        self.checking: list[Watch] = []

    @rule(
        line=st.sampled_from("ab"),
        draw=DRAWS,
        position=st.none() | st.integers(0, 50),
        keeps_pace=st.booleans(),
    )
    def add(self, *, line: str, draw: float, position: int | None, keeps_pace: bool) -> None:
        job = self.added
        self.added += 1
        self.plan.add(
            job, line=line, now=self.now, draw=draw, position=position, keeps_pace=keeps_pace
        )
        self.watched.add(job)

    @rule(step=st.floats(0, 20), room=st.integers(0, 5))
    def take_due(self, step: float, room: int) -> None:
        self.now += step
        taken = self.plan.take_due(self.now, room)
        assert len(taken) <= room
        jobs = [watch.job for watch in taken]
        assert len(set(jobs)) == len(jobs)
        assert set(jobs) <= self.watched
        assert not set(jobs) & {watch.job for watch in self.checking if self._is_watched(watch)}
        for watch in taken:
            assert watch.due <= self.now
        self.checking += taken

    def _is_watched(self, watch: Watch) -> bool:
        return watch.job in self.watched

    @precondition(lambda self: self.checking)
    @rule(data=st.data(), status=STATUSES, draw=DRAWS)
    def record_status(self, data: st.DataObject, status: Status, draw: float) -> None:
        watch = self.checking.pop(data.draw(st.integers(0, len(self.checking) - 1)))
        next_in_s = self.plan.record_status(watch, status, now=self.now, draw=draw)
        goes_on = watch.job in self.watched and not isinstance(status, Completed)
        assert (next_in_s is not None) is goes_on
        if not goes_on:
            self.watched.discard(watch.job)
        elif isinstance(status, InProgress):
            assert 0 < next_in_s <= LONGEST_GAP_S

    @precondition(lambda self: self.checking)
    @rule(data=st.data(), floor_s=st.sampled_from([0.0, 0.0, 90.0]))
    def record_failure(self, data: st.DataObject, floor_s: float) -> None:
        watch = self.checking.pop(data.draw(st.integers(0, len(self.checking) - 1)))
        next_in_s = self.plan.record_failure(watch, now=self.now, floor_s=floor_s)
        assert (next_in_s is not None) is (watch.job in self.watched)
        if next_in_s is not None:
            assert floor_s <= next_in_s <= max(LONGEST_GAP_S, floor_s)

    @precondition(lambda self: self.watched)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(sorted(self.watched)))
        self.watched.discard(job)
        self.plan.remove(job)

    @precondition(lambda self: self.watched)
    @rule(data=st.data())
    def hurry(self, data: st.DataObject) -> None:
        self.plan.hurry(data.draw(st.sampled_from(sorted(self.watched))), self.now)

    @invariant()
    def it_watches_whom_it_should(self) -> None:
        assert len(self.plan) == len(self.watched)
        assert all(job in self.plan for job in self.watched)

    @invariant()
    def it_never_sleeps_while_somebody_waits(self) -> None:
        due = self.plan.next_due(self.now)
        idle = self.watched - {watch.job for watch in self.checking}
        assert due is None or due >= self.now
        assert due is not None or not idle

    def teardown(self) -> None:
        """Whoever is told when to come gets somebody, until all are found."""
        for watch in self.checking:
            self.plan.record_status(watch, Completed(), now=self.now, draw=0.5)
        self.watched -= {watch.job for watch in self.checking}
        while self.watched:
            self.now = self.plan.next_due(self.now)
            taken = self.plan.take_due(self.now, 1)
            if not taken:
                # Due, but beyond the budget: then time has to move on.
                assert self.plan.next_due(self.now) > self.now
                continue
            self.plan.record_status(taken[0], Completed(), now=self.now, draw=0.5)
            self.watched.discard(taken[0].job)


TestPollPlan = PollPlanMachine.TestCase
TestPollPlan.pytestmark = pytest.mark.slow
TestPollPlan.settings = settings(deadline=None, stateful_step_count=40)
