from __future__ import annotations

import json

import pytest

from falq.emulator import Fault, Reply, Request, Scenario
from falq.emulator.models import find_model
from falq.emulator.realtime import SocketOrder, is_socket_path
from falq.emulator.routes import App
from falq.emulator.scenario import DEFAULT_KEY

KEY = {"authorization": f"Key {DEFAULT_KEY}"}
BODY = {"allowed_apps": ["flux"], "token_expiration": 120}


def make_app(**settings):
    return App(Scenario(**settings), find_model=find_model)


def ask_token(app, body=BODY, *, path="/_rest/tokens/", method="POST", headers=KEY, now=0.0):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = Request(method=method, path=path, headers=headers, body=data)
    return app.handle(request, now)


def ask_socket(app, path="/_run/fal-ai/flux/schnell/realtime", query="", headers=None, now=0.0):
    request = Request(method="GET", path=path, query=query, headers=headers or {})
    return app.admit_socket(request, now)


def test_a_token_is_a_bare_string_and_opens_a_socket_until_it_ends():
    app = make_app()
    token = json.loads(ask_token(app).body)
    assert token.count(".") == 2
    order = ask_socket(app, query=f"fal_jwt_token={token}&max_buffering=3", now=119.9)
    assert order == SocketOrder(
        endpoint="fal-ai/flux/schnell", is_realtime=True, max_buffering=3, good_until=120.0
    )
    assert ask_socket(app, query=f"fal_jwt_token={token}", now=120.0).is_refused
    assert app.statistics().tokens == 1


def test_a_token_is_for_the_apps_it_was_asked_for():
    app = make_app()
    token = json.loads(ask_token(app).body)
    assert ask_socket(app, "/_run/fal-ai/other/realtime", f"fal_jwt_token={token}").is_refused


def test_a_refused_token_can_be_told_of_at_the_handshake():
    reply = ask_socket(make_app(bad_jwt="handshake"), query="fal_jwt_token=nonsense")
    assert reply.status_code == 401


@pytest.mark.parametrize(
    ("address", "codes"), [("both", (200, 200)), ("classic", (200, 404)), ("realtime", (404, 200))]
)
def test_either_address_of_tokens_may_be_absent(address, codes):
    app = make_app(jwt_address=address)
    newer = {"allowed_apps": ["flux"], "duration": 60}
    assert ask_token(app).status_code == codes[0]
    assert ask_token(app, newer, path="/_rest/tokens/realtime").status_code == codes[1]


@pytest.mark.parametrize("form", ["token", "detail"])
def test_a_token_may_come_in_an_object(form):
    assert list(json.loads(ask_token(make_app(jwt_form=form)).body)) == [form]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"headers": {}}, 401),
        ({"method": "GET"}, 405),
        ({"body": b"no json"}, 422),
        ({"body": {"allowed_apps": "flux", "token_expiration": 9}}, 422),
        ({"body": {"allowed_apps": ["fal-ai/flux"], "token_expiration": 9}}, 422),
        ({"body": {"allowed_apps": ["flux"], "duration": 9}}, 422),
        ({"body": {"allowed_apps": ["flux"], "token_expiration": 0}}, 422),
    ],
)
def test_a_wrong_call_for_a_token_is_refused(change, code):
    app = make_app()
    assert ask_token(app, **change).status_code == code
    assert app.statistics().tokens == 0


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, 401),
        ({"headers": {"authorization": "Key a:b"}}, 401),
        ({"headers": KEY, "path": "/_run/alone"}, 404),
        ({"headers": KEY, "query": "max_buffering=61"}, 422),
        ({"headers": KEY, "query": "max_buffering=x"}, 422),
    ],
)
def test_a_wrong_handshake_is_refused(change, code):
    reply = ask_socket(make_app(), **change)
    assert isinstance(reply, Reply)
    assert reply.status_code == code


@pytest.mark.parametrize(
    ("path", "endpoint", "is_realtime"),
    [
        ("/_run/acme/app/realtime", "acme/app", True),
        ("/acme/app/realtime", "acme/app", True),
        ("/acme/app/v2/realtime", "acme/app/v2", True),
        ("/workflows/acme/flow/realtime", "workflows/acme/flow", True),
        ("/acme/realtime", "acme/realtime", False),
        ("/_run/acme/app/ws", "acme/app/ws", False),
    ],
)
def test_a_path_says_whose_socket_it_is(path, endpoint, is_realtime):
    order = ask_socket(make_app(), path, headers=KEY)
    assert (order.endpoint, order.is_realtime) == (endpoint, is_realtime)


def test_sockets_are_not_asked_for_at_the_emulators_own_addresses():
    assert is_socket_path("/acme/app/realtime")
    assert is_socket_path("/_run/acme/app/realtime")
    assert not is_socket_path("/_emulator/stats")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault("rate_limited", "socket"), 429),
        (Fault("nginx", "socket"), 502),
        (Fault("delay", "socket"), 401),
    ],
)
def test_a_fault_strikes_a_handshake(fault, code):
    app = make_app(faults=(fault,))
    assert ask_socket(app).status_code == code
    assert app.statistics().faults == {fault.kind: 1}


def run(app, arguments, endpoint="acme/echo", *, is_binary=True):
    order = SocketOrder(endpoint=endpoint, is_realtime=True)
    return app.realtime.run(order, arguments, is_binary=is_binary)


def test_a_message_is_run_by_the_endpoints_model():
    app = make_app()
    assert run(app, {"n": 1}).body == {"n": 1}
    assert run(app, [1]).body == {"payload": [1]}
    picture = {"prompt": "a cat", "image_size": "square", "request_id": "mine"}
    drawn = run(app, picture, "fal-ai/fast-sdxl").body
    assert drawn["request_id"] == "mine"
    assert isinstance(drawn["images"][0]["content"], bytes)
    linked = run(app, picture, "fal-ai/fast-sdxl", is_binary=False).body
    assert linked["images"][0]["url"].endswith(".jpeg")


def test_a_message_that_fails_has_a_reason():
    app = make_app()
    assert run(app, {"_emulator": {"fail": 500}}).error == "500"
    assert "no field" in run(app, {"_emulator": {"odd": 1}}).error
    assert "prompt" in run(app, {}, "fal-ai/flux/schnell").error


def test_a_run_takes_what_the_message_or_the_scenario_asks_for():
    assert run(make_app(speed=10), {"_emulator": {"run_s": 5}}).run_s == 0.5
    assert run(make_app(speed=10, run_s=2), {}).run_s == 0.2
    assert 0 < run(make_app(), {}).run_s < 1
