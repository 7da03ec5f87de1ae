r"""Multiply a row: `seed=1..4` makes four of one, `size=square,portrait_4_3` two.

Owns the syntax of an axis, the order of the combinations (the first axis moves
slowest) and the suffix that tells their ids apart. It never sees a row.

    seed=1..4              1, 2, 3, 4: both ends belong to it
    steps=10..1..3         10, 7, 4, 1
    strength=0.2..0.8..0.2 decimals need a step
    seed=1..3,7            items and ranges; if all are numbers, they are numbers
    size=square,hd         … and otherwise all of them are text; \, is a comma
    size:=["hd",{"width":512,"height":512}]   exactly these JSON values

A suffix is made of the values alone, not of their places: an axis can be
lengthened later and the rows that were there keep their ids.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from attrs import field, frozen

from falq._core.canonical import canonical_json
from falq.batch.keys import KeyPath, parse_key
from falq.batch.settings import read_json, split_word
from falq.errors import ArgumentError
from falq.text import printable

MOST_COMBINATIONS = 1_000_000
"""Of one row. More is a slip of the keyboard: a row is one paid job each."""

_LONGEST_LABEL = 40
_NUMBER = r"-?\d{1,15}(?:\.\d{1,15})?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?:\.\.({_NUMBER}))?")
_PLAIN = re.compile(r"[\w.+-]+")
_COMMA = re.compile(r"(?<!\\),")


@frozen
class Axis:
    """One argument and the values it takes in turn.

    Attributes:
        key: Its name as given.
        path: Where it goes.
        values: The values, all different.
    """

    key: str
    path: KeyPath
    values: Sequence[Any]

    @staticmethod
    def parse(word: str) -> Axis:
        """Read `key=values` or `key:=[json, …]`.

        Raises:
            ArgumentError: It is neither, has no values, too many, or one twice.

        Example:
            >>> Axis.parse("seed=1..3,7").values
            (1, 2, 3, 7)
        """
        key, is_json, text = split_word(word, what="grid")
        if not key.isprintable():
            raise _refusal(word, "has a name that no id can hold")
        values = _json_values(text, key) if is_json else _read_values(text, word)
        axis = Axis(key, parse_key(key, what="grid"), values)
        # A range has no value twice, and may be too long to look through.
        if not isinstance(values, range):
            labels = [axis.label(value) for value in values]
            if len(set(labels)) < len(labels):
                raise _refusal(word, "has a value twice; each would be paid for")
        return axis

    def label(self, value: Any) -> str:
        """Return what stands for a value in an id: itself if it is short and plain."""
        text = value if isinstance(value, str) else json.dumps(value)
        if len(text) <= _LONGEST_LABEL and _PLAIN.fullmatch(text):
            return f"{self.key}={text}"
        return f"{self.key}=~{hashlib.sha256(canonical_json(value)).hexdigest()[:10]}"


def _json_values(text: str, key: str) -> tuple[Any, ...]:
    values = read_json(text, key=key, what="grid")
    if not isinstance(values, list) or not values:
        raise _refusal(f"{key}:={text}", "has no JSON list with a value in it")
    try:
        canonical_json(values)
    except ValueError:
        raise _refusal(f"{key}:={text}", "holds a number that JSON has not") from None
    return tuple(values)


def _read_values(text: str, word: str) -> Sequence[Any]:
    items = [item.replace("\\,", ",") for item in _COMMA.split(text)]
    if not all(items):
        raise _refusal(word, 'has an empty value; leave out the comma, or write key:=[""]')
    numbers = [_read_numbers(item, word) for item in items]
    if any(found is None for found in numbers):
        return tuple(items)
    spans = [found for found in numbers if found is not None]
    if len(spans) == 1:
        return spans[0]
    return tuple(itertools.chain.from_iterable(spans))


def _read_numbers(item: str, word: str) -> Sequence[int | float] | None:
    match = _RANGE.fullmatch(item)
    if match is not None:
        return _read_range(match, word)
    if re.fullmatch(_NUMBER, item) and not re.fullmatch(r"-?0\d+.*", item):
        return (float(item) if "." in item else int(item),)
    return None


def _read_range(match: re.Match[str], word: str) -> Sequence[int | float]:
    texts = [text for text in match.groups() if text is not None]
    is_decimal = any("." in text for text in texts)
    first, last = Decimal(texts[0]), Decimal(texts[1])
    if len(texts) == 2 and is_decimal:
        raise _refusal(word, "is a range of decimals without a step; write 0.2..0.8..0.2")
    step = abs(Decimal(texts[2])) if len(texts) == 3 else Decimal(1)
    if step == 0:
        raise _refusal(word, "has a step of 0")
    count = int(abs(last - first) / step) + 1
    if count > MOST_COMBINATIONS:
        raise _refusal(word, f"has {count} values; {MOST_COMBINATIONS} is the most")
    if last < first:
        step = -step
    if not is_decimal:
        return range(int(first), int(first) + count * int(step), int(step))
    return tuple(float(first + place * step) for place in range(count))


def _refusal(word: str, reason: str) -> ArgumentError:
    return ArgumentError(f"grid: {printable(repr(word), limit=80)} {reason}", argument="grid")


@frozen
class Grid:
    """All axes together.

    Attributes:
        axes: In the order given; no two set the same argument.
    """

    axes: tuple[Axis, ...] = field(default=())

    @staticmethod
    def parse(words: Sequence[str]) -> Grid:
        """Read the axes.

        Raises:
            ArgumentError: One cannot be read, two set the same argument, or
                they make more than `MOST_COMBINATIONS` of a row.

        Example:
            >>> grid = Grid.parse(["seed=1..2", "size=hd"])
            >>> [suffix for suffix, _ in grid.combinations()]
            ['#seed=1,size=hd', '#seed=2,size=hd']
        """
        grid = Grid(tuple(Axis.parse(word) for word in words))
        if len({axis.path for axis in grid.axes}) < len(grid.axes):
            raise _refusal(" ".join(words), "sets one argument twice")
        if grid.count > MOST_COMBINATIONS:
            raise _refusal(
                " ".join(words), f"makes {grid.count} of a row; {MOST_COMBINATIONS} is the most"
            )
        return grid

    @property
    def count(self) -> int:
        """Rows that one row becomes."""
        return math.prod(len(axis.values) for axis in self.axes)

    def combinations(self) -> Iterator[tuple[str, tuple[tuple[KeyPath, Any], ...]]]:
        """Yield the suffix and the assignments of each combination."""
        if not self.axes:
            yield "", ()
            return
        for values in itertools.product(*(axis.values for axis in self.axes)):
            pairs = list(zip(self.axes, values, strict=True))
            suffix = ",".join(axis.label(value) for axis, value in pairs)
            yield f"#{suffix}", tuple((axis.path, value) for axis, value in pairs)
