from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq._core.retry import (
    PROBE_INTERVAL_S,
    Failure,
    RetryBudget,
    RetrySettings,
    decide_wait_s,
)

DEFAULTS = RetrySettings()
DRAWS = st.floats(0, 1, exclude_max=True)
ALMOST_ONE = 0.999999


@pytest.mark.parametrize(
    ("failure", "attempt", "ceiling_s"),
    [
        (Failure.NOT_SENT, 1, 0.25),
        (Failure.NOT_SENT, 3, 1.0),
        (Failure.BROKEN, 2, 0.5),
        (Failure.BROKEN, 50, 20.0),
        (Failure.THROTTLED, 1, 1.0),
        (Failure.THROTTLED, 2, 2.0),
    ],
)
def test_without_a_word_from_the_server_the_wait_is_full_jitter(failure, attempt, ceiling_s):
    shortest_s = decide_wait_s(DEFAULTS, failure, attempt=attempt, draw=0.0)
    longest_s = decide_wait_s(DEFAULTS, failure, attempt=attempt, draw=ALMOST_ONE)
    assert shortest_s == 0.0
    assert longest_s == pytest.approx(ceiling_s, rel=1e-5)


@given(
    failure=st.sampled_from(Failure),
    attempt=st.integers(1, 100),
    draw=DRAWS,
    retry_after_s=st.floats(0.001, 300),
)
def test_what_the_server_asks_is_a_floor_and_at_most_a_fifth_is_added(
    failure, attempt, draw, retry_after_s
):
    wait_s = decide_wait_s(
        DEFAULTS, failure, attempt=attempt, draw=draw, retry_after_s=retry_after_s
    )
    assert retry_after_s <= wait_s <= retry_after_s * 1.2


def test_those_refused_together_do_not_come_back_together():
    waits = {
        decide_wait_s(DEFAULTS, Failure.THROTTLED, attempt=1, draw=draw, retry_after_s=30.0)
        for draw in (0.0, 0.3, 0.6, 0.9)
    }
    assert len(waits) == 4


@pytest.mark.parametrize(
    ("retry_after_s", "gives_up"), [(300.0, False), (300.1, True), (1e9, True)]
)
def test_a_wait_above_the_longest_is_given_up(retry_after_s, gives_up):
    wait_s = decide_wait_s(
        DEFAULTS, Failure.THROTTLED, attempt=1, draw=0.5, retry_after_s=retry_after_s
    )
    assert (wait_s is None) is gives_up


def test_a_retry_after_of_zero_does_not_take_the_backoff_away():
    told = decide_wait_s(DEFAULTS, Failure.BROKEN, attempt=4, draw=0.5, retry_after_s=0.0)
    assert told == decide_wait_s(DEFAULTS, Failure.BROKEN, attempt=4, draw=0.5)


def test_a_cap_below_the_throttle_base_does_not_shorten_the_first_wait():
    settings = RetrySettings(cap_s=0.5, throttle_base_s=1.0)
    wait_s = decide_wait_s(settings, Failure.THROTTLED, attempt=5, draw=ALMOST_ONE)
    assert wait_s == pytest.approx(1.0, rel=1e-5)


def _requests_in_an_outage(*, arrivals: list[float], lasts_s: float, budget: float) -> int:
    """Return the requests made when every call fails and each asks every second to retry."""
    valve = RetryBudget(budget)
    requests = waiting = 0
    pending = sorted(arrivals)
    now = 0.0
    while now <= lasts_s:
        while pending and pending[0] <= now:
            pending.pop(0)
            valve.record_first_attempt()
            requests += 1
            waiting += 1
        for _ in range(waiting):
            if not valve.take(now):
                break
            requests += 1
        now += 0.25
    return requests


@pytest.mark.parametrize("spread_s", [0.0, 10.0, 100.0, 250.0], ids=lambda s: f"over_{s:g}_s")
def test_a_thousand_calls_in_an_outage_make_at_most_1150_requests(spread_s):
    arrivals = [index * spread_s / 1000 for index in range(1000)]
    made = _requests_in_an_outage(arrivals=arrivals, lasts_s=spread_s, budget=DEFAULTS.budget)
    assert 1000 <= made <= 1150


def test_in_a_long_outage_only_probes_go_on():
    made = _requests_in_an_outage(arrivals=[0.0] * 1000, lasts_s=300.0, budget=50)
    assert made <= 1050 + 300 / PROBE_INTERVAL_S + 1


def test_an_empty_budget_lets_a_probe_through_when_none_went_for_its_interval():
    valve = RetryBudget(1)
    assert valve.take(100.0)
    assert not valve.take(100.0)
    assert not valve.take(100.0 + PROBE_INTERVAL_S - 0.01)
    assert valve.take(100.0 + PROBE_INTERVAL_S)
    assert not valve.take(100.0 + PROBE_INTERVAL_S)


def test_a_budget_of_nothing_still_probes():
    valve = RetryBudget(0)
    assert valve.take(0.0)
    assert not valve.take(1.0)


def test_a_retry_that_succeeds_is_given_back():
    valve = RetryBudget(5)
    valve.take(0.0)
    valve.record_success()
    assert valve.left == 5


@given(st.lists(st.sampled_from(["first", "success", "take"]), max_size=200))
def test_a_budget_stays_between_nothing_and_its_capacity(moves):
    valve = RetryBudget(3)
    for now, move in enumerate(moves):
        if move == "first":
            valve.record_first_attempt()
        elif move == "success":
            valve.record_success()
        else:
            valve.take(float(now))
        assert 0 <= valve.left <= 3


@pytest.mark.parametrize(
    "setting",
    [
        {"base_s": 0.0},
        {"throttle_base_s": 0.0},
        {"cap_s": 0.0},
        {"submit_attempts": 0},
        {"cancel_attempts": 0},
        {"result_for_s": -1.0},
        {"longest_wait_s": -1.0},
        {"budget": -1},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        RetrySettings(**setting)
