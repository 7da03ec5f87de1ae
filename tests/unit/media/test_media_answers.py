"""What a storage host's answer means for the bytes that are there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.errors import ApiError, WireError
from falq.media.answers import Answer, Held, range_headers, read_answer, read_wait_s

TAG = '"v1"'
HALF = Held(size_bytes=50, total_bytes=100, validator=TAG)
DATES = {
    "Last-Modified": "Wed, 18 Nov 2026 10:00:00 GMT",
    "Date": "Wed, 18 Nov 2026 10:00:01 GMT",
}


def read(status: int, held: Held = HALF, **headers: str) -> Answer | None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_answer(status, named, held=held, shown="url")


def test_the_rest_is_asked_for_only_of_a_known_version():
    assert range_headers(HALF) == {"Range": "bytes=50-", "If-Range": TAG}
    assert range_headers(Held(size_bytes=50)) == {}
    assert range_headers(Held(validator=TAG)) == {}


def test_a_fitting_part_goes_on():
    expected = Answer(start=50, total_bytes=100, validator=TAG)
    assert read(206, Content_Range="bytes 50-99/100", ETag=TAG, Content_Length="50") == expected
    assert read(206, Content_Range="bytes 50-79/100") == expected
    assert read(206, Content_Range="bytes 50-99/*") == expected


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content_Range": "bytes 0-99/100"},
        {"Content_Range": "bytes 51-99/100"},
        {"Content_Range": "bytes 50-100/100"},
        {"Content_Range": "bytes 50-99/101"},
        {"Content_Range": "bytes 50-49/100"},
        {"Content_Range": "bytes */100"},
        {"Content_Range": "items 50-99/100"},
        {"Content_Range": "bytes 50-99/100", "Content_Length": "49"},
        {"Content_Range": "bytes 50-99/100", "ETag": '"v2"'},
        {"Content_Range": "bytes 50-99/100", "ETag": f"W/{TAG}"},
    ],
)
def test_a_part_that_does_not_fit_makes_it_start_again(headers):
    assert read(206, **headers) is None


def test_the_range_that_cannot_be_had_makes_it_start_again():
    assert read(416, Content_Range="bytes */100") is None


def test_the_whole_replaces_what_is_there():
    assert read(200, Content_Length="7", ETag='"v2"') == Answer(
        start=0, total_bytes=7, validator='"v2"'
    )


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"ETag": TAG}, TAG),
        ({"ETag": TAG} | DATES, TAG),
        ({"ETag": f"W/{TAG}"} | DATES, None),
        ({"ETag": '""'}, None),
        ({"ETag": '"' + "x" * 2000 + '"'}, None),
        (DATES, DATES["Last-Modified"]),
        (DATES | {"Date": DATES["Last-Modified"]}, None),
        ({"Last-Modified": DATES["Last-Modified"]}, None),
        ({"Last-Modified": "yesterday", "Date": DATES["Date"]}, None),
        ({}, None),
    ],
)
def test_only_a_strong_validator_is_kept(headers, validator):
    answer = read_answer(200, {"Content-Length": "1", **headers}, held=Held(), shown="url")
    assert answer is not None
    assert answer.validator == validator


def test_a_body_needs_an_end_that_can_be_seen():
    assert read(200, Transfer_Encoding="chunked") == Answer(start=0, total_bytes=None)
    with pytest.raises(WireError):
        read(200)
    with pytest.raises(WireError):
        read(200, Content_Length="-5")


@pytest.mark.parametrize(
    ("status", "held", "retryable"),
    [
        (404, HALF, False),
        (403, HALF, False),
        (206, Held(), False),
        (416, Held(), False),
        (204, HALF, False),
        (429, HALF, True),
        (408, HALF, True),
        (503, HALF, True),
    ],
)
def test_any_other_answer_is_an_error(status, held, retryable):
    with pytest.raises(ApiError) as caught:
        read(status, held)
    assert (caught.value.status_code, caught.value.retryable) == (status, retryable)


@pytest.mark.parametrize(
    ("text", "wait_s"), [("3", 3.0), ("", 0.0), ("soon", 0.0), ("-1", 0.0), ("999999", 60.0)]
)
def test_a_host_can_ask_to_wait_for_a_while(text, wait_s):
    assert read_wait_s({"Retry-After": text}) == wait_s


@given(st.text(), st.text(), st.text(), st.sampled_from([200, 206, 416]))
def test_no_header_is_too_strange_and_what_goes_on_goes_on_where_it_broke(a, b, c, status):
    headers = {"Content-Range": a, "Content-Length": b, "ETag": c, "Last-Modified": a, "Date": b}
    try:
        answer = read_answer(status, headers, held=HALF, shown="url")
    except WireError:
        return
    assert answer is None or answer.start in {0, HALF.size_bytes}
