"""The kinds of field: what they convert and what they refuse."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.emulator.models.schema import (
    Boolean,
    Bounds,
    Choice,
    Field,
    Integer,
    Number,
    Record,
    Text,
    read_input,
)


def read(kind, value):
    problems = []
    return kind.read(value, ("body", "x"), problems), [problem["type"] for problem in problems]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Integer(), 3, 3),
        (Integer(), True, 1),
        (Integer(), 4.0, 4),
        (Integer(), " 12 ", 12),
        (Integer(), "-3.00", -3),
        (Integer(), 10**400, 10**400),
        (Number(), 3, 3.0),
        (Number(), "2.5", 2.5),
        (Number(), False, 0.0),
        (Number(), 10**400, math.inf),
        (Number(), -(10**400), -math.inf),
        (Boolean(), True, True),
        (Boolean(), 0, False),
        (Boolean(), 1.0, True),
        (Boolean(), "YES", True),
        (Boolean(), "off", False),
        (Text(), "", ""),
        (Choice(words=("a", "b")), "b", "b"),
    ],
)
def test_a_fitting_value_is_converted(kind, value, expected):
    assert read(kind, value) == (expected, [])


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        (Integer(), 1.5, "int_from_float"),
        (Integer(), math.inf, "finite_number"),
        (Integer(), math.nan, "finite_number"),
        (Integer(), "1.5", "int_parsing"),
        (Integer(), "9" * 4001, "int_parsing"),
        (Integer(), None, "int_type"),
        (Number(), "", "float_parsing"),
        (Number(), [], "float_type"),
        (Number(bounds=Bounds(ge=0)), math.nan, "greater_than_equal"),
        (Number(bounds=Bounds(le=0)), math.nan, "less_than_equal"),
        (Number(bounds=Bounds(gt=0)), 0, "greater_than"),
        (Boolean(), 2, "bool_parsing"),
        (Boolean(), "maybe", "bool_parsing"),
        (Boolean(), None, "bool_type"),
        (Text(max_length=2), "abc", "string_too_long"),
        (Choice(words=("a",)), "b", "literal_error"),
        (Choice(words=("a", "b"), problem_type="enum"), ["a"], "enum"),
    ],
)
def test_a_value_that_does_not_fit_gives_one_problem(kind, value, problem):
    assert read(kind, value)[1] == [problem]


def test_the_choices_are_told_in_one_sentence():
    problems = []
    Choice(words=("a", "b", "c")).read("d", ("body",), problems)
    assert problems[0]["msg"] == "Input should be 'a', 'b' or 'c'"
    assert problems[0]["ctx"] == {"expected": "'a', 'b' or 'c'"}


def test_missing_keys_get_their_defaults_and_null_is_kept_where_it_is_allowed():
    record = Record(
        (Field(name="a", kind=Integer(), default=4), Field(name="b", kind=Text(), nullable=True))
    )
    assert read_input(record, {"b": None, "c": 1}) == ({"a": 4, "b": None}, [])
    assert read_input(record, {"a": None})[1][0]["type"] == "int_type"


@given(low=st.integers(-50, 50), size=st.integers(0, 50), value=st.integers(-200, 200))
def test_a_number_passes_exactly_if_it_lies_within_its_bounds(low, size, value):
    kind = Integer(bounds=Bounds(ge=low, le=low + size))
    assert (read(kind, value)[1] == []) == (low <= value <= low + size)
