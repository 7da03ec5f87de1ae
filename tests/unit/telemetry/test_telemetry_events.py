"""Events in orders that no short run brings."""

from __future__ import annotations

import math

import pytest
from opentelemetry.trace import StatusCode

import falq
from falq.events import (
    Accepted,
    Admitted,
    CancelRequested,
    PollFailed,
    Resending,
    Retrying,
    Settled,
    StatusChanged,
)
from falq.telemetry.telemetry import MOST_EVENTS
from falq.telemetry.wording import name_outcome

SAID = "words that a server said"
NS = 1_000_000_000


def tell(hook, kind, now, *, job_id=1, **facts):
    hook(kind(job_id=job_id, endpoint="acme/echo", request_id="r-1", now=now, **facts))


def settle(hook, now, *, error=None, total_s=1.0):
    tell(hook, Settled, now, error=error, total_s=total_s, polls=0)


def test_the_wait_for_a_slot_is_part_of_the_span(collected):
    hook = collected.telemetry()
    tell(hook, Admitted, 104.0)
    settle(hook, 110.0, total_s=10.0)
    span = collected.span()
    assert span.end_time - span.start_time == 10 * NS
    assert span.events[0].timestamp - span.start_time == 4 * NS
    (slot_wait,) = collected.points()["falq.job.slot_wait"]
    assert slot_wait.sum == pytest.approx(4.0)


def test_a_new_place_in_the_queue_is_no_event_of_the_span(collected):
    hook = collected.telemetry()
    tell(hook, Admitted, 0.0)
    for position in range(5000, 0, -1):
        tell(hook, StatusChanged, 1.0, status=falq.Queued(position))
    tell(hook, StatusChanged, 2.0, status=falq.InProgress())
    settle(hook, 3.0)
    told = [event.attributes for event in collected.span().events if event.name == "falq.status"]
    assert [facts["falq.status"] for facts in told] == ["IN_QUEUE", "IN_PROGRESS"]
    assert told[0]["falq.position"] == 5000


def test_a_job_that_fails_for_days_keeps_its_latest_events_only(collected):
    hook = collected.telemetry()
    tell(hook, Admitted, 0.0)
    for second in range(1, 3 * MOST_EVENTS):
        tell(hook, PollFailed, float(second), error=falq.ConnectError(SAID), next_in_s=1.0)
    settle(hook, 1000.0)
    events = collected.span().events
    assert len(events) == MOST_EVENTS
    assert events[-1].name == "falq.settled"


def test_what_comes_after_the_outcome_opens_no_second_span(collected):
    hook = collected.telemetry()
    tell(hook, Admitted, 0.0)
    settle(hook, 1.0)
    tell(hook, Retrying, 2.0, verb="cancel", attempt=1, delay_s=1.0, error=falq.ConnectError(SAID))
    tell(hook, CancelRequested, 3.0, cancel_outcome="requested")
    assert repr(hook) == "<Telemetry unsettled=0>"
    assert collected.span()


def test_the_run_time_is_the_server_s_or_else_what_was_seen(collected):
    hook = collected.telemetry()
    for job_id, metrics in enumerate([{"inference_time": 2.5}, {}, {"inference_time": math.nan}]):
        tell(hook, Accepted, 0.0, job_id=job_id)
        tell(hook, StatusChanged, 1.0, job_id=job_id, status=falq.InProgress())
        done = falq.Completed(metrics=metrics)
        tell(hook, StatusChanged, 5.0, job_id=job_id, status=done)
        tell(hook, Settled, 5.0, job_id=job_id, error=None, total_s=5.0, polls=2)
    points = collected.points()
    (run_time,) = points["falq.job.run_time"]
    assert (run_time.count, run_time.sum) == (3, pytest.approx(2.5 + 4.0 + 4.0))
    (queue_wait,) = points["falq.job.queue_wait"]
    assert (queue_wait.count, queue_wait.sum) == (3, pytest.approx(3.0))


def test_a_submit_sent_again_is_counted_apart_from_retries(collected):
    hook = collected.telemetry()
    tell(hook, Admitted, 0.0)
    tell(hook, Resending, 1.0, resends=1, error=falq.ConnectError(SAID))
    settle(hook, 2.0)
    points = collected.points()
    assert [point.value for point in points["falq.resends"]] == [1]
    assert "falq.retries" not in points
    assert collected.span().attributes["falq.retries"] == 0


def test_a_job_that_never_had_a_slot_has_a_span_and_is_never_in_flight(collected):
    hook = collected.telemetry()
    settle(hook, 5.0, error=falq.JobCancelledError(SAID), total_s=5.0)
    assert collected.span().attributes["falq.outcome"] == "cancelled"
    points = collected.points()
    assert "falq.jobs.in_flight" not in points
    assert "falq.job.slot_wait" not in points


def test_the_end_of_a_session_is_no_parent_of_the_jobs_that_it_ends(collected):
    hook = collected.telemetry()
    tracer = collected.tracer_provider.get_tracer("application")
    with tracer.start_as_current_span("shutdown"):
        settle(hook, 5.0, error=falq.SessionClosedError(SAID))
    assert collected.span().parent is None


@pytest.mark.parametrize(
    ("error", "outcome", "is_error"),
    [
        (None, "succeeded", False),
        (falq.JobCancelledError(SAID), "cancelled", False),
        (falq.SessionClosedError(SAID), "detached", False),
        (falq.JobTimeoutError(SAID), "timed_out", True),
        (falq.SubmissionUnknownError(SAID, reason=SAID), "unknown", True),
        (falq.JobFailedError(SAID), "failed", True),
        (falq.AuthenticationError(SAID, status_code=401), "failed", True),
    ],
)
def test_every_way_to_end_has_its_word_and_only_failures_are_errors(
    collected, error, outcome, is_error
):
    settle(collected.telemetry(), 1.0, error=error)
    span = collected.span()
    assert span.attributes["falq.outcome"] == name_outcome(error) == outcome
    assert (span.status.status_code is StatusCode.ERROR) == is_error
    assert SAID not in collected.everything()


@pytest.mark.parametrize("said", [SAID, "", "x" * 65, "ключ", "id:secret"])
def test_what_is_no_word_is_not_passed_on(collected, said):
    hook = collected.telemetry()
    tell(hook, StatusChanged, 0.0, status=falq.Status(said))
    settle(hook, 1.0, error=falq.ServerError("no", status_code=500, error_type=said))
    span = collected.span()
    assert span.attributes["falq.error_type"] == "other"
    assert span.events[0].attributes["falq.status"] == "other"
