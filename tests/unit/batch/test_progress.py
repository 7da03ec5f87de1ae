"""Counts of a batch, at instants that a test chooses."""

from __future__ import annotations

import pytest

from falq import events
from falq.batch.outcomes import RowOutcome, SavedFile
from falq.batch.progress import BatchProgress, ProgressCounter
from falq.model import InProgress


def an_outcome(**changes: object) -> RowOutcome:
    facts = {"seq": 0, "id": "row", "endpoint": "acme/echo", "status": "succeeded"}
    return RowOutcome(**(facts | changes))


def shown(counter: ProgressCounter, now: float) -> BatchProgress:
    return counter.snapshot(now, spent_usd=0.0, reserved_usd=0.0, limit_usd=None, is_stopping=False)


def test_the_pace_and_the_time_left_follow_the_rows_that_ended():
    counter = ProgressCounter(100.0)
    counter.total = 30
    for number in range(10):
        counter.count(an_outcome(), 101.0 + number)
    now = shown(counter, 110.0)
    assert now.jobs_per_s == pytest.approx(1.0)
    assert now.left_s == pytest.approx(20.0)
    assert now.elapsed_s == pytest.approx(10.0)


def test_a_batch_that_stalls_is_seen_to_slow_down():
    counter = ProgressCounter(0.0)
    counter.total = 10
    counter.count(an_outcome(), 1.0)
    assert shown(counter, 10.0).jobs_per_s < shown(counter, 2.0).jobs_per_s


def test_rows_of_earlier_invocations_count_as_done():
    counter = ProgressCounter(0.0)
    counter.total, counter.before = 10, 4
    counter.count(an_outcome(status="failed"), 1.0)
    now = shown(counter, 1.0)
    assert (now.done, now.failed, now.succeeded) == (5, 1, 0)


def test_files_are_counted_once_though_equal_rows_share_them():
    counter = ProgressCounter(0.0)
    files = (
        SavedFile(name="media/a.png", url="https://x.example/a.png", size_bytes=10),
        SavedFile(name=None, url="https://x.example/b.png", error="gone"),
    )
    counter.count(an_outcome(files=files), 1.0)
    counter.count(an_outcome(files=files, duplicate_of="row"), 1.0)
    now = shown(counter, 1.0)
    assert (now.files, now.file_bytes, now.failed_files) == (1, 10, 1)
    assert now.last_files == ("media/a.png",)


def test_a_job_runs_from_the_servers_word_until_it_settles():
    counter = ProgressCounter(0.0)
    counter.in_flight = 2
    facts = {"job_id": 7, "endpoint": "acme/echo", "request_id": "r", "now": 0.0}
    counter.hear(events.StatusChanged(status=InProgress(), **facts))
    now = shown(counter, 1.0)
    assert (now.running, now.queued) == (1, 1)
    counter.hear(events.Settled(error=None, total_s=1.0, polls=1, **facts))
    assert shown(counter, 1.0).running == 0


def test_a_notebook_gets_a_bar_and_the_counts():
    counter = ProgressCounter(0.0)
    counter.total = 4
    counter.count(an_outcome(), 1.0)
    html = shown(counter, 1.0)._repr_html_()
    assert 'value="0.2500"' in html
    assert "1 of 4 rows" in html
