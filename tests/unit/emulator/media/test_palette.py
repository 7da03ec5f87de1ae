"""Colors that follow from words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.emulator.media.draws import Draws
from falq.emulator.media.palette import (
    EVERYDAY,
    MOOD_WORDS,
    MOODS,
    TINTS,
    choose_palette,
    mix,
    parse_color,
)


@pytest.mark.parametrize(
    ("words", "mood"),
    [
        ("mountains at sunset", "sunset"),
        ("sunset over the ocean", "sunset"),
        ("ocean at night", "night"),
        ("the ocean", "ocean"),
        ("dawn and then night", "night"),
    ],
)
def test_words_choose_the_mood(words, mood):
    assert choose_palette(words.split(), Draws("x")) == MOODS[mood]


def test_every_mood_word_names_a_mood():
    assert {*MOOD_WORDS.values(), *EVERYDAY} <= set(MOODS)


def test_without_a_telling_word_chance_chooses():
    chosen = {choose_palette(["bicycle"], Draws(n)).sky_top for n in range(60)}
    assert chosen == {MOODS[mood].sky_top for mood in EVERYDAY}


@pytest.mark.parametrize("word", TINTS)
def test_a_color_word_moves_the_sky_toward_it(word):
    def distance(color):
        return sum((a - b) ** 2 for a, b in zip(color, TINTS[word], strict=True))

    plain = choose_palette(["day"], Draws("x"))
    tinted = choose_palette(["day", word], Draws("x"))
    assert distance(tinted.sky_middle) < distance(plain.sky_middle)


def test_a_color_is_read_from_six_digits():
    assert parse_color("ff8000") == (255, 128, 0)


COLORS = st.tuples(*[st.integers(0, 255)] * 3)


@given(first=COLORS, second=COLORS, share=st.floats(0, 1))
def test_a_mixed_color_lies_between_the_two(first, second, share):
    for value, one, other in zip(mix(first, second, share), first, second, strict=True):
        assert min(one, other) <= value <= max(one, other)
