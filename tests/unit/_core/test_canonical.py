from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq._core.canonical import canonical_json, input_sha256

NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
ENDPOINT = "fal-ai/flux"


@given(VALUES)
def test_the_hash_survives_a_trip_through_json(value):
    assert input_sha256(ENDPOINT, json.loads(canonical_json(value))) == input_sha256(
        ENDPOINT, value
    )


@given(st.dictionaries(st.text(), NUMBERS, min_size=2))
def test_the_order_of_names_does_not_matter(value):
    turned = dict(reversed(value.items()))
    assert canonical_json(turned) == canonical_json(value)


@given(st.integers(min_value=-(2**53) + 1, max_value=2**53 - 1))
def test_a_whole_float_counts_as_an_integer(number):
    as_float = {"a": [float(number)], "b": (1,)}
    assert input_sha256(ENDPOINT, as_float) == input_sha256(ENDPOINT, {"a": [number], "b": [1]})


def test_a_text_that_looks_like_a_float_is_left_alone():
    assert input_sha256(ENDPOINT, {"a": "1.0"}) != input_sha256(ENDPOINT, {"a": "1"})


def test_what_differs_has_another_hash():
    values = [{"a": 1}, {"a": 1.5}, {"a": "1"}, {"a": True}, {"b": 1}, {"a": [1]}, {"a": None}, {}]
    hashes = {input_sha256(endpoint, value) for value in values for endpoint in ("a/b", "a/c")}
    assert len(hashes) == 2 * len(values)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_has_not_is_refused(value):
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": value})


def test_a_thing_that_json_has_not_is_refused():
    with pytest.raises(TypeError):
        input_sha256(ENDPOINT, {"a": b"bytes"})


def test_a_value_nested_too_deep_is_refused_and_does_not_crash():
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="too deep"):
        canonical_json(deep)
