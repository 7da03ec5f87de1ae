from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.text import ERROR_LIMIT, printable

ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(text=ANY_TEXT, limit=st.integers(1, 300))
def test_what_is_shown_is_one_printable_line_within_its_limit(text, limit):
    shown = printable(text, limit=limit)
    assert shown.isprintable()
    assert len(shown) <= limit


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=ERROR_LIMIT))
def test_text_that_is_harmless_and_short_is_shown_as_it_is(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\r\nroot: forged", "a\\r\\nroot: forged"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\x00", "\\x00"),
        ("\udc80", "\\udc80"),
        ("café 猫", "café 猫"),
    ],
)
def test_control_and_direction_characters_are_escaped(text, shown):
    assert printable(text) == shown


def test_escapes_count_towards_the_limit():
    assert len(printable("\x1b" * 5000)) == ERROR_LIMIT


def test_what_was_cut_ends_in_an_ellipsis():
    assert printable("abcdef", limit=4) == "abc…"
    assert printable("abcd", limit=4) == "abcd"
