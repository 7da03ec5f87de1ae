from __future__ import annotations

import pytest

from falq._core.watch import Watch
from falq.model import Completed, InProgress, Queued


def watch_of(*, position=None, is_running=False, started_at=None):
    return Watch(
        "job",
        "acme/echo",
        checked_at=10.0,
        keeps_pace=False,
        position=position,
        steps=4,
        is_running=is_running,
        started_at=started_at,
    )


@pytest.mark.parametrize(
    ("is_running", "status", "is_news"),
    [
        (False, Queued(3), False),
        (False, InProgress(), True),
        (False, Completed(), True),
        (True, Queued(3), True),
        (True, InProgress(), False),
        (True, Completed(), True),
    ],
)
def test_a_status_is_news_when_it_says_another_word_than_the_last(is_running, status, is_news):
    watch = watch_of(position=3, is_running=is_running)
    assert watch.take_in(status, 20.0) is is_news


@pytest.mark.parametrize(("told", "steps"), [(2, 1), (3, 5), (4, 5), (None, 5)])
def test_the_curve_starts_again_only_where_a_queued_job_comes_forward(told, steps):
    watch = watch_of(position=3)
    watch.take_in(Queued(told), 20.0)
    assert (watch.steps, watch.position) == (steps, told)


def test_a_job_started_half_way_between_the_check_that_found_it_running_and_the_last():
    watch = watch_of(position=1)
    watch.take_in(InProgress(), 20.0)
    assert watch.started_at == 15.0
    watch.take_in(InProgress(), 30.0)
    assert watch.started_at == 15.0


def test_a_job_started_after_it_was_surely_queued():
    watch = watch_of(position=1)
    watch.queued_at = 18.0
    watch.take_in(InProgress(), 20.0)
    assert watch.started_at == 19.0


def test_a_job_back_in_the_queue_has_not_started():
    watch = watch_of(is_running=True, started_at=12.0)
    watch.take_in(Queued(0), 20.0)
    assert watch.started_at is None
    assert not watch.is_running
    assert watch.steps == 1
