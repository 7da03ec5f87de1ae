"""Estimates, usage and deletion: what is asked, what is read, and what is sent twice."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from falq._core.messages import Origin, Verb
from falq.errors import (
    ApiError,
    ArgumentError,
    AuthenticationError,
    RequestNotFoundError,
    TransportError,
    WireError,
)
from falq.model import EndpointId
from falq.platform.estimates import Estimate, load_estimate
from falq.platform.payloads import DeletedFile, delete_payloads
from falq.platform.usage import load_usage
from tests.support import a_reply

START = datetime(2026, 11, 1, tzinfo=UTC)
END = START + timedelta(days=1)
REQUEST_ID = "019f72e4-5e1e-7143-8a50-9d1f0f3c2b11"
ANSWER = {"estimate_type": "unit_price", "total_cost": 1.5, "currency": "USD"}


@pytest.mark.parametrize(
    ("wish", "kind", "counted"),
    [
        ({"calls": {"a/b": 3}}, "historical_api_price", "call_quantity"),
        ({"units": {"a/b/": 3}}, "unit_price", "unit_quantity"),
    ],
)
async def test_an_estimate_asks_by_calls_or_by_units(script, tries, wish, kind, counted):
    send = script(ANSWER)
    estimate = await load_estimate(send, tries=tries, **wish)
    assert estimate == Estimate(1.5, "USD", is_by_history="calls" in wish)
    [call] = send.calls
    assert (call.method, call.target) == ("POST", "/models/pricing/estimate")
    assert (call.verb, call.origin) == (Verb.PLATFORM, Origin.PLATFORM)
    body = {"estimate_type": kind, "endpoints": {"a/b": {counted: 3}}}
    assert json.loads(call.body) == body


async def test_an_estimate_changes_nothing_and_is_asked_again(script, tries):
    send = script(TransportError("broke"), a_reply(502), ANSWER)
    assert (await load_estimate(send, calls={"a/b": 1}, tries=tries)).total_cost == 1.5


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"calls": {}},
        {"calls": {"a/b": 1}, "units": {"a/b": 1}},
        {"calls": {"a/b": -1}},
        {"units": {"a/b": float("nan")}},
        {"units": {"a/b": True}},
        {"units": {"a/b": "3"}},
        {"calls": {"a": 1}},
    ],
)
async def test_an_estimate_of_nothing_is_refused_and_nothing_sent(script, tries, wish):
    send = script()
    with pytest.raises(ArgumentError):
        await load_estimate(send, tries=tries, **wish)
    assert send.calls == []


@pytest.mark.parametrize(
    "answer", [{}, {"total_cost": "1"}, ANSWER | {"total_cost": True}, ANSWER | {"currency": 1}]
)
async def test_an_estimate_without_a_cost_is_an_error(script, tries, answer):
    with pytest.raises(WireError, match="names no cost"):
        await load_estimate(script(answer), calls={"a/b": 1}, tries=tries)


ROW = {
    "endpoint_id": "a/b",
    "unit": "megapixels",
    "quantity": 3,
    "unit_price": 0.5,
    "cost": 1.5,
    "currency": "USD",
    "discount": 0.1,
}


async def test_usage_asks_for_its_window_and_reads_series_and_summary(script, tries):
    bucket = {"bucket": "2026-11-01T00:00:00Z", "results": [ROW, 3]}
    send = script(
        {"time_series": [bucket], "summary": [ROW], "next_cursor": "c", "has_more": True},
        {"time_series": [bucket, "odd", {}], "summary": []},
    )
    endpoints = [EndpointId.parse("a/b")]
    usage = await load_usage(send, START, END, endpoints=endpoints, timeframe="day", tries=tries)
    assert send.calls[0].target == (
        "/models/usage?start=2026-11-01T00%3A00%3A00.000000Z&end=2026-11-02T00%3A00%3A00.000000Z"
        "&endpoint_id=a%2Fb&expand=time_series&expand=summary&timeframe=day"
    )
    [row] = usage.summary
    assert (row.endpoint, row.unit, row.quantity) == ("a/b", "megapixels", 3.0)
    assert (row.unit_price, row.cost, row.currency) == (0.5, 1.5, "USD")
    assert row.extra == {"discount": 0.1}
    assert [bucket.started_at for bucket in usage.series] == [START, START, None]
    assert [len(bucket.rows) for bucket in usage.series] == [1, 1, 0]


async def test_an_odd_row_of_usage_tells_what_it_can(script, tries):
    odd = {"endpoint_id": 3, "quantity": True, "cost": "1", "unit": None}
    [row] = (await load_usage(script({"summary": [odd]}), START, END, tries=tries)).summary
    assert (row.endpoint, row.quantity, row.cost, row.unit) == ("", None, None, None)


async def test_usage_of_neither_kind_is_an_error(script, tries):
    with pytest.raises(WireError, match="neither series nor summary"):
        await load_usage(script({"summary": None}), START, END, tries=tries)


@pytest.mark.parametrize(
    ("start", "end"), [(END, START), (START, START), (START.replace(tzinfo=None), END)]
)
async def test_a_window_that_is_none_is_refused_and_nothing_sent(script, tries, start, end):
    send = script()
    with pytest.raises(ArgumentError):
        await load_usage(send, start, end, tries=tries)
    assert send.calls == []


async def test_usage_without_the_scope_is_told_and_not_asked_again(script, tries):
    body = {"error": {"type": "authorization_error", "message": "Needs the scope ADMIN"}}
    send = script(a_reply(403, body))
    with pytest.raises(AuthenticationError, match="scope ADMIN"):
        await load_usage(send, START, END, tries=tries)
    assert len(send.calls) == 1


async def test_a_deletion_names_the_files_and_what_became_of_them(script, tries):
    results = [
        {"link": "https://x/a", "exception": None},
        {"link": "https://x/b", "exception": "gone"},
        {"link": 3, "exception": 4},
        "odd",
    ]
    send = script({"cdn_delete_results": results})
    assert await delete_payloads(send, REQUEST_ID, tries=tries) == (
        DeletedFile("https://x/a"),
        DeletedFile("https://x/b", "gone"),
        DeletedFile("", "4"),
    )
    [call] = send.calls
    assert (call.method, call.body) == ("DELETE", None)
    assert call.target == f"/models/requests/{REQUEST_ID}/payloads"


async def test_all_attempts_of_a_deletion_are_one_to_the_server(script, tries):
    done = {"cdn_delete_results": []}
    send = script(TransportError("broke"), a_reply(503), done, done)
    assert await delete_payloads(send, REQUEST_ID, tries=tries) == ()
    assert await delete_payloads(send, REQUEST_ID, tries=tries) == ()
    keys = [call.headers["Idempotency-Key"] for call in send.calls]
    assert len(set(keys[:3])) == 1
    assert keys[3] not in keys[:3]
    assert all(len(key) == 32 for key in keys)


@pytest.mark.parametrize(("code", "kind"), [(400, ApiError), (404, RequestNotFoundError)])
async def test_a_deletion_that_is_refused_is_not_sent_again(script, tries, code, kind):
    send = script(a_reply(code, {"error": {"type": "x", "message": "No."}}))
    with pytest.raises(kind, match=r"No\."):
        await delete_payloads(send, REQUEST_ID, tries=tries)
    assert len(send.calls) == 1


@pytest.mark.parametrize("request_id", ["", "../x", "a/b", "a?b", None])
async def test_an_id_that_would_change_the_address_is_refused(script, tries, request_id):
    send = script()
    with pytest.raises(ArgumentError):
        await delete_payloads(send, request_id, tries=tries)
    assert send.calls == []


async def test_a_deletion_without_a_list_names_its_request(script, tries):
    with pytest.raises(WireError, match="what was deleted") as caught:
        await delete_payloads(script({}), REQUEST_ID, tries=tries)
    assert caught.value.request_id == REQUEST_ID
