"""What a few hundred run times tell, and what they do not."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq._core.runtimes import KEPT, Distribution, RunTimes

RUNS_S = st.lists(st.floats(0.0, 4000.0), min_size=1, max_size=60)


def learned(runs_s):
    known = RunTimes()
    known.load(runs_s)
    return known.learn()


@given(RUNS_S)
def test_a_distribution_grows_from_nothing_to_all(runs_s):
    found = learned(runs_s)
    assert (found.ages_s[0], found.ended[0], found.ended[-1]) == (0.0, 0.0, 1.0)
    assert all(before < after for before, after in itertools.pairwise(found.ages_s))
    assert all(before <= after for before, after in itertools.pairwise(found.ended))
    assert found.share_by(min(runs_s) / 10) <= 0.4
    assert found.share_by(max(max(runs_s), 0.001) * 1.6) >= 0.6


@given(RUNS_S, st.floats(0.0, 1.0))
def test_the_age_at_a_share_is_where_that_share_has_ended(runs_s, share):
    found = learned(runs_s)
    assert found.share_by(found.age_at(share)) == pytest.approx(share, abs=1e-6)


def test_before_the_first_and_after_the_last_point_nothing_and_all_have_ended():
    found = Distribution([0.0, 1.0, 2.0], [0.0, 0.5, 1.0])
    assert (found.share_by(-1.0), found.share_by(0.5), found.share_by(9.0)) == (0.0, 0.25, 1.0)
    assert found.age_at(0.75) == 1.5


def test_many_runs_tell_the_quarters_of_where_they_came_from():
    chance = random.Random(7)
    found = learned([chance.lognormvariate(1.0, 0.5) for _ in range(KEPT)])
    for share, age_s in ((0.25, 1.94), (0.5, 2.72), (0.75, 3.81)):
        assert found.age_at(share) == pytest.approx(age_s, rel=0.12)


def test_two_humps_stay_two():
    chance = random.Random(7)
    runs_s = [(3.0 if n % 4 else 60.0) * (0.9 + 0.2 * chance.random()) for n in range(200)]
    found = learned(runs_s)
    assert found.share_by(50.0) - found.share_by(4.0) < 0.03
    assert found.share_by(4.0) == pytest.approx(0.75, abs=0.03)


def test_however_many_runs_agree_others_stay_possible():
    found = learned([10.0] * KEPT)
    assert 0.0 < found.share_by(5.0) < 0.01
    assert 0.99 < found.share_by(20.0) < 1.0


def test_later_runs_count_more():
    found = learned([1.0] * 100 + [2.0] * 100)
    assert found.share_by(1.4) < 0.42


def test_a_told_time_counts_between_the_two_looks():
    known = RunTimes()
    known.record(0.0, 5.0, told_s=3.0)
    assert known.dump() == [3.0]


def test_what_runs_take_beside_the_told_time_is_learned():
    known = RunTimes()
    for _ in range(30):
        # Told three seconds, and never over before four and a half.
        known.record(4.5, 5.0, told_s=3.0)
    known.record(0.0, 60.0, told_s=3.0)
    assert known.dump()[-1] == pytest.approx(4.5, abs=0.05)


def test_a_told_time_that_cannot_be_gives_way_to_what_was_seen():
    known = RunTimes()
    known.record(0.0, 2.0, told_s=300.0)
    assert known.dump() == [2.0]


def test_untold_runs_spread_over_the_time_in_which_they_ended():
    known = RunTimes()
    for _ in range(50):
        known.record(4.0, 6.0)
    runs_s = known.dump()
    assert min(runs_s) < 4.2 < 5.8 < max(runs_s)
    assert sum(runs_s) / 50 == pytest.approx(5.0, abs=0.1)


def test_untold_runs_gather_where_others_are_known_to_end():
    known = RunTimes()
    known.load([5.0 + 0.001 * n for n in range(100)])
    known.learn()
    for _ in range(20):
        known.record(0.0, 20.0)
    assert all(4.0 < run_s < 6.0 for run_s in known.dump()[-20:])


def test_an_untold_run_where_nothing_was_known_to_end_lies_between_the_looks():
    known = RunTimes()
    known.load([5.0] * 100)
    known.learn()
    known.record(10.0, 12.0)
    assert 10.0 <= known.dump()[-1] <= 12.0


def test_after_a_change_the_old_runs_are_forgotten():
    known = RunTimes()
    known.load([5.0] * 200)
    known.learn()
    for _ in range(12):
        known.add(50.0)
    assert len(known) < 20
    assert known.dump().count(5.0) == 0


def test_a_single_strange_run_changes_nothing():
    known = RunTimes()
    known.load([5.0] * 200)
    known.learn()
    known.add(50.0)
    known.add(5.0)
    assert len(known) == 202
    assert known.dump().count(5.0) == 201


def test_memory_is_bounded_and_the_count_goes_on():
    known = RunTimes()
    for _ in range(2 * KEPT):
        known.add(1.0)
    assert (len(known), known.count) == (KEPT, 2 * KEPT)


def test_no_run_is_shorter_than_a_millisecond():
    known = RunTimes()
    known.record(0.0, 0.0, told_s=0.0)
    known.load([0.0])
    assert known.dump() == [0.001, 0.001]
