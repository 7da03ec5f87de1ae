"""How much each user of a proxy may do."""

from __future__ import annotations

from falq.web.allowance import Allowance, ProxyLimits


def test_a_user_has_so_many_calls_at_once_and_another_has_their_own():
    allowance = Allowance(ProxyLimits(calls_at_once=2))
    assert allowance.take("a", is_job=False, now=0.0) is None
    assert allowance.take("a", is_job=False, now=0.0) is None
    assert allowance.take("a", is_job=False, now=0.0) == 1
    assert allowance.take("b", is_job=False, now=0.0) is None
    allowance.give_back("a")
    assert allowance.take("a", is_job=False, now=0.0) is None


def test_all_users_together_have_so_many_calls_at_once():
    allowance = Allowance(ProxyLimits(all_calls_at_once=1))
    assert allowance.take("a", is_job=False, now=0.0) is None
    assert allowance.take("b", is_job=False, now=0.0) == 1


def test_a_minute_has_so_many_calls_and_the_answer_says_when_the_next_may_come():
    allowance = Allowance(ProxyLimits(calls_per_minute=2))
    for now in (0.0, 30.0):
        assert allowance.take("a", is_job=False, now=now) is None
        allowance.give_back("a")
    assert allowance.take("a", is_job=False, now=40.0) == 20
    assert allowance.take("a", is_job=False, now=60.0) is None
    allowance.give_back("a")
    assert allowance.take("a", is_job=False, now=60.0) == 30


def test_jobs_are_counted_beside_calls():
    allowance = Allowance(ProxyLimits(jobs_per_minute=1))
    assert allowance.take("a", is_job=True, now=0.0) is None
    allowance.give_back("a")
    assert allowance.take("a", is_job=True, now=1.0) == 59
    assert allowance.take("a", is_job=False, now=1.0) is None


def test_users_are_forgotten_a_minute_after_their_last_call_ended():
    allowance = Allowance(ProxyLimits())
    for n in range(100):
        allowance.take(f"user {n}", is_job=False, now=0.0)
    for n in range(99):
        allowance.give_back(f"user {n}")
    assert allowance.known == 100
    for _ in range(3):
        allowance.take("last", is_job=False, now=61.0)
    assert allowance.known == 2
    allowance.give_back("user 99")
    assert allowance.in_flight == 3
