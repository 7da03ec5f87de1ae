from __future__ import annotations

import contextlib
import json
from collections import UserDict
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq._core import codec
from falq.errors import ArgumentError
from falq.model import LogEntry, ObjectLifecycle

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.slow
@given(st.dictionaries(st.text(), JSON))
def test_arguments_come_back_as_they_were_given(arguments):
    assert codec.load_json(codec.dump_arguments(arguments)) == arguments


def _nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


CIRCLE: dict[str, Any] = {}
CIRCLE["self"] = CIRCLE

ODD: dict[str, tuple[dict[Any, Any], str]] = {
    "NaN": ({"scale": float("nan")}, "arguments['scale'] (float)"),
    "infinity in a list": ({"a": [1, 2, float("inf")]}, "arguments['a'][2] (float)"),
    "bytes": ({"image": {"data": b"x"}}, "arguments['image']['data'] (bytes)"),
    "a set": ({"tags": {"a"}}, "arguments['tags'] (set)"),
    "a path": ({"file": PurePosixPath("cat.png")}, "arguments['file'] (PurePosixPath)"),
    "an object in a tuple": ({"a": (1, object())}, "arguments['a'][1] (object)"),
    "a mapping that is no dict": ({"a": MappingProxyType({})}, "arguments['a'] (mappingproxy)"),
    "a key of a tuple": ({"a": {(1, 2): "x"}}, "arguments['a'][(1, 2)]"),
    "a number of 5,000 digits": ({"n": 10**5000}, "arguments['n'] (int)"),
    "a circle": (CIRCLE, "arguments['self']['self']"),
    "nested without an end": ({"a": _nested(20_000)}, "arguments['a'][0][0]"),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_json_has_not_is_refused_and_its_place_named(kind):
    arguments, place = ODD[kind]
    with pytest.raises(ArgumentError) as caught:
        codec.dump_arguments(arguments)
    assert place in str(caught.value)
    assert len(str(caught.value)) <= 2048
    assert caught.value.argument == "arguments"


def test_a_mapping_of_any_kind_may_hold_the_arguments():
    assert codec.dump_arguments(UserDict(prompt="a")) == b'{"prompt":"a"}'
    assert codec.dump_arguments(MappingProxyType({"n": 1})) == b'{"n":1}'


@pytest.mark.parametrize("arguments", [None, "prompt", [("prompt", "a")], 7, b"{}"], ids=repr)
def test_arguments_that_are_no_mapping_are_refused(arguments):
    with pytest.raises(ArgumentError, match="must be a mapping"):
        codec.dump_arguments(arguments)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'], ids=["lists", "objects"])
@pytest.mark.parametrize(("levels", "is_read"), [(100, True), (101, False), (100_000, False)])
def test_a_body_is_read_down_to_a_hundred_levels(opening, levels, is_read):
    closing, core = (b"]", b"") if opening == b"[" else (b"}", b"1")
    body = opening * levels + core + closing * levels
    if is_read:
        assert codec.load_json(body)
    else:
        with pytest.raises(ValueError, match="too deep"):
            codec.load_json(body)


def test_a_wide_body_is_not_taken_for_a_deep_one():
    value = {"chunks": [{"at": [n, n + 1]} for n in range(500)], "text": "[" * 500}
    assert codec.load_json(json.dumps(value).encode()) == value


@given(st.binary(max_size=100))
def test_a_body_is_json_or_a_value_error(body):
    with contextlib.suppress(ValueError):
        codec.load_json(body)


ENTRIES: list[tuple[Any, LogEntry]] = [
    (
        {"message": "hi", "level": "INFO", "source": "USER", "timestamp": "2026-01-01T00:00:00Z"},
        LogEntry(message="hi", level="INFO", source="USER", timestamp="2026-01-01T00:00:00Z"),
    ),
    (
        {"timestamp": "2024-12-20T15:37:17.120314", "message": "hi", "labels": {}},
        LogEntry(message="hi", timestamp="2024-12-20T15:37:17.120314"),
    ),
    (
        {"message": "hi", "labels": {"level": "STDERR", "source": "RUN"}},
        LogEntry(message="hi", level="STDERR", source="RUN"),
    ),
    (
        {"message": "hi", "level": "INFO", "labels": {"level": "STDERR"}},
        LogEntry(message="hi", level="INFO"),
    ),
    ({"message": "hi", "labels": ["x"], "level": 7, "timestamp": 1}, LogEntry(message="hi")),
    ({"message": {"traceback": "x"}}, LogEntry(message='{"traceback": "x"}')),
    ({}, LogEntry(message="null")),
    ("bare", LogEntry(message="bare")),
    (7, LogEntry(message="7")),
    (None, LogEntry(message="null")),
]


@pytest.mark.parametrize(("raw", "entry"), ENTRIES, ids=[str(raw) for raw, _ in ENTRIES])
def test_log_lines_of_both_shapes_and_of_none_are_read(raw, entry):
    assert codec.read_logs([raw]) == (entry,)


@given(JSON)
def test_logs_are_read_whatever_they_are(raw):
    assert all(isinstance(entry, LogEntry) for entry in codec.read_logs(raw))


def test_of_a_million_lines_the_newest_thousand_are_read():
    logs = codec.read_logs([str(n) for n in range(1_000_000)])
    assert len(logs) == 1000
    assert logs[-1] == LogEntry(message="999999")


@pytest.mark.parametrize(
    ("detail", "problems"),
    [
        ([{"loc": ["body", "prompt"], "msg": "Field required"}], (("prompt", "Field required"),)),
        ([{"loc": ["body", "loras", 0, "path"], "msg": "x"}], (("loras.0.path", "x"),)),
        ([{"loc": ["query", "n"], "msg": "x"}], (("query.n", "x"),)),
        ([{"loc": ["body"], "msg": "x"}], (("body", "x"),)),
        ([{"loc": "prompt", "msg": "x"}], (("", "x"),)),
        ([{"msg": "x"}], (("", "x"),)),
        ([{"loc": [], "type": "odd"}], (("", "{'loc': [], 'type': 'odd'}"),)),
        (["text", 7, None], ()),
        ("text", ()),
        ({"loc": ["a"], "msg": "x"}, ()),
        (None, ()),
    ],
    ids=str,
)
def test_problems_are_read_as_far_as_they_are_there(detail, problems):
    assert codec.read_problems(detail) == problems


@pytest.mark.slow
@given(JSON)
def test_problems_are_read_whatever_detail_is(detail):
    assert all(len(problem) == 2 for problem in codec.read_problems(detail))


def test_a_log_line_and_a_lifecycle_have_their_place_in_the_converter():
    assert codec.converter.structure({"message": "hi"}, LogEntry) == LogEntry(message="hi")
    acl = ObjectLifecycle(initial_acl={"default": "allow"})
    assert codec.converter.unstructure(acl) == {"initial_acl": {"default": "allow"}}
    assert codec.converter.unstructure(ObjectLifecycle(expiration_s=1)) == {
        "expiration_duration_seconds": 1
    }
