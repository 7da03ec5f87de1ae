"""File names from servers: harmless on every system."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.media.names import LONGEST_NAME_BYTES, name_from_url, numbered, safe_name

HOSTILE = st.text() | st.lists(
    st.sampled_from(["..", "/", "\\", "\0", "%2f", "CON", ".", " ", "\u202e", "a", ":", "\n"]),
    max_size=12,
).map("".join)


@given(HOSTILE, st.none() | st.sampled_from(["image/png", "video/mp4", "no such/type", ""]))
def test_a_name_is_one_plain_printable_part_of_bounded_length(hint, content_type):
    name = safe_name(hint, content_type=content_type)
    assert name
    assert not set('/\\\0:*?"<>|') & set(name)
    assert name.isprintable()
    assert name[0] not in ".-~ "
    assert name[-1] not in ". "
    assert 0 < len(name.encode()) <= LONGEST_NAME_BYTES + 1


@given(HOSTILE)
def test_making_a_name_safe_twice_changes_nothing(hint):
    assert safe_name(safe_name(hint)) == safe_name(hint)


@pytest.mark.parametrize(
    ("hint", "name"),
    [
        ("cat.png", "cat.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\windows\\system32\\x.dll", "x.dll"),
        ("/etc/shadow", "shadow"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("com1.tar.gz", "_com1.tar.gz"),
        (".bashrc", "bashrc"),
        ("-rf", "rf"),
        ("a\u202egnp.exe", "a_gnp.exe"),
        ("a\x1b[2J.png", "a_[2J.png"),
        ("..", "file"),
        ("", "file"),
    ],
)
def test_a_known_trick_becomes_a_known_name(hint, name):
    assert safe_name(hint) == name


@pytest.mark.parametrize("stem", ["x" * 300, "\U0001f600" * 100])
def test_a_long_name_keeps_its_extension(stem):
    name = safe_name(f"{stem}.png")
    assert name.endswith(".png")
    assert len(name.encode()) <= LONGEST_NAME_BYTES


def test_the_content_type_gives_an_extension_only_where_there_is_none():
    assert safe_name("cat", content_type="image/jpeg; charset=x") == "cat.jpg"
    assert safe_name("cat.webp", content_type="image/jpeg") == "cat.webp"


def test_a_url_gives_the_last_part_of_its_path_decoded_once():
    assert name_from_url("https://h/a/b%20c.png?token=1#x") == "b c.png"
    assert safe_name(name_from_url("https://h/..%2f..%2fetc%2fpasswd")) == "passwd"
    assert safe_name(name_from_url("https://h/%252e%252e%252fx")) == "%2e%2e%2fx"
    assert name_from_url("https://[broken") == ""


def test_a_number_goes_before_the_extension():
    assert [numbered("a.png", n) for n in (0, 1)] == ["a.png", "a-1.png"]
    assert numbered("file", 3) == "file-3"
