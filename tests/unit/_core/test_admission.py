from __future__ import annotations

import random

import pytest

from falq._core.admission import Admission

NORMAL, LOW = 0, 1


def _line(total: int, *jobs: tuple[str, str, int], **limits: int) -> Admission:
    admission = Admission(total, per_endpoint=limits)
    for job, endpoint, rank in jobs:
        admission.join(job, endpoint, rank=rank)
    return admission


def test_never_more_than_the_total_start():
    line = _line(2, *[(f"job {n}", "a", NORMAL) for n in range(5)])
    assert line.grant() == ["job 0", "job 1"]
    assert line.grant() == []
    assert (line.in_flight, line.waiting) == (2, 3)


def test_a_slot_that_comes_back_goes_to_the_next():
    line = _line(1, ("first", "a", NORMAL), ("second", "a", NORMAL))
    assert line.grant() == ["first"]
    line.release("a")
    assert line.grant() == ["second"]


def test_a_slot_that_is_taken_whatever_the_limits_counts_and_is_given_back():
    line = _line(1, ("first", "a", NORMAL), ("second", "a", NORMAL))
    assert line.grant() == ["first"]
    line.take("a")
    assert line.in_flight == 2
    line.release("a")
    assert line.grant() == []
    line.release("a")
    assert line.grant() == ["second"]


def test_within_one_endpoint_and_priority_the_first_to_come_goes_first():
    line = _line(1, *[(n, "a", NORMAL) for n in range(50)])
    order = []
    for _ in range(50):
        order += line.grant()
        line.release("a")
    assert order == list(range(50))


def test_endpoints_take_turns():
    jobs = [(f"a{n}", "a", NORMAL) for n in range(3)] + [(f"b{n}", "b", NORMAL) for n in range(3)]
    assert _line(6, *jobs).grant() == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_every_normal_job_goes_before_every_low_one():
    line = _line(3, ("low", "a", LOW), ("one", "a", NORMAL), ("two", "b", NORMAL))
    assert line.grant() == ["one", "two", "low"]


def test_a_low_job_starts_when_the_normal_ones_may_not():
    line = _line(5, ("held", "a", NORMAL), ("also held", "a", NORMAL), ("low", "b", LOW), a=1)
    assert line.grant() == ["held", "low"]


def test_a_full_endpoint_holds_up_nobody():
    line = _line(10, *[(f"a{n}", "a", NORMAL) for n in range(5)], ("b0", "b", NORMAL), a=2)
    assert line.grant() == ["a0", "b0", "a1"]
    line.release("a")
    assert line.grant() == ["a2"]


def test_a_full_endpoint_costs_nothing_while_it_is_full():
    line = _line(10, *[(n, "a", NORMAL) for n in range(100)], a=1)
    line.grant()
    line.grant()
    assert not line._turns[NORMAL]


def test_the_default_limit_holds_for_endpoints_without_their_own():
    line = Admission(10, per_endpoint={"a": 3}, default_per_endpoint=1)
    assert [line.limit_of(endpoint) for endpoint in ("a", "b")] == [3, 1]
    assert Admission(2, per_endpoint={"a": 3}).limit_of("a") == 2


def test_a_limit_raised_while_running_starts_those_who_wait():
    line = _line(1, *[(n, "a", NORMAL) for n in range(4)])
    assert line.grant() == [0]
    line.set_limits(total=3)
    assert line.grant() == [1, 2]


def test_an_endpoints_limit_raised_while_it_is_set_aside_takes_it_back_in():
    line = _line(10, *[(n, "a", NORMAL) for n in range(4)], a=1)
    assert line.grant() == [0]
    line.set_limits(per_endpoint={"a": 3})
    assert line.grant() == [1, 2]


def test_a_limit_lowered_while_running_takes_no_slot_away_but_starts_nobody():
    line = _line(4, *[(n, "a", NORMAL) for n in range(6)])
    assert line.grant() == [0, 1, 2, 3]
    line.set_limits(total=2)
    for _ in range(2):
        line.release("a")
        assert line.grant() == []
    line.release("a")
    assert line.grant() == [4]


def test_who_withdraws_is_not_started():
    line = _line(1, ("first", "a", NORMAL), ("second", "a", NORMAL), ("third", "b", NORMAL))
    assert line.withdraw("first")
    assert line.withdraw("third")
    assert not line.withdraw("first")
    assert line.grant() == ["second"]
    assert line.waiting == 0


def test_a_slot_is_taken_at_once_only_if_one_is_free_and_nobody_waits():
    line = Admission(2, per_endpoint={"a": 1})
    assert line.take_now("a")
    assert not line.take_now("a")
    line.join("waits", "a", rank=NORMAL)
    assert not line.take_now("b")
    line.withdraw("waits")
    assert line.take_now("b")
    assert not line.take_now("c")
    assert (line.in_flight_of("a"), line.in_flight_of("b"), line.in_flight_of("c")) == (1, 1, 0)


@pytest.mark.parametrize("seed", range(5))
def test_nobody_starves_however_crowded_another_endpoint_is(seed):
    chance = random.Random(seed)
    line = Admission(3)
    for n in range(200):
        line.join(f"crowd {n}", "crowd", rank=NORMAL)
    running = line.grant()
    line.join("alone", "quiet", rank=NORMAL)
    starts = 0
    while "alone" not in running:
        gone = running.pop(chance.randrange(len(running)))
        line.release("quiet" if gone == "alone" else "crowd")
        line.join(f"more {starts}", "crowd", rank=NORMAL)
        running += line.grant()
        starts += 1
    assert starts <= 2
