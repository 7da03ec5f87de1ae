"""A line against a plain list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.emulator.line import Line

MOVES = st.lists(st.one_of(st.just("append"), st.just("pop"), st.integers(0, 50)), max_size=200)


@given(MOVES)
def test_positions_are_those_in_a_plain_list(moves):
    line: Line[int] = Line()
    model: list[int] = []
    count = 0
    for move in moves:
        if move == "append":
            ticket = line.append(count)
            assert ticket == count
            model.append(count)
            count += 1
        elif move == "pop" and model:
            assert line.pop_first() == model.pop(0)
        elif isinstance(move, int) and model:
            line.discard(model.pop(move % len(model)))
        assert len(line) == len(model)
        assert [line.position(ticket) for ticket in model] == list(range(len(model)))


def test_an_empty_line_has_no_first():
    with pytest.raises(IndexError):
        Line().pop_first()


def test_the_record_of_those_who_left_does_not_grow_for_ever():
    line: Line[int] = Line()
    for number in range(30_000):
        line.append(number)
        if number % 3:
            line.discard(number)
        else:
            assert line.pop_first() == number
    assert len(line._left) < 5_000
