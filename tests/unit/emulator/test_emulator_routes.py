"""The application's answers, against the reference of the wire."""

from __future__ import annotations

import json

import pytest

from falq.emulator import Fault
from falq.emulator.addresses import read_address

from .conftest import KEY

MATON = {"authorization": "Bearer maton-emulator-0123456789abcdef"}
ID = "019b7717-0000-7000-8000-000000000000"


def headers(reply):
    return dict(reply.headers)


def body(reply):
    return json.loads(reply.body)


# Paths: fal-wire 1.1, 2.1 to 2.3.
@pytest.mark.parametrize(
    ("method", "path", "verb", "app", "endpoint"),
    [
        ("POST", "/fal-ai/flux/schnell", "submit", "fal-ai/flux", "fal-ai/flux/schnell"),
        ("POST", "/fal-ai/fast-sdxl", "submit", "fal-ai/fast-sdxl", "fal-ai/fast-sdxl"),
        ("POST", "/110602490/sd/", "submit", "110602490/sd", "110602490/sd"),
        ("POST", "/workflows/a/b/sub/x", "submit", "workflows/a/b", "workflows/a/b/sub/x"),
        ("POST", "/comfy/a/b", "submit", "comfy/a/b", "comfy/a/b"),
        ("GET", f"/fal-ai/flux/requests/{ID}/status", "status", "fal-ai/flux", "fal-ai/flux"),
        ("GET", f"/fal-ai/flux/requests/{ID}/status/", "status", "fal-ai/flux", "fal-ai/flux"),
        ("GET", f"/fal-ai/flux/requests/{ID}", "result", "fal-ai/flux", "fal-ai/flux"),
        ("PUT", f"/fal-ai/flux/requests/{ID}/cancel", "cancel", "fal-ai/flux", "fal-ai/flux"),
        ("GET", f"/workflows/a/b/requests/{ID}", "result", "workflows/a/b", "workflows/a/b"),
        ("POST", "/fal%2Dai/fl%20ux", "submit", "fal-ai/fl ux", "fal-ai/fl ux"),
        ("POST", "/acme/requests", "submit", "acme/requests", "acme/requests"),
    ],
)
def test_a_path_means_what_the_reference_says(method, path, verb, app, endpoint):
    address = read_address(method, path)
    assert (address.verb, address.app, address.endpoint) == (verb, app, endpoint)


@pytest.mark.parametrize(
    ("method", "path", "code", "allow"),
    [
        ("GET", "/", 404, None),
        ("POST", "/flux", 404, None),
        ("POST", "/workflows/acme", 404, None),
        ("POST", "/fal-ai//flux", 404, None),
        ("GET", "/fal-ai/flux", 405, "POST"),
        ("PUT", f"/fal-ai/flux/requests/{ID}/status", 405, "GET"),
        ("POST", f"/fal-ai/flux/requests/{ID}/cancel", 405, "PUT"),
        ("GET", f"/fal-ai/flux/requests/{ID}/response", 405, "GET"),
        ("GET", f"/fal-ai/flux/requests/{ID}/nothing", 404, None),
        ("GET", f"/fal-ai/flux/schnell/requests/{ID}/status", 405, "POST"),
        ("GET", f"/fal-ai/flux/schnell/requests/{ID}", 405, "POST"),
        ("PUT", f"/fal-ai/flux/schnell/requests/{ID}/cancel", 405, "POST"),
    ],
)
def test_a_path_without_a_verb_is_refused(make_app, method, path, code, allow):
    reply = make_app().call(method, path)
    assert reply.status_code == code
    assert headers(reply).get("allow") == allow


def test_a_job_goes_from_the_line_over_the_runner_to_its_result(make_app):
    client = make_app(runners=1)
    first, second = (client.submit({"run_s": 4, "n": n}) for n in (1, 2))
    assert (first["status"], first["queue_position"]) == ("IN_QUEUE", 0)
    steps = [
        (first, 1.0, 202, "IN_PROGRESS"),
        (second, 1.0, 202, "IN_QUEUE"),
        (first, 4.0, 200, "COMPLETED"),
        (second, 4.0, 202, "IN_PROGRESS"),
        (second, 8.0, 200, "COMPLETED"),
    ]
    for ticket, now, code, word in steps:
        reply = client.about(ticket["request_id"], "/status", now=now)
        assert (reply.status_code, body(reply)["status"]) == (code, word)
    assert body(reply)["metrics"] == {"inference_time": 4.0}
    result = client.about(second["request_id"], now=8.0)
    assert (result.status_code, body(result)) == (200, {"run_s": 4, "n": 2})
    assert headers(result)["x-fal-request-id"] == second["request_id"]
    assert headers(result)["x-fal-billable-units"] == "1"


def test_positions_move_as_the_line_gets_shorter(make_app):
    client = make_app(runners=1)
    tickets = [client.submit({"run_s": 1}) for _ in range(4)]
    last = tickets[-1]["request_id"]
    assert [ticket["queue_position"] for ticket in tickets] == [0, 0, 1, 2]
    seen = [body(client.about(last, "/status", now=now))["queue_position"] for now in (0, 1.5, 2.5)]
    assert seen == [2, 1, 0]


@pytest.mark.parametrize(
    ("query", "has_logs"),
    [("logs=1", True), ("logs=true", True), ("logs=0", False), ("logs=false", False), ("", False)],
)
def test_logs_come_only_when_they_are_asked_for(make_app, query, has_logs):
    client = make_app()
    ticket = client.submit({"run_s": 4})
    shown = body(client.about(ticket["request_id"], "/status", now=2.0, query=query))["logs"]
    if has_logs:
        assert [entry["message"] for entry in shown] == ["one", "two"]
        assert shown[0] == {
            "timestamp": "2026-01-01T00:00:01.000000",
            "message": "one",
            "labels": {},
        }
    else:
        assert shown is None


@pytest.mark.parametrize(
    ("credential", "detail"),
    [
        ("", "Authentication is required to access this application."),
        ("Key nocolon", "Invalid Key Authorization header format."),
        ("Key a:b", "No user found for Key ID and Secret"),
        (f"Key {KEY}\n", "No user found for Key ID and Secret"),
        (MATON["authorization"], "invalid key credentials"),
    ],
)
def test_a_bad_key_gets_fals_own_words(make_app, credential, detail):
    reply = make_app().call("POST", "/a/b", body={}, headers={"authorization": credential})
    assert reply.status_code == 401
    assert body(reply)["detail"].startswith(detail)


def test_a_refused_submit_makes_no_job(make_app):
    for settings, code in [
        ({"is_locked": True}, 403),
        ({"absent_apps": ("a/b",)}, 404),
        ({"max_queue_length": 0}, 429),
    ]:
        client = make_app(runners=0, **settings)
        assert client.call("POST", "/a/b", body={}).status_code == code
        assert client.app.statistics().jobs == 0


def test_the_callers_own_queue_limit_answers_429(make_app):
    client = make_app(runners=0)
    client.submit()
    reply = client.call("POST", "/a/b", body={}, query="fal_max_queue_length=1&fal_webhook=x")
    assert reply.status_code == 429


@pytest.mark.parametrize("text", ["0.1", "-3", "soon", "nan"])
def test_a_start_deadline_that_cannot_be_is_refused(make_app, text):
    reply = make_app().call("POST", "/a/b", body={}, headers={"x-fal-request-timeout": text})
    assert (reply.status_code, body(reply)["error_type"]) == (400, "bad_request")


def test_a_missed_start_deadline_ends_as_504_with_its_headers(make_app):
    client = make_app(runners=0)
    ticket = client.submit(headers={"x-fal-request-timeout": "5.0"})
    status = body(client.about(ticket["request_id"], "/status", now=6.0))
    assert (status["status"], status["error_type"]) == ("COMPLETED", "request_timeout")
    result = client.about(ticket["request_id"], now=6.0)
    assert (result.status_code, body(result)["error_type"]) == (504, "request_timeout")
    assert headers(result)["x-fal-request-timeout-type"] == "user"
    assert headers(result)["x-fal-error-type"] == "request_timeout"


def test_a_wrong_input_is_accepted_and_shows_at_the_result_only(make_app):
    client = make_app()
    ticket = client.submit({"is_wrong": True})
    status = body(client.about(ticket["request_id"], "/status", now=99.0))
    assert status["status"] == "COMPLETED"
    assert "error" not in status
    result = client.about(ticket["request_id"], now=99.0)
    assert (result.status_code, body(result)["detail"][0]["type"]) == (422, "missing")
    assert headers(result)["x-fal-billable-units"] == "0"


@pytest.mark.parametrize("sent", [b"{", b"[" * 100_000, b"\xff\xfe"])
def test_a_body_that_is_no_json_is_an_input_error_of_the_job(make_app, sent):
    client = make_app()
    ticket = client.submit(sent)
    result = client.about(ticket["request_id"], now=99.0)
    assert (result.status_code, body(result)["detail"][0]["type"]) == (422, "json_invalid")


def test_cancel_has_four_answers(make_app):
    client = make_app(runners=1)
    running, waiting = client.submit({"run_s": 5}), client.submit({"run_s": 5})
    done = [
        client.about(one["request_id"], "/cancel", now=1.0) for one in (waiting, running, running)
    ]
    assert [(reply.status_code, body(reply)["status"]) for reply in done] == [
        (202, "CANCELLATION_REQUESTED"),
        (202, "CANCELLATION_REQUESTED"),
        (400, "ALREADY_COMPLETED"),
    ]
    unknown = client.about("no-such-id", "/cancel", now=1.0)
    assert (unknown.status_code, body(unknown)) == (404, {"status": "NOT_FOUND"})
    status = body(client.about(waiting["request_id"], "/status", now=1.0))
    assert (status["status"], status["error_type"]) == ("COMPLETED", "client_cancelled")
    result = client.about(running["request_id"], now=1.0)
    assert (result.status_code, body(result)) == (
        499,
        {"detail": "Request cancelled by the client."},
    )


def test_another_app_does_not_find_the_request(make_app):
    client = make_app()
    ticket = client.submit()
    assert client.about(ticket["request_id"], "/status", app="acme/other").status_code == 404


# The switches of fal-wire 16, one line each: settings, call, what it must show.
SWITCHES = [
    ({"submit_code": 202}, "submit", 202, {}),
    ({"submit_body": "no_status"}, "submit", 200, {"status": None, "queue_position": None}),
    ({"has_gateway_request_id": True}, "submit", 200, {"gateway_request_id": str}),
    ({"is_status_always_200": True}, "running", 200, {"status": "IN_PROGRESS"}),
    ({"unknown_state": "WARMING_UP"}, "running", 202, {"status": "WARMING_UP"}),
    ({"skips_in_progress": True}, "running", 202, {"status": "IN_QUEUE", "queue_position": 0}),
    ({"logs_form": "absent"}, "running", 202, {"logs": None}),
    ({"shown_fields": "short"}, "running", 202, {"response_url": None, "metrics": None}),
    ({"early_result": 400}, "early", 400, {"detail": "Request is still in progress"}),
    ({"early_result": 202}, "early", 202, {"detail": "Request is still in progress"}),
    ({"early_result": 404}, "early", 404, {"status": "NOT_FOUND"}),
    ({"unknown_id": "detail"}, "unknown", 404, {"detail": str}),
    ({"sub_path": "lenient"}, "sub_path", 202, {"status": "IN_PROGRESS"}),
    ({"trailing_slash": "accept"}, "slash", 202, {"status": "IN_PROGRESS"}),
    ({"failed_word": "FAILED"}, "wrong", 200, {"status": "FAILED"}),
    ({"has_error_on_422": True}, "wrong", 200, {"error": "Invalid status code: 422"}),
    ({"result_life_s": 0.0}, "expired", 404, {"status": "NOT_FOUND"}),
    ({"cancel_queued": "ok"}, "cancel", 200, {"status": "OK"}),
    ({"cancel_queued": "requested"}, "cancel", 202, {"status": "CANCELLATION_REQUESTED"}),
    ({"after_cancel": "gone"}, "cancelled", 404, {"status": "NOT_FOUND"}),
    ({"is_key_needed": False}, "keyless", 200, {"status": "IN_QUEUE"}),
]


def switched(client, what):
    if what in {"submit", "keyless"}:
        key = {"authorization": ""} if what == "keyless" else {}
        return client.call("POST", "/acme/thing/fast", body={}, headers=key)
    running = client.submit({"run_s": 4, "is_wrong": what == "wrong"})
    if what in {"cancel", "cancelled"}:
        for _ in range(10):
            waiting = client.submit({"run_s": 4})
        reply = client.about(waiting["request_id"], "/cancel")
        return client.about(waiting["request_id"], "/status") if what == "cancelled" else reply
    calls = {
        "running": lambda one: client.about(one, "/status", now=1.0),
        "slash": lambda one: client.about(one, "/status/", now=1.0),
        "sub_path": lambda one: client.about(one, "/status", app="acme/thing/fast", now=1.0),
        "wrong": lambda one: client.about(one, "/status", now=9.0),
        "early": lambda one: client.about(one, now=1.0),
        "expired": lambda one: client.about(one, now=9.0),
        "unknown": lambda one: client.about(f"{one}0"),
    }
    return calls[what](running["request_id"])


@pytest.mark.parametrize(("settings", "what", "code", "shown"), SWITCHES)
def test_each_switch_shows_on_the_wire(make_app, settings, what, code, shown):
    reply = switched(make_app(**settings), what)
    assert reply.status_code == code
    for name, value in shown.items():
        if isinstance(value, type):
            assert isinstance(body(reply)[name], value)
        elif value is None:
            assert name not in body(reply)
        else:
            assert body(reply)[name] == value


def test_a_trailing_slash_can_redirect_to_the_path_without_it(make_app):
    client = make_app(trailing_slash="redirect")
    ticket = client.submit()
    path = f"/acme/thing/requests/{ticket['request_id']}/status"
    reply = client.call("GET", f"{path}/", query="logs=1")
    assert (reply.status_code, headers(reply)["location"]) == (307, f"{path}?logs=1")


def test_logs_of_shape_a_have_level_source_and_zone_and_may_come_twice(make_app):
    client = make_app(logs_form="A", has_duplicate_logs=True, log_window=2)
    ticket = client.submit({"run_s": 4})
    shown = body(client.about(ticket["request_id"], "/status", now=9.0, query="logs=1"))["logs"]
    assert [entry["message"] for entry in shown] == ["two", "two", "three", "three"]
    assert shown[0] == {
        "message": "two",
        "level": "INFO",
        "source": "USER",
        "timestamp": "2026-01-01T00:00:02.000000Z",
    }


@pytest.mark.parametrize(
    ("advertised", "start"),
    [
        ("own", "http://127.0.0.1:9/acme/"),
        ("fal", "https://queue.fal.run/acme/"),
        ("foreign", "https://queue.fal.run.elsewhere.example/acme/"),
        ("http", "http://queue.fal.run/acme/"),
        ("userinfo", "https://queue.fal.run@127.0.0.1:9/acme/"),
        ("port", "https://queue.fal.run:8443/acme/"),
    ],
)
def test_the_urls_in_bodies_point_where_the_scenario_says(make_app, advertised, start):
    ticket = make_app(advertised=advertised).submit()
    for name, end in [("response_url", ""), ("status_url", "/status"), ("cancel_url", "/cancel")]:
        assert ticket[name] == f"{start}thing/requests/{ticket['request_id']}{end}"


def test_a_response_url_with_suffix_repeats_the_endpoint_and_refuses_get(make_app):
    client = make_app(has_response_suffix=True)
    url = client.submit()["response_url"]
    assert url.endswith("/response")
    path = url.removeprefix("http://127.0.0.1:9")
    assert path.startswith("/acme/thing/fast/requests/")
    assert client.call("GET", path).status_code == 405


# Maton: fal-wire 13.
def test_through_maton_a_job_runs_and_its_urls_still_name_fal(make_app):
    client = make_app()
    path = "/_maton/fal-ai/acme/thing"
    ticket = body(client.call("POST", f"{path}/fast", body={"run_s": 1}, headers=MATON))
    request_id = ticket["request_id"]
    assert ticket["status_url"] == (
        f"https://queue.fal.run/acme/thing/requests/{request_id}/status"
    )
    status = client.call("GET", f"{path}/requests/{request_id}/status", headers=MATON, now=2.0)
    assert body(status)["status"] == "COMPLETED"
    result = client.call("GET", f"{path}/requests/{request_id}", headers=MATON, now=2.0)
    assert body(result) == {"run_s": 1}


@pytest.mark.parametrize(
    ("settings", "credential", "code"),
    [
        ({}, "", 401),
        ({}, f"Key {KEY}", 401),
        ({}, "Bearer wrong", 401),
        ({"maton_connection": "NONE"}, MATON["authorization"], 400),
        ({"maton_connection": "PENDING"}, MATON["authorization"], 400),
        ({}, MATON["authorization"], 200),
    ],
)
def test_maton_asks_for_its_own_key_and_an_active_connection(make_app, settings, credential, code):
    reply = make_app(**settings).call(
        "POST", "/_maton/fal-ai/a/b", body={}, headers={"authorization": credential}
    )
    assert reply.status_code == code
    assert "detail" not in body(reply)


def test_another_maton_connection_than_the_one_there_is_answers_400(make_app):
    reply = make_app().call(
        "POST", "/_maton/fal-ai/a/b", body={}, headers=MATON | {"maton-connection": "other"}
    )
    assert reply.status_code == 400


@pytest.mark.parametrize(
    ("connection", "query", "count"),
    [
        ("ACTIVE", "app=fal-ai&status=ACTIVE", 1),
        ("ACTIVE", "", 1),
        ("ACTIVE", "app=slack", 0),
        ("PENDING", "app=fal-ai&status=ACTIVE", 0),
        ("PENDING", "app=fal-ai&status=PENDING", 1),
        ("NONE", "app=fal-ai", 0),
    ],
)
def test_maton_lists_the_connections_that_are_asked_for(make_app, connection, query, count):
    client = make_app(maton_connection=connection)
    reply = client.call("GET", "/_maton/connections", query=query, headers=MATON)
    found = body(reply)["connections"]
    assert (reply.status_code, len(found)) == (200, count)
    assert all(one["status"] == connection for one in found)


def test_maton_answers_429_above_its_rate_and_lets_calls_in_again_later(make_app):
    client = make_app(maton_rate_per_s=3)
    codes = [
        client.call("GET", "/_maton/connections", headers=MATON, now=now).status_code
        for now in (0.0, 0.1, 0.2, 0.3, 1.05)
    ]
    assert codes == [200, 200, 200, 429, 200]


def test_statistics_count_calls_jobs_and_polls(make_app):
    client = make_app(runners=1)
    tickets = [client.submit({"run_s": 2, "n": n // 2}) for n in range(4)]
    for ticket in tickets[:2]:
        client.about(ticket["request_id"], "/status", now=1.0)
    client.about(tickets[0]["request_id"], "/status", now=3.0)
    stats = body(client.call("GET", "/_emulator/stats", now=3.0, headers={"authorization": ""}))
    assert stats["calls"] == {"submit": 4, "status": 3}
    assert stats["replies"] == {"200": 5, "202": 2}
    assert stats["jobs_by_state"]["succeeded"] == 1
    assert stats["jobs_by_state"]["running"] == 1
    assert (stats["polls_total"], stats["polls_max"]) == (3, 2)
    assert stats["polls_histogram"] == {"0": 2, "1": 1, "2": 1}
    assert (stats["in_progress_peak"], stats["duplicates"]) == (1, 2)


def test_reset_goes_back_to_the_start(make_app):
    client = make_app(faults=(Fault("json_error", "submit", nth=2),))
    first = client.submit()
    assert client.call("POST", "/_emulator/reset").status_code == 200
    assert client.about(first["request_id"], "/status").status_code == 404
    assert client.submit()["request_id"] == first["request_id"]
    assert client.app.statistics().submits == 1


def test_latency_is_added_to_every_answer_of_the_api(make_app):
    client = make_app(latency_s=0.25, faults=(Fault("delay", "submit", delay_s=1.0, nth=1),))
    first, second = (client.call("POST", "/a/b", body={}) for _ in range(2))
    assert (first.transmission.delay_s, second.transmission.delay_s) == (1.25, 0.25)
