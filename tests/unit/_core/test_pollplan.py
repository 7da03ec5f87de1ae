from __future__ import annotations

import heapq
import itertools
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq._core.intervals import GROWTH_AFTER_FAILURE
from falq._core.pollplan import PollPlan
from falq._core.pollsettings import PollSettings
from falq.model import Completed, InProgress, Queued, Status
from tests.support import Simulation

DRAWS = st.floats(0, 1, exclude_max=True)
EVERY_DRAW = [0.0, 0.25, 0.5, 0.75, 0.999999]


def _runs_until(end: float):
    return lambda _, now: Completed() if now >= end else InProgress()


def _one_due(plan: PollPlan, now: float):
    (watch,) = plan.take_due(now, 99)
    return watch


@pytest.mark.parametrize("draw", EVERY_DRAW)
def test_a_job_of_180_seconds_takes_at_most_25_polls(draw):
    simulation = Simulation(_runs_until(180.0), draw=lambda: draw)
    simulation.add("job")
    simulation.run(600.0)
    assert len(simulation.checks["job"]) <= 25
    assert simulation.found_at["job"] - 180.0 <= 10.0


@given(st.lists(DRAWS, min_size=1, max_size=30))
def test_a_job_of_180_seconds_takes_at_most_25_polls_whatever_chance_does(draws):
    chance = itertools.cycle(draws)
    simulation = Simulation(_runs_until(180.0), draw=lambda: next(chance))
    simulation.add("job")
    simulation.run(600.0)
    assert len(simulation.checks["job"]) <= 25
    assert "job" in simulation.found_at


def test_a_running_job_is_checked_on_an_exponential_curve():
    simulation = Simulation(lambda *_: InProgress(), draw=lambda: 0.999999999)
    simulation.add("job")
    simulation.run(60.0)
    instants = simulation.checks["job"]
    gaps = [round(after - before, 3) for before, after in itertools.pairwise([0.0, *instants])]
    assert gaps[:9] == [0.5, 0.8, 1.28, 2.048, 3.277, 5.243, 8.389, 10.0, 10.0]


def test_a_queued_job_is_checked_the_less_often_the_further_back_it_stands():
    checks = []
    for position in (0, 10, 100):
        simulation = Simulation(lambda *_, at=position: Queued(at))
        simulation.add("job", position=position)
        simulation.run(120.0)
        checks.append(len(simulation.checks["job"]))
    assert checks[0] > checks[1] >= checks[2] >= 120 / 15 - 1


def test_a_position_that_falls_starts_the_curve_again():
    plan = PollPlan(PollSettings(jitter=0.0, learns=False))
    plan.add("job", line="a", now=0.0, draw=0.5, position=3)
    found = [Queued(3), Queued(3), Queued(3), Queued(1), Queued(None), Queued(5)]
    now, gaps = 0.0, []
    for status in found:
        now = plan.next_due(now)
        gaps.append(plan.record_status(_one_due(plan, now), status, now=now, draw=0.5))
    assert gaps[3] < gaps[2]
    assert gaps[5] > gaps[3]


def test_completed_ends_the_watch():
    plan = PollPlan(PollSettings())
    plan.add("job", line="a", now=0.0, draw=0.5)
    assert plan.record_status(_one_due(plan, 1.0), Completed(), now=1.0, draw=0.5) is None
    assert "job" not in plan
    assert len(plan) == 0
    assert plan.next_due(1.0) is None
    assert plan.take_due(1e6, 99) == []


def test_a_job_may_go_back_to_the_queue_and_still_be_followed_to_its_end():
    def flapping(_: object, now: float) -> Status:
        if now >= 30.0:
            return Completed()
        return InProgress() if int(now / 5) % 2 else Queued(2)

    simulation = Simulation(flapping)
    simulation.add("job", position=2)
    simulation.run(120.0)
    assert simulation.found_at["job"] < 46.0


def test_an_unknown_word_means_not_finished():
    simulation = Simulation(lambda _, now: Status("PAUSED") if now < 20 else Completed())
    simulation.add("job")
    simulation.run(120.0)
    assert "job" in simulation.found_at


def test_a_failing_check_makes_the_interval_half_as_long_again_up_to_a_minute():
    plan = PollPlan(PollSettings(jitter=0.0))
    plan.add("job", line="a", now=0.0, draw=0.5)
    now, gaps = 0.0, []
    for _ in range(15):
        now = plan.next_due(now)
        gaps.append(plan.record_failure(_one_due(plan, now), now=now))
    assert gaps[:3] == [0.75, 1.125, 1.6875]
    for before, after in itertools.pairwise(gaps):
        assert after == pytest.approx(min(60.0, before * GROWTH_AFTER_FAILURE))
    assert gaps[-1] == 60.0


def test_what_the_server_asks_after_a_refused_check_is_a_floor():
    plan = PollPlan(PollSettings())
    plan.add("job", line="a", now=0.0, draw=0.5)
    assert plan.record_failure(_one_due(plan, 1.0), now=1.0, floor_s=90.0) == 90.0
    assert plan.take_due(90.9, 99) == []
    assert _one_due(plan, 91.0).job == "job"


def test_after_a_failure_a_good_check_goes_back_to_the_curve():
    plan = PollPlan(PollSettings(jitter=0.0))
    plan.add("job", line="a", now=0.0, draw=0.5)
    now = 0.0
    for _ in range(12):
        now = plan.next_due(now)
        plan.record_failure(_one_due(plan, now), now=now)
    now = plan.next_due(now)
    assert plan.record_status(_one_due(plan, now), InProgress(), now=now, draw=0.5) < 1.0


def test_a_removed_job_never_comes_back():
    plan = PollPlan(PollSettings())
    for job in ("in the heap", "ready", "being checked", "failing"):
        plan.add(job, line="a", now=0.0, draw=0.5)
    taken = {watch.job: watch for watch in plan.take_due(0.6, 99)}
    assert len(taken) == 4
    for job in ("in the heap", "ready"):
        plan.record_status(taken[job], InProgress(), now=0.6, draw=0.5)
    plan.take_due(60.0, 0)
    for job in taken:
        plan.remove(job)
        plan.remove(job)
    assert plan.record_status(taken["being checked"], InProgress(), now=60.0, draw=0.5) is None
    assert plan.record_status(taken["being checked"], Completed(), now=60.0, draw=0.5) is None
    assert plan.record_failure(taken["failing"], now=60.0) is None
    assert plan.take_due(1e6, 99) == []
    assert plan.next_due(1e6) is None


def test_a_queued_job_removed_while_it_is_ready_does_not_hold_up_the_next():
    plan = PollPlan(PollSettings(queued_per_s=1.0))
    for job in range(3):
        plan.add(job, line="a", now=0.0, draw=0.5)
    assert [watch.job for watch in plan.take_due(1.0, 99)] == [0]
    plan.remove(1)
    assert [watch.job for watch in plan.take_due(2.0, 99)] == [2]


def test_a_job_in_a_hurry_is_due_at_once():
    plan = PollPlan(PollSettings())
    plan.add("job", line="a", now=0.0, draw=0.5)
    plan.hurry("job", 0.1)
    assert plan.next_due(0.1) == 0.1
    watch = _one_due(plan, 0.1)
    plan.hurry("job", 0.1)
    plan.hurry("nobody", 0.1)
    assert plan.take_due(0.1, 99) == []
    plan.record_status(watch, InProgress(), now=0.2, draw=0.5)
    assert plan.take_due(0.2, 99) == []


def test_a_job_watched_again_after_it_was_removed_is_a_new_one():
    plan = PollPlan(PollSettings())
    plan.add("job", line="a", now=0.0, draw=0.5)
    old = _one_due(plan, 1.0)
    plan.remove("job")
    plan.add("job", line="a", now=1.0, draw=0.5)
    assert plan.record_status(old, Completed(), now=1.1, draw=0.5) is None
    assert "job" in plan
    assert _one_due(plan, 2.0) is not old


def test_no_more_are_taken_than_there_is_room():
    plan = PollPlan(PollSettings())
    for job in range(10):
        plan.add(job, line="a", now=0.0, draw=0.5)
    assert len(plan.take_due(5.0, 3)) == 3
    assert plan.take_due(5.0, 0) == []
    assert len(plan.take_due(5.0, 99)) == 7


@pytest.mark.slow
@pytest.mark.parametrize("start", [0.0, 1e6])
def test_a_thousand_queued_jobs_that_stand_still_cost_ten_polls_a_second(start):
    simulation = Simulation(lambda job, _: Queued(job), start=start)
    for job in range(1000):
        simulation.add(job, position=job)
    simulation.run(start + 600.0)
    assert simulation.total <= 10 * 600 + 10
    instants = sorted(itertools.chain(*simulation.checks.values()))
    for first, last in zip(instants, instants[110:], strict=False):
        assert last - first > 9.99
    assert set(simulation.checks) == set(range(1000))


class _Queue:
    """A server with runners that serve jobs in order, one after another."""

    def __init__(self, *, jobs: int, runners: int, run_s: float) -> None:
        free = [0.0] * runners
        self.starts, self.ends = [], []
        for _ in range(jobs):
            begin = heapq.heappop(free)
            heapq.heappush(free, begin + run_s)
            self.starts.append(begin)
            self.ends.append(begin + run_s)

    def status(self, job: int, now: float) -> Status:
        if now >= self.ends[job]:
            return Completed()
        if now >= self.starts[job]:
            return InProgress()
        return Queued(sum(1 for begin in self.starts[:job] if begin > now))


@pytest.mark.slow
@pytest.mark.parametrize("latency_s", [0.0, 0.05])
def test_a_queue_that_moves_is_followed_as_fast_as_it_moves(latency_s):
    queue = _Queue(jobs=1000, runners=40, run_s=1.0)
    simulation = Simulation(queue.status, latency_s=latency_s)
    for job in range(1000):
        simulation.add(job, position=max(0, job - 40))
    simulation.run(300.0)
    lags = [simulation.found_at[job] - queue.ends[job] for job in range(1000)]
    assert statistics.median(lags) < 2.0
    assert simulation.total < 10 * 1000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("jobs", "failing"), [(500, 0), (10_000, 0), (10_000, 500)], ids=["few", "many", "failing"]
)
def test_no_running_job_goes_unchecked_for_more_than_a_minute_whatever_the_load(jobs, failing):
    def status(job: int, now: float) -> Status | None:
        return None if job < failing and now > 20.0 else InProgress()

    simulation = Simulation(status, room=100, latency_s=0.1)
    for job in range(jobs):
        simulation.add(job)
    simulation.run(240.0)
    widest = [
        max(after - before for before, after in itertools.pairwise([*instants, 240.0]))
        for instants in simulation.checks.values()
    ]
    assert len(widest) == jobs
    # A check takes a tenth of a second, and there is room for 100 of them.
    assert max(widest) <= 60.0 + 0.3


def test_after_a_sleep_of_the_machine_the_budget_spreads_the_checks():
    plan = PollPlan(PollSettings(per_s=5.0, learns=False), burst=10)
    for job in range(100):
        plan.add(job, line="a", now=0.0, draw=0.5, keeps_pace=True)
    assert not plan.take_due(0.0, 99)
    slept_until = 3600.0
    assert len(plan.take_due(slept_until, 99)) == 10
    assert len(plan.take_due(slept_until + 1.0, 99)) == 5
    # Whoever still waits when most of the longest gap has passed again goes at once.
    assert len(plan.take_due(slept_until + 45.0, 99)) == 85


def test_who_is_overdue_does_not_stand_behind_one_that_is_not():
    plan = PollPlan(PollSettings(per_s=0.001, cap_s=60.0, initial_s=50.0, jitter=0.0), burst=1)
    for job, added in (("spends the budget", 0.0), ("long ago", 0.0), ("just now", 5.0)):
        plan.add(job, line=job, now=added, draw=0.5, keeps_pace=True)
    plan.hurry("just now", 6.0)
    assert [watch.job for watch in plan.take_due(6.0, 99)] == ["just now"]
    assert {watch.job for watch in plan.take_due(50.0, 99)} == {"spends the budget", "long ago"}


def test_running_jobs_go_before_queued_ones_when_the_budget_is_short():
    plan = PollPlan(PollSettings(per_s=1.0), burst=2)
    plan.add("queued", line="a", now=0.0, draw=0.0)
    plan.add("running", line="a", now=0.0, draw=0.5)
    for watch in plan.take_due(1.0, 99):
        found = InProgress() if watch.job == "running" else Queued(0)
        plan.record_status(watch, found, now=1.0, draw=0.5)
    assert [watch.job for watch in plan.take_due(3.0, 1)] == ["running"]


@pytest.mark.parametrize("settings", [PollSettings(), PollSettings(queued_cap_s=600.0)])
def test_a_queued_job_that_keeps_pace_is_never_unchecked_for_longer_than_the_gap(settings):
    simulation = Simulation(lambda job, _: Queued(job), settings=settings)
    for job in range(1000):
        simulation.add(job, position=job, keeps_pace=job == 999)
    simulation.run(600.0)
    instants = [0.0, *simulation.checks[999], 600.0]
    assert max(after - before for before, after in itertools.pairwise(instants)) <= 60.0 + 1e-6


def test_when_one_leaves_the_queue_the_next_two_are_checked_at_once():
    plan = PollPlan(PollSettings())
    for job in range(4):
        plan.add(job, line="a", now=0.0, draw=0.5, position=job)
    first, *others = plan.take_due(1.0, 99)
    for watch in others:
        plan.record_status(watch, Queued(watch.job), now=1.0, draw=0.5)
    assert plan.take_due(1.01, 99) == []
    plan.record_status(first, InProgress(), now=1.6, draw=0.5)
    assert [watch.job for watch in plan.take_due(1.6, 99)] == [1, 2]


def test_the_next_in_line_is_hurried_also_if_it_keeps_pace():
    plan = PollPlan(PollSettings(jitter=0.0))
    plan.add("first", line="a", now=0.0, draw=0.5)
    first = _one_due(plan, 1.0)
    plan.add("next", line="a", now=1.0, draw=0.5, keeps_pace=True)
    plan.record_status(_one_due(plan, 1.5), Queued(9), now=1.5, draw=0.5)
    plan.record_status(first, Completed(), now=2.1, draw=0.5)
    assert [watch.job for watch in plan.take_due(2.1, 99)] == ["next"]


def test_another_endpoints_queue_is_not_hurried():
    plan = PollPlan(PollSettings())
    plan.add("mine", line="a", now=0.0, draw=0.5)
    watch = _one_due(plan, 1.0)
    plan.add("other", line="b", now=1.0, draw=0.99)
    plan.record_status(watch, Completed(), now=1.2, draw=0.5)
    assert plan.take_due(1.2, 99) == []


def test_a_job_back_in_the_queue_stands_at_its_end():
    plan = PollPlan(PollSettings(jitter=0.0))
    for job in ("back", "next", "last"):
        plan.add(job, line="a", now=0.0, draw=0.5)
    taken = {watch.job: watch for watch in plan.take_due(1.0, 99)}
    plan.record_status(taken["back"], InProgress(), now=1.0, draw=0.5)
    for job in ("next", "last"):
        plan.record_status(taken[job], Queued(9), now=1.0, draw=0.5)
    back = _one_due(plan, 1.8)
    plan.record_status(back, Queued(9), now=1.8, draw=0.5)
    assert plan._lines["a"].head(9) == ["next", "last", "back"]


@given(
    start=st.floats(0, 1e8),
    jobs=st.lists(st.tuples(st.floats(0, 30), st.floats(0, 30)), min_size=1, max_size=12),
    per_s=st.floats(0.2, 50),
    latency_s=st.sampled_from([0.0, 0.1, 3.0]),
)
def test_whatever_the_load_time_moves_and_every_job_is_found(start, jobs, per_s, latency_s):
    def status(job: int, now: float) -> Status:
        queued_s, run_s = jobs[job]
        if now - start < queued_s:
            return Queued(job)
        return InProgress() if now - start < queued_s + run_s else Completed()

    simulation = Simulation(
        status,
        settings=PollSettings(per_s=per_s, queued_per_s=per_s),
        room=3,
        latency_s=latency_s,
        start=start,
    )
    for job in range(len(jobs)):
        simulation.add(job, line=str(job % 2))
    simulation.run(start + 3600.0)
    assert set(simulation.found_at) == set(range(len(jobs)))


def _first_wait(plan: PollPlan, name: str, now: float) -> float:
    return plan.add(name, line="acme/a", now=now, draw=0.999999).interval_s


def test_the_tenth_job_of_an_unknown_endpoint_is_checked_early_and_only_that_one():
    plan = PollPlan(PollSettings())
    waits = [_first_wait(plan, f"job {n}", 0.0) for n in range(12)]
    assert waits == pytest.approx([0.5] * 9 + [0.5 / 16] + [0.5] * 2, rel=1e-5)


def test_jobs_that_end_at_once_bring_the_first_check_of_the_next_down_to_nothing():
    plan, now, waits = PollPlan(PollSettings()), 0.0, []
    for n in range(12):
        waits.append(_first_wait(plan, f"job {n}", now))
        now += waits[-1]
        plan.record_status(_one_due(plan, now), Completed(), now=now, draw=0.0)
    assert waits == sorted(waits, reverse=True)
    assert waits[1] == pytest.approx(0.25, rel=1e-5)
    assert waits[-1] == 0.0


def test_jobs_that_last_bring_the_first_check_of_the_next_back_to_its_place():
    plan, now = PollPlan(PollSettings()), 0.0
    for n in range(12):
        now += _first_wait(plan, f"quick {n}", now)
        plan.record_status(_one_due(plan, now), Completed(), now=now, draw=0.0)
    waits = []
    for n in range(8):
        waits.append(_first_wait(plan, f"slow {n}", now))
        now += waits[-1]
        watch = _one_due(plan, now)
        plan.record_status(watch, InProgress(), now=now, draw=0.0)
        plan.remove(watch.job)
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(0.5, rel=1e-5)


def test_the_soonest_instant_is_that_of_the_next_due_job():
    plan = PollPlan(PollSettings())
    assert plan.soonest() == float("inf")
    plan.add("job", line="acme/a", now=3.0, draw=0.999999)
    assert plan.soonest() == pytest.approx(3.5, rel=1e-5)


def test_while_somebody_waits_for_the_budget_any_instant_may_be_the_soonest():
    plan = PollPlan(PollSettings(queued_per_s=1.0))
    for n in range(5):
        plan.add(n, line="acme/a", now=0.0, draw=0.0)
    assert plan.take_due(1.0, 99)
    assert plan.soonest() == float("-inf")


def test_an_announced_job_is_checked_seldom_and_never_less_than_each_minute():
    simulation = Simulation(_runs_until(300.0))
    for n in range(50):
        simulation.add(n, is_announced=True)
    simulation.run(600.0)
    for instants in simulation.checks.values():
        gaps = [after - before for before, after in itertools.pairwise([0.0, *instants])]
        assert min(gaps) >= 40.0
        assert max(gaps) <= 60.0


def test_the_longest_gap_holds_for_an_announced_job_as_well():
    plan = PollPlan(PollSettings(announced_s=500.0, longest_gap_s=30.0))
    assert plan.add("job", line="a", now=0.0, draw=0.0, is_announced=True).due == 30.0


def test_an_announced_job_that_somebody_asks_for_is_checked_like_any_other():
    simulation = Simulation(_runs_until(60.0), draw=lambda: 0.999999999)
    simulation.add("job", is_announced=True)
    simulation.at(10.0, lambda: simulation.plan.hurry("job", 10.0))
    simulation.at(10.0, lambda: simulation.plan.hurry("nobody", 10.0))
    simulation.run(30.0)
    assert [round(at, 2) for at in simulation.checks["job"][:3]] == [10.0, 10.8, 12.08]


def test_a_queue_that_moves_leaves_announced_jobs_alone():
    plan = PollPlan(PollSettings())
    plan.add("first", line="a", now=0.0, draw=0.0, position=0)
    announced = plan.add("second", line="a", now=0.0, draw=0.0, position=1, is_announced=True)
    plan.hurry("first", 20.0)
    plan.record_status(_one_due(plan, 20.0), Completed(), now=20.0, draw=0.0)
    assert announced.due == 45.0
    assert plan.take_due(20.0, 99) == []


def test_announced_jobs_teach_nothing_of_the_first_check():
    plan = PollPlan(PollSettings())
    for n in range(5):
        plan.add(n, line="a", now=50.0 * n, draw=0.0, is_announced=True)
        plan.record_status(_one_due(plan, 50.0 * n + 45.0), Completed(), now=50.0 * n, draw=0.0)
    assert plan.add("plain", line="a", now=900.0, draw=0.0).due == pytest.approx(900.45)
