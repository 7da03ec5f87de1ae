r"""Names of arguments as a user writes them: `a.b` for a key inside an object.

Owns the syntax (`\.` is a dot that belongs to the key) and how a value is put
at a name or taken from it. It never changes the arguments it is given. Columns,
`--set` and `--grid` all come through here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from falq.batch.problems import BadFieldError
from falq.errors import ArgumentError
from falq.text import printable

KeyPath: TypeAlias = tuple[str, ...]

_DOT = re.compile(r"(?<!\\)\.")


def parse_key(text: str, *, what: str) -> KeyPath:
    r"""Return the parts of a dotted name.

    Args:
        text: Such as `image_size.width`.
        what: Where it was given, for the message.

    Raises:
        ArgumentError: A part is empty.

    Example:
        >>> parse_key(r"a.b\.c", what="set")
        ('a', 'b.c')
    """
    path = tuple(part.replace("\\.", ".") for part in _DOT.split(text))
    if not all(path):
        raise ArgumentError(
            f"{what}: {printable(repr(text), limit=80)} has an empty part; write a.b for a key "
            "inside an object and a\\.b for a dot in a key",
            argument=what,
        )
    return path


def with_value(arguments: Mapping[str, Any], path: KeyPath, value: Any) -> dict[str, Any]:
    """Return a copy of `arguments` in which `path` has `value`.

    Raises:
        BadFieldError: Something on the way is no object.
    """
    changed = dict(arguments)
    if len(path) == 1:
        changed[path[0]] = value
        return changed
    inner = changed.get(path[0], {})
    if not isinstance(inner, Mapping):
        raise BadFieldError(path[0], "is given as a value and as an object; give one of them")
    changed[path[0]] = with_value(inner, path[1:], value)
    return changed


def without(arguments: Mapping[str, Any], path: KeyPath) -> dict[str, Any]:
    """Return a copy of `arguments` without what stands at `path`, if anything does."""
    changed = dict(arguments)
    if len(path) == 1:
        changed.pop(path[0], None)
        return changed
    inner = changed.get(path[0])
    if isinstance(inner, Mapping):
        changed[path[0]] = without(inner, path[1:])
    return changed


def is_in(arguments: Mapping[str, Any], path: KeyPath) -> bool:
    """Return whether anything stands at `path`."""
    inner = arguments.get(path[0])
    if len(path) == 1 or not isinstance(inner, Mapping):
        return len(path) == 1 and path[0] in arguments
    return is_in(inner, path[1:])
