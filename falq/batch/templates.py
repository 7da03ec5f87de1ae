"""Fill a row's own values into text: `a {animal} in {place}`.

Owns the syntax, of which there is nothing but `{name}`, `{{` and `}}`. What
stands between braces is looked up as a name and in no other way: there are no
attributes, indices, conversions or formats, so a row cannot reach anything but
itself. `settings` parses templates once, `manifest` fills them row by row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from falq.batch.problems import BadFieldError
from falq.errors import ArgumentError
from falq.text import printable

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|[{}]")


@frozen
class Template:
    """Text with the names of values in it.

    Attributes:
        texts: What stands between the names, one more than there are names.
        names: The names, in order.
    """

    texts: tuple[str, ...]
    names: tuple[str, ...]

    @staticmethod
    def parse(text: str, *, what: str) -> Template:
        """Read a template.

        Args:
            text: Such as `a {animal} in {place}`.
            what: Where it was given, for the message.

        Raises:
            ArgumentError: A brace is neither doubled nor around a name.

        Example:
            >>> Template.parse("a {animal}, {{sic}}", what="set").fill({"animal": "cat"})
            'a cat, {sic}'
        """
        texts, names, start = [""], [], 0
        for token in _TOKEN.finditer(text):
            texts[-1] += text[start : token.start()]
            start = token.end()
            if token[1] is not None:
                names.append(token[1])
                texts.append("")
            elif len(token[0]) == 2:
                texts[-1] += token[0][0]
            else:
                raise ArgumentError(
                    f"{what}: {printable(repr(text), limit=80)} has a lone {token[0]}; write "
                    "{name} for a value of the row and {{ or }} for a brace",
                    argument=what,
                )
        texts[-1] += text[start:]
        return Template(tuple(texts), tuple(names))

    def fill(self, values: Mapping[str, Any]) -> str:
        """Return the text with the values of a row in it.

        Args:
            values: The row's arguments; a dotted name also finds a key inside an object.

        Raises:
            BadFieldError: There is no such value, or it is a list, an object or null.
        """
        parts = [self.texts[0]]
        for name, text in zip(self.names, self.texts[1:], strict=True):
            parts += _as_text(name, _look_up(values, name)), text
        return "".join(parts)


def _look_up(values: Mapping[str, Any], name: str) -> Any:
    if name in values:
        return values[name]
    place: Any = values
    for part in name.split("."):
        if not isinstance(place, Mapping) or part not in place:
            known = (
                ", ".join(printable(str(key), limit=40) for key in list(values)[:8]) or "nothing"
            )
            raise BadFieldError(
                name, f"is asked for by a template and is missing or empty; the row has {known}"
            )
        place = place[part]
    return place


def _as_text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    kind = "null" if value is None else "a list or an object"
    raise BadFieldError(name, f"is {kind}, which a template cannot hold")
