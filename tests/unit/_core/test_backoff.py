from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq._core.backoff import Backoff

CURVES = st.builds(
    Backoff,
    base_s=st.floats(0.001, 100),
    cap_s=st.floats(0.001, 1000),
    factor=st.floats(1, 10),
    jitter=st.floats(0, 1),
)
DRAWS = st.floats(0, 1, exclude_max=True)


@given(curve=CURVES, attempt=st.integers(1, 5000), draw=DRAWS)
def test_a_delay_never_exceeds_its_ceiling_nor_the_cap(curve, attempt, draw):
    delay_s = curve.delay_s(attempt, draw=draw)
    assert 0 <= delay_s <= curve.ceiling_s(attempt) <= curve.cap_s


@given(curve=CURVES, attempt=st.integers(1, 5000))
def test_ceilings_never_shrink(curve, attempt):
    assert curve.ceiling_s(attempt) <= curve.ceiling_s(attempt + 1)


@given(curve=CURVES, attempt=st.integers(1, 50), draw=DRAWS)
def test_jitter_takes_away_its_share_at_most(curve, attempt, draw):
    least_s = curve.ceiling_s(attempt) * (1 - curve.jitter)
    assert curve.delay_s(attempt, draw=draw) >= least_s * (1 - 1e-12)


@given(curve=CURVES, attempt=st.integers(1, 50), draws=st.tuples(DRAWS, DRAWS))
def test_a_larger_draw_never_gives_a_shorter_wait(curve, attempt, draws):
    low, high = sorted(draws)
    assert curve.delay_s(attempt, draw=low) <= curve.delay_s(attempt, draw=high)


def test_full_jitter_reaches_down_to_no_wait_at_all():
    assert Backoff(jitter=1.0).delay_s(3, draw=0.0) == 0.0


def test_without_jitter_chance_changes_nothing():
    curve = Backoff(jitter=0.0)
    assert curve.delay_s(2, draw=0.0) == curve.delay_s(2, draw=0.9) == curve.ceiling_s(2)


def test_the_cap_holds_after_the_power_no_longer_fits_a_float():
    assert Backoff(factor=2.0, cap_s=20.0).ceiling_s(100_000) == 20.0


@pytest.mark.parametrize("attempt", [0, -1])
def test_attempts_count_from_one(attempt):
    with pytest.raises(ValueError, match="counts from 1"):
        Backoff().ceiling_s(attempt)


@pytest.mark.parametrize("draw", [-0.1, 1.0, 2.0, float("nan")])
def test_a_draw_outside_its_interval_is_refused(draw):
    with pytest.raises(ValueError, match="draw must lie"):
        Backoff().delay_s(1, draw=draw)


@pytest.mark.parametrize(
    "setting",
    [{"base_s": 0.0}, {"cap_s": -1.0}, {"factor": 0.5}, {"jitter": 1.1}, {"jitter": -0.1}],
    ids=str,
)
def test_a_curve_that_makes_no_sense_is_refused(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        Backoff(**setting)
