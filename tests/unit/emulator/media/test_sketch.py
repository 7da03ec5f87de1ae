"""Compositions that follow from a prompt."""

import pytest

from falq.emulator.media.palette import MOODS
from falq.emulator.media.sketch import BACKDROPS, LANDSCAPES, MOTIF_WORDS, Dots, Polygon, compose

PROMPT = "a city by the sea at night, with a cat"


def sketch(prompt=PROMPT, **changes):
    return compose(prompt, **{"seed": 1, "index": 0, "aspect": 1.5, **changes})


def test_the_same_request_gives_the_same_composition():
    assert sketch() == sketch()


@pytest.mark.parametrize("change", [{"seed": 2}, {"index": 1}, {"phase": 0.5}])
def test_seed_index_and_moment_each_change_it(change):
    assert sketch(**change).elements != sketch().elements


def test_the_colors_are_the_prompts_whatever_the_seed():
    night = MOODS["night"]
    assert sketch().sky == sketch(seed=99).sky
    assert sketch().sky[:3] == (night.sky_top, night.sky_middle, night.sky_low)


def test_every_motif_can_be_drawn():
    assert {*MOTIF_WORDS.values(), *LANDSCAPES} <= set(BACKDROPS)


def test_a_second_motif_adds_to_the_first():
    assert len(sketch("city with a cat").elements) > len(sketch("city with a dog").elements)


def test_the_order_of_the_words_does_not_hide_the_cat():
    last = [element for element in sketch("a cat in a forest").elements if type(element) is Polygon]
    assert last[-2].color == last[-2].foot


def test_stars_shine_only_in_the_dark():
    assert any(isinstance(element, Dots) for element in sketch("hills night").elements[:2])
    assert not any(isinstance(element, Dots) for element in sketch("hills day").elements[:2])


def test_the_caption_is_one_line_of_bounded_length():
    assert sketch("two\n lines").caption == "two lines"
    assert len(sketch("word " * 10_000).caption) <= 400


@pytest.mark.parametrize("prompt", ["", "猫", "\0", "a" * 5000])
def test_any_prompt_gives_a_picture(prompt):
    assert sketch(prompt).elements
