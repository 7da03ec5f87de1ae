from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq._core.submission import REFUSALS, SubmitOutcome, classify_submit
from falq.errors import ConnectError, ResponseTooLargeError, TransportError, TransportTimeoutError
from falq.model import EndpointId
from tests.support import a_reply

ENDPOINT = EndpointId.parse("fal-ai/flux/schnell")
HEADER_ID, BODY_ID = "id-in-the-header", "id-in-the-body"

MAY_BE_SENT_AGAIN = {SubmitOutcome.NOT_SENT, SubmitOutcome.REFUSED}
"""What `submit_client` repeats without being asked to."""

SURELY_NO_JOB = {307, 308, 400, 401, 402, 403, 404, 405, 409, 413, 415, 422, 429}
"""Written down here once more: the table and this must be changed together."""

BODIES = {
    "receipt": ({"request_id": BODY_ID, "status": "IN_QUEUE"}, True),
    "cut receipt": (b'{"status": "IN_QUEUE", "request_id": "id-in-the-body", "sta', True),
    "receipt cut in the id": (b'{"status": "IN_QUEUE", "request_id": "id-in-', False),
    "empty": (b"", False),
    "html": (b"<html><center>nginx</center></html>", False),
    "list": ([BODY_ID], False),
    "null": (b"null", False),
    "without id": ({"status": "IN_QUEUE"}, False),
    "id of another type": ({"request_id": 17}, False),
    "id that is a path": ({"request_id": "../../victim"}, False),
    "detail": ({"detail": "no"}, False),
    "nested too deep": (b"[" * 100_000, False),
}
FAULTS = {
    "whole": None,
    "cut": TransportError("the answer broke off"),
    "slow": TransportTimeoutError("the answer took too long"),
    "too large": ResponseTooLargeError("the answer is too large"),
}


def _expected(status_code: int, *, id_in_header: bool, id_in_body: bool) -> SubmitOutcome:
    if status_code in SURELY_NO_JOB:
        return SubmitOutcome.REFUSED
    if 200 <= status_code < 300:
        has_id = id_in_header or id_in_body
        return SubmitOutcome.ACCEPTED if has_id else SubmitOutcome.UNKNOWN
    return SubmitOutcome.ACCEPTED_LATE if id_in_header else SubmitOutcome.UNKNOWN


@pytest.mark.parametrize("header_id", [None, HEADER_ID, "../..", ""], ids=repr)
@pytest.mark.parametrize("kind", BODIES)
def test_every_answer_falls_into_its_outcome_whatever_its_fault(kind, header_id):
    body, id_in_body = BODIES[kind]
    headers = {} if header_id is None else {"X-Fal-Request-Id": header_id}
    for status_code, fault in itertools.product(range(200, 600), FAULTS.values()):
        reply = a_reply(status_code, body, headers=headers, fault=fault)
        verdict = classify_submit(ENDPOINT, reply)
        expected = _expected(
            status_code, id_in_header=header_id == HEADER_ID, id_in_body=id_in_body
        )
        assert verdict.outcome is expected, (status_code, fault)
        has_ticket = expected in {SubmitOutcome.ACCEPTED, SubmitOutcome.ACCEPTED_LATE}
        assert (verdict.ticket is not None) is has_ticket
        assert bool(verdict.reason) is (expected is not SubmitOutcome.ACCEPTED)


@given(
    status_code=st.integers(100, 599),
    body=st.binary(max_size=80),
    header_id=st.none() | st.text(max_size=40),
    fault=st.sampled_from(list(FAULTS.values())),
)
def test_only_what_surely_made_no_job_may_ever_be_sent_again(status_code, body, header_id, fault):
    headers = {} if header_id is None else {"X-Fal-Request-Id": header_id}
    verdict = classify_submit(ENDPOINT, a_reply(status_code, body, headers=headers, fault=fault))
    if verdict.outcome in MAY_BE_SENT_AGAIN:
        assert status_code in SURELY_NO_JOB


def test_no_timeout_and_no_server_error_counts_as_a_refusal():
    assert REFUSALS == SURELY_NO_JOB
    assert not REFUSALS & ({408, 425, 499} | set(range(500, 600)))


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ConnectError("refused"), SubmitOutcome.NOT_SENT),
        (TransportTimeoutError("no connection", request_sent=False), SubmitOutcome.NOT_SENT),
        (TransportError("reset"), SubmitOutcome.UNKNOWN),
        (TransportTimeoutError("no answer"), SubmitOutcome.UNKNOWN),
        (ConnectError("reset in the handshake", request_sent=True), SubmitOutcome.UNKNOWN),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_without_an_answer_it_counts_whether_a_byte_left(error, outcome):
    verdict = classify_submit(ENDPOINT, error)
    assert verdict.outcome is outcome
    assert verdict.ticket is None
    assert str(error) in verdict.reason


def test_the_id_of_the_body_wins_over_that_of_the_header():
    reply = a_reply(200, {"request_id": BODY_ID}, headers={"X-Fal-Request-Id": HEADER_ID})
    assert classify_submit(ENDPOINT, reply).ticket.request_id == BODY_ID


@pytest.mark.parametrize("spoilt", [17, "", "a/b", ["x"], None, {"id": "x"}], ids=repr)
def test_a_spoilt_id_in_the_body_does_not_hide_the_one_in_the_header(spoilt):
    reply = a_reply(200, {"request_id": spoilt}, headers={"X-Fal-Request-Id": HEADER_ID})
    assert classify_submit(ENDPOINT, reply).ticket.request_id == HEADER_ID


def test_the_reason_of_a_refusal_is_what_the_server_said():
    verdict = classify_submit(ENDPOINT, a_reply(403, {"detail": "User is locked."}))
    assert verdict.reason == "HTTP 403: User is locked."


def test_the_reason_of_a_broken_answer_names_status_and_fault():
    verdict = classify_submit(ENDPOINT, a_reply(502, b"", fault=FAULTS["cut"]))
    assert "502" in verdict.reason
    assert "broke off" in verdict.reason
