from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.batch.grid import MOST_COMBINATIONS, Axis, Grid
from falq.errors import ArgumentError

AXES = [
    ("seed=1..4", [1, 2, 3, 4]),
    ("seed=3..3", [3]),
    ("seed=-1..1", [-1, 0, 1]),
    ("seed=4..1", [4, 3, 2, 1]),
    ("n=1..10..2", [1, 3, 5, 7, 9]),
    ("n=10..1..3", [10, 7, 4, 1]),
    ("n=10..1..-3", [10, 7, 4, 1]),
    ("n=0.2..0.8..0.2", [0.2, 0.4, 0.6, 0.8]),
    ("n=1..3,7", [1, 2, 3, 7]),
    ("n=1,2.5", [1, 2.5]),
    ("n=1,two", ["1", "two"]),
    ("code=007", ["007"]),
    ("size=square,portrait_4_3", ["square", "portrait_4_3"]),
    (r"prompt=red\, green,blue", ["red, green", "blue"]),
    ('size:=["hd",{"width":512}]', ["hd", {"width": 512}]),
    ("on:=[true,null]", [True, None]),
]


@pytest.mark.parametrize(("word", "values"), AXES)
def test_an_axis_takes_these_values(word, values):
    found = list(Axis.parse(word).values)
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


REFUSED = [
    "seed",
    "=1..4",
    "seed=",
    "seed=1,,2",
    "seed=1,1",
    "seed=1..3,2",
    "seed=1..4..0",
    "seed=0.1..0.9",
    "seed=0..1000000",
    "a..b=1",
    "a\nb=1",
    "size:=hd",
    "size:=[]",
    "size:={}",
    "size:=[NaN]",
]


@pytest.mark.parametrize("word", REFUSED)
def test_an_axis_that_cannot_be_meant_is_refused(word):
    with pytest.raises(ArgumentError, match="grid") as caught:
        Axis.parse(word)
    assert caught.value.argument == "grid"


def test_the_first_axis_moves_slowest_and_the_suffix_names_every_value():
    grid = Grid.parse(["size=sd,hd", "seed=1..2"])
    assert [suffix for suffix, _ in grid.combinations()] == [
        "#size=sd,seed=1",
        "#size=sd,seed=2",
        "#size=hd,seed=1",
        "#size=hd,seed=2",
    ]
    assert next(grid.combinations())[1] == ((("size",), "sd"), (("seed",), 1))


def test_no_axes_leave_a_row_as_it_is():
    assert list(Grid.parse([]).combinations()) == [("", ())]
    assert Grid.parse([]).count == 1


def test_a_longer_axis_keeps_the_suffixes_that_were_there():
    short = [suffix for suffix, _ in Grid.parse(["seed=1..3"]).combinations()]
    long = [suffix for suffix, _ in Grid.parse(["seed=1..9"]).combinations()]
    assert long[:3] == short


def test_long_or_odd_values_stand_in_the_suffix_as_a_hash():
    suffixes = [suffix for suffix, _ in Grid.parse(["prompt=a cat,a dog"]).combinations()]
    assert len(set(suffixes)) == 2
    assert all(suffix.startswith("#prompt=~") and len(suffix) == 19 for suffix in suffixes)


def test_one_argument_cannot_be_swept_twice():
    with pytest.raises(ArgumentError, match="twice"):
        Grid.parse(["seed=1..2", "seed=3..4"])


def test_more_combinations_than_anybody_means_are_refused():
    with pytest.raises(ArgumentError, match=str(MOST_COMBINATIONS)):
        Grid.parse(["a=1..100000", "b=1..100000", "c=1..100000", "d=1..100000"])


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 4)), max_size=4))
def test_combinations_are_as_many_as_the_axes_multiply_to_and_all_differ(spans):
    words = [f"axis{n}={first}..{first + more}" for n, (first, more) in enumerate(spans)]
    grid = Grid.parse(words)
    combinations = list(grid.combinations())
    assert len(combinations) == grid.count == math.prod(more + 1 for _, more in spans)
    assert len({suffix for suffix, _ in combinations}) == len(combinations)
