"""The emulated Platform API: which requests it lists, page by page, and what it charges."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

import pytest

from falq.emulator import Fault, Scenario
from falq.emulator.faults import FaultPlan
from falq.emulator.models import MODELS

HISTORY = "/_platform/models/requests/by-endpoint"
PRICING = "/_platform/models/pricing"
ESTIMATE = "/_platform/models/pricing/estimate"
ENDPOINT = "acme/thing/fast"


def ask(client, now=0.0, **query):
    query = {"endpoint_id": ENDPOINT} | query
    reply = client.call("GET", HISTORY, now=now, query=urlencode(query, doseq=True))
    assert reply.status_code == 200, reply
    return json.loads(reply.body)


def ids(page):
    return [item["request_id"] for item in page["items"]]


def refusal(reply, code):
    assert reply.status_code == code, reply
    body = json.loads(reply.body)
    assert list(body) == ["error"]
    assert list(body["error"]) == ["type", "message", "docs_url", "request_id"]
    return body["error"]


def at(second):
    return datetime.fromtimestamp(1767225600 + second, UTC).isoformat().replace("+00:00", "Z")


def test_a_finished_request_is_listed_with_its_times_and_its_code(make_app):
    client = make_app(run_s=4.0)
    request_id = client.submit({"n": 1}, now=1.0)["request_id"]
    assert ask(client, now=9.0) == {
        "items": [
            {
                "request_id": request_id,
                "endpoint_id": ENDPOINT,
                "started_at": "2026-01-01T00:00:01.000000Z",
                "sent_at": "2026-01-01T00:00:01.000000Z",
                "ended_at": "2026-01-01T00:00:05.000000Z",
                "status_code": 200,
                "duration": 4.0,
            }
        ],
        "next_cursor": None,
        "has_more": False,
    }


def test_payloads_come_if_they_are_asked_for(make_app):
    client = make_app(run_s=1.0)
    client.submit({"n": 1})
    [item] = ask(client, now=5.0, expand="payloads")["items"]
    assert (item["json_input"], item["json_output"]) == ({"n": 1}, {"n": 1})


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ({"history_stores_payloads": False}, {}),
        ({"stores_io": False}, {}),
        ({}, {"x-fal-store-io": "0"}),
    ],
)
def test_payloads_that_were_not_stored_are_empty(make_app, settings, headers):
    client = make_app(run_s=1.0, **settings)
    client.submit({"n": 1}, headers=headers)
    [item] = ask(client, now=5.0, expand="payloads")["items"]
    assert (item["json_input"], item["json_output"]) == (None, None)


def test_a_row_appears_its_delay_after_the_end(make_app):
    client = make_app(run_s=2.0, history_delay_s=10.0)
    request_id = client.submit(now=0.0)["request_id"]
    assert ids(ask(client, now=11.9)) == []
    assert ids(ask(client, now=12.0)) == [request_id]


def test_a_request_that_waits_is_listed_only_if_the_scenario_says_so(make_app):
    for is_listed in (False, True):
        client = make_app(runners=0, history_lists_queued=is_listed)
        request_id = client.submit({"n": 1})["request_id"]
        page = ask(client, now=3.0, expand="payloads")
        assert ids(page) == [request_id] * is_listed
    [item] = page["items"]
    assert item["json_input"] == {"n": 1}
    names = ("started_at", "ended_at", "status_code", "duration", "json_output")
    assert [item[name] for name in names] == [None] * 5


def test_a_late_history_still_tells_the_old_state_of_what_ended(make_app):
    client = make_app(run_s=2.0, history_delay_s=5.0, history_lists_queued=True)
    client.submit(now=0.0)
    assert ids(ask(client, now=4.9)) == []
    assert ask(client, now=6.0)["items"][0]["ended_at"] is None
    assert ask(client, now=7.0)["items"][0]["ended_at"] == "2026-01-01T00:00:02.000000Z"


def test_the_window_holds_its_start_and_not_its_end(make_app):
    client = make_app(run_s=1.0)
    made = [client.submit(now=float(n))["request_id"] for n in (10, 20, 30)]
    assert ids(ask(client, now=60.0, start=at(10), end=at(30))) == [made[1], made[0]]
    assert ids(ask(client, now=60.0, start="2026-01-01T00:00:20")) == [made[2], made[1]]


def test_the_window_begins_a_day_ago_by_default(make_app):
    client = make_app(run_s=1.0)
    client.submit(now=0.0)
    new = client.submit(now=100.0)["request_id"]
    assert ids(ask(client, now=86_450.0)) == [new]


@pytest.mark.parametrize(("sub_path", "count"), [("/fast", 1), ("/slow", 0), ("", 0)])
def test_only_the_full_endpoint_id_finds_its_requests(make_app, sub_path, count):
    client = make_app(run_s=1.0)
    client.submit()
    assert len(ask(client, now=5.0, endpoint_id=f"acme/thing{sub_path}")["items"]) == count


def test_several_endpoints_may_be_repeated_or_joined(make_app):
    client = make_app(run_s=1.0)
    client.submit(endpoint="acme/one")
    client.submit(endpoint="acme/two")
    for asked in (["acme/one", "acme/two"], "acme/one,acme/two"):
        assert len(ask(client, now=5.0, endpoint_id=asked)["items"]) == 2


def test_status_and_request_id_narrow_the_list(make_app):
    client = make_app(run_s=1.0)
    good = client.submit()["request_id"]
    wrong = client.submit({"is_wrong": True})["request_id"]
    broken = client.submit({"_emulator": {"fail": 500}})["request_id"]
    found = {
        word: ids(ask(client, now=5.0, status=word)) for word in ("success", "user_error", "error")
    }
    assert found == {"success": [good], "user_error": [wrong], "error": [broken]}
    assert ids(ask(client, now=5.0, request_id=wrong)) == [wrong]


def test_what_ended_last_comes_first_or_what_ran_longest(make_app):
    client = make_app()
    long = client.submit({"run_s": 9.0}, now=0.0)["request_id"]
    short = client.submit({"run_s": 1.0}, now=20.0)["request_id"]
    assert ids(ask(client, now=60.0)) == [short, long]
    assert ids(ask(client, now=60.0, sort_by="duration")) == [long, short]


def test_the_pages_together_hold_every_request_once(make_app):
    client = make_app(run_s=1.0, runners=7)
    made = {client.submit()["request_id"] for _ in range(250)}
    pages, cursor = [], {}
    while True:
        pages.append(ask(client, now=100.0, limit=100, **cursor))
        if not pages[-1]["has_more"]:
            break
        cursor = {"cursor": pages[-1]["next_cursor"]}
    assert [len(page["items"]) for page in pages] == [100, 100, 50]
    assert {one for page in pages for one in ids(page)} == made
    assert pages[-1]["next_cursor"] is None


def test_a_row_that_turns_up_between_two_pages_shifts_nothing(make_app):
    client = make_app()
    made = [client.submit({"run_s": 1.0}, now=float(n))["request_id"] for n in range(4)]
    first = ask(client, now=10.0, limit=2)
    client.submit({"run_s": 1.0}, now=11.0)
    second = ask(client, now=20.0, limit=2, cursor=first["next_cursor"])
    assert ids(first) + ids(second) == made[::-1]


def test_a_page_holds_fifty_rows_unless_asked(make_app):
    client = make_app(run_s=1.0, runners=60)
    for _ in range(60):
        client.submit()
    assert len(ask(client, now=9.0)["items"]) == 50


@pytest.mark.parametrize(
    "query",
    [
        {"endpoint_id": ""},
        {"endpoint_id": [f"acme/{n}" for n in range(51)]},
        {"start": "yesterday"},
        {"limit": "0"},
        {"limit": "101"},
        {"limit": "many"},
        {"status": "fine"},
        {"sort_by": "name"},
        {"expand": "everything"},
        {"cursor": "nonsense"},
        {"cursor": "W10="},
    ],
)
def test_a_query_that_cannot_be_used_is_a_validation_error(make_app, query):
    query = {"endpoint_id": ENDPOINT} | query
    reply = make_app().call("GET", HISTORY, query=urlencode(query, doseq=True))
    assert refusal(reply, 400)["type"] == "validation_error"


@pytest.mark.parametrize("key", ["", "Key no-colon", "Key other:key", "Bearer x"])
def test_a_wrong_key_is_told_in_the_platform_apis_own_form(make_app, key):
    reply = make_app().call("GET", HISTORY, headers={"authorization": key})
    assert refusal(reply, 401)["type"] == "authorization_error"


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/_platform/keys", 404),
        ("POST", HISTORY, 405),
        ("GET", ESTIMATE, 405),
        ("DELETE", PRICING, 405),
    ],
)
def test_what_it_does_not_have_is_told_in_its_own_form(make_app, method, path, code):
    refusal(make_app().call(method, path), code)


@pytest.mark.parametrize(
    ("fault", "code", "word"),
    [
        (Fault("rate_limited", "history", retry_after_s=3), 429, "rate_limited"),
        (Fault("json_error", "history"), 500, "server_error"),
        (Fault("json_error", "history", status_code=403), 403, "authorization_error"),
    ],
)
def test_a_fault_makes_an_error_in_the_platform_apis_own_form(make_app, fault, code, word):
    client = make_app(faults=(fault,))
    reply = client.call("GET", HISTORY, query=f"endpoint_id={quote(ENDPOINT)}")
    error = refusal(reply, code)
    assert error["type"] == word
    assert dict(reply.headers).get("x-fal-request-id") == error["request_id"]
    assert dict(reply.headers).get("retry-after") == (None if code != 429 else "3")


@pytest.mark.parametrize("kind", ["html", "nginx", "truncated_json", "empty_body"])
def test_other_faults_keep_their_form(make_app, kind):
    client = make_app(faults=(Fault(kind, "history"),))
    reply = client.call("GET", HISTORY, query=f"endpoint_id={quote(ENDPOINT)}")
    assert b'"error"' not in reply.body


def test_faults_and_counts_know_history_and_prices_apart(make_app):
    client = make_app(faults=(Fault("nginx", "prices"),))
    assert client.call("GET", PRICING, query="endpoint_id=acme/thing").status_code == 502
    assert client.call("GET", HISTORY, query="endpoint_id=acme/thing").status_code == 200
    assert client.app.statistics().calls == {"prices": 1, "history": 1}
    assert FaultPlan((Fault("nginx", "history"),), 0).pick("prices") is None


def test_every_model_has_a_price_and_nothing_else_has():
    from falq.emulator.prices import PRICES

    assert PRICES.keys() == MODELS.keys()
    assert all(tag.unit_price > 0 for tag in PRICES.values())


def test_prices_come_for_the_endpoints_that_have_one(make_app):
    client = make_app()
    query = "endpoint_id=fal-ai/flux/schnell&endpoint_id=acme/thing,fal-ai/whisper"
    body = json.loads(client.call("GET", PRICING, query=query).body)
    assert body["prices"][0] == {
        "endpoint_id": "fal-ai/flux/schnell",
        "unit_price": 0.003,
        "unit": "megapixels",
        "currency": "USD",
    }
    assert [one["endpoint_id"] for one in body["prices"]] == [
        "fal-ai/flux/schnell",
        "fal-ai/whisper",
    ]
    assert (body["next_cursor"], body["has_more"]) == (None, False)


def test_an_endpoint_without_a_price_may_make_the_whole_call_404(make_app):
    client = make_app(unpriced="not_found")
    reply = client.call("GET", PRICING, query="endpoint_id=fal-ai/whisper,acme/thing")
    assert "acme/thing" in refusal(reply, 404)["message"]


@pytest.mark.parametrize(
    ("kind", "counted", "cost"),
    [("unit_price", "unit_quantity", 0.4), ("historical_api_price", "call_quantity", 2.4)],
)
def test_an_estimate_is_the_price_times_the_units_or_those_of_usual_calls(
    make_app, kind, counted, cost
):
    body = {"estimate_type": kind, "endpoints": {"fal-ai/minimax/video-01": {counted: 5}}}
    reply = make_app().call("POST", ESTIMATE, body=body)
    told = {"estimate_type": kind, "total_cost": cost, "currency": "USD"}
    assert json.loads(reply.body) == told


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", 400),
        ([], 400),
        ({"estimate_type": "guess", "endpoints": {}}, 400),
        ({"estimate_type": "unit_price", "endpoints": {}}, 400),
        ({"estimate_type": "unit_price", "endpoints": {"fal-ai/whisper": {}}}, 400),
        ({"estimate_type": "unit_price", "endpoints": {"acme/x": {"unit_quantity": -1}}}, 400),
        ({"estimate_type": "unit_price", "endpoints": {"acme/x": {"unit_quantity": 1}}}, 404),
    ],
)
def test_an_estimate_of_nothing_readable_is_refused(make_app, body, code):
    refusal(make_app().call("POST", ESTIMATE, body=body), code)


def test_a_queue_id_never_leads_to_the_platform_api(make_app):
    client = make_app()
    for owner in ("_platformx", "platform", "models"):
        assert client.submit(endpoint=f"{owner}/models/pricing")["status"] == "IN_QUEUE"


def test_the_switches_are_off_by_default():
    scenario = Scenario()
    assert scenario.history_delay_s == 0.0
    assert not scenario.history_lists_queued
    assert scenario.history_stores_payloads
