"""What is set in every row: `--set key=value`, `key:=json`, templates.

Owns how such a word is read and applied. It never sees a file: `manifest`
hands it the arguments of one row after another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from falq._core import codec
from falq.batch.keys import KeyPath, parse_key, with_value
from falq.batch.templates import Template
from falq.errors import ArgumentError
from falq.text import printable

_WORD = re.compile(r"(?P<key>[^=]+?)(?P<mark>:?=)(?P<value>.*)", re.DOTALL)


def split_word(word: str, *, what: str) -> tuple[str, bool, str]:
    """Return key, whether the value is JSON, and value of `key=value` or `key:=json`.

    Raises:
        ArgumentError: It is neither.
    """
    match = _WORD.fullmatch(word)
    if match is None:
        raise ArgumentError(
            f"{what}: {printable(repr(word), limit=80)} is no key=value and no key:=json",
            argument=what,
        )
    return match["key"], match["mark"] == ":=", match["value"]


def read_json(text: str, *, key: str, what: str) -> Any:
    """Return the value of JSON text.

    Raises:
        ArgumentError: It is none; the message names the key.
    """
    try:
        return codec.load_json(text.encode())
    except ValueError as error:
        raise ArgumentError(
            f"{what}: {printable(key, limit=80)}:= takes JSON ({error}); for text write = instead",
            argument=what,
        ) from None


@frozen
class Setting:
    """One argument that every row is given.

    Attributes:
        path: Where it goes.
        value: A `Template`, or the value of `key:=json`.
    """

    path: KeyPath
    value: Any

    @staticmethod
    def parse(word: str) -> Setting:
        """Read `key=template` or `key:=json`; the key may be dotted.

        Raises:
            ArgumentError: It is neither, or the template or the JSON is broken.

        Example:
            >>> Setting.parse("image_size.width:=512").apply({"prompt": "a cat"})
            {'prompt': 'a cat', 'image_size': {'width': 512}}
        """
        key, is_json, text = split_word(word, what="set")
        value = (
            read_json(text, key=key, what="set") if is_json else Template.parse(text, what="set")
        )
        return Setting(parse_key(key, what="set"), value)

    def apply(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of `arguments` with this one set.

        Raises:
            BadFieldError: The row lacks a value that the template names, or the
                place is taken by something that is no object.
        """
        value = self.value
        if isinstance(value, Template):
            value = value.fill(arguments)
        return with_value(arguments, self.path, value)
