"""Turn a schema's names and texts into Python that is safe to write into a file.

Owns what a name, a word and a description become. A schema is a stranger's text:
nothing of it leaves here that could be more than a name, a word or a sentence.
"""

from __future__ import annotations

import keyword
import re
import textwrap
from collections.abc import Collection

WIDTH = 88
"""Longest line that is written: what formatters allow by default."""

_TYPE_NAMES = frozenset({"str", "int", "float", "bool", "tuple", "dict", "list", "type", "field"})
_RESERVED = frozenset(
    {
        "as_arguments",
        "from_arguments",
        "find_problems",
        "read_output",
        "endpoint",
        "output",
        "raw",
        "extra",
        "read",
        "read_at",
    }
)


def class_name(text: str) -> str:
    """Return a class's name for an endpoint or a part.

    Example:
        >>> class_name("flux/schnell"), class_name("image_size"), class_name("3d-model")
        ('FluxSchnell', 'ImageSize', 'Model3dModel')
    """
    words = re.findall(r"[A-Za-z0-9]+", text)
    name = "".join(word[0].upper() + word[1:] for word in words) or "Part"
    name = f"Model{name}" if name[0].isdigit() else name
    return f"{name}_" if keyword.iskeyword(name) else name


def field_name(text: str, taken: Collection[str]) -> str:
    """Return a field's name for a name on the wire: the same one wherever Python allows it.

    Args:
        text: The name on the wire.
        taken: Names that the class has already.

    Example:
        >>> field_name("prompt", ()), field_name("from", ()), field_name("3d size", ())
        ('prompt', 'from_', 'field_3d_size')
    """
    name = re.sub(r"[^A-Za-z0-9_]", "_", text).lstrip("_")
    if not name or name[0].isdigit():
        name = f"field_{name}"
    if keyword.iskeyword(name) or name in _RESERVED | _TYPE_NAMES:
        name = f"{name}_"
    plain, number = name, 2
    while name in taken:
        name, number = f"{plain}_{number}", number + 1
    return name


def word_literal(word: object) -> str | None:
    """Return a choice as it stands in `Literal[…]`; None if it cannot stand there."""
    if isinstance(word, bool | int):
        return repr(word)
    if isinstance(word, str) and word.isprintable() and not set(word) & set("\"'\\"):
        return f'"{word}"'
    return None


def plain_text(text: object) -> str:
    """Return a text for a docstring: one line, and nothing that could end it."""
    if not isinstance(text, str):
        return ""
    line = " ".join(text.split())
    safe = "".join(char if char.isprintable() else " " for char in line)
    return safe.replace("\\", "/").replace('"', "'").strip()


def wrap(text: str, indent: int, hanging: int) -> list[str]:
    """Return the lines of a docstring's entry.

    Args:
        text: What it says.
        indent: Spaces before the first line.
        hanging: Spaces before each other line.
    """
    return textwrap.wrap(
        text,
        width=WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
