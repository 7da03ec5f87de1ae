"""What a browser asks before and after a page calls the emulator."""

from __future__ import annotations

import pytest

ORIGIN = {"origin": "http://page.example.com:3000"}
OPEN = [
    ("POST", "/acme/thing"),
    ("POST", "/_run/acme/thing"),
    ("POST", "/_rest/storage/upload/initiate"),
    ("PUT", "/_signed/x"),
    ("GET", "/files/none.png"),
]
CLOSED = [
    ("POST", "/_emulator/reset"),
    ("GET", "/_emulator/stats"),
    ("GET", "/_platform/models"),
    ("GET", "/_maton/connections"),
]


def headers(reply):
    return dict(reply.headers)


def ask_first(client, method, path, **more):
    asked = {"access-control-request-method": method, **more}
    return client.call("OPTIONS", path, headers=ORIGIN | asked)


@pytest.mark.parametrize(("method", "path"), OPEN)
def test_a_page_may_call_what_pages_call_at_fal(make_app, method, path):
    client = make_app()
    names = {"access-control-request-headers": "authorization,content-type,x-fal-runner-hint"}
    before = ask_first(client, method, path, **names)
    allowed = headers(before)
    assert (before.status_code, before.body) == (204, b"")
    assert allowed["access-control-allow-origin"] == "*"
    assert allowed["access-control-allow-methods"] == method
    assert "authorization" in allowed["access-control-allow-headers"]
    after = headers(client.call(method, path, headers=ORIGIN))
    assert after["access-control-allow-origin"] == "*"
    assert after["access-control-expose-headers"] == "*"


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_a_page_may_not_look_at_the_rest(make_app, method, path):
    client = make_app()
    for reply in (ask_first(client, method, path), client.call(method, path, headers=ORIGIN)):
        assert not [name for name in headers(reply) if name.startswith("access-control-")]


@pytest.mark.parametrize("path", ["/acme/thing", "/files/none.png"])
def test_a_caller_that_is_no_page_hears_nothing_of_it(make_app, path):
    reply = make_app().call("GET", path)
    assert not [name for name in headers(reply) if name.startswith("access-control-")]


def test_a_question_of_a_browser_is_no_call(make_app):
    client = make_app()
    ask_first(client, "POST", "/acme/thing")
    assert client.app.statistics().calls == {}
    assert client.app.statistics().replies == {}


def test_options_without_a_question_are_refused_as_before(make_app):
    assert make_app().call("OPTIONS", "/acme/thing", headers=ORIGIN).status_code == 405


def test_a_refusal_can_be_read_by_the_page_as_well(make_app):
    reply = make_app().call("POST", "/acme/thing", headers=ORIGIN | {"authorization": ""})
    assert reply.status_code == 401
    assert headers(reply)["access-control-allow-origin"] == "*"
