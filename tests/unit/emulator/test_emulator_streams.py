"""Status streams, direct runs and output streams as a function of time."""

from __future__ import annotations

import json

import pytest

from falq.emulator.messages import Reply

LOGGED = {"query": "logs=1"}


def told(step):
    """The JSON values of the events in a step."""
    text = b"".join(step.pieces).decode()
    return [
        json.loads(line.removeprefix("data: "))
        for line in text.split("\n")
        if line.startswith("data: ")
    ]


def follow(feed, until):
    """Ask a feed whenever it is due; return when what was told."""
    now, seen = 0.0, []
    while now <= until:
        step = feed.take(now)
        seen += [(now, value) for value in told(step)]
        if step.is_over:
            break
        assert step.due > now
        now = step.due
    return seen


def stream_of(client, request_id, **more):
    reply = client.about(request_id, "/status/stream", **more)
    assert reply.status_code == 200
    assert dict(reply.headers)["content-type"].startswith("text/event-stream")
    return reply.feed


def test_a_stream_tells_each_change_at_its_instant_and_ends(make_app):
    client = make_app(runners=1)
    client.submit({"run_s": 5})
    request_id = client.submit({"run_s": 3})["request_id"]
    seen = follow(stream_of(client, request_id), 100)
    assert [(now, one["status"]) for now, one in seen] == [
        (0.0, "IN_QUEUE"),
        (5.0, "IN_PROGRESS"),
        (8.0, "COMPLETED"),
    ]
    assert seen[0][1]["queue_position"] == 0
    assert all(one["request_id"] == request_id for _, one in seen)


def test_lines_come_once_each_and_when_they_are_printed(make_app):
    client = make_app()
    request_id = client.submit({"run_s": 4})["request_id"]
    seen = follow(stream_of(client, request_id, **LOGGED), 100)
    lines = [(now, [entry["message"] for entry in one["logs"]]) for now, one in seen]
    assert lines == [(0.0, []), (1.0, ["one"]), (2.0, ["two"]), (3.0, ["three"]), (4.0, [])]


def test_without_asking_there_are_no_lines(make_app):
    client = make_app()
    request_id = client.submit({"run_s": 4})["request_id"]
    assert [one["logs"] for _, one in follow(stream_of(client, request_id), 100)] == [None, None]


def test_a_finished_job_has_one_event(make_app):
    client = make_app()
    request_id = client.submit({"run_s": 4})["request_id"]
    step = stream_of(client, request_id, now=10.0).take(10.0)
    assert [one["status"] for one in told(step)] == ["COMPLETED"]
    assert step.is_over


def test_silence_is_filled_with_pings(make_app):
    client = make_app(stream_ping_s=15.0)
    request_id = client.submit({"run_s": 100})["request_id"]
    feed = stream_of(client, request_id)
    assert feed.take(0.0).due == 15.0
    step = feed.take(15.0)
    assert step.pieces == (b": ping\n\n",)
    assert step.due == 30.0
    assert feed.take(20.0).pieces == ()


def test_a_call_that_moves_the_queue_wakes_the_streams(make_app):
    client = make_app(runners=1)
    first = client.submit({"run_s": 5})["request_id"]
    request_id = client.submit({"run_s": 5})["request_id"]
    feed = stream_of(client, request_id)
    feed.take(0.0)
    woken = []
    feed.wake = lambda: woken.append(1)
    client.about(first, "/status", now=1.0)
    assert not woken
    client.about(first, "/cancel", now=1.0)
    assert woken
    assert [one["status"] for one in told(feed.take(1.0))] == ["IN_PROGRESS"]


@pytest.mark.parametrize(
    ("end", "words", "is_cut"),
    [
        ("completed", ["IN_PROGRESS", "COMPLETED"], False),
        ("missing", ["IN_PROGRESS"], False),
        ("early", ["IN_PROGRESS"], False),
        ("empty", [], False),
        ("cut", ["IN_PROGRESS"], True),
    ],
)
def test_a_stream_can_end_in_every_way(make_app, end, words, is_cut):
    client = make_app(stream_end=end)
    feed = stream_of(client, client.submit({"run_s": 5})["request_id"])
    steps = [feed.take(0.0)]
    if not steps[0].is_over:
        steps.append(feed.take(5.0))
    assert [one["status"] for step in steps for one in told(step)] == words
    assert steps[-1].is_over
    assert steps[-1].is_cut is is_cut


@pytest.mark.parametrize(("newline", "text"), [("lf", "\n"), ("crlf", "\r\n"), ("cr", "\r")])
def test_events_can_have_every_form(make_app, newline, text):
    client = make_app(stream_newline=newline, stream_piece_bytes=2, has_multi_line_data=True)
    feed = stream_of(client, client.submit({"run_s": 5})["request_id"])
    pieces = feed.take(0.0).pieces
    assert {len(piece) for piece in pieces[:-1]} == {2}
    whole = b"".join(pieces).decode()
    assert whole.endswith(text * 2)
    lines = whole.removesuffix(text * 2).split(text)
    assert len(lines) > 2
    assert all(line.startswith("data: ") for line in lines)
    value = json.loads("\n".join(line.removeprefix("data: ") for line in lines))
    assert value["status"] == "IN_PROGRESS"


@pytest.mark.parametrize(
    ("settings", "method", "code"), [({}, "GET", 404), ({"faults": ()}, "POST", 405)]
)
def test_what_is_no_stream_is_refused(make_app, settings, method, code):
    client = make_app(**settings)
    reply = client.call(method, "/acme/thing/requests/nobody/status/stream")
    assert reply.status_code == code
    assert reply.feed is None


def run(client, body, *, path="/_run/acme/thing/fast", now=0.0, **more) -> Reply:
    return client.call("POST", path, body=body, now=now, **more)


def test_a_run_answers_when_the_model_is_done(make_app):
    client = make_app()
    feed = run(client, {"run_s": 5}).feed
    assert feed.take(0.0).due == 5.0
    step = feed.take(5.0)
    assert step.is_over
    assert json.loads(step.reply.body) == {"run_s": 5}
    assert step.reply.status_code == 200
    assert dict(step.reply.headers)["x-fal-request-id"]
    assert "request_id" not in json.loads(step.reply.body)


def test_a_refused_input_is_the_runs_own_answer(make_app):
    reply = run(make_app(), {"run_s": 1, "is_wrong": True}).feed.take(1.0).reply
    assert reply.status_code == 422
    assert dict(reply.headers)["x-fal-billable-units"] == "0"


def test_a_broken_run_is_not_repeated_by_the_server(make_app):
    client = make_app(server_retry_probability=1.0)
    reply = run(client, {"run_s": 1}).feed.take(1.0).reply
    assert reply.status_code == 503
    assert json.loads(reply.body)["error_type"] == "runner_disconnected"
    assert client.app.statistics().runs == 1


@pytest.mark.parametrize("code", [429, 200])
def test_runs_share_the_runners_with_jobs_and_never_wait(make_app, code):
    client = make_app(runners=2, concurrency_code=code)
    client.submit({"run_s": 5})
    assert run(client, {"run_s": 5}).feed is not None
    reply = run(client, {"run_s": 5})
    assert (reply.status_code, reply.feed) == (code, None)
    assert json.loads(reply.body) == {
        "detail": "Reached concurrent requests limit of 2",
        "type": "concurrent_requests_limit",
        "data": {"limit": 2},
    }
    assert dict(reply.headers)["x-fal-needs-retry"] == "1"
    assert run(client, {"run_s": 5}, now=6.0).feed is not None


@pytest.mark.parametrize(("dropped", "state"), [("cancelled", "cancelled"), ("runs_on", "running")])
def test_a_caller_that_goes_away_cancels_its_run_or_not(make_app, dropped, state):
    client = make_app(dropped_run=dropped)
    feed = run(client, {"run_s": 5}).feed
    feed.take(0.0)
    feed.close(1.0)
    feed.close(1.0)
    assert client.app.statistics().jobs_by_state[state] == 1


def test_a_runner_that_a_caller_left_is_seen_by_who_waits(make_app):
    client = make_app(runners=1)
    running = run(client, {"run_s": 5}).feed
    running.take(0.0)
    waiting = stream_of(client, client.submit({"run_s": 5})["request_id"])
    assert [one["status"] for one in told(waiting.take(0.0))] == ["IN_QUEUE"]
    woken = []
    waiting.wake = lambda: woken.append(1)
    running.close(1.0)
    assert woken
    assert [one["status"] for one in told(waiting.take(1.0))] == ["IN_PROGRESS"]


@pytest.mark.parametrize(
    ("settings", "path", "headers", "code"),
    [
        ({}, "/_run/acme", {}, 404),
        ({}, "/_run/acme/thing", {"authorization": "Key a:b"}, 401),
        ({"is_locked": True}, "/_run/acme/thing", {}, 403),
        ({"absent_apps": ("acme/thing",)}, "/_run/acme/thing/stream", {}, 404),
        ({}, "/_run/acme/thing", {"x-fal-request-timeout": "0"}, 400),
    ],
)
def test_runs_are_refused_as_submits_are(make_app, settings, path, headers, code):
    reply = run(make_app(**settings), {}, path=path, headers=headers)
    assert (reply.status_code, reply.feed) == (code, None)


def output_of(client, body):
    return run(client, body, path="/_run/acme/thing/fast/stream").feed


def test_an_output_comes_in_parts_and_last_whole(make_app):
    seen = follow(output_of(make_app(stream_parts=3), {"run_s": 8}), 100)
    assert [now for now, _ in seen] == [2.0, 4.0, 6.0, 8.0]
    assert seen[0][1] == {"partial": True, "part": 1, "of": 3}
    assert seen[-1][1] == {"run_s": 8}


def test_parts_that_nobody_asked_for_in_time_come_together(make_app):
    step = output_of(make_app(), {"run_s": 8}).take(50.0)
    assert len(told(step)) == 4
    assert step.is_over


@pytest.mark.parametrize(
    ("form", "events", "is_cut"), [("event", 2, False), ("cut", 1, True), ("head", 0, False)]
)
def test_a_failed_run_ends_its_output_in_every_way(make_app, form, events, is_cut):
    client = make_app(stream_parts=1, stream_error=form)
    feed = output_of(client, {"run_s": 1, "is_wrong": True})
    step = feed.take(1.0)
    assert len(told(step)) == events
    assert step.is_cut is is_cut
    assert (step.reply is not None) is (form == "head")
    if form == "event":
        assert told(step)[-1]["detail"][0]["type"] == "missing"


def test_calls_are_counted_by_what_they_are(make_app):
    client = make_app()
    run(client, {"run_s": 1})
    output_of(client, {"run_s": 1})
    stream_of(client, client.submit({})["request_id"])
    assert client.app.statistics().calls == {"run": 1, "stream": 1, "submit": 1, "status_stream": 1}
