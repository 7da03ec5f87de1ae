from __future__ import annotations

import json
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq._core.refusal import (
    describe_detail,
    excerpt_of,
    is_account_wide,
    is_gateways_own,
    read_detail,
    read_error,
    read_retry_after,
)
from falq.errors import (
    ApiError,
    AuthenticationError,
    FalqError,
    InvalidInputError,
    RateLimitError,
    RequestNotFoundError,
    ServerError,
    TransportError,
    UnexpectedRedirectError,
)
from falq.model import EndpointId
from tests.support import a_reply

ENDPOINT = EndpointId.parse("fal-ai/flux/schnell")
STEPS = {
    "loc": ["body", "num_inference_steps"],
    "msg": "Input should be less than or equal to 12",
    "type": "less_than_equal",
    "input": 28,
}

# The shapes of fal-wire 4.2: body, detail, error type.
SHAPES = {
    "1 text": ({"detail": "No user found"}, "No user found", None),
    "2 text and type": (
        {"detail": "too late", "error_type": "request_timeout"},
        "too late",
        "request_timeout",
    ),
    "3 problems": ({"detail": [STEPS]}, [STEPS], "less_than_equal"),
    "4 status": ({"status": "NOT_FOUND"}, "NOT_FOUND", None),
    "5 concurrency": (
        {"detail": "Reached", "type": "concurrent_requests_limit", "data": {"limit": 20}},
        "Reached",
        "concurrent_requests_limit",
    ),
    "6 platform": (
        {"error": {"type": "not_found", "message": "no such model"}},
        {"type": "not_found", "message": "no such model"},
        "not_found",
    ),
    "7 html": (b"<html>nginx</html>", "<html>nginx</html>", None),
    "7 empty": (b"", None, None),
    "8 object": ({"detail": {"why": "odd"}}, {"why": "odd"}, None),
    "8 old problems": (
        {"detail": [{"loc": ["body", "n"], "msg": "x", "type": "value_error.missing"}]},
        [{"loc": ["body", "n"], "msg": "x", "type": "value_error.missing"}],
        "value_error.missing",
    ),
    "gateway message": ({"message": "no connection"}, "no connection", None),
    "gateway error": ({"error": "no connection"}, "no connection", None),
    "detail of nothing": ({"detail": None}, None, None),
    "no known field": ({"odd": 1}, {"odd": 1}, None),
    "no object": ([1, 2], [1, 2], None),
    "problems of no object": ({"detail": ["odd"]}, ["odd"], None),
    "no problems": ({"detail": []}, [], None),
    "a type of another type": ({"detail": "x", "error_type": 7}, "x", None),
    "not UTF-8": (b"\xff\xfe\xff", "���", None),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_every_shape_of_a_no_is_read(kind):
    body, detail, error_type = SHAPES[kind]
    assert read_detail(a_reply(400, body)) == (detail, error_type)


@pytest.mark.parametrize("kind", SHAPES)
def test_every_shape_is_described_in_words(kind):
    body, *_ = SHAPES[kind]
    error = read_error(a_reply(400, body), endpoint=ENDPOINT, request_id=None, doing="submit")
    assert str(error).startswith("could not submit: HTTP 400: ")
    assert str(error).isprintable()


def test_the_bodys_type_wins_over_the_headers():
    headers = {"X-Fal-Error-Type": "from_header"}
    assert read_detail(a_reply(500, {"detail": "x"}, headers=headers)) == ("x", "from_header")
    assert read_detail(a_reply(500, b"<html>", headers=headers)) == ("<html>", "from_header")
    told = {"detail": "x", "error_type": "from_body"}
    assert read_detail(a_reply(500, told, headers=headers)) == ("x", "from_body")


@pytest.mark.parametrize(
    ("status_code", "kind", "is_retryable"),
    [
        (301, UnexpectedRedirectError, False),
        (307, UnexpectedRedirectError, False),
        (400, ApiError, False),
        (401, AuthenticationError, False),
        (402, ApiError, False),
        (403, AuthenticationError, False),
        (404, RequestNotFoundError, False),
        (405, ApiError, False),
        (409, ApiError, False),
        (422, InvalidInputError, False),
        (429, RateLimitError, True),
        (499, ApiError, False),
        (500, ServerError, True),
        (504, ServerError, True),
        (599, ServerError, True),
    ],
)
def test_every_code_becomes_its_error(status_code, kind, is_retryable):
    error = read_error(
        a_reply(status_code, {"detail": "no"}), endpoint=ENDPOINT, request_id="r", doing="submit"
    )
    assert type(error) is kind
    assert error.status_code == status_code
    assert error.retryable is is_retryable
    assert (error.endpoint, error.request_id) == ("fal-ai/flux/schnell", "r")


def test_problems_are_paths_and_messages():
    error = read_error(
        a_reply(422, {"detail": [STEPS]}), endpoint=None, request_id=None, doing="read the result"
    )
    assert error.problems == (("num_inference_steps", "Input should be less than or equal to 12"),)
    assert error.detail == [STEPS]
    assert "num_inference_steps: Input should be" in str(error)


@pytest.mark.parametrize(
    ("header", "request_id"), [("abc", "abc"), ("../x", None), ("", None), (None, None)]
)
def test_the_id_comes_from_the_header_if_the_caller_has_none(header, request_id):
    headers = {} if header is None else {"X-Fal-Request-Id": header}
    reply = a_reply(500, b"", headers=headers)
    error = read_error(reply, endpoint=None, request_id=None, doing="submit")
    assert error.request_id == request_id
    assert read_error(reply, endpoint=None, request_id="own", doing="x").request_id == "own"


@given(status_code=st.integers(300, 599), body=st.binary(max_size=200))
def test_no_body_makes_reading_an_error_fail(status_code, body):
    error = read_error(a_reply(status_code, body), endpoint=None, request_id=None, doing="submit")
    assert isinstance(error, FalqError)
    assert str(error).isprintable()


@pytest.mark.parametrize("depth", [50, 90, 110, 800, 990, 5000, 200_000])
def test_a_body_nested_deep_is_read_or_shown_as_text_but_never_crashes(depth):
    reply = a_reply(403, b'{"detail": ' + b"[" * depth + b"]" * depth + b"}")
    error = read_error(reply, endpoint=None, request_id=None, doing="submit")
    assert isinstance(error, AuthenticationError)
    assert not is_account_wide(error)


def test_of_many_problems_five_are_told():
    detail = [{"loc": ["body", f"field_{n}"], "msg": "bad"} for n in range(8)]
    text = describe_detail(detail, 422)
    assert "field_4: bad (and 3 more)" in text
    assert "field_5" not in text


def test_a_problem_without_a_place_is_told_alone():
    assert describe_detail([{"msg": "bad"}], None) == "bad"


@pytest.mark.parametrize("detail", [None, ""], ids=repr)
def test_a_no_without_a_reason_says_so(detail):
    assert describe_detail(detail, 500) == "HTTP 500: no reason given"


@pytest.mark.parametrize(
    ("status_code", "detail", "is_wide"),
    [
        (401, "No user found for Key ID and Secret", True),
        (403, "User is locked. Reason: Exhausted balance.", True),
        (403, "Forbidden", False),
        (403, None, False),
        (429, "locked", False),
        (500, "locked", False),
    ],
)
def test_what_meets_the_whole_account_is_told_from_what_meets_one_endpoint(
    status_code, detail, is_wide
):
    reply = a_reply(status_code, {"detail": detail})
    error = read_error(reply, endpoint=None, request_id=None, doing="submit")
    assert is_account_wide(error) is is_wide


def test_no_answer_at_all_says_nothing_about_the_account():
    assert not is_account_wide(TransportError("reset"))


@pytest.mark.parametrize(
    ("status_code", "detail", "hint"),
    [(401, "x", "falq doctor"), (403, "User is locked.", "top up"), (403, "x", "permission")],
)
def test_an_account_error_says_what_to_do(status_code, detail, hint):
    reply = a_reply(status_code, {"detail": detail})
    assert hint in str(read_error(reply, endpoint=None, request_id=None, doing="submit"))


WALL_NOW_S = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("30", 30.0),
        ("0", 0.0),
        ("1.5", 1.5),
        (" 7 ", 7.0),
        ("1e9", 1e9),
        ("1000000000", 1e9),
        ("-5", 0.0),
        (formatdate(WALL_NOW_S + 90, usegmt=True), 90.0),
        (formatdate(WALL_NOW_S + 90).replace("GMT", "-0000"), 90.0),
        (formatdate(WALL_NOW_S - 90, usegmt=True), 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", pytest.approx(2.5e11, rel=0.1)),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("1e999", None),
        ("Mon, 99 Foo 2026 99:99:99 GMT", None),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_nonsense_is_none(text, seconds):
    headers = {} if text is None else {"Retry-After": text}
    assert read_retry_after(a_reply(429, headers=headers), wall_now_s=WALL_NOW_S) == seconds


@pytest.mark.parametrize("wrong_by_s", [-31_536_000, -3600, 0, 3600, 31_536_000])
def test_a_date_to_wait_for_is_one_of_the_servers_clock(wrong_by_s):
    server_s = WALL_NOW_S - wrong_by_s
    dates = {"Retry-After": formatdate(server_s + 30), "Date": formatdate(server_s)}
    assert read_retry_after(a_reply(429, headers=dates), wall_now_s=WALL_NOW_S) == 30.0


def test_a_date_that_is_none_leaves_the_own_clock():
    headers = {"Retry-After": formatdate(WALL_NOW_S + 30), "Date": "yesterday"}
    assert read_retry_after(a_reply(429, headers=headers), wall_now_s=WALL_NOW_S) == 30.0


@given(st.text(max_size=60) | st.from_regex(r"\w{3}, \d+ \w{3} \d+ \d+:\d+:\d+ .*"))
def test_no_retry_after_makes_reading_it_fail(text):
    reply = a_reply(429, headers={"Retry-After": text})
    wait_s = read_retry_after(reply, wall_now_s=WALL_NOW_S)
    assert wait_s is None or wait_s >= 0


def test_an_excerpt_is_short_text_whatever_the_body():
    assert excerpt_of(b"  \xff<html>" + b"x" * 10_000) == "\ufffd<html>" + "x" * 391


def test_a_detail_of_megabytes_makes_a_short_message():
    reply = a_reply(500, json.dumps({"detail": "x" * 5_000_000}).encode())
    error = read_error(reply, endpoint=None, request_id=None, doing="submit")
    assert len(str(error)) <= 2048


@pytest.mark.parametrize(
    ("body", "headers", "is_own"),
    [
        ({"error": "No active connection"}, {}, True),
        ({"message": "Rate limit exceeded"}, {}, True),
        ({"detail": "no", "error": "x"}, {}, False),
        ({"status": "NOT_FOUND"}, {}, False),
        ({"error": "x"}, {"X-Fal-Request-Id": "r"}, False),
        ({"other": 1}, {}, None),
        ([], {}, None),
        (b"<html>", {}, None),
        (b"", {}, None),
    ],
)
def test_the_form_of_a_no_tells_whether_a_gateway_wrote_it(body, headers, is_own):
    assert is_gateways_own(a_reply(400, body, headers=headers)) is is_own


def test_what_a_gateway_advises_takes_the_place_of_the_usual_advice():
    def advise(status_code, /, *, is_own):
        return f"advice for {status_code}" if is_own else None

    for body, words in (({"error": "x"}, "advice for 400"), ({"detail": "x"}, "see detail")):
        error = read_error(
            a_reply(400, body), endpoint=None, request_id=None, doing="submit", advise=advise
        )
        assert words in str(error)
