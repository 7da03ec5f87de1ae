"""A listing's attempts and pages, and the Platform API's own form of errors."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from falq._core.messages import Origin, Verb
from falq.errors import (
    ApiError,
    AuthenticationError,
    ConnectError,
    RateLimitError,
    RequestNotFoundError,
    ResponseTooLargeError,
    ServerError,
    TransportError,
    UnexpectedRedirectError,
    WireError,
)
from falq.model import EndpointId
from falq.platform import Tries
from falq.platform.calls import ATTEMPTS, MOST_PAGES, fetch_pages
from tests.support import a_reply

ENDPOINT = EndpointId.parse("fal-ai/flux/dev")
REQUEST_ID = "019f72e4-5e1e-7143-8a50-9d1f0f3c2b11"


def now() -> float:
    return asyncio.get_running_loop().time()


def own_form(code, message="Nope.", word="some_error", *, headers=None):
    error = {
        "type": word,
        "message": message,
        "docs_url": "https://docs.fal.ai/x",
        "request_id": REQUEST_ID,
    }
    return a_reply(code, {"error": error}, headers=headers)


async def pages_of(send, tries, query=(("a", "1"),)):
    pages = fetch_pages(send, "/list", query, doing="list", endpoint=ENDPOINT, tries=tries)
    return [page async for page in pages]


async def test_a_page_is_asked_for_at_the_platforms_origin(script, tries):
    send = script({"n": 1})
    assert await pages_of(send, tries, [("a", "x y"), ("a", "b/c")]) == [{"n": 1}]
    [call] = send.calls
    assert (call.verb, call.origin, call.method) == (Verb.PLATFORM, Origin.PLATFORM, "GET")
    assert (call.target, call.body) == ("/list?a=x+y&a=b%2Fc", None)


async def test_pages_follow_their_cursor_to_the_end(script, tries):
    send = script(
        {"next_cursor": "c&1", "has_more": True},
        {"next_cursor": "c2"},
        {"next_cursor": None, "has_more": False},
    )
    assert len(await pages_of(send, tries)) == 3
    assert [call.target for call in send.calls] == [
        "/list?a=1",
        "/list?a=1&cursor=c%261",
        "/list?a=1&cursor=c2",
    ]


@pytest.mark.parametrize(
    "last", [{"next_cursor": "c", "has_more": False}, {"next_cursor": ""}, {"next_cursor": 3}, {}]
)
async def test_a_page_without_a_next_one_is_the_last(script, tries, last):
    assert await pages_of(script(last), tries) == [last]


async def test_a_page_that_hides_the_next_one_is_an_error(script, tries):
    with pytest.raises(WireError, match="more follow"):
        await pages_of(script({"has_more": True}), tries)


async def test_a_cursor_that_comes_back_is_an_error(script, tries):
    send = script(*[{"next_cursor": "same"}] * 3)
    with pytest.raises(WireError, match="does not end"):
        await pages_of(send, tries)
    assert len(send.calls) == 2


async def test_a_list_that_never_ends_is_an_error(script, tries):
    send = script(*({"next_cursor": f"c{n}"} for n in range(MOST_PAGES + 1)))
    with pytest.raises(WireError, match="does not end"):
        await pages_of(send, tries)
    assert len(send.calls) == MOST_PAGES


@pytest.mark.parametrize(
    "trouble",
    [
        ConnectError("refused"),
        TransportError("broke"),
        a_reply(200, b"", fault=TransportError("cut")),
        a_reply(408),
        a_reply(500),
        a_reply(502, b"<html>nginx</html>"),
        a_reply(200, b"<html>"),
        a_reply(200, b"[]"),
        own_form(503),
    ],
)
async def test_trouble_is_tried_again(script, tries, trouble):
    send = script(trouble, trouble, {"n": 1})
    assert await pages_of(send, tries) == [{"n": 1}]
    assert 0.7 < now() <= 0.25 + 0.5


async def test_trouble_that_stays_is_raised_after_the_last_attempt(script, tries):
    send = script(*[own_form(500, "Boom.")] * 9)
    with pytest.raises(ServerError, match=r"Boom\."):
        await pages_of(send, tries)
    assert len(send.calls) == ATTEMPTS == 3


async def test_a_throttle_is_waited_out_for_as_long_as_it_says(script):
    send = script(own_form(429, headers={"retry-after": "7"}), {"n": 1})
    assert await pages_of(send, Tries(draw=lambda: 0.0)) == [{"n": 1}]
    assert now() == 7.0


async def test_a_throttle_may_name_a_date(script):
    wall = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
    header = {"retry-after": "Sat, 21 Nov 2026 12:00:09 GMT"}
    send = script(own_form(429, headers=header), {"n": 1})
    await pages_of(send, Tries(draw=lambda: 0.0, wall_clock=lambda: wall))
    assert now() == 9.0


async def test_a_throttle_of_too_long_is_raised_at_once(script, tries):
    send = script(own_form(429, headers={"retry-after": "3600"}))
    with pytest.raises(RateLimitError) as caught:
        await pages_of(send, tries)
    assert (caught.value.retry_after_s, now()) == (3600.0, 0.0)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, ApiError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, RequestNotFoundError),
    ],
)
async def test_a_refusal_keeps_the_message_the_type_and_the_request_id(script, tries, code, kind):
    send = script(own_form(code, "Not for you.", "authorization_error"))
    with pytest.raises(kind, match=r"could not list: HTTP \d+: Not for you\.") as caught:
        await pages_of(send, tries)
    error = caught.value
    assert (error.status_code, error.detail) == (code, "Not for you.")
    assert (error.error_type, error.request_id) == ("authorization_error", REQUEST_ID)
    assert error.endpoint == "fal-ai/flux/dev"
    assert len(send.calls) == 1


@pytest.mark.parametrize("body", [{"detail": "No user found"}, b"plain", {"error": "text"}, []])
async def test_a_refusal_of_another_form_is_read_too(script, tries, body):
    with pytest.raises(AuthenticationError):
        await pages_of(script(a_reply(401, body)), tries)


async def test_a_request_id_that_is_none_is_dropped(script, tries):
    reply = a_reply(400, {"error": {"message": "No.", "request_id": "../\x1b[2J"}})
    with pytest.raises(ApiError) as caught:
        await pages_of(script(reply), tries)
    assert caught.value.request_id is None


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (a_reply(302, headers={"location": "https://elsewhere.example/"}), UnexpectedRedirectError),
        (a_reply(200, fault=ResponseTooLargeError("large")), ResponseTooLargeError),
    ],
)
async def test_what_would_come_again_alike_is_not_tried_again(script, tries, answer, kind):
    send = script(answer)
    with pytest.raises(kind):
        await pages_of(send, tries)
    assert len(send.calls) == 1
