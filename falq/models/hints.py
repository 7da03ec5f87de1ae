"""Hold values against type hints: strictly what is sent, tolerantly what came.

Owns the meaning of the hints that typed inputs and outputs are written with, and
never knows which models there are. `base` calls it.

| hint | sent | came |
|---|---|---|
| `str`, `bool` | exactly that | exactly that |
| `int` | a whole number | a whole number, also written as 4.0 |
| `float` | a finite number | a number |
| `Literal[…]` | one of the words | any text: fal adds words |
| `tuple[T, …]` | a list or tuple of T | a list whose items all fit |
| `T` or `None` | T, or not sent | T, else None |
| a part's class | one of it, or a mapping that fits | an object that fits |
| anything else | anything | anything |
"""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from attrs import frozen

from falq.platform.validation import show

Problems = list[tuple[str, str]]

_NONE = type(None)


class UnreadableError(ValueError):
    """A value that came does not fit its hint."""


@frozen
class Range:
    """Limits of a number, both allowed; None is no limit."""

    least: float | None = None
    most: float | None = None

    def complaint(self, value: float) -> str | None:
        """Return what is wrong with a number, if anything."""
        if self.least is not None and not value >= self.least:
            return f"is {value:g}; give {self.least:g} or more"
        if self.most is not None and not value <= self.most:
            return f"is {value:g}; give {self.most:g} or less"
        return None


@frozen
class MediaMark:
    """Says that a field holds a media file: its URL, or something that is uploaded."""


@functools.cache
def hints_of(kind: type) -> Mapping[str, Any]:
    """Return the hints of a class by field, with their annotations."""
    return types.MappingProxyType(get_type_hints(kind, include_extras=True))


def find_problems(value: object, hint: Any, path: str) -> Problems:
    """Return `(path, message)` for everything that keeps a value from being sent."""
    options = _options_of(hint)
    if value is None and _NONE in options:
        return []
    options = [option for option in options if option is not _NONE]
    if len(options) == 1:
        return _problems_with(value, options[0], path)
    found: list[Problems] = []
    for option in options:
        problems = _problems_with(value, option, path)
        if not problems:
            return []
        found.append(problems)
    # What went wrong inside says more than that none of them fits.
    inside = next((one for one in found if one[0][0] != path), None)
    return inside or [(path, f"is {show(value)}; give {describe(hint)}")]


def _options_of(hint: Any) -> list[Any]:
    if get_origin(hint) in {Union, types.UnionType}:
        return [option for part in get_args(hint) for option in _options_of(part)]
    return [hint]


def _problems_with(value: object, hint: Any, path: str) -> Problems:
    origin = get_origin(hint)
    if origin is Annotated:
        return _problems_with_annotated(value, hint, path)
    if origin is Literal:
        return [] if _is_word(value, get_args(hint)) else _refusal(value, hint, path)
    if origin in {tuple, list, Sequence}:
        return _problems_with_items(value, hint, path)
    if isinstance(hint, type) and hasattr(hint, "find_problems"):
        return _problems_with_part(value, hint, path)
    is_fit = _FITS.get(hint)
    return [] if is_fit is None or is_fit(value) else _refusal(value, hint, path)


def _is_word(value: object, words: tuple[Any, ...]) -> bool:
    # True equals 1, and is not the same word.
    return any(type(value) is type(word) and value == word for word in words)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    is_float = isinstance(value, float) and math.isfinite(value)
    return is_float or _is_whole(value)


_FITS: Mapping[Any, Callable[[Any], bool]] = types.MappingProxyType({
    str: lambda value: isinstance(value, str),
    bool: lambda value: isinstance(value, bool),
    int: _is_whole,
    float: _is_number,
    _NONE: lambda value: value is None,
})  # fmt: skip


_NAMES: Mapping[Any, str] = types.MappingProxyType({
    str: "text",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
})  # fmt: skip


def _refusal(value: object, hint: Any, path: str) -> Problems:
    return [(path, f"is {show(value)}; give {describe(hint)}")]


def _problems_with_annotated(value: object, hint: Any, path: str) -> Problems:
    inner, *marks = get_args(hint)
    if any(isinstance(mark, MediaMark) for mark in marks):
        is_plain = value is None or isinstance(value, bool | int | float | Mapping | list | tuple)
        return _refusal(value, hint, path) if is_plain else []
    problems = find_problems(value, inner, path)
    if not problems and isinstance(value, int | float):
        found = [mark.complaint(value) for mark in marks if isinstance(mark, Range)]
        problems = [(path, complaint) for complaint in found if complaint is not None]
    return problems


def _problems_with_items(value: object, hint: Any, path: str) -> Problems:
    if not isinstance(value, list | tuple):
        return _refusal(value, hint, path)
    item = (*get_args(hint), Any)[0]
    return [
        problem
        for number, one in enumerate(value)
        for problem in find_problems(one, item, f"{path}[{number}]")
    ]


def _problems_with_part(value: object, part: Any, path: str) -> Problems:
    if isinstance(value, part):
        return []
    if not isinstance(value, Mapping):
        return _refusal(value, part, path)
    found: Problems = part.find_problems(value, path)
    return found


def describe(hint: Any) -> str:
    """Return what a hint allows, in words that follow "give"."""
    options = [option for option in _options_of(hint) if option is not _NONE]
    texts = [_describe_one(option) for option in options]
    return " or ".join(texts)


def _describe_one(hint: Any) -> str:
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(repr(word) for word in inside)
    if origin is Annotated:
        is_media = any(isinstance(mark, MediaMark) for mark in inside[1:])
        return "a URL or a file" if is_media else describe(inside[0])
    if origin in {tuple, list, Sequence}:
        return "a list"
    name = str(getattr(hint, "__name__", "value"))
    return _NAMES.get(hint) or f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def read(value: object, hint: Any, path: str) -> Any:
    """Return what came as its hint wants it.

    Raises:
        UnreadableError: It does not fit; the message names the place.
    """
    options = _options_of(hint)
    for option in options:
        try:
            return _read_one(value, option, path)
        except UnreadableError:
            if len(options) == 1:
                raise
    if _NONE in options:
        return None
    raise UnreadableError(path)


def _read_one(value: object, hint: Any, path: str) -> Any:
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return read(value, inside[0], path)
    if origin is Literal:
        hint = str if isinstance(value, str) else Any
    if origin in {tuple, list, Sequence}:
        if not isinstance(value, list):
            raise UnreadableError(path)
        item = (*inside, Any)[0]
        return tuple(read(one, item, f"{path}[{n}]") for n, one in enumerate(value))
    if isinstance(hint, type) and hasattr(hint, "read_at"):
        return hint.read_at(value, path)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    is_fit = _FITS.get(hint)
    if is_fit is not None and not is_fit(value):
        raise UnreadableError(path)
    return value
