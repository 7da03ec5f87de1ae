"""Counts of a batch, at instants that a test chooses."""

from __future__ import annotations

import pytest

from falq import events
from falq.batch.outcomes import RowOutcome, SavedFile
from falq.batch.progress import BatchProgress, ProgressCounter
from falq.errors import SubmissionUnknownError
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


def test_rows_of_earlier_runs_count_as_done_and_as_failed():
    counter = ProgressCounter(0.0)
    counter.total, counter.before, counter.failed_before = 10, 4, 1
    counter.count(an_outcome(status="failed"), 1.0)
    now = shown(counter, 1.0)
    assert (now.done, now.failed, now.succeeded) == (5, 2, 3)


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


FACTS = {"endpoint": "acme/echo", "request_id": "r", "now": 0.0}


def places(now: BatchProgress) -> tuple[int, ...]:
    return (now.waiting, now.queued, now.running, now.saving, now.done)


def test_a_row_goes_from_place_to_place_and_is_in_one_at_a_time():
    counter = ProgressCounter(0.0)
    counter.total = 3
    seen = [places(shown(counter, 1.0))]
    counter.hear(events.Admitted(job_id=7, **FACTS))
    seen.append(places(shown(counter, 1.0)))
    counter.hear(events.Accepted(job_id=7, **FACTS))
    seen.append(places(shown(counter, 1.0)))
    counter.hear(events.StatusChanged(job_id=7, status=InProgress(), **FACTS))
    seen.append(places(shown(counter, 1.0)))
    counter.hear(events.Settled(job_id=7, error=None, total_s=1.0, polls=1, **FACTS))
    counter.saving += 1
    seen.append(places(shown(counter, 1.0)))
    counter.saving -= 1
    counter.count(an_outcome(), 1.0)
    seen.append(places(shown(counter, 1.0)))
    assert seen == [
        (3, 0, 0, 0, 0),
        (3, 0, 0, 0, 0),
        (2, 1, 0, 0, 0),
        (2, 0, 1, 0, 0),
        (2, 0, 0, 1, 0),
        (2, 0, 0, 0, 1),
    ]


def test_a_job_that_ends_before_it_was_seen_running_leaves_the_queue():
    counter = ProgressCounter(0.0)
    counter.total = 1
    counter.hear(events.Accepted(job_id=7, **FACTS))
    counter.hear(events.Settled(job_id=7, error=None, total_s=1.0, polls=1, **FACTS))
    assert shown(counter, 1.0).queued == 0


LOST = SubmissionUnknownError("the answer was lost", reason="lost")


@pytest.mark.parametrize(
    "end",
    [
        events.Accepted(job_id=7, **FACTS),
        events.Resending(job_id=7, resends=1, error=LOST, **FACTS),
        events.Settled(job_id=7, error=LOST, total_s=1.0, polls=0, **FACTS),
    ],
)
def test_a_row_whose_answer_was_lost_is_in_a_place_of_its_own_until_it_is_found_or_given_up(end):
    counter = ProgressCounter(0.0)
    counter.total = 2
    counter.hear(events.SubmitLost(job_id=7, error=LOST, **FACTS))
    now = shown(counter, 1.0)
    assert (now.lost, now.waiting) == (1, 1)
    assert "1 waiting here, 1 answer lost, looked for" in str(now)
    counter.hear(end)
    assert shown(counter, 1.0).lost == 0


def test_the_time_left_is_not_that_of_rows_that_are_looked_for():
    counter = ProgressCounter(0.0)
    counter.total = 4
    counter.hear(events.SubmitLost(job_id=7, error=LOST, **FACTS))
    counter.count(an_outcome(), 1.0)
    assert shown(counter, 1.0).left_s == pytest.approx(2.0)
    counter.count(an_outcome(), 1.0)
    counter.count(an_outcome(), 1.0)
    assert shown(counter, 1.0).left_s is None


def test_the_words_name_each_place_and_have_no_pace_before_something_ended():
    counter = ProgressCounter(0.0)
    counter.total = 1500
    assert str(shown(counter, 1.0)) == "0 of 1,500 rows done, 1,500 waiting here"
    counter.hear(events.Accepted(job_id=7, **FACTS))
    counter.count(an_outcome(status="failed"), 2.0)
    words = "1 of 1,500 rows done, 1,498 waiting here, 1 queued at fal, 1 failed, 0.5 jobs/s"
    assert str(shown(counter, 2.0)) == words


def test_a_notebook_gets_a_bar_and_the_counts():
    counter = ProgressCounter(0.0)
    counter.total = 4
    counter.count(an_outcome(), 1.0)
    html = shown(counter, 1.0)._repr_html_()
    assert 'value="0.2500"' in html
    assert "1 of 4 rows" in html
