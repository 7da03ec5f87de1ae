from __future__ import annotations

import pytest

from falq._core.forecast import FEWEST_RUNS
from falq._core.intervals import GROWTH_AFTER_FAILURE, LONGEST_FLOOR_S, Intervals
from falq._core.lines import Line
from falq._core.pollsettings import PollSettings
from falq._core.watch import Watch
from falq.model import Completed

ENDPOINT = "acme/echo"
EXACT = {"jitter": 0.0, "initial_s": 0.5, "factor": 2.0}


def watch_of(*, position=None, is_running=False, steps=0, started_at=0.0, keeps_pace=False):
    return Watch(
        "job",
        ENDPOINT,
        checked_at=0.0,
        keeps_pace=keeps_pace,
        position=position,
        steps=steps,
        is_running=is_running,
        kinds=(ENDPOINT,),
        started_at=started_at,
    )


def line_of(*jobs):
    line = Line()
    for job in jobs:
        line.place(job, None)
    return line


@pytest.mark.parametrize(("steps", "wait_s"), [(0, 0.5), (1, 1.0), (2, 2.0), (9, 10.0)])
def test_the_interval_of_a_running_job_grows_up_to_its_cap(steps, wait_s):
    intervals = Intervals(PollSettings(cap_s=10.0, **EXACT))
    running = watch_of(is_running=True, steps=steps)
    assert intervals.next_s(running, None, 5.0, 0.0) == wait_s


@pytest.mark.parametrize(("position", "wait_s"), [(0, 0.5), (4, 2.5), (1000, 15.0)])
def test_each_place_in_a_queue_that_never_moved_adds_to_the_interval(position, wait_s):
    intervals = Intervals(PollSettings(per_position_s=0.5, queued_cap_s=15.0, **EXACT))
    queued = watch_of(position=position)
    assert intervals.next_s(queued, line_of("job"), 5.0, 0.0) == wait_s


@pytest.mark.parametrize(("keeps_pace", "wait_s"), [(True, 60.0), (False, 600.0)])
def test_the_longest_gap_holds_in_the_queue_for_those_that_keep_pace(keeps_pace, wait_s):
    intervals = Intervals(PollSettings(queued_cap_s=600.0, **EXACT))
    queued = watch_of(position=5000, keeps_pace=keeps_pace)
    assert intervals.next_s(queued, line_of("job"), 5.0, 0.0) == wait_s


def test_the_pace_of_a_line_takes_the_place_of_the_curve_unless_nothing_is_learned():
    moving = line_of("job")
    moving.record_pace(10, 10.0)
    queued = watch_of(position=9, steps=20)
    by_pace_s = Intervals(PollSettings(**EXACT)).next_s(queued, moving, 5.0, 0.0)
    by_curve_s = Intervals(PollSettings(learns=False, **EXACT)).next_s(queued, moving, 5.0, 0.0)
    assert by_pace_s < moving.wait_s(9) < by_curve_s == 15.0


def test_a_failure_makes_the_interval_longer_and_never_shorter_than_the_server_asks():
    intervals = Intervals(PollSettings(**EXACT))
    watch = watch_of(is_running=True)
    watch.interval_s = 4.0
    assert intervals.after_failure_s(watch, 0.0) == 4.0 * GROWTH_AFTER_FAILURE
    assert intervals.after_failure_s(watch, 30.0) == 30.0
    assert intervals.after_failure_s(watch, 1e9) == LONGEST_FLOOR_S
    watch.interval_s = 50.0
    assert intervals.after_failure_s(watch, 0.0) == 60.0


def test_the_first_wait_halves_where_jobs_end_before_it_and_comes_back_where_they_last():
    intervals = Intervals(PollSettings(**EXACT))
    watch = watch_of()
    watch.interval_s = 0.5
    intervals.record_first(watch, is_early=True)
    assert intervals.first_s(watch, line_of("job"), 0.0) == 0.25
    assert intervals.fresh_s(ENDPOINT) == 0.25
    intervals.record_first(watch, is_early=False)
    intervals.record_first(watch, is_early=False)
    assert intervals.first_s(watch, line_of("job"), 0.0) == 0.5


@pytest.mark.parametrize(("standing", "wait_s"), [(9, 0.5), (10, 0.5 / 16), (11, 0.5)])
def test_the_tenth_to_stand_in_an_unknown_line_is_checked_early(standing, wait_s):
    intervals = Intervals(PollSettings(**EXACT))
    assert intervals.first_s(watch_of(), line_of(*range(standing)), 0.0) == wait_s


@pytest.mark.parametrize("draw", [0.0, 0.5, 0.999])
def test_an_announced_job_is_left_alone_for_a_gap_at_most(draw):
    intervals = Intervals(PollSettings(announced_s=600.0, longest_gap_s=60.0, jitter=0.1))
    assert intervals.announced_s(draw) == pytest.approx(60.0 * (1.0 - 0.1 * draw))


def test_run_times_are_asked_for_the_wait_once_enough_are_known():
    intervals = Intervals(PollSettings(jitter=0.0))
    for known in range(FEWEST_RUNS):
        assert intervals.learned_s(watch_of(), 0.0, 0.5) is None, known
        intervals.record_run(watch_of(), Completed(), 20.0, alive_at=20.0)
    assert 5.0 < intervals.learned_s(watch_of(), 0.0, 0.5) < 40.0


def test_a_run_that_ended_badly_teaches_nothing():
    intervals = Intervals(PollSettings())
    intervals.record_run(watch_of(), Completed(error="boom"), 20.0, alive_at=20.0)
    assert intervals.forecaster.dump() == {}


def test_of_what_nothing_is_known_the_chance_falls_with_the_age():
    intervals = Intervals(PollSettings())
    young, old = watch_of(), watch_of(started_at=-90.0)
    assert intervals.chance(young, 10.0) == 0.5
    assert intervals.chance(old, 10.0) == pytest.approx(0.05)
