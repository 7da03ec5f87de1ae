"""Run times and progress bars."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.emulator.models.pace import TAIL, Pace, progress_lines


@given(
    draw=st.floats(0, 1, exclude_max=True),
    median_s=st.floats(0.01, 1000),
    spread=st.floats(0, 1),
)
def test_a_run_time_stays_within_three_deviations(draw, median_s, spread):
    time_s = Pace(median_s=median_s, spread=spread).run_time_s(draw=draw)
    edge = math.exp(TAIL * spread) * (1 + 1e-9)
    assert median_s / edge <= time_s <= median_s * edge


def test_a_pace_without_spread_is_always_the_same():
    pace = Pace(median_s=2.0, spread=0.0)
    assert {pace.run_time_s(draw=n / 10) for n in range(10)} == {2.0}


def test_a_pace_refuses_a_median_of_nothing():
    with pytest.raises(ValueError, match="median_s"):
        Pace(median_s=0.0)


def test_a_progress_bar_counts_every_step_of_a_short_run():
    assert progress_lines(4, duration_s=0.5) == (
        "  0%|          | 0/4 [00:00<?, ?it/s]",
        " 25%|##        | 1/4 [00:00<00:00, 8.00it/s]",
        " 50%|#####     | 2/4 [00:00<00:00, 8.00it/s]",
        " 75%|#######   | 3/4 [00:00<00:00, 8.00it/s]",
        "100%|##########| 4/4 [00:00<00:00, 8.00it/s]",
    )


@given(total=st.integers(1, 10_000), most=st.integers(1, 20))
def test_a_progress_bar_ends_full_and_is_never_too_long(total, most):
    lines = progress_lines(total, duration_s=10.0, most=most)
    assert len(lines) <= most + 1
    assert lines[-1].startswith("100%|##########|")
    assert len(set(lines)) == len(lines)
