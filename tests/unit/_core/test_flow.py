from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from falq._core.flow import AdaptiveLimit, Cooldown, Lead, TokenBucket

RATES = st.floats(0.01, 1000)


@given(
    rate=RATES,
    burst=st.floats(1, 100),
    steps=st.lists(st.floats(0, 5), min_size=1, max_size=100),
)
def test_a_bucket_never_lets_more_through_than_its_burst_and_its_rate(rate, burst, steps):
    bucket, now, passed = TokenBucket(rate, burst), 0.0, 0
    for step in steps:
        now += step
        passed += bucket.take(now)
    assert passed <= burst + rate * now + 1e-6 * rate * len(steps) + 1e-6


@given(rate=RATES, start=st.floats(0, 1e9), taken=st.integers(1, 30))
@example(rate=200.0, start=1e6, taken=1)
@example(rate=10.0, start=3e7 + 0.1, taken=7)
def test_who_waits_exactly_as_told_is_let_through(rate, start, taken):
    bucket, now = TokenBucket(rate, 1.0), start
    assert bucket.take(now)
    for _ in range(taken):
        wait_s = bucket.wait_s(now)
        assert wait_s > 0 or rate >= 1e5
        now += wait_s
        assert bucket.wait_s(now) == 0.0
        assert bucket.take(now)


@given(rate=RATES, now=st.floats(0, 1e6), draws=st.lists(st.floats(0, 2), max_size=30))
def test_take_and_wait_never_disagree(rate, now, draws):
    bucket = TokenBucket(rate, 3.0)
    for step in draws:
        now += step
        may_go = bucket.wait_s(now) == 0.0
        assert bucket.take(now) is may_go


def test_a_rest_fills_the_bucket_no_further_than_its_burst():
    bucket = TokenBucket(10.0, 3.0)
    bucket.take(0.0)
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]


def test_a_clock_that_steps_back_makes_no_tokens():
    bucket = TokenBucket(1.0, 1.0)
    assert bucket.take(10.0)
    assert not bucket.take(5.0)
    assert not bucket.take(10.5)
    assert bucket.take(11.0)


def test_a_token_given_back_can_be_taken_again_but_does_not_exceed_the_burst():
    bucket = TokenBucket(1.0, 1.0)
    bucket.give_back()
    assert bucket.take(0.0)
    assert not bucket.take(0.0)
    bucket.give_back()
    assert bucket.take(0.0)


def test_a_healthy_server_is_never_slowed():
    limit = AdaptiveLimit(100)
    for _ in range(1000):
        limit.record_success()
    assert limit.limit == 100


def test_trouble_takes_a_tenth_away():
    limit = AdaptiveLimit(100)
    limit.record_trouble(0.0)
    assert limit.limit == 90


def test_the_troubles_of_one_second_count_as_one():
    limit = AdaptiveLimit(100)
    for _ in range(50):
        limit.record_trouble(0.5)
    assert limit.limit == 90
    limit.record_trouble(1.5)
    assert limit.limit == 81


def test_a_window_of_successes_gives_one_back():
    limit = AdaptiveLimit(10)
    limit.record_trouble(0.0)
    for _ in range(9):
        assert limit.limit == 9
        limit.record_success()
    assert limit.limit == 10


@given(
    top=st.integers(1, 200),
    share=st.floats(0, 1),
    moves=st.lists(st.tuples(st.booleans(), st.floats(0, 3)), max_size=300),
)
def test_a_limit_stays_between_its_floor_and_its_top(top, share, moves):
    floor = max(1, int(top * share))
    limit, now = AdaptiveLimit(top, floor=floor), 0.0
    for is_good, step in moves:
        now += step
        if is_good:
            limit.record_success()
        else:
            limit.record_trouble(now)
        assert floor <= limit.limit <= top


def test_after_trouble_a_limit_finds_its_way_back_to_the_top():
    limit = AdaptiveLimit(20, floor=4)
    for second in range(100):
        limit.record_trouble(float(second))
    assert limit.limit == 4
    for _ in range(20 * 20):
        limit.record_success()
    assert limit.limit == 20


def test_a_cooldown_is_over_before_anyone_asks_for_one():
    assert Cooldown().left_s(0.0) == 0.0


def test_a_shorter_cooldown_never_cuts_a_longer_one():
    pause = Cooldown()
    pause.extend(0.0, 30.0)
    pause.extend(1.0, 2.0)
    assert pause.left_s(10.0) == 20.0
    assert pause.left_s(40.0) == 0.0


@pytest.mark.parametrize("now", [0.0, 1e6, 1e9])
def test_waiting_as_told_always_moves_the_clock(now):
    bucket = TokenBucket(200.0, 20.0)
    for _ in range(500):
        if not bucket.take(now):
            later = now + bucket.wait_s(now)
            assert later > now
            now = later


def test_a_token_spent_in_advance_is_waited_for_later():
    bucket = TokenBucket(1.0, 1.0)
    bucket.spend()
    bucket.spend()
    assert bucket.wait_s(0.0) == 2.0
    assert not bucket.take(1.0)
    assert bucket.take(2.0)


@given(
    places=st.integers(1, 1000),
    ready_s=st.floats(0, 100),
    call_s=st.floats(0, 100),
)
def test_a_lead_keeps_the_places_busy_and_has_an_end(places, ready_s, call_s):
    lead = Lead(most_to_place=8.0)
    assert lead.limit(places) == places
    lead.record_ready(ready_s)
    assert lead.limit(places) == places
    lead.record_call(call_s)
    # As many as end while one gets ready.
    ending = places * ready_s / call_s if call_s else float("inf")
    assert lead.limit(places) >= min(ending, 8 * places) or not ready_s
    assert lead.limit(places) <= 8 * places
    if call_s and 1.5 * ending < 8 * places:
        assert lead.limit(places) <= 1.5 * ending + 1


def test_a_lead_follows_a_server_that_becomes_slow():
    lead = Lead()
    for _ in range(100):
        lead.record_ready(0.02)
        lead.record_call(0.005)
    assert lead.limit(32) == 192
    for _ in range(200):
        lead.record_call(0.5)
    assert lead.limit(32) == 2
