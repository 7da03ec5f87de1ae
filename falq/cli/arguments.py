r"""Turn the words of a command line into a job's arguments.

Owns the syntax, which is httpie's: `key=text`, `key:=json`, `key=@file` for the
text of a file, `key:=@file` for the JSON in one, `a.b=text` for a key inside an
object. It reads the files that are named and nothing else; standard input is
handed in.

    =   splits at the first `=` of the word; `:=` wins where both fit
    \.  a dot that belongs to the key
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from falq.errors import ArgumentError
from falq.text import printable

STDIN_WORD = "@-"
"""Stands for standard input among the words; a bare `-` is turned into it."""

_LARGEST_FILE_BYTES = 32 * 1024 * 1024
_WORD = re.compile(r"(?P<key>[^=]*?)(?P<mark>:?=)(?P<value>.*)", re.DOTALL)
_DOT = re.compile(r"(?<!\\)\.")


def read_arguments(words: Sequence[str], *, read_stdin: Callable[[], str]) -> dict[str, Any]:
    """Return the arguments that `words` describe.

    Args:
        words: In order; a later one overrides an earlier one. `@-` takes a whole
            JSON object from standard input.
        read_stdin: Returns standard input; called at most once.

    Raises:
        ArgumentError: A word is none of the forms, a file cannot be read, or
            text is no JSON.

    Example:
        >>> read_arguments(["prompt=a cat", "num_images:=2"], read_stdin=str)
        {'prompt': 'a cat', 'num_images': 2}
        >>> read_arguments(["image_size.width:=512"], read_stdin=str)
        {'image_size': {'width': 512}}
    """
    arguments: dict[str, Any] = {}
    has_read_stdin = False
    for word in words:
        if word == STDIN_WORD:
            if has_read_stdin:
                raise _refusal("- can be given once: standard input is read to its end")
            has_read_stdin = True
            arguments.update(_read_object(read_stdin))
            continue
        path, value = _read_word(word)
        _set(arguments, path, value)
    return arguments


def _read_word(word: str) -> tuple[list[str], Any]:
    match = _WORD.fullmatch(word)
    shown = printable(repr(word), limit=80)
    if match is None or not match["key"]:
        raise _refusal(f"{shown} is no argument; write key=text, key:=json, key=@file, or -")
    path = [part.replace("\\.", ".") for part in _DOT.split(match["key"])]
    if not all(path):
        raise _refusal(f"{shown} has an empty part in its key; write a\\.b for a dot in a key")
    value = match["value"]
    if value.startswith("@"):
        value = _read_file(value[1:])
    _refuse_strange_bytes(match["key"] + value, shown)
    return path, _read_json(value, match["key"]) if match["mark"] == ":=" else value


def _set(arguments: dict[str, Any], path: list[str], value: Any) -> None:
    target = arguments
    for depth, part in enumerate(path[:-1], start=1):
        inner = target.setdefault(part, {})
        if not isinstance(inner, dict):
            raise _refusal(f"{'.'.join(path[:depth])} is given as a value and as an object")
        target = inner
    target[path[-1]] = value


def _read_file(name: str) -> str:
    path = Path(name).expanduser()
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise _refusal(f"{printable(name, limit=120)} is above 32 MiB; give a URL instead")
        # A byte-order mark is how some editors begin a file; it is no part of its text.
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise _refusal(
            f"{printable(name, limit=120)} is no text in UTF-8; media go in as a URL, "
            "which 'falq upload' gives"
        ) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise _refusal(f"cannot read {printable(name, limit=120)}: {reason}") from None


def _read_json(text: str, key: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refusal(
            f"{printable(key, limit=80)}:= takes JSON ({error}); for plain text write = instead"
        ) from None


def _read_object(read: Callable[[], str]) -> dict[str, Any]:
    try:
        # Bytes that are no text fail while they are read, or below if the locale lets them by.
        text = read().removeprefix("\ufeff")
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refusal(f"standard input is no JSON ({error})") from None
    _refuse_strange_bytes(text, "standard input")
    if not isinstance(value, dict):
        raise _refusal("standard input holds no JSON object")
    return value


def _refuse_strange_bytes(text: str, shown: str) -> None:
    # What Python could not decode comes as lone surrogates, which no server takes for text.
    if any("\udc80" <= char <= "\udcff" for char in text):
        raise _refusal(f"{shown} holds bytes that are no UTF-8; write it in UTF-8")


def read_tags(words: Sequence[str]) -> dict[str, str]:
    """Return tags given as `name=value`.

    Raises:
        ArgumentError: One has no `=`.
    """
    tags: dict[str, str] = {}
    for word in words:
        name, mark, value = word.partition("=")
        if not mark or not name:
            raise ArgumentError(
                f"--tag {printable(repr(word), limit=80)} is no name=value", argument="tag"
            )
        tags[name] = value
    return tags


def _refusal(reason: str) -> ArgumentError:
    return ArgumentError(reason, argument="arguments")
