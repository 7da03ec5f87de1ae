"""What downloads may cost."""

from __future__ import annotations

import errno

import pytest

from falq.errors import ResponseTooLargeError
from falq.media.limits import Allowance, DownloadLimits, Pace, Share


def claim(allowance: Allowance, share: Share, size_bytes: int, *, is_announced: bool = True):
    allowance.claim(share, size_bytes, shown="url", is_announced=is_announced)


def test_a_file_above_its_limit_is_refused():
    allowance = Allowance(DownloadLimits(file_bytes=10), free_bytes=lambda: 10**12)
    claim(allowance, Share(), 10)
    with pytest.raises(ResponseTooLargeError, match="file_bytes"):
        claim(allowance, Share(), 11)


def test_the_files_of_a_run_share_its_limit_and_a_failed_one_gives_back():
    allowance = Allowance(DownloadLimits(run_bytes=10), free_bytes=lambda: 10**12)
    first, second = Share(), Share()
    claim(allowance, first, 4)
    claim(allowance, first, 6)
    with pytest.raises(ResponseTooLargeError, match="run_bytes"):
        claim(allowance, second, 5)
    allowance.release(first)
    claim(allowance, second, 10, is_announced=False)


def test_room_that_stays_free_is_told_where_it_is_what_is_missing():
    allowance = Allowance(DownloadLimits(), free_bytes=lambda: 60 * 1024 * 1024)
    with pytest.raises(OSError, match="with 64 MiB left free"):
        claim(allowance, Share(), 10)


def test_room_is_asked_for_with_all_that_is_still_to_come():
    free = 100
    allowance = Allowance(DownloadLimits(keep_free_bytes=20), free_bytes=lambda: free)
    first = Share()
    claim(allowance, first, 50)
    with pytest.raises(OSError, match="free some") as caught:
        claim(allowance, Share(), 31)
    assert caught.value.errno == errno.ENOSPC
    assert "left free" not in str(caught.value)
    allowance.record(first, 50)
    free = 50
    claim(allowance, Share(), 30)


def test_a_pace_below_the_floor_is_seen_after_a_whole_span_only():
    pace = Pace(DownloadLimits(floor_bytes_per_s=10, floor_s=5), since=100.0)
    assert not pace.is_too_slow(104.9, 1)
    assert pace.is_too_slow(105.0, 1)
    assert not pace.is_too_slow(109.0, 50)
    assert not pace.is_too_slow(110.0, 0)
    assert pace.is_too_slow(115.0, 49)
