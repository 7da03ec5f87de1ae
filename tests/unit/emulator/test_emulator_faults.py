"""Faults: when they strike, what they make of a reply, and what happened to the job."""

from __future__ import annotations

import json
import zlib

import pytest

from falq.emulator import Fault
from falq.emulator.faults import FaultPlan


def strikes(fault, calls, *, seed=0):
    plan = FaultPlan((fault,), seed)
    return [number for number in range(1, calls + 1) if plan.pick("status") is not None]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault("reset", "status"), [1, 2, 3, 4, 5, 6]),
        (Fault("reset", "status", nth=2), [2]),
        (Fault("reset", "status", nth=(1, 5)), [1, 5]),
        (Fault("reset", "status", every=3), [3, 6]),
        (Fault("reset", "status", times=2), [1, 2]),
        (Fault("reset", "any", nth=4), [4]),
        (Fault("reset", "submit"), []),
        (Fault("reset", "status", probability=0.0), []),
        (Fault("reset", "status", probability=1.0), [1, 2, 3, 4, 5, 6]),
    ],
)
def test_a_script_strikes_the_calls_that_it_names(fault, expected):
    assert strikes(fault, 6) == expected


def test_a_probability_strikes_about_so_often_and_the_same_for_a_seed():
    fault = Fault("reset", "status", probability=0.3)
    first = strikes(fault, 2000, seed=5)
    assert 500 < len(first) < 700
    assert first == strikes(fault, 2000, seed=5)
    assert first != strikes(fault, 2000, seed=6)


def test_the_first_fault_that_applies_strikes_alone():
    plan = FaultPlan((Fault("reset", "status", nth=2), Fault("fin", "any")), 0)
    assert [plan.pick("status").kind for _ in range(3)] == ["fin", "reset", "fin"]
    assert plan.struck == {"fin": 2, "reset": 1}


BEFORE = [
    Fault("reset", "submit"),
    Fault("fin", "submit"),
    Fault("rate_limited", "submit"),
    Fault("nginx", "submit"),
    Fault("json_error", "submit"),
    Fault("redirect", "submit"),
    Fault("stall", "submit", when="before"),
]
AFTER = [
    Fault("reset", "submit", when="after"),
    Fault("fin", "submit", when="after"),
    Fault("nginx", "submit", when="after", status_code=504),
    Fault("json_error", "submit", when="after", status_code=409),
    *(
        Fault(kind, "submit")
        for kind in ("cut", "stall", "drip", "delay", "truncated_json", "html", "list_body")
    ),
    *(Fault(kind, "submit") for kind in ("id_only", "empty_body", "replace_body")),
    Fault("bomb", "submit", size_bytes=1000),
    Fault("giant", "submit", size_bytes=1000),
]


@pytest.mark.parametrize("fault", BEFORE, ids=lambda fault: fault.kind)
def test_a_fault_before_the_work_leaves_no_job(make_app, fault):
    client = make_app(faults=(fault,))
    client.call("POST", "/a/b", body={})
    assert client.app.statistics().jobs == 0
    assert client.app.statistics().submits == 1


@pytest.mark.parametrize("fault", AFTER, ids=lambda fault: fault.kind)
def test_a_fault_after_the_work_leaves_exactly_one_job(make_app, fault):
    client = make_app(faults=(fault,))
    client.call("POST", "/a/b", body={})
    assert client.app.statistics().jobs == 1


def submit_under(make_app, kind, **more):
    client = make_app(faults=(Fault(kind, "submit", **more),))
    reply = client.call("POST", "/a/b", body={})
    jobs = list(client.app.queue.jobs)
    return reply, dict(reply.headers), jobs[0] if jobs else None


@pytest.mark.parametrize(
    ("kind", "manner"),
    [("reset", "reset"), ("fin", "fin"), ("stall", "stall"), ("cut", "cut"), ("drip", "drip")],
)
def test_a_fault_of_the_network_is_left_to_the_transmission(make_app, kind, manner):
    reply, _, _ = submit_under(make_app, kind)
    assert reply.transmission.manner == manner


def test_a_cut_answer_lacks_its_last_bytes(make_app):
    reply, _, _ = submit_under(make_app, "cut", missing_bytes=7)
    assert reply.transmission.cut_at_bytes == len(reply.body) - 7


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("seconds", "30"),
        ("date", "Thu, 01 Jan 2026 00:00:30 GMT"),
        ("nonsense", "a little while"),
    ],
)
def test_429_tells_when_to_come_back_in_three_ways(make_app, form, value):
    reply, headers, _ = submit_under(
        make_app, "rate_limited", retry_after_s=30, retry_after_form=form
    )
    assert (reply.status_code, headers["retry-after"]) == (429, value)
    assert "retry-after" not in submit_under(make_app, "rate_limited")[1]


@pytest.mark.parametrize("code", [502, 503, 504])
def test_an_nginx_page_has_none_of_fals_headers(make_app, code):
    reply, headers, _ = submit_under(make_app, "nginx", status_code=code)
    assert reply.status_code == code
    assert headers == {"content-type": "text/html"}
    assert b"nginx" in reply.body


def test_a_json_error_carries_fals_headers(make_app):
    reply, headers, request_id = submit_under(
        make_app, "json_error", status_code=503, when="after", error_type="runner_disconnected"
    )
    assert reply.status_code == 503
    assert headers["x-fal-request-id"] == request_id
    assert headers["x-fal-error-type"] == "runner_disconnected"
    assert json.loads(reply.body)["error_type"] == "runner_disconnected"


def test_unreadable_answers_keep_the_good_status_and_the_id_if_they_shall(make_app):
    for has_id in (True, False):
        reply, headers, request_id = submit_under(make_app, "truncated_json", has_request_id=has_id)
        assert reply.status_code == 200
        assert headers.get("x-fal-request-id") == (request_id if has_id else None)
        with pytest.raises(json.JSONDecodeError):
            json.loads(reply.body)


@pytest.mark.parametrize(
    ("kind", "more", "check"),
    [
        ("html", {}, lambda body, _: body.startswith(b"<!doctype html>")),
        ("list_body", {}, lambda body, _: isinstance(json.loads(body), list)),
        ("id_only", {}, lambda body, one: json.loads(body) == {"request_id": one}),
        ("empty_body", {}, lambda body, _: body == b""),
        ("replace_body", {"body": '"x"'}, lambda body, _: body == b'"x"'),
    ],
)
def test_each_odd_answer_has_its_form(make_app, kind, more, check):
    reply, _, request_id = submit_under(make_app, kind, **more)
    assert check(reply.body, request_id)


def test_404_lasts_as_long_as_the_job_is_young(make_app):
    client = make_app(faults=(Fault("not_found", "any", lasting_s=2.0),))
    ticket = client.submit()
    codes = [
        client.about(ticket["request_id"], "/status", now=now).status_code for now in (0, 2, 2.5)
    ]
    assert codes == [404, 404, 202]


def test_a_flapping_status_goes_back_one_step(make_app):
    client = make_app(runners=1, faults=(Fault("flap", "status", nth=(2, 4)),))
    ticket = client.submit({"run_s": 5})
    words = [
        json.loads(client.about(ticket["request_id"], "/status", now=now).body)["status"]
        for now in (1, 2, 3, 6, 7)
    ]
    assert words == ["IN_PROGRESS", "IN_QUEUE", "IN_PROGRESS", "IN_PROGRESS", "COMPLETED"]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_goes_where_it_is_told(make_app, code):
    reply, headers, _ = submit_under(
        make_app, "redirect", status_code=code, location="http://127.0.0.2:1/x"
    )
    assert (reply.status_code, headers["location"]) == (code, "http://127.0.0.2:1/x")


def test_a_bomb_is_small_on_the_wire_and_big_inside(make_app):
    size = 8 * 1024 * 1024
    reply, headers, request_id = submit_under(make_app, "bomb", size_bytes=size)
    assert headers["content-encoding"] == "gzip"
    assert len(reply.body) < size / 500
    whole = zlib.decompress(reply.body, wbits=31)
    assert len(whole) > size
    assert json.loads(whole)["request_id"] == request_id


def test_a_giant_answer_is_the_true_one_with_padding(make_app):
    reply, _, request_id = submit_under(make_app, "giant", size_bytes=100_000)
    assert len(reply.body) > 100_000
    assert json.loads(reply.body)["request_id"] == request_id


def test_swallowed_replies_are_counted_apart(make_app):
    client = make_app(faults=(Fault("stall", "submit", nth=1),))
    client.call("POST", "/a/b", body={})
    client.submit()
    assert client.app.statistics().replies == {"0": 1, "200": 1}
    assert client.app.statistics().faults == {"stall": 1}
