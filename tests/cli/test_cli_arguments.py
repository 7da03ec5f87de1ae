"""The words of a command line as a job's arguments."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.cli.arguments import STDIN_WORD, read_arguments, read_tags
from falq.errors import ArgumentError


def read(*words: str, stdin: str = "") -> dict:
    return read_arguments(words, read_stdin=lambda: stdin)


@pytest.mark.parametrize(
    ("word", "arguments"),
    [
        ("prompt=a tiny cute cat", {"prompt": "a tiny cute cat"}),
        ("prompt=", {"prompt": ""}),
        ("prompt=a := b = c", {"prompt": "a := b = c"}),
        ("num_images:=2", {"num_images": 2}),
        ("loras:=[1, null]", {"loras": [1, None]}),
        ("image_size.width:=512", {"image_size": {"width": 512}}),
        ("a\\.b=1", {"a.b": "1"}),
        ("seed=7", {"seed": "7"}),
    ],
)
def test_a_word_becomes_the_argument_that_it_describes(word, arguments):
    assert read(word) == arguments


def test_a_later_word_overrides_an_earlier_one_and_objects_grow():
    assert read("a=1", "a=2", "size.w:=1", "size.h:=2") == {"a": "2", "size": {"w": 1, "h": 2}}


def test_standard_input_gives_a_whole_object_that_words_add_to():
    assert read(STDIN_WORD, "b=2", stdin='{"a": 1, "b": 1}') == {"a": 1, "b": "2"}


def test_a_file_gives_its_text_or_its_json(tmp_path):
    (tmp_path / "prompt.txt").write_text("a cat\nin two lines", encoding="utf-8")
    (tmp_path / "loras.json").write_text('[{"path": "x"}]', encoding="utf-8")
    arguments = read(f"prompt=@{tmp_path}/prompt.txt", f"loras:=@{tmp_path}/loras.json")
    assert arguments == {"prompt": "a cat\nin two lines", "loras": [{"path": "x"}]}


@pytest.mark.parametrize(
    "words",
    [
        ("prompt",),
        ("=x",),
        ("n:=two",),
        ("a..b=1",),
        ("a=1", "a.b=2"),
        ("prompt=@/no/such/file",),
        (STDIN_WORD, STDIN_WORD),
    ],
)
def test_a_word_of_no_form_is_refused(words):
    with pytest.raises(ArgumentError):
        read(*words, stdin="{}")


@pytest.mark.parametrize("stdin", ["", "[1]", "{", "7"])
def test_standard_input_that_is_no_object_is_refused(stdin):
    with pytest.raises(ArgumentError, match="standard input"):
        read(STDIN_WORD, stdin=stdin)


def test_standard_input_that_is_no_text_is_refused():
    def read_stdin() -> str:
        return b"\xff{}".decode("utf-8")

    with pytest.raises(ArgumentError, match="standard input"):
        read_arguments([STDIN_WORD], read_stdin=read_stdin)


def test_bytes_that_are_no_utf8_are_refused_in_words_and_on_standard_input():
    strange = b"a\xff".decode("utf-8", "surrogateescape")
    for word in (f"prompt={strange}", f'prompt:="{strange}"', f"{strange}=1"):
        with pytest.raises(ArgumentError, match="UTF-8"):
            read(word)
    with pytest.raises(ArgumentError, match="standard input holds bytes that are no UTF-8"):
        read(STDIN_WORD, stdin=f'{{"prompt": "{strange}"}}')


def test_a_byte_order_mark_is_no_part_of_what_is_read(tmp_path):
    (tmp_path / "some.json").write_text('\ufeff{"a": 1}', encoding="utf-8")
    assert read(f"x:=@{tmp_path}/some.json") == {"x": {"a": 1}}
    assert read(STDIN_WORD, stdin='\ufeff{"a": 1}') == {"a": 1}


def test_json_that_is_nested_too_deep_is_refused():
    with pytest.raises(ArgumentError, match="takes JSON"):
        read("a:=" + "[" * 100_000)
    with pytest.raises(ArgumentError, match="standard input"):
        read(STDIN_WORD, stdin='{"a":' * 100_000)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "cat.png").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(ArgumentError, match="no text"):
        read(f"image=@{tmp_path}/cat.png")


@given(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), st.text(max_size=40))
def test_any_text_comes_through_unless_it_names_a_file(key, text):
    if not text.startswith("@"):
        assert read(f"{key}={text}") == {key: text}


@given(
    st.from_regex(r"[a-z_]{1,12}", fullmatch=True),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=10),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=6,
    ),
)
def test_any_json_comes_through(key, value):
    assert read(f"{key}:={json.dumps(value)}") == {key: value}


def test_tags_are_names_with_values():
    assert read_tags(["team=art", "note=a=b"]) == {"team": "art", "note": "a=b"}
    with pytest.raises(ArgumentError):
        read_tags(["team"])
