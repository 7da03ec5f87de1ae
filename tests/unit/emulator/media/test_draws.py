"""Chance that repeats."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.emulator.media.draws import Draws


@given(parts=st.lists(st.text(max_size=8) | st.integers(), min_size=1, max_size=3))
def test_the_same_parts_give_the_same_numbers_within_zero_and_one(parts):
    first, again = Draws(*parts), Draws(*parts)
    numbers = [first.draw() for _ in range(200)]
    assert numbers == [again.draw() for _ in range(200)]
    assert all(0 <= number < 1 for number in numbers)
    assert len(set(numbers)) > 190


def test_parts_are_kept_apart():
    assert Draws("ab", "c").draw() != Draws("a", "bc").draw()
    assert Draws(1).draw() != Draws(2).draw()


def test_huge_seeds_and_broken_texts_are_parts_like_any_other():
    assert 0 <= Draws(10**6000, "\ud800").draw() < 1


def test_numbers_are_spread_over_the_range():
    draws = Draws("spread")
    numbers = [draws.between(2, 4) for _ in range(4000)]
    assert min(numbers) >= 2
    assert max(numbers) < 4
    assert sum(numbers) / len(numbers) == pytest.approx(3, abs=0.05)


def test_every_item_is_picked_some_time():
    draws = Draws("pick")
    assert {draws.pick("abc") for _ in range(50)} == {"a", "b", "c"}


def test_bytes_do_not_move_the_numbers_on():
    draws = Draws("x")
    assert len(draws.bytes(1000)) == 1000
    assert draws.draw() == Draws("x").draw()
