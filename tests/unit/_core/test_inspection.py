"""The least expected cost of looking, against every other choice there is."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq._core.inspection import plan_checks


def expected_cost(ages_s, ended, looks_s, look_value_s):
    """Return what looks at these ages cost, if ends are spread evenly between grid points."""
    cost, grid = 0.0, list(zip(ages_s, ended, strict=True))
    for (start_s, low), (end_s, high) in itertools.pairwise(grid):
        if high == low:
            continue
        found_s = min(one for one in looks_s if one >= end_s)
        looks = sum(1 for one in looks_s if one <= found_s)
        cost += (high - low) * (look_value_s * looks + found_s - (start_s + end_s) / 2)
    return cost


def looks_of(schedule):
    looks_s, age_s = [], 0.0
    while (next_s := schedule.next_after(age_s)) is not None:
        looks_s.append(next_s)
        age_s = next_s
    return looks_s


@st.composite
def distributions(draw):
    steps_s = draw(st.lists(st.floats(0.05, 20.0), min_size=1, max_size=8))
    weights = draw(
        st.lists(st.sampled_from([0, 1, 2, 5]), min_size=len(steps_s), max_size=len(steps_s))
    )
    weights[-1] = max(weights[-1], 1)
    ages_s = [0.0, *itertools.accumulate(steps_s)]
    ended = [0.0, *(one / sum(weights) for one in itertools.accumulate(weights))]
    return ages_s, ended


@given(distributions(), st.floats(0.01, 10.0))
def test_no_other_choice_of_looks_costs_less(distribution, look_value_s):
    ages_s, ended = distribution
    planned = looks_of(plan_checks(ages_s, ended, look_value_s=look_value_s))
    inner = ages_s[1:-1]
    choices = itertools.chain.from_iterable(
        itertools.combinations(inner, size) for size in range(len(inner) + 1)
    )
    least = min(
        expected_cost(ages_s, ended, [*choice, ages_s[-1]], look_value_s) for choice in choices
    )
    assert expected_cost(ages_s, ended, planned, look_value_s) == pytest.approx(least)


@given(distributions(), st.floats(0.01, 10.0), st.floats(0.0, 1.0))
def test_the_next_look_lies_ahead_until_the_schedule_ends(distribution, look_value_s, share):
    ages_s, ended = distribution
    schedule = plan_checks(ages_s, ended, look_value_s=look_value_s)
    age_s = share * schedule.end_s
    next_s = schedule.next_after(age_s)
    if age_s >= schedule.end_s:
        assert next_s is None
    else:
        assert next_s is not None
        assert age_s < next_s <= schedule.end_s


def test_looks_at_a_steady_hazard_stand_as_far_apart_as_the_square_root_says():
    hazard, look_value_s = 0.1, 0.2
    ages_s = [0.1 * step for step in range(1200)]
    ended = [1.0 - math.exp(-hazard * age_s) for age_s in ages_s]
    ended[-1] = 1.0
    looks_s = looks_of(plan_checks(ages_s, ended, look_value_s=look_value_s))
    gaps_s = [after - before for before, after in itertools.pairwise(looks_s[:10])]
    # The square root is the limit of cheap looks; a fifth of a gap is the next term.
    assert all(gap_s == pytest.approx(math.sqrt(2 * look_value_s / hazard), rel=0.2)
               for gap_s in gaps_s)  # fmt: skip


def test_nothing_is_looked_at_before_anything_can_have_ended():
    schedule = plan_checks([0.0, 10.0, 11.0, 12.0], [0.0, 0.0, 0.5, 1.0], look_value_s=0.1)
    assert schedule.next_after(0.0) == 11.0


def test_a_dear_look_is_made_once_at_the_end():
    schedule = plan_checks([0.0, 1.0, 2.0, 3.0], [0.0, 0.3, 0.6, 1.0], look_value_s=100.0)
    assert looks_of(schedule) == [3.0]


def test_between_two_points_the_look_moves_evenly():
    schedule = plan_checks([0.0, 1.0, 2.0, 3.0], [0.0, 0.3, 0.6, 1.0], look_value_s=0.001)
    assert schedule.next_after(0.5) == pytest.approx(1.5)
    assert schedule.next_after(2.5) == 3.0
