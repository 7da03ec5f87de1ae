from __future__ import annotations

from typing import Any

import pytest

from falq._core.refusal import read_error
from falq._core.result import (
    GONE_AFTER,
    LATE_ID_GRACE_S,
    NotReadyError,
    ResultJudge,
    job_failure,
    read_billable_units,
)
from falq.errors import (
    ApiError,
    AuthenticationError,
    FalqError,
    JobCancelledError,
    JobFailedError,
    JobInputError,
    JobLostError,
    RequestNotFoundError,
    ResponseTooLargeError,
    TransportError,
    UnexpectedRedirectError,
    WireError,
)
from falq.model import Completed
from tests.support import a_reply, a_ticket

DONE = Completed()
TICKET = a_ticket()
OWN = {"X-Fal-Request-Id": TICKET.request_id}
TYPED = OWN | {"X-Fal-Error-Type": "runner_server_error"}


def _weigh(judge: ResultJudge, status_code: int, body: Any = b"", **headers: str) -> FalqError:
    reply = a_reply(status_code, body, headers=headers)
    error = read_error(reply, endpoint=None, request_id=TICKET.request_id, doing="read the result")
    return judge.weigh(reply, error)


# One answer of the model, or of the platform for it: code, body, headers, error.
ENDS = {
    "refused input": (422, {"detail": [{"loc": ["body", "p"], "msg": "x"}]}, OWN, JobInputError),
    "bad request": (400, {"detail": "Bad prompt"}, OWN, JobFailedError),
    "unknown path of the app": (404, {"detail": "Path /x not found"}, OWN, JobFailedError),
    "conflict": (409, {"detail": "x"}, {}, JobFailedError),
    "cancelled": (499, {"detail": "Request cancelled by the client."}, OWN, JobCancelledError),
    "cancelled by type": (499, {"error_type": "client_cancelled"}, OWN, JobCancelledError),
    "disconnected": (499, {"error_type": "client_disconnected"}, OWN, JobFailedError),
}


@pytest.mark.parametrize("kind", ENDS)
def test_what_the_model_answered_ends_the_job_at_once(kind):
    status_code, body, headers, error = ENDS[kind]
    with pytest.raises(error) as caught:
        _weigh(ResultJudge(TICKET, DONE), status_code, body, **headers)
    assert type(caught.value) is error
    assert caught.value.request_id == TICKET.request_id


@pytest.mark.parametrize("status_code", [408, 429, 500, 502, 503, 504])
def test_an_error_of_the_edge_is_asked_again_for_ever(status_code):
    judge = ResultJudge(TICKET, DONE)
    for _ in range(20):
        assert _weigh(judge, status_code, b"<html>nginx</html>").status_code == status_code


@pytest.mark.parametrize("status_code", [408, 500, 502, 503, 504])
def test_a_server_error_with_the_requests_id_three_times_alike_is_the_models_own(status_code):
    judge = ResultJudge(TICKET, DONE)
    for _ in range(GONE_AFTER - 1):
        _weigh(judge, status_code, {"detail": "boom"}, **OWN)
    with pytest.raises(JobFailedError) as caught:
        _weigh(judge, status_code, {"detail": "boom"}, **OWN)
    assert caught.value.status_code == status_code
    assert caught.value.possibly_billed is (status_code < 500)


def test_server_errors_that_differ_are_not_taken_for_the_models():
    judge = ResultJudge(TICKET, DONE)
    for turn in range(20):
        _weigh(judge, 500, {"detail": f"boom {turn % 2}"}, **OWN)


def test_a_429_is_the_models_only_with_a_type_of_its_own():
    judge = ResultJudge(TICKET, DONE)
    for _ in range(20):
        _weigh(judge, 429, {"detail": "slow down"}, **OWN)
    for _ in range(GONE_AFTER - 1):
        _weigh(judge, 429, {"detail": "mine"}, **TYPED)
    with pytest.raises(JobFailedError):
        _weigh(judge, 429, {"detail": "mine"}, **TYPED)


def test_a_server_error_that_the_status_announced_is_believed_at_once():
    judge = ResultJudge(TICKET, Completed(error="boom", error_type="runner_disconnected"))
    with pytest.raises(JobFailedError) as caught:
        _weigh(judge, 503, {"detail": "boom"}, **OWN)
    assert caught.value.error_type == "runner_disconnected"
    assert caught.value.retryable


def test_the_callers_own_start_deadline_is_not_worth_another_submit():
    judge = ResultJudge(TICKET, Completed(error_type="request_timeout"))
    body = {"detail": "late", "error_type": "request_timeout"}
    with pytest.raises(JobFailedError) as caught:
        _weigh(judge, 504, body, **OWN, **{"X-Fal-Request-Timeout-Type": "user"})
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("status_code", "body"),
    [(400, {"detail": "Request is still in progress"}), (202, {"status": "IN_PROGRESS"})],
)
def test_an_answer_that_came_too_early_is_no_failure(status_code, body):
    with pytest.raises(NotReadyError):
        _weigh(ResultJudge(TICKET, DONE), status_code, body)


@pytest.mark.parametrize(
    ("status_code", "error"),
    [
        (401, AuthenticationError),
        (403, AuthenticationError),
        (301, UnexpectedRedirectError),
        (307, UnexpectedRedirectError),
    ],
)
def test_what_no_repetition_mends_is_raised_as_it_is(status_code, error):
    with pytest.raises(error):
        _weigh(ResultJudge(TICKET, DONE), status_code, {"detail": "no"})


def test_a_completed_request_is_lost_after_three_404_over_the_grace():
    judge = ResultJudge(TICKET, DONE)
    for _ in range(GONE_AFTER - 1):
        assert isinstance(_weigh(judge, 404, {"status": "NOT_FOUND"}), RequestNotFoundError)
    assert judge.least_wait_s * (GONE_AFTER - 1) >= LATE_ID_GRACE_S
    with pytest.raises(JobLostError) as caught:
        _weigh(judge, 404, {"status": "NOT_FOUND"})
    assert caught.value.request_id == TICKET.request_id


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>404 page not found</html>", {"error": "no route"}, {"status": "NOT_FOUND"}],
    ids=str,
)
def test_a_404_that_is_not_the_models_ends_a_completed_job_after_the_grace_only(body):
    judge = ResultJudge(TICKET, DONE)
    for _ in range(GONE_AFTER - 1):
        assert isinstance(_weigh(judge, 404, body), RequestNotFoundError)
    assert judge.least_wait_s * (GONE_AFTER - 1) >= LATE_ID_GRACE_S
    with pytest.raises(JobLostError):
        _weigh(judge, 404, body)


def test_a_404_with_words_of_its_own_and_no_id_is_the_models_after_the_grace_only():
    judge = ResultJudge(TICKET, DONE)
    for _ in range(GONE_AFTER - 1):
        _weigh(judge, 404, {"detail": "Path /x not found"})
    with pytest.raises(JobFailedError) as caught:
        _weigh(judge, 404, {"detail": "Path /x not found"})
    assert caught.value.detail == "Path /x not found"


@pytest.mark.parametrize(
    ("status_code", "whole"),
    [
        (400, b'{"detail": "Request is still in progress"}'),
        (404, b'{"status": "NOT_FOUND"}'),
        (422, b'{"detail": [{"loc": ["body", "p"], "msg": "x"}]}'),
    ],
)
@pytest.mark.parametrize("has_id", [True, False])
def test_an_answer_that_was_cut_is_asked_for_twice_more(status_code, whole, has_id):
    headers = OWN if has_id else {}
    for length in range(len(whole)):
        judge = ResultJudge(TICKET, DONE)
        reply = a_reply(status_code, whole[:length], headers=headers, fault=TransportError("cut"))
        error = read_error(reply, endpoint=None, request_id="r", doing="read the result")
        for _ in range(GONE_AFTER - 1):
            try:
                assert judge.weigh(reply, error) is error
            except NotReadyError:
                assert b"still in progress" in whole[:length]


def test_an_answer_that_is_always_cut_ends_the_job_with_what_came_of_it():
    judge = ResultJudge(TICKET, DONE)
    reply = a_reply(422, b'{"detail": [{"lo', headers=OWN, fault=TransportError("cut"))
    error = read_error(reply, endpoint=None, request_id="r", doing="read the result")
    for _ in range(GONE_AFTER - 1):
        judge.weigh(reply, error)
    with pytest.raises(JobInputError):
        judge.weigh(reply, error)


def test_a_gateways_own_no_is_no_end_of_the_job():
    with pytest.raises(ApiError) as caught:
        _weigh(ResultJudge(TICKET, DONE), 400, {"error": "no ACTIVE connection"})
    assert not isinstance(caught.value, JobFailedError)


def test_a_404_for_a_request_that_nobody_saw_completed_is_raised_at_once():
    with pytest.raises(RequestNotFoundError):
        _weigh(ResultJudge(TICKET, None), 404, {"status": "NOT_FOUND"})


@pytest.mark.parametrize("completed", [None, DONE], ids=["unseen", "completed"])
def test_a_good_payload_is_the_result(completed):
    assert ResultJudge(TICKET, completed).accept({"images": []}) == {"images": []}


@pytest.mark.parametrize(
    "completed", [Completed(error="CUDA OOM"), Completed(error_type="internal_error")], ids=str
)
def test_a_payload_of_a_request_that_failed_is_no_result(completed):
    with pytest.raises(JobFailedError) as caught:
        ResultJudge(TICKET, completed).accept({"detail": "x"})
    assert caught.value.error_type == completed.error_type
    assert (completed.error or "detail") in str(caught.value)


def test_a_request_cancelled_by_its_status_is_a_cancelled_job():
    judge = ResultJudge(TICKET, Completed(error="cancelled", error_type="client_cancelled"))
    with pytest.raises(JobCancelledError):
        judge.accept({})


def test_an_unreadable_result_is_asked_for_twice_more_and_one_too_large_never():
    judge = ResultJudge(TICKET, DONE)
    unreadable = WireError("no JSON", status_code=200)
    assert [judge.may_repeat(unreadable) for _ in range(3)] == [True, True, False]
    too_large = ResponseTooLargeError("too large", status_code=200)
    assert not ResultJudge(TICKET, DONE).may_repeat(too_large)


def test_a_result_that_bills_nothing_says_so():
    with pytest.raises(JobInputError) as caught:
        _weigh(ResultJudge(TICKET, DONE), 422, {"detail": []}, **{"X-Fal-Billable-Units": "0"})
    assert not caught.value.possibly_billed
    with pytest.raises(JobInputError) as caught:
        _weigh(ResultJudge(TICKET, DONE), 422, {"detail": []}, **OWN)
    assert caught.value.possibly_billed


@pytest.mark.parametrize(
    ("status_code", "error_type", "is_retryable"),
    [
        (500, None, True),
        (503, "runner_disconnected", True),
        (422, "content_policy_violation", False),
        (400, "bad_request", False),
        (400, "downstream_service_error", True),
        (None, "request_timeout", True),
        (None, "a_new_word", False),
        (None, None, False),
    ],
)
def test_whether_a_new_submission_may_succeed_follows_the_kind(
    status_code, error_type, is_retryable
):
    error = job_failure(TICKET, status_code=status_code, error_type=error_type, detail="x")
    assert error.retryable is is_retryable


def test_a_failed_job_keeps_everything_that_the_server_said():
    detail = [{"loc": ["body", "steps"], "msg": "too many", "type": "t", "ctx": {"le": 12}}]
    error = job_failure(TICKET, status_code=422, error_type="t", detail=detail)
    assert error.detail == detail
    assert error.problems == (("steps", "too many"),)
    assert error.endpoint == "fal-ai/flux/schnell"


@pytest.mark.parametrize(
    ("told", "units"),
    [("0", 0.0), ("1.5", 1.5), ("", None), ("free", None), ("-1", None), ("inf", None)],
)
def test_billed_units_are_a_number_that_can_be_billed(told: str, units: float | None) -> None:
    reply = a_reply(200, b"{}", headers={"x-fal-billable-units": told})
    assert read_billable_units(reply) == units


def test_units_that_nobody_told_are_none() -> None:
    assert read_billable_units(a_reply(200, b"{}")) is None
