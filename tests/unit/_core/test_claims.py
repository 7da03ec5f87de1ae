"""Request ids that are known to be somebody's: none forgotten too soon, few bytes each."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq._core.claims import FIRST_SLOTS, LARGEST_SLOTS, Claims

IDS = st.text(max_size=40)


def an_id(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


@given(known=st.sets(IDS), others=st.sets(IDS))
def test_an_id_is_known_exactly_if_it_was_added(known, others):
    claims = Claims(kept_s=60.0)
    for one in known:
        claims.add(one, now=0.0)
    assert all(one in claims for one in known)
    assert not [one for one in others - known if one in claims]
    assert len(claims) == len(known)


@given(steps=st.lists(st.floats(0.0, 50.0), min_size=1, max_size=300), kept_s=st.floats(1.0, 100.0))
def test_no_id_is_forgotten_before_its_time(steps, kept_s):
    claims = Claims(kept_s=kept_s)
    now, added = 0.0, {}
    for number, step in enumerate(steps):
        now += step
        # As many as fill a table or two on the way.
        for part in range(20):
            name = an_id(number * 20 + part)
            claims.add(name, now=now)
            added[name] = now
        claims.forget_before(now)
        assert all(one in claims for one, at in added.items() if at >= now - kept_s)


def test_old_ids_are_forgotten_by_the_table():
    claims = Claims(kept_s=1.0)
    count = 3 * LARGEST_SLOTS
    for number in range(count):
        claims.add(an_id(number), now=number / 10_000)
        claims.forget_before(number / 10_000)
    assert len(claims) <= 20_000
    assert an_id(0) not in claims
    assert an_id(count - 1) in claims


def test_tables_become_smaller_again_when_less_is_going_on():
    claims = Claims(kept_s=10.0)
    for number in range(LARGEST_SLOTS):
        claims.add(an_id(number), now=0.0)
    for number in range(100):
        claims.add(an_id(LARGEST_SLOTS + number), now=11.0 + number)
        claims.forget_before(11.0 + number)
        assert number < 20 or len(claims) <= 25


def test_an_id_that_is_added_twice_takes_the_room_of_one():
    claims = Claims(kept_s=10.0)
    for _ in range(2 * FIRST_SLOTS):
        claims.add("same", now=0.0)
    assert len(claims) == 1


@pytest.mark.slow
def test_a_hundred_thousand_ids_take_few_bytes_each():
    chance = random.Random(1)
    tracemalloc.start()
    try:
        claims = Claims(kept_s=1e9)
        for _ in range(100_000):
            claims.add(an_id(chance.getrandbits(32)), now=0.0)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(claims) > 99_000
    assert held < 100_000 * 16
