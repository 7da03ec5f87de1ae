"""The emulated control API of Maton, and the page where a key is entered."""

from __future__ import annotations

import json
import re

import pytest

from tests.unit.emulator.conftest import KEY
from tests.unit.emulator.test_emulator_golden import golden, shape

MATON = {"authorization": "Bearer maton-emulator-0123456789abcdef"}
PATH = "/_maton/connections"
PAGE = "/_maton/connect"


def body(reply):
    return json.loads(reply.body)


def create(client, **asked):
    reply = client.call("POST", PATH, body={"app": "fal-ai"} | asked, headers=MATON, now=5.0)
    assert reply.status_code == 200, reply
    return body(reply)["connection"]


def open_page(client, url, form=None):
    path, _, query = url.removeprefix("http://127.0.0.1:9").partition("?")
    method = "GET" if form is None else "POST"
    return client.call(method, path, query=query, body=form, now=9.0)


def test_a_made_connection_has_the_sampled_form(make_app):
    made = create(make_app(maton_connection="NONE"))
    assert made.keys() == golden("maton_connection_created")["connection"].keys()
    assert shape(made) == shape(golden("maton_connection_created")["connection"])
    assert (made["status"], made["method"]) == ("PENDING", "API_KEY")


def test_connections_have_ids_and_tokens_of_their_own_and_a_run_repeats(make_app):
    client = make_app(maton_connection="NONE")
    first, second = create(client), create(client)
    assert first["connection_id"] != second["connection_id"]
    assert first["url"] != second["url"]
    assert create(make_app(maton_connection="NONE")) == first


def test_a_call_goes_through_the_oldest_active_connection_or_the_named_one(make_app):
    client = make_app(maton_connection="NONE")
    made = create(client)
    submit = {"method": "POST", "path": "/_maton/fal-ai/acme/thing", "body": {}}
    assert client.call(**submit, headers=MATON).status_code == 400
    open_page(client, made["url"], f"key={KEY}".encode())
    assert client.call(**submit, headers=MATON).status_code == 200
    named = MATON | {"maton-connection": made["connection_id"]}
    assert client.call(**submit, headers=named).status_code == 200
    other = MATON | {"maton-connection": create(client)["connection_id"]}
    assert client.call(**submit, headers=other).status_code == 400
    client.call("DELETE", f"{PATH}/{made['connection_id']}", headers=MATON)
    assert client.call(**submit, headers=MATON).status_code == 400


def test_a_good_key_makes_it_active_and_spends_the_address(make_app):
    client = make_app(maton_connection="NONE")
    made = create(client)
    assert b"<form" in open_page(client, made["url"]).body
    done = open_page(client, made["url"], f"key=+{KEY}+".encode())
    assert b"was accepted" in done.body
    assert b"<form" not in open_page(client, made["url"]).body
    open_page(client, made["url"], b"key=wrong")
    shown = client.call("GET", f"{PATH}/{made['connection_id']}", headers=MATON)
    assert body(shown)["connection"]["status"] == "ACTIVE"
    times = [body(shown)["connection"][name] for name in ("creation_time", "last_updated_time")]
    assert times[0] < times[1]


@pytest.mark.parametrize("form", [b"key=wrong", b"", b"key=", b"\xff=\xfe", b"other=1"])
def test_a_key_that_is_none_fails_it_and_another_can_be_entered(make_app, form):
    client = make_app(maton_connection="NONE")
    made = create(client)
    assert b"not accepted" in open_page(client, made["url"], form).body
    shown = client.call("GET", f"{PATH}/{made['connection_id']}/", headers=MATON)
    assert body(shown)["connection"]["status"] == "FAILED"
    assert b"was accepted" in open_page(client, made["url"], f"key={KEY}".encode()).body


def test_no_page_shows_a_key_or_anything_that_was_sent(make_app):
    client = make_app(maton_connection="NONE")
    made = create(client)
    hostile = b"key=%3Cscript%3Ealert(1)%3C/script%3E"
    for page in (open_page(client, made["url"], hostile), open_page(client, f"{PAGE}?x=%3Cb%3E")):
        assert b"<script" not in page.body
        assert b"<b>" not in page.body
    done = open_page(client, made["url"], f"key={KEY}".encode())
    assert KEY.encode() not in done.body


def test_the_page_may_load_nothing_and_tells_nobody_its_address(make_app):
    client = make_app()
    headers = dict(open_page(client, f"{PAGE}?session_token=x").headers)
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in headers["content-security-policy"]


@pytest.mark.parametrize(
    ("method", "query", "form", "code"),
    [
        ("GET", "", None, 404),
        ("GET", "session_token=", None, 404),
        ("GET", "session_token=wrong", None, 404),
        ("PUT", None, None, 405),
        ("POST", None, b"k" * 5000, 413),
    ],
)
def test_what_is_no_visit_of_the_page_is_refused(make_app, method, query, form, code):
    client = make_app(maton_connection="PENDING")
    listed = body(client.call("GET", PATH, headers=MATON))["connections"]
    token = listed[0]["url"].partition("?")[2]
    asked = token if query is None else query
    assert client.call(method, PAGE, query=asked, body=form).status_code == code


@pytest.mark.parametrize(
    ("method", "path", "asked", "code"),
    [
        ("POST", PATH, b"nonsense", 400),
        ("POST", PATH, [], 400),
        ("POST", PATH, {"app": "slack"}, 400),
        ("POST", PATH, {"app": "fal-ai", "method": "OAUTH2"}, 400),
        ("PUT", PATH, {}, 405),
        ("GET", f"{PATH}/unknown", None, 404),
        ("DELETE", f"{PATH}/unknown", None, 404),
        ("POST", f"{PATH}/unknown", {}, 405),
        ("GET", f"{PATH}/a/b", None, 404),
        ("GET", "/_maton/nothing", None, 404),
    ],
)
def test_other_calls_of_the_control_api_are_refused_in_its_form(
    make_app, method, path, asked, code
):
    reply = make_app().call(method, path, body=asked, headers=MATON)
    assert reply.status_code == code
    assert body(reply).keys() == {"error"}


@pytest.mark.parametrize("path", [PATH, f"{PATH}/7355bd0b-8aaf-4c58-9122-a1e3d454414d"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_every_call_of_the_control_api_needs_the_maton_key(make_app, method, path):
    client = make_app()
    assert client.call(method, path, body={"app": "fal-ai"}).status_code == 401
    assert len(body(client.call("GET", PATH, headers=MATON))["connections"]) == 1


def test_in_memory_an_address_is_matons_own(make_app):
    made = create(make_app(base_url="https://queue.fal.run", maton_connection="NONE"))
    assert re.fullmatch(r"https://connect\.maton\.ai/\?session_token=[0-9a-f]{64}", made["url"])
