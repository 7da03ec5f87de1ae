from __future__ import annotations

import pytest

from falq._core.pollsettings import PollSettings


@pytest.mark.parametrize(
    "setting",
    [
        {"initial_s": 0.0},
        {"initial_s": float("inf")},
        {"factor": 0.9},
        {"cap_s": 0.0},
        {"jitter": 1.0},
        {"queued_cap_s": 0.0},
        {"per_position_s": -1.0},
        {"queued_per_s": 0.0},
        {"per_s": 0.0},
        {"longest_gap_s": 0.0},
        {"poll_value_s": 0.0},
        {"announced_s": 0.0},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        PollSettings(**setting)
