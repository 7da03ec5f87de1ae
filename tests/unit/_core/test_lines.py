"""The order of a queue, told piece by piece."""

from __future__ import annotations

import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq._core.lines import Line


def test_places_of_one_moment_are_the_order():
    line = Line()
    for job, position in (("c", 3), ("a", 1), ("b", 2)):
        line.place(job, position)
    assert line.head(2) == ["a", "b"]
    assert len(line) == 3


def test_places_of_different_moments_compare_by_who_has_left_between():
    line = Line()
    line.place("early", 5)
    for job in range(3):
        line.place(job, job)
        line.leave(job)
    # Of the five before it two are left, as many as before the other.
    line.place("late", 3)
    line.place("next", 1)
    assert line.head(9) == ["next", "early", "late"]


def test_who_tells_no_place_stands_behind_all_others_and_keeps_its_place():
    line = Line()
    line.place("first", None)
    line.place("second", None)
    line.place("told", 0)
    line.place("first", None)
    assert line.head(9) == ["first", "told", "second"]


def test_a_job_moves_where_it_is_told_to_stand():
    line = Line()
    line.place("a", 1)
    line.place("b", 2)
    line.place("a", 7)
    line.place("b", 2)
    assert line.head(9) == ["b", "a"]
    assert len(line) == 2


def test_who_has_left_is_in_no_line():
    line = Line()
    line.place("a", 0)
    assert line.leave("a")
    assert not line.leave("a")
    assert line.head(9) == []
    assert len(line) == 0


@given(st.permutations(range(20)), st.integers(0, 25))
def test_the_order_of_arrival_does_not_matter(order, most):
    line = Line()
    for job in order:
        line.place(job, job)
    for _ in range(2):
        assert line.head(most) == list(range(20))[:most]


class Named:
    """A job that can be looked for after it has gone."""


def test_nothing_is_kept_of_those_who_have_left_while_the_head_stands():
    line = Line()
    line.place("stands", 0)
    gone = []
    for _ in range(1000):
        job = Named()
        line.place(job, 1)
        line.leave(job)
        gone.append(weakref.ref(job))
        del job
    assert sum(job() is not None for job in gone) < 100
    assert line.head(2) == ["stands"]


def test_jobs_that_move_often_keep_one_place():
    line = Line()
    for position in range(1000, 0, -1):
        line.place("moves", position)
    line.place("behind", 500)
    assert line.head(9) == ["moves", "behind"]


def test_a_line_that_was_not_seen_to_move_says_nothing_of_a_start():
    line = Line()
    assert line.wait_s(3) is None
    line.record_pace(0, 60.0)
    # Who was pushed back by others has not seen the line move either.
    line.record_pace(-5, 60.0)
    assert line.wait_s(3) is None


def test_the_pace_of_a_line_tells_the_wait_for_a_start():
    line = Line()
    line.record_pace(10, 20.0)
    assert line.wait_s(0) == 2.0
    assert line.wait_s(9) == 20.0


def test_what_a_line_did_lately_counts_more_than_what_it_did_before():
    line = Line()
    for _ in range(20):
        line.record_pace(10, 10.0)
    assert line.wait_s(0) == pytest.approx(1.0)
    for _ in range(5):
        line.record_pace(1, 10.0)
    assert 2.5 < line.wait_s(0) < 10.0
