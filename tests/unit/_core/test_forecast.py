"""Who speaks for a kind of job, and when it is asked anew."""

from __future__ import annotations

import math

import pytest

from falq._core.forecast import FEWEST_RUNS, MOST_KINDS, Forecaster, kinds_of


def a_forecaster(runs_s, *, name="a"):
    known = Forecaster(0.1)
    known.load({name: runs_s})
    return known


def test_of_too_few_runs_nothing_is_said():
    assert a_forecaster([5.0] * (FEWEST_RUNS - 1)).find(["a"], 0.0) is None
    assert a_forecaster([5.0] * FEWEST_RUNS).find(["a"], 0.0) is not None
    assert a_forecaster([5.0] * FEWEST_RUNS).find(["b"], 0.0) is None


def test_the_most_special_kind_that_is_known_speaks():
    known = Forecaster(0.1)
    known.load({"a n=1": [1.0] * 20, "a": [1.0] * 20 + [9.0] * 20, "a n=9": [9.0]})
    special, general = known.find(["a n=1", "a"], 0.0), known.find(["a n=9", "a"], 0.0)
    assert special is not None
    assert general is not None
    assert special.distribution.share_by(5.0) > 0.95
    assert general.distribution.share_by(5.0) < 0.6


def test_a_run_counts_for_all_its_kinds():
    known = Forecaster(0.1)
    known.record(["a n=1", "a"], 0.0, 3.0, told_s=2.0)
    assert known.dump() == {"a n=1": [2.0], "a": [2.0]}


def test_a_schedule_is_made_anew_only_after_news_and_a_rest():
    known = a_forecaster([5.0] * 10)
    first = known.find(["a"], 0.0)
    assert known.find(["a"], 9.0) is first
    for _ in range(3):
        known.record(["a"], 4.0, 6.0, told_s=5.5)
    assert known.find(["a"], 0.1) is first
    second = known.find(["a"], 1.0)
    assert second is not first
    known.record(["a"], 4.0, 6.0, told_s=5.5)
    assert known.find(["a"], 9.0) is second


def test_what_was_not_used_for_longest_is_forgotten():
    known = Forecaster(0.1)
    for number in range(MOST_KINDS):
        known.record([f"kind {number}"], 0.0, 1.0, told_s=None)
    known.record(["kind 0"], 0.0, 1.0, told_s=None)
    known.record(["one more"], 0.0, 1.0, told_s=None)
    kept = known.dump()
    assert len(kept) == MOST_KINDS
    assert "kind 0" in kept
    assert "kind 1" not in kept


def test_the_chance_of_an_end_is_of_what_was_still_running():
    forecast = a_forecaster([5.0 + n / 10 for n in range(100)]).find(["a"], 0.0)
    assert forecast is not None
    # Later runs, which are the longer ones here, count a little more.
    assert forecast.chance_between(0.0, 10.0) == pytest.approx(0.44, abs=0.03)
    assert forecast.chance_between(10.0, 12.5) == pytest.approx(0.47, abs=0.03)
    assert forecast.chance_between(12.5, 12.5) == 0.0
    assert forecast.chance_between(math.inf, math.inf) == 0.0


def test_a_job_is_of_its_endpoint_and_of_what_decides_its_work():
    assert kinds_of("acme/a", {"prompt": "cat"}) == ("acme/a",)
    assert kinds_of("acme/a", {"duration": 5, "num_images": 2}) == (
        "acme/a num_images=2 duration=5",
        "acme/a",
    )
    size = {"image_size": {"width": 9, "height": 9}, "resolution": "x" * 33}
    assert kinds_of("acme/a", size) == ("acme/a",)
    assert kinds_of("acme/a", {"image_size": "square"})[0] == "acme/a image_size=square"
