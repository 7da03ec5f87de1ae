"""Take a row's arguments out of what came back for it.

Owns what of a result or an error repeats the arguments: models answer with the
prompt that they were given, or with one of their own making after it. `report`
calls it for a page that is to hold no inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

WITHHELD = "[left out]"

_PROMPT = "prompt"
_SHORTEST = 8
"""Characters of an argument that is looked for inside longer text; a shorter one is
a word of the language."""


def without_inputs(value: Any, arguments: Mapping[str, Any]) -> Any:
    """Return JSON without what repeats `arguments`, and without any prompt.

    Args:
        value: A result, or the text of an error.
        arguments: What was sent.
    """
    return _without(value, frozenset(_texts(arguments)))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value.strip():
            yield value
    elif isinstance(value, Mapping):
        for child in value.values():
            yield from _texts(child)
    elif isinstance(value, list | tuple):
        for child in value:
            yield from _texts(child)


def _without(value: Any, texts: frozenset[str]) -> Any:
    if isinstance(value, Mapping):
        return {
            name: WITHHELD if _PROMPT in name.lower() else _without(child, texts)
            for name, child in value.items()
        }
    if isinstance(value, list | tuple):
        return [_without(child, texts) for child in value]
    if not isinstance(value, str):
        return value
    if value in texts:
        return WITHHELD
    for text in sorted(texts, key=len, reverse=True):
        if len(text) >= _SHORTEST:
            value = value.replace(text, WITHHELD)
    return value
