from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq._core.options import check_options, option_headers, start_timeout_of
from falq.errors import ArgumentError
from falq.model import ObjectLifecycle, SubmitOptions

JSON_TYPE = {"Content-Type": "application/json"}

HEADERS: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({}, {}),
    ({"start_timeout": 5}, {"X-Fal-Request-Timeout": "5.0"}),
    ({"start_timeout": 1.5}, {"X-Fal-Request-Timeout": "1.5"}),
    ({"hint": "lora-7"}, {"X-Fal-Runner-Hint": "lora-7"}),
    ({"priority": "low"}, {"X-Fal-Queue-Priority": "low"}),
    ({"priority": "normal"}, {"X-Fal-Queue-Priority": "normal"}),
    ({"no_retry": True}, {"X-Fal-No-Retry": "1"}),
    ({"store_io": False}, {"X-Fal-Store-IO": "0"}),
    ({"tags": {"team": "art", "run.id": "7"}}, {"X-Fal-Tags": "team=art,run.id=7"}),
    (
        {"disable_fallbacks": True},
        {"x-app-fal-disable-fallback": "1", "x-fal-disable-fallbacks": "1"},
    ),
    (
        {"lifecycle": ObjectLifecycle(expiration_s=3600)},
        {"X-Fal-Object-Lifecycle-Preference": '{"expiration_duration_seconds": 3600}'},
    ),
    (
        {"lifecycle": ObjectLifecycle(initial_acl={"default": "forbid"})},
        {"X-Fal-Object-Lifecycle-Preference": '{"initial_acl": {"default": "forbid"}}'},
    ),
    ({"lifecycle": ObjectLifecycle()}, {"X-Fal-Object-Lifecycle-Preference": "{}"}),
    ({"headers": {"X-Own": "yes"}}, {"X-Own": "yes"}),
    ({"webhook_url": "https://me.example/hook?a=1"}, {}),
    ({"webhook_url": "http://127.0.0.1:8000/hook"}, {}),
    ({"max_queue_length": 1}, {}),
]


@pytest.mark.parametrize(("given_options", "headers"), HEADERS, ids=[str(r[0]) for r in HEADERS])
def test_every_option_is_asked_for_by_its_header(given_options, headers):
    options = SubmitOptions(**given_options)
    check_options(options)
    assert option_headers(options) == JSON_TYPE | headers


DEEP: list[Any] = []
for _ in range(5000):
    DEEP = [DEEP]

REFUSED: dict[str, tuple[str, Any]] = {
    "a start of one second": ("start_timeout", 1),
    "a start in the past": ("start_timeout", -5.0),
    "a start never": ("start_timeout", float("inf")),
    "a start of no number": ("start_timeout", float("nan")),
    "a start beyond any float": ("start_timeout", 10**400),
    "a queue beyond any number": ("max_queue_length", 10**5000),
    "a life beyond any number": ("lifecycle", ObjectLifecycle(expiration_s=10**5000)),
    "a start as text": ("start_timeout", "5"),
    "a start of yes": ("start_timeout", True),
    "a start beyond floats": ("start_timeout", [5]),
    "storing by a word": ("store_io", "no"),
    "no retry by a number": ("no_retry", 1),
    "fallbacks by nothing": ("disable_fallbacks", None),
    "a lifecycle of a mapping": ("lifecycle", {"expiration_s": 60}),
    "another priority": ("priority", "high"),
    "a priority of a list": ("priority", ["low"]),
    "a hint with a line break": ("hint", "a\r\nAuthorization: Key x"),
    "a hint outside ASCII": ("hint", "größe"),
    "a hint as long as a book": ("hint", "x" * 5000),
    "a hint of a number": ("hint", 7),
    "eleven tags": ("tags", {f"t{n}": "x" for n in range(11)}),
    "a tag in capitals": ("tags", {"Team": "x"}),
    "a tag without a name": ("tags", {"": "x"}),
    "a tag with a long name": ("tags", {"x" * 65: "x"}),
    "a tag of fal's own": ("tags", {"fal.team": "x"}),
    "a tag named by a number": ("tags", {7: "x"}),
    "a tag with a comma": ("tags", {"team": "a,b"}),
    "a tag with an equals sign": ("tags", {"team": "a=b"}),
    "a tag with a line break": ("tags", {"team": "a\nb"}),
    "a tag with a long value": ("tags", {"team": "x" * 257}),
    "a tag of a number": ("tags", {"team": 7}),
    "tags above a kilobyte": ("tags", {f"t{n}": "x" * 250 for n in range(5)}),
    "tags as a list": ("tags", ["team"]),
    "a webhook without a scheme": ("webhook_url", "me.example/hook"),
    "a webhook by mail": ("webhook_url", "mailto:me@me.example"),
    "a webhook without a host": ("webhook_url", "https:///hook"),
    "a webhook with a line break": ("webhook_url", "https://me.example/\r\nX: y"),
    "a webhook with a space": ("webhook_url", "https://me.example/a b"),
    "a webhook with a broken host": ("webhook_url", "https://[me/hook"),
    "a webhook of a number": ("webhook_url", 7),
    "a webhook of bytes": ("webhook_url", b"https://me.example/"),
    "an empty webhook": ("webhook_url", ""),
    "a queue of nothing": ("max_queue_length", 0),
    "a queue of a half": ("max_queue_length", 1.5),
    "a queue of yes": ("max_queue_length", True),
    "a queue as text": ("max_queue_length", "abc"),
    "a queue without end": ("max_queue_length", float("inf")),
    "a life of no time": ("lifecycle", ObjectLifecycle(expiration_s=0)),
    "a life as text": ("lifecycle", ObjectLifecycle(expiration_s="1h")),  # type: ignore[arg-type]
    "a life of yes": ("lifecycle", ObjectLifecycle(expiration_s=True)),
    "an acl that JSON has not": ("lifecycle", ObjectLifecycle(initial_acl={"who": {1}})),
    "an acl of no number": ("lifecycle", ObjectLifecycle(initial_acl={"n": float("nan")})),
    "an acl without a bottom": ("lifecycle", ObjectLifecycle(initial_acl={"a": DEEP})),
    "an acl that is text": ("lifecycle", ObjectLifecycle(initial_acl="all")),  # type: ignore[arg-type]
    "a header without a name": ("headers", {"": "x"}),
    "a header with a colon": ("headers", {"X:Y": "x"}),
    "a header with a line break in its name": ("headers", {"X\n": "x"}),
    "a header named by a number": ("headers", {7: "x"}),
    "a header with a line break": ("headers", {"X-Own": "a\nb"}),
    "a header outside ASCII": ("headers", {"X-Own": "ä"}),
    "a header of a number": ("headers", {"X-Own": 7}),
    "headers as a list": ("headers", [("X-Own", "x")]),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_sent_is_refused_by_name(kind):
    argument, value = REFUSED[kind]
    with pytest.raises(ArgumentError) as caught:
        check_options(SubmitOptions(**{argument: value}))
    assert caught.value.argument == argument
    assert str(caught.value).startswith(argument)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "AUTHORIZATION",
        "Accept",
        "Accept-Encoding",
        "User-Agent",
        "Content-Type",
        "Content-Length",
        "Cookie",
        "Host",
        "Expect",
        "Transfer-Encoding",
        "Maton-Connection",
        "X-Fal-Request-Timeout",
        "x-fal-store-io",
        "X-Fal-Tags",
    ],
)
def test_headers_that_falq_sets_itself_are_refused(name):
    with pytest.raises(ArgumentError, match=name):
        check_options(SubmitOptions(headers={name: "x"}))


@given(
    st.builds(
        SubmitOptions,
        start_timeout=st.none() | st.floats() | st.integers(),
        hint=st.none() | st.text(max_size=30),
        tags=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=12),
        webhook_url=st.none() | st.text(max_size=30),
        max_queue_length=st.none() | st.integers() | st.floats(),
        headers=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    )
)
def test_what_passes_the_check_cannot_break_out_of_its_header(options):
    try:
        check_options(options)
    except ArgumentError:
        return
    for name, value in option_headers(options).items():
        assert name.isascii()
        assert name.isprintable()
        assert value.isascii()
        assert value.isprintable()


@pytest.mark.parametrize(
    ("own_s", "timeout_s", "told_s"),
    [
        (None, None, None),
        (None, 60.0, 60.0),
        (5.0, 60.0, 5.0),
        (5.0, None, 5.0),
        (None, 1.0, None),
        (None, float("inf"), None),
    ],
)
def test_a_time_limit_is_told_as_the_time_to_start_in_unless_that_is_given(
    own_s, timeout_s, told_s
):
    assert start_timeout_of(own_s, timeout_s) == told_s


def test_a_lifecycle_that_passes_the_check_is_json():
    lifecycle = ObjectLifecycle(expiration_s=60, initial_acl={"rules": [{"user": "ä"}]})
    check_options(SubmitOptions(lifecycle=lifecycle))
    text = option_headers(SubmitOptions(lifecycle=lifecycle))["X-Fal-Object-Lifecycle-Preference"]
    assert json.loads(text) == {
        "expiration_duration_seconds": 60,
        "initial_acl": {"rules": [{"user": "ä"}]},
    }
