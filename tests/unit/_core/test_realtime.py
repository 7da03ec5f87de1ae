from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq._core.messages import Origin, Reply, Verb
from falq._core.realtime import (
    Note,
    Refusal,
    Result,
    TokenForm,
    as_message,
    build_socket_path,
    build_socket_query,
    build_token,
    read_text,
    read_token,
)
from falq.errors import ArgumentError, WireError
from falq.model import EndpointId

ENDPOINT = EndpointId.parse("fal-ai/flux/schnell")


def reply_of(body: bytes) -> Reply:
    return Reply(200, {}, body)


@pytest.mark.parametrize(
    ("form", "path", "body"),
    [
        (TokenForm.CLASSIC, "/tokens/", {"allowed_apps": ["flux"], "token_expiration": 90}),
        (TokenForm.REALTIME, "/tokens/realtime", {"allowed_apps": ["flux"], "duration": 90}),
    ],
)
def test_a_token_is_asked_for_the_alias_alone(form, path, body):
    call = build_token(ENDPOINT, life_s=90, form=form)
    assert (call.verb, call.method, call.target, call.origin) == (
        Verb.STORAGE,
        "POST",
        path,
        Origin.REST,
    )
    assert json.loads(call.body) == body


@pytest.mark.parametrize("body", [b'"a.b.c"', b'{"token":"a.b.c"}', b'{"detail":"a.b.c"}'])
def test_a_token_comes_bare_or_in_an_object(body):
    assert read_token(reply_of(body)) == "a.b.c"


@pytest.mark.parametrize(
    "body", [b"", b"a.b.c", b'""', b"7", b"[]", b"{}", b'{"token":7}', b'"a\\nb"', b'"\xc3\xa4"']
)
def test_an_answer_without_a_token_is_told_of_and_not_shown(body):
    with pytest.raises(WireError) as caught:
        read_token(reply_of(body))
    assert caught.value.status_code == 200
    assert caught.value.excerpt == ""


@pytest.mark.parametrize(
    ("path", "whole"),
    [
        ("/realtime", "/fal-ai/flux/schnell/realtime"),
        ("realtime/", "/fal-ai/flux/schnell/realtime"),
        ("ws/v1", "/fal-ai/flux/schnell/ws/v1"),
        ("", "/fal-ai/flux/schnell"),
        ("/", "/fal-ai/flux/schnell"),
    ],
)
def test_a_sockets_path_is_appended_to_the_endpoint(path, whole):
    assert build_socket_path(ENDPOINT, path) == whole


@pytest.mark.parametrize("path", ["a//b", "../x", "a?b=c", "a#b", "a b", 7])
def test_a_path_that_would_change_the_address_is_refused(path):
    with pytest.raises(ArgumentError) as caught:
        build_socket_path(ENDPOINT, path)
    assert caught.value.argument == "path"


def test_max_buffering_is_sent_if_it_is_given():
    assert build_socket_query(None) == {}
    assert build_socket_query(1) == {"max_buffering": "1"}
    assert build_socket_query(60) == {"max_buffering": "60"}


@pytest.mark.parametrize("value", [0, 61, 2.0, True, "3"])
def test_max_buffering_outside_its_range_is_refused(value):
    with pytest.raises(ArgumentError, match="from 1 to 60"):
        build_socket_query(value)


@pytest.mark.parametrize(
    ("frame", "meaning"),
    [
        ('{"type":"x-fal-message","action":"timings","timing":0.1}', Note()),
        (
            '{"type":"x-fal-error","error":"INTERNAL_ERROR","reason":"it broke"}',
            Refusal("INTERNAL_ERROR", "it broke"),
        ),
        ('{"type":"x-fal-error"}', Refusal("UNKNOWN_ERROR")),
        ('{"type":"x-fal-error","error":7,"reason":[]}', Refusal("UNKNOWN_ERROR")),
        ('{"type":"x-fal-error","error":"TIMEOUT"}', Refusal("TIMEOUT")),
        ('{"status":"error","error":"Unauthorized"}', Refusal("Unauthorized")),
        ('{"status":"error","error":"Other"}', Result({"status": "error", "error": "Other"})),
        ('{"type":"image","n":1}', Result({"type": "image", "n": 1})),
        ("[1]", Result({"payload": [1]})),
        ("null", Result({"payload": None})),
        ("hello", Result({"type": "text", "payload": "hello"})),
    ],
)
def test_a_text_frame_means_what_the_reference_says(frame, meaning):
    assert read_text(frame) == meaning


def test_a_timeout_is_idle_and_a_refused_token_is_unauthorized():
    idle, refused = Refusal("TIMEOUT"), Refusal("Unauthorized")
    assert (idle.is_idle, idle.is_unauthorized) == (True, False)
    assert (refused.is_idle, refused.is_unauthorized) == (False, True)


@given(st.text(st.characters()))
def test_no_text_frame_can_break_the_reader(frame):
    assert isinstance(read_text(frame), Note | Refusal | Result)


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_what_is_no_object_is_a_payload(value):
    assert as_message(value) == {"payload": value}
    assert as_message({"a": value}) == {"a": value}
