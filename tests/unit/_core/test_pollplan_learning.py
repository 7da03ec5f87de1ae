"""What run times that were seen change about the checks of later jobs."""

from __future__ import annotations

import heapq
import itertools
import math
import random
import statistics
from statistics import NormalDist

import pytest

from falq._core.forecast import FEWEST_RUNS
from falq._core.inspection import plan_checks
from falq._core.pollplan import PollPlan
from falq._core.pollsettings import PollSettings
from falq.model import Completed, InProgress, Queued

LOOK_S = PollSettings().poll_value_s
NORMAL = NormalDist()


def lognormal(median_s, spread):
    return lambda share: median_s * math.exp(spread * NORMAL.inv_cdf(share))


def narrow(length_s):
    return lambda share: length_s * (0.9 + 0.2 * share)


def warm_and_cold(share):
    is_warm = share < 0.8
    within = share / 0.8 if is_warm else (share - 0.8) / 0.2
    return lognormal(3.0, 0.2)(min(max(within, 1e-6), 1 - 1e-6)) * (1.0 if is_warm else 20.0)


def pareto(share):
    return 2.0 * (1.0 - share) ** (-1 / 1.5)


TRACES = {
    "narrow 2 s": narrow(2.0),
    "narrow 40 s": narrow(40.0),
    "log-normal 3 s": lognormal(3.0, 0.5),
    "log-normal 40 s": lognormal(40.0, 0.8),
    "warm and cold": warm_and_cold,
    "heavy-tailed": pareto,
}


def draws(age_at, count, *, seed=1):
    chance = random.Random(seed)
    return [age_at(chance.uniform(0.0005, 0.9995)) for _ in range(count)]


class World:
    """Jobs that run for known times, one after the other or in a queue."""

    def __init__(self, runs_s, *, every_s=0.37, runners=None, told=True, settings=None):
        self.plan = PollPlan(settings or PollSettings())
        self.chance = random.Random(5)
        self.told = told
        self.runs_s = runs_s
        self.arrivals = [every_s * number for number in range(len(runs_s))]
        free = [0.0] * (runners or len(runs_s))
        self.starts = []
        for arrival, run_s in zip(self.arrivals, runs_s, strict=True):
            start = max(arrival, heapq.heappop(free))
            self.starts.append(start)
            heapq.heappush(free, start + run_s)
        self.checks = [[] for _ in runs_s]
        self.now = 0.0

    def status(self, job):
        end = self.starts[job] + self.runs_s[job]
        if self.now >= end:
            return Completed(metrics={"inference_time": self.runs_s[job]} if self.told else {})
        if self.now >= self.starts[job]:
            return InProgress()
        return Queued(sum(1 for start in self.starts[:job] if start > self.now))

    def run(self):
        arriving, jobs = 0, len(self.runs_s)
        while arriving < jobs or len(self.plan):
            while arriving < jobs and self.arrivals[arriving] <= self.now:
                status = self.status(arriving)
                self.plan.add(
                    arriving,
                    line="a",
                    now=self.now,
                    draw=self.chance.random(),
                    position=getattr(status, "position", 0),
                    kinds=("a",),
                )
                arriving += 1
            while due := self.plan.take_due(self.now, 32):
                for watch in due:
                    self.checks[watch.job].append(self.now)
                    self.plan.record_status(
                        watch, self.status(watch.job), now=self.now, draw=self.chance.random()
                    )
            instants = [self.arrivals[arriving]] if arriving < jobs else []
            if (due_at := self.plan.next_due(self.now)) is not None:
                instants.append(due_at)
            self.now = max(self.now, min(instants, default=self.now))
        return self

    def lag_s(self, job):
        return self.checks[job][-1] - self.starts[job] - self.runs_s[job]

    def cost_s(self, jobs):
        return statistics.fmean(LOOK_S * len(self.checks[job]) + self.lag_s(job) for job in jobs)


def least_cost_s(age_at, runs_s):
    """Return what the best schedule costs for these runs, if their distribution is known."""
    shares = [0.0005 + 0.999 * step / 1500 for step in range(1501)]
    ages_s = [0.0, *(age_at(share) for share in shares)]
    ended = [0.0, *((share - 0.0005) / 0.999 for share in shares)]
    schedule = plan_checks(ages_s, ended, look_value_s=LOOK_S)
    total_s = 0.0
    for run_s in runs_s:
        age_s, looks = 0.0, 0
        while age_s < run_s:
            age_s = schedule.next_after(age_s) or math.inf
            looks += 1
        total_s += LOOK_S * looks + age_s - run_s
    return total_s / len(runs_s)


@pytest.mark.slow
@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
@pytest.mark.parametrize("name", TRACES)
def test_after_two_hundred_jobs_the_cost_is_near_the_least_possible(name, told):
    runs_s = draws(TRACES[name], 1000)
    # One after the other, so that two hundred have ended before the next begins.
    world = World(runs_s, every_s=max(runs_s[:200]) if name == "heavy-tailed" else 0.37, told=told)
    world.run()
    later = range(400, 1000)
    least_s = least_cost_s(TRACES[name], [runs_s[job] for job in later])
    assert world.cost_s(later) <= 1.15 * least_s


@pytest.mark.slow
@pytest.mark.parametrize("name", TRACES)
def test_learning_costs_less_than_not_learning_from_the_first_job_on(name):
    runs_s = draws(TRACES[name], 300, seed=2)
    learning = World(runs_s).run()
    plain = World(runs_s, settings=PollSettings(learns=False)).run()
    assert learning.cost_s(range(300)) < plain.cost_s(range(300))


def test_an_unknown_kind_is_checked_exactly_as_without_learning():
    runs_s = draws(lognormal(3.0, 0.5), FEWEST_RUNS)
    # Far apart, so that the last begins when the others have ended and are known.
    learning = World(runs_s, every_s=100.0).run()
    plain = World(runs_s, every_s=100.0, settings=PollSettings(learns=False)).run()
    assert learning.checks == plain.checks


def test_after_a_few_jobs_the_first_check_waits_for_what_may_have_ended():
    world = World([40.0] * (FEWEST_RUNS + 20), every_s=100.0).run()
    assert len(world.checks[0]) >= 9
    assert all(len(checks) <= 6 for checks in world.checks[-5:])
    assert all(world.lag_s(job) < 1.0 for job in range(len(world.checks) - 5, len(world.checks)))


def test_a_new_version_that_takes_longer_is_learned_soon():
    runs_s = [*draws(narrow(5.0), 250), *draws(narrow(50.0), 150)]
    world = World(runs_s, every_s=5.0).run()
    later = range(330, 400)
    least_s = least_cost_s(narrow(50.0), [runs_s[job] for job in later])
    assert world.cost_s(later) <= 1.6 * least_s


def test_a_new_version_that_takes_a_moment_is_learned_soon():
    runs_s = [*draws(narrow(50.0), 250), *draws(narrow(2.0), 60)]
    world = World(runs_s, every_s=60.0).run()
    assert all(world.lag_s(job) < 1.5 for job in range(265, 310))


def test_a_job_that_hangs_is_checked_as_one_that_nothing_is_known_of():
    runs_s = [*draws(narrow(2.0), 100), 3000.0]
    world = World(runs_s, every_s=3.0).run()
    hanging = world.checks[-1]
    gaps_s = [after - before for before, after in itertools.pairwise(hanging)]
    assert max(gaps_s) <= 60.0
    assert len(hanging) < 3000.0 / 8.0


def test_no_running_job_goes_unchecked_for_longer_than_it_may():
    world = World([1800.0] * 20, every_s=2000.0).run()
    for start, checks in zip(world.starts, world.checks, strict=True):
        instants = [start, *checks]
        gaps_s = [after - before for before, after in zip(instants, checks, strict=False)]
        assert max(gaps_s) <= 60.0 + 1e-9


@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
def test_a_long_line_of_a_full_account_is_seen_to_move_sooner_for_no_more_checks(told):
    runs_s = draws(lognormal(3.0, 0.5), 400)
    learning = World(runs_s, every_s=0.0, runners=10, told=told).run()
    plain = World(runs_s, every_s=0.0, runners=10, settings=PollSettings(learns=False)).run()
    assert learning.cost_s(range(400)) < 0.9 * plain.cost_s(range(400))


def test_jobs_that_end_at_once_are_checked_at_once():
    world = World([0.0] * 100, every_s=1.0).run()
    assert all(len(checks) == 1 for checks in world.checks)
    assert world.lag_s(99) == 0.0


def a_plan(**settings):
    plan = PollPlan(PollSettings(jitter=0.0, **settings))
    plan.forecaster.load({"short": [2.0] * 50, "long": [30.0] * 50})
    return plan


def check(plan, now, status):
    (watch,) = plan.take_due(now, 9)
    plan.record_status(watch, status, now=now, draw=0.5)


def test_a_run_that_nobody_saw_start_counts_by_what_the_server_says():
    for metrics, expected in (({"inference_time": 7.0}, [7.0]), ({}, None)):
        plan = PollPlan(PollSettings())
        plan.add("job", line="a", now=0.0, draw=0.5, position=3, kinds=("new",))
        check(plan, 20.0, Queued(2))
        check(plan, 40.0, Completed(metrics=metrics))
        assert plan.forecaster.dump().get("new") == expected


@pytest.mark.parametrize("told", ["7", None, -1.0, math.inf], ids=repr)
def test_a_told_time_that_is_none_is_not_believed(told):
    plan = PollPlan(PollSettings())
    plan.add("job", line="a", now=0.0, draw=0.5, kinds=("new",))
    check(plan, 3.0, InProgress())
    check(plan, 13.0, Completed(metrics={"inference_time": told}))
    ((run_s,),) = plan.forecaster.dump().values()
    assert 3.0 <= run_s <= 13.0


def test_a_job_that_the_platform_ended_teaches_nothing():
    plan = PollPlan(PollSettings())
    plan.add("job", line="a", now=0.0, draw=0.5, kinds=("new",))
    check(plan, 3.0, Completed(error="Runner disconnected"))
    assert plan.forecaster.dump() == {}


def test_when_the_budget_binds_the_likeliest_to_have_ended_goes_first():
    plan = PollPlan(PollSettings(jitter=0.0, per_s=0.001), burst=1)
    plan.forecaster.load({"short": [2.0] * 50, "long": [30.0] * 50})
    for name in ("long", "unknown", "short"):
        watch = plan.add(name, line=name, now=0.0, draw=0.5, kinds=(name,))
        watch.is_running = True
        plan.hurry(name, 0.0)
    ((first,), (second,)) = (plan.take_due(2.2, 1), plan.take_due(1002.2, 1))
    assert first.job == "short"
    plan.remove("short")
    # Whoever waited for most of a minute is overdue, whatever its chances.
    assert second.job in {"long", "unknown"}


def test_a_job_sent_back_to_the_queue_starts_anew():
    plan = a_plan()
    watch = plan.add("job", line="a", now=0.0, draw=0.5, kinds=("long",))
    check(plan, 31.0, InProgress())
    check(plan, 40.0, Queued(4))
    assert watch.started_at is None
    check(plan, 80.0, InProgress())
    assert watch.started_at == 60.0
    assert 80.0 + 5.0 < watch.due < 60.0 + 40.0


def test_past_all_that_is_known_the_curve_goes_on():
    plan = a_plan()
    watch = plan.add("job", line="a", now=0.0, draw=0.5, kinds=("short",))
    for now in (2.5, 30.0, 80.0):
        check(plan, now, InProgress())
    assert 80.0 < watch.due <= 90.0


def test_between_the_points_of_a_schedule_a_check_never_spins():
    plan = a_plan(poll_value_s=1e-9)
    watch = plan.add("job", line="a", now=0.0, draw=0.5, kinds=("short",))
    check(plan, 2.0, InProgress())
    assert watch.due >= 2.002


def shared_line(*, settings=None, latest_s=4000.0):
    """Return how late each of our jobs is seen to end behind strangers, and its checks.

    One in forty is ours, in a line that ten places leave every three seconds.
    """
    found = []
    for number in range(60):
        plan = PollPlan(settings or PollSettings())
        for _ in range(30):
            plan.forecaster.record(("a",), 3.0, 3.0, told_s=3.0)
        position = 20 + 7 * number
        start, end = 0.3 * (position + 1), 0.3 * (position + 1) + 3.0
        chance = random.Random(number)
        plan.add("ours", line="a", now=0.0, draw=chance.random(), position=position, kinds=("a",))
        now, checks = 0.0, 0
        while "ours" in plan and now < latest_s:
            now = plan.next_due(now)
            for watch in plan.take_due(now, 1):
                checks += 1
                status = Queued(int((start - now) / 0.3)) if now < start else InProgress()
                plan.record_status(
                    watch,
                    Completed() if now >= end else status,
                    now=now,
                    draw=chance.random(),
                )
        found.append((now - end, checks))
    return found


def test_the_pace_of_a_line_of_strangers_tells_when_a_job_starts():
    by_pace = shared_line()
    by_place = shared_line(settings=PollSettings(learns=False))
    assert statistics.median(lag_s for lag_s, _ in by_pace) < 0.5
    assert statistics.median(lag_s for lag_s, _ in by_place) > 1.0
    assert max(checks for _, checks in by_pace) <= 25


def test_a_line_that_stops_is_checked_no_more_often_than_one_that_stands():
    plan = PollPlan(PollSettings(jitter=0.0))
    plan.add("job", line="a", now=0.0, draw=0.5, position=50)
    now, gaps = 0.0, []
    for position in (50, 40, *[30] * 30):
        now = plan.next_due(now)
        (watch,) = plan.take_due(now, 9)
        gaps.append(plan.record_status(watch, Queued(position), now=now, draw=0.5))
    assert gaps[-20:] == [15.0] * 20


def told_plan(*, runs=30):
    """Return a plan that heard of jobs that ran for ten seconds, and checked none."""
    plan = PollPlan(PollSettings())
    for number in range(runs):
        began = 100.0 * number
        plan.add(number, line="a", now=began, draw=0.5, kinds=("a",), is_announced=True)
        plan.record_told(number, Queued(4), now=began + 1.0)
        plan.record_told(number, InProgress(), now=began + 20.0)
        plan.record_told(number, InProgress(), now=began + 25.0)
        plan.record_told(number, Completed(), now=began + 30.0)
        plan.remove(number)
    return plan


def test_runs_that_were_told_of_as_they_happened_are_learned_to_the_second():
    runs_s = told_plan().forecaster.dump()["a"]
    assert len(runs_s) == 30
    assert runs_s == pytest.approx([10.0] * 30)


def test_what_a_stream_tells_of_one_job_is_known_of_those_that_are_polled():
    plan = told_plan()
    plan.add("polled", line="a", now=9000.0, draw=0.5, kinds=("a",))
    assert plan.next_due(9000.0) == pytest.approx(9010.0, abs=1.0)


def test_a_run_that_was_told_of_is_not_learned_again_by_a_check_on_the_way():
    plan = PollPlan(PollSettings())
    plan.add("job", line="a", now=0.0, draw=0.5, kinds=("a",))
    (watch,) = plan.take_due(1.0, 9)
    plan.record_told("job", Completed(), now=1.1)
    plan.record_status(watch, Completed(), now=1.2, draw=0.5)
    assert plan.forecaster.dump()["a"] == pytest.approx([1.1])


def test_a_job_that_is_told_to_start_makes_the_next_in_line_due():
    plan = PollPlan(PollSettings())
    plan.add("told", line="a", now=0.0, draw=0.5, position=5, is_announced=True)
    plan.add("next", line="a", now=0.0, draw=0.5, position=6)
    plan.record_told("told", Queued(4), now=0.5)
    (watch,) = plan.take_due(0.6, 9)
    plan.record_status(watch, Queued(6), now=0.6, draw=0.5)
    assert plan.next_due(0.6) > 2.0
    plan.record_told("told", InProgress(), now=1.5)
    assert [watch.job for watch in plan.take_due(1.5, 9)] == ["next"]


def test_who_is_not_watched_is_told_of_in_vain():
    plan = PollPlan(PollSettings())
    plan.record_told("nobody", Completed(), now=1.0)
    assert len(plan) == 0
    assert plan.forecaster.dump() == {}
