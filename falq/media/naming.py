"""Name files by a template: `{endpoint}/{id}-{index}.{ext}`.

Owns the template's syntax and fields, and makes each part of the path safe. It
never touches a file system. Programs give the template, `downloader` fills it.

Rules:
    1. Between braces stands one of `FIELDS` or a name that the caller adds:
       no attributes, no indices, no formats but zeros to fill (`{index:04}`).
    2. Only a `/` of the template makes a folder; one in a value does not.
    3. A template without `{ext}` has the extension added.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from attrs import frozen

from falq.errors import ArgumentError
from falq.media.names import safe_name, split_extension
from falq.text import printable

FIELDS = frozenset({"id", "index", "name", "ext", "endpoint", "seed", "json_path", "request_id"})
"""`index` counts the media of one result from 0; `name` and `ext` are the
server's, made safe; the others come from the caller."""

DEFAULT_TEMPLATE = "{name}.{ext}"
MISSING = "none"
"""Stands for a field that has no value, such as the seed of a model without one."""

_TOKEN = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)(?::0([1-9]))?\}|[{}]", re.ASCII)
_MOST_FOLDERS = 8


@frozen
class _Slot:
    name: str
    width: int


@frozen
class NameTemplate:
    """A template of file names.

    Attributes:
        folders: Its parts between slashes; each is text and slots in order.
    """

    folders: tuple[tuple[str | _Slot, ...], ...]

    @staticmethod
    def parse(text: str, *, more_fields: Collection[str] = ()) -> NameTemplate:
        """Read a template.

        Args:
            text: Such as `{id}-{index}.{ext}`; `{{` and `}}` are braces.
            more_fields: Names allowed beside `FIELDS`.

        Raises:
            ArgumentError: A brace is lone, a name is unknown, or a folder has no name
                or is `.` or `..`.

        Example:
            >>> template = NameTemplate.parse("{id}/{index:03}-{name}")
            >>> template.fill({"id": "row/7", "index": 2}, hint="a cat.png", content_type=None)
            ('row_7', '002-a cat.png')
        """
        known = FIELDS | set(more_fields)
        parsed = tuple(_parse_part(part, known, text) for part in text.split("/"))
        if not all(parsed) or len(parsed) > _MOST_FOLDERS:
            raise _refusal(text, f"needs one to {_MOST_FOLDERS} names between its slashes")
        if any(part in ((".",), ("..",)) for part in parsed):
            raise _refusal(text, "has a folder . or ..; files stay below the media folder")
        last = parsed[-1]
        if not any(isinstance(one, _Slot) and one.name == "ext" for one in last):
            last = (*last, ".", _Slot("ext", 0))
        return NameTemplate((*parsed[:-1], last))

    def fill(
        self, values: Mapping[str, object], *, hint: str, content_type: str | None
    ) -> tuple[str, ...]:
        """Return the parts of a path, each safe: folders, then the file's name.

        Args:
            values: By field; `name` and `ext` are made here.
            hint: What the server called the file.
            content_type: Gives the extension if the hint has none.
        """
        name, extension = split_extension(safe_name(hint, content_type=content_type))
        known = {**values, "name": name, "ext": extension.removeprefix(".")}
        parts = [_fill_part(part, known) for part in self.folders]
        return (*(safe_name(part) for part in parts[:-1]), safe_name(parts[-1].rstrip(".")))


def _parse_part(text: str, known: Collection[str], whole: str) -> tuple[str | _Slot, ...]:
    pieces: list[str | _Slot] = []
    start = 0
    for token in _TOKEN.finditer(text):
        pieces.append(text[start : token.start()])
        start = token.end()
        if token[1] is not None:
            if token[1] not in known:
                raise _refusal(
                    whole, f"has an unknown name {token[1]}; known are {', '.join(sorted(known))}"
                )
            pieces.append(_Slot(token[1], int(token[2] or 0)))
        elif len(token[0]) == 2:
            pieces.append(token[0][0])
        else:
            raise _refusal(whole, f"has a lone {token[0]}; write {{name}}, or it twice for itself")
    pieces.append(text[start:])
    return tuple(piece for piece in pieces if piece)


def _fill_part(part: tuple[str | _Slot, ...], values: Mapping[str, object]) -> str:
    texts = []
    for piece in part:
        if isinstance(piece, _Slot):
            value = values.get(piece.name)
            text = MISSING if value is None else str(value)
            texts.append(text.replace("/", "_").replace("\\", "_").zfill(piece.width))
        else:
            texts.append(piece)
    return "".join(texts)


def _refusal(text: str, reason: str) -> ArgumentError:
    return ArgumentError(
        f"name template {printable(repr(text), limit=120)} {reason}", argument="name_template"
    )
