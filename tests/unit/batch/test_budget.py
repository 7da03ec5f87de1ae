"""Money: reserved before, settled after, never passed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.batch.budget import PER_JOB, Budget, read_price_words
from falq.errors import ArgumentError, ConfigError
from falq.journal import EndpointUsage
from falq.platform import Price

FLUX = "fal-ai/flux/schnell"


def a_budget(limit_usd: float | None = 1.0, *, usd: float = 0.1) -> Budget:
    return Budget(limit_usd, {FLUX: Price(usd, "images")})


def test_a_reserve_that_would_pass_the_limit_is_refused():
    budget = a_budget(0.25)
    assert budget.reserve(FLUX, {}) is not None
    assert budget.reserve(FLUX, {}) is not None
    assert budget.reserve(FLUX, {}) is None
    assert budget.reserved_usd == pytest.approx(0.2)


def test_a_limit_that_is_met_exactly_is_not_passed():
    budget = a_budget(0.3)
    assert all(budget.reserve(FLUX, {}) for _ in range(3))
    assert budget.reserve(FLUX, {}) is None


def test_settling_gives_the_reserve_back_and_counts_what_was_billed():
    budget = a_budget()
    held = budget.reserve(FLUX, {"num_images": 2})
    assert held is not None
    assert budget.settle(held, billable_units=3.0) == pytest.approx(0.3)
    assert (budget.reserved_usd, budget.spent_usd) == (0.0, pytest.approx(0.3))


def test_a_result_without_units_costs_what_was_expected():
    budget = a_budget()
    held = budget.hold(FLUX, {"num_images": 4})
    assert budget.settle(held, billable_units=None) == pytest.approx(0.4)


def test_a_job_that_was_not_billed_costs_nothing():
    budget = a_budget()
    held = budget.hold(FLUX, {})
    assert budget.settle(held, billable_units=None, is_billed=False) == 0.0
    assert budget.spent_usd == 0.0


def test_what_an_earlier_run_sent_is_not_spent_by_this_one():
    budget = a_budget()
    budget.settle(budget.hold(FLUX, {}), billable_units=2.0, is_sent_before=True)
    budget.settle(budget.hold(FLUX, {}), billable_units=1.0)
    assert (budget.spent_usd, budget.before_usd) == (pytest.approx(0.3), pytest.approx(0.2))


def test_what_an_endpoint_has_billed_is_expected_of_the_next_job():
    budget = a_budget(None)
    budget.settle(budget.hold(FLUX, {"num_images": 2}), billable_units=5.0)
    assert budget.expected_usd(FLUX, {}) == pytest.approx(0.25)


def test_a_price_per_job_does_not_count_units():
    budget = Budget(None, read_price_words([f"{FLUX}=0.5"]))
    assert budget.settle(budget.hold(FLUX, {"num_images": 4}), billable_units=9.0) == 0.5


def test_a_limit_needs_every_price():
    with pytest.raises(ConfigError, match="--price acme/echo="):
        a_budget(1.0).check_prices([FLUX, "acme/echo"])
    a_budget(None).check_prices(["acme/echo"])


def test_an_unknown_price_costs_nothing_that_is_known():
    budget = Budget(None, {})
    held = budget.hold("acme/echo", {})
    assert held.usd == 0.0
    assert budget.settle(held, billable_units=1.0) is None
    assert budget.expected_usd("acme/echo", {}) is None


@pytest.mark.parametrize("word", ["acme/echo", "=1", "acme/echo=much", "acme/echo=-1", "a/b=nan"])
def test_a_price_word_that_is_none_is_refused(word: str):
    with pytest.raises(ArgumentError):
        read_price_words([word])


@pytest.mark.parametrize("limit_usd", [-0.01, float("nan"), float("inf")])
def test_a_limit_that_is_no_amount_is_refused(limit_usd: float):
    with pytest.raises(ConfigError):
        Budget(limit_usd, {})


@given(st.lists(st.tuples(st.integers(1, 8), st.booleans()), max_size=60))
def test_spent_and_reserved_never_pass_the_limit_when_bills_keep_to_what_was_expected(steps):
    budget = a_budget(1.0, usd=0.03)
    held = []
    for count, is_end in steps:
        if is_end and held:
            one = held.pop()
            budget.settle(one, billable_units=float(one.count))
        else:
            reserve = budget.reserve(FLUX, {"num_images": count})
            held += [] if reserve is None else [reserve]
        assert budget.spent_usd + budget.reserved_usd <= 1.0 + 1e-9


def test_what_earlier_runs_spent_counts_and_a_result_without_units_counts_as_one():
    budget = Budget(None, {"a/b": Price(0.5, "images", "USD"), "c/d": Price(0.1, PER_JOB, "USD")})
    budget.add_before(
        [
            EndpointUsage(endpoint="a/b", results=4, billable_units=6.0, unmeasured=2),
            EndpointUsage(endpoint="c/d", results=3, billable_units=99.0, unmeasured=0),
            EndpointUsage(endpoint="e/f", results=5, billable_units=5.0, unmeasured=0),
        ]
    )
    assert budget.before_usd == pytest.approx(8 * 0.5 + 3 * 0.1)
    assert budget.spent_usd == budget.before_usd
