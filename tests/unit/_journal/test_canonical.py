"""Equal inputs have equal hashes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq._journal.canonical import canonical_json, input_sha256

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_the_hash_survives_a_trip_through_json(value: object) -> None:
    assert input_sha256(json.loads(canonical_json(value))) == input_sha256(value)


def test_order_and_whole_floats_do_not_matter() -> None:
    assert input_sha256({"a": 1.0, "b": [2]}) == input_sha256({"b": [2.0], "a": 1})


def test_what_differs_has_another_hash() -> None:
    inputs = [{"a": 1}, {"a": 1.5}, {"a": "1"}, {"a": True}, {"b": 1}, {"a": [1]}, {"a": None}, {}]
    assert len({input_sha256(value) for value in inputs}) == len(inputs)


def test_what_json_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": float("nan")})
