"""Write a typed module for an endpoint, from its schema.

Owns the module's text: classes like those of `falq.models`, which a session takes
in place of an endpoint. It never writes a file; `falq models stub` does.

Rules:
    1. An input has every field of the schema, with its choices and its limits.
    2. An output is tolerant: only files that the schema promises must be there.
    3. The text is formatted as ruff and black do it, and is the same each time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from attrs import define, field

from falq.model import EndpointId
from falq.platform.schemas import ModelSchema, describe_kind, follow
from falq.platform.stub_names import (
    WIDTH,
    class_name,
    field_name,
    plain_text,
    word_literal,
    wrap,
)

Side = Literal["input", "output"]

_DEFS = "#/$defs/"
_PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_DEEPEST = 8
_LONGEST_KIND = 60
_BASES = {"input": "InputPart", "output": "OutputPart"}
_MAPPING = "Mapping[str, Any]"


def write_stub(schema: ModelSchema) -> str:
    """Return the text of a module with the typed input and output of an endpoint.

    Args:
        schema: Of the endpoint.

    Raises:
        ArgumentError: Its endpoint is none.
    """
    endpoint = EndpointId.parse(schema.endpoint)
    stem = class_name("/".join(part for part in (endpoint.alias, endpoint.path) if part))
    writer = _Writer(taken={stem, f"{stem}Output"})
    answer = writer.write_class(
        f"{stem}Output",
        "ModelOutput",
        follow(schema.output, schema.output.get("$defs", {})),
        _Place("output", schema.output.get("$defs", {}), stem),
        f"What `{endpoint}` answers.",
    )
    head = [
        f'    endpoint: ClassVar[str] = "{endpoint}"',
        f"    output: ClassVar[type[OutputPart]] = {stem}Output",
        "",
    ]
    source = writer.write_class(
        stem,
        f"ModelInput[{stem}Output]",
        follow(schema.input, schema.input.get("$defs", {})),
        _Place("input", schema.input.get("$defs", {}), stem),
        f"What `{endpoint}` takes.",
        head=head,
    )
    blocks = [*writer.words, *writer.parts, *writer.unions, answer, source]
    return _write_module(endpoint.full, "\n\n\n".join(blocks))


def _write_module(endpoint: str, body: str) -> str:
    def used(module: str, *names: str) -> list[str]:
        found = [name for name in names if _is_used(name, body)]
        return [f"from {module} import {', '.join(found)}"] if found else []

    typing = ("Annotated", "Any", "ClassVar", "Literal", "TypeAlias")
    models = ("InputPart", "MediaSource", "ModelInput", "ModelOutput", "OutputPart", "Range")
    standard = [*used("collections.abc", "Mapping"), *used("typing", *typing)]
    ours = used("falq.models", *models)
    lines = [
        f'"""Typed input and output of `{endpoint}`.',
        "",
        f"Written by `falq models stub {endpoint}` from the schema in fal's catalogue.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        *standard,
        "",
        *used("attrs", "field", "frozen"),
        *(_split_import(line) for line in ours),
        "",
        *([""] if body.startswith("@") else []),
        body,
    ]
    return "\n".join(lines) + "\n"


def _is_used(name: str, body: str) -> bool:
    marks = {"field": " field(", "Mapping": "Mapping["}
    return marks.get(name, name) in body


def _split_import(line: str) -> str:
    if len(line) <= WIDTH:
        return line
    start, _, names = line.partition(" import ")
    inside = "".join(f"    {name},\n" for name in names.split(", "))
    return f"{start} import (\n{inside})"


@define
class _Place:
    """Where a field stands: on which side, among which parts, in which class."""

    side: Side
    parts: Mapping[str, Any]
    owner: str
    depth: int = 0


@define
class _Writer:
    """Collects the module's definitions.

    Attributes:
        taken: Names that are given.
        words: Choices with a name of their own.
        parts: Classes of objects inside.
        unions: Kinds that are too long for a line.
    """

    taken: set[str]
    words: list[str] = field(factory=list)
    parts: list[str] = field(factory=list)
    unions: list[str] = field(factory=list)
    _known: dict[tuple[Side, str], str] = field(factory=dict)

    def write_class(
        self,
        name: str,
        base: str,
        schema: Mapping[str, Any],
        place: _Place,
        summary: str,
        *,
        head: list[str] | None = None,
    ) -> str:
        """Return the text of one class."""
        required = schema.get("required")
        wanted = required if isinstance(required, list) else []
        documented: list[str] = []
        fields: list[str] = []
        taken: list[str] = []
        properties = schema.get("properties")
        for wire, inner in (properties if isinstance(properties, Mapping) else {}).items():
            attribute = field_name(wire, taken)
            taken.append(attribute)
            documented += wrap(f"{attribute}: {_document(inner, place.parts)}", 8, 12)
            fields.append(self._write_field(attribute, wire, inner, place, wire in wanted))
        text = wrap(plain_text(schema.get("description")) or summary, 4, 4)
        opening = f'    """{text[0].strip()}'
        lines = ["@frozen(kw_only=True)", f"class {name}({base}):"]
        if documented or text[1:]:
            entries = ["", "    Attributes:", *documented] if documented else []
            lines += [opening, *text[1:], *entries, '    """']
        else:
            lines.append(f'{opening}"""')
        body = [*(head or []), *fields]
        while body and not body[-1]:
            body.pop()
        return "\n".join([*lines, *([""] if body else []), *body])

    def _write_field(
        self,
        attribute: str,
        wire: str,
        schema: Mapping[str, Any],
        place: _Place,
        is_required: bool,  # noqa: FBT001  a fact, no switch
    ) -> str:
        hint = self._hint(schema, wire, _Place(place.side, place.parts, place.owner, place.depth))
        default = _default_of(hint, schema, place, is_required=is_required)
        if default == "None" and "None" not in hint.split(" | "):
            hint = _optional(hint)
        text = _assign(attribute, wire, default)
        line = f"    {attribute}: {hint}{text}"
        if len(line) > WIDTH and " = field(" in text:
            text = text.replace(" = field(", " = field(\n        ", 1)[:-1] + "\n    )"
            line = f"    {attribute}: {hint}{text}"
        if len(line.partition("\n")[0]) > WIDTH:
            line = f"    {attribute}: {self._name_union(hint, place.owner, wire)}{text}"
        return line

    def _hint(self, schema: Mapping[str, Any], name: str, place: _Place) -> str:
        """Return the type hint of a field, defining what it needs."""
        # A part is known by its own name, an object that stands there by its place.
        key = _part_name(schema) or f"{place.owner} {name}"
        schema = follow(schema, place.parts)
        place = _Place(place.side, place.parts, place.owner, place.depth + 1)
        if place.depth > _DEEPEST:
            return "Any"
        words = schema.get("enum")
        if isinstance(words, list):
            return self._name_words(words, schema, name, place)
        options = schema.get("anyOf") or schema.get("oneOf")
        if isinstance(options, list) and options:
            hints = [self._hint(option, name, place) for option in options]
            return "Any" if "Any" in hints else " | ".join(dict.fromkeys(_nulls_last(hints)))
        return self._hint_by_type(schema, name, key, place)

    def _hint_by_type(self, schema: Mapping[str, Any], name: str, key: str, place: _Place) -> str:
        kind = schema.get("type")
        if kind == "array":
            given = schema.get("items")
            items = given if isinstance(given, Mapping) else {}
            return f"tuple[{self._hint(items, name, place)}, ...]"
        if isinstance(schema.get("properties"), Mapping):
            return self._name_part(schema, key, place)
        if kind == "object":
            return _MAPPING
        if kind == "string" and place.side == "input" and _is_media(name):
            return "MediaSource"
        hint = _PLAIN.get(kind, "Any") if isinstance(kind, str) else "Any"
        limits = _limits_of(schema, hint) if place.side == "input" else ""
        return f"Annotated[{hint}, Range({limits})]" if limits else hint

    def _name_part(self, schema: Mapping[str, Any], key: str, place: _Place) -> str:
        known = self._known.get((place.side, key))
        if known is not None:
            return known
        plain = class_name(key)
        name = self._take(plain if plain not in self.taken else f"{plain}{place.side.title()}")
        # Known before it is written: it may hold itself.
        self._known[place.side, key] = name
        inside = _Place(place.side, place.parts, name, place.depth)
        summary = f"A part of the {place.side}."
        self.parts.append(self.write_class(name, _BASES[place.side], schema, inside, summary))
        return name

    def _name_words(
        self, words: list[Any], schema: Mapping[str, Any], name: str, place: _Place
    ) -> str:
        literals = [word_literal(word) for word in words if word is not None]
        is_whole = all(literal is not None for literal in literals) and literals
        if not is_whole or place.side == "output":
            # What comes may be a new word.
            kind = schema.get("type")
            return _PLAIN.get(kind, "Any") if isinstance(kind, str) else "Any"
        hint = f"Literal[{', '.join(str(literal) for literal in literals)}]"
        if len(hint) > WIDTH // 2:
            named = self._take(class_name(f"{place.owner} {name}"))
            inside = "".join(f"    {literal},\n" for literal in literals)
            self.words.append(f"{named}: TypeAlias = Literal[\n{inside}]")
            hint = named
        return f"{hint} | None" if None in words else hint

    def _name_union(self, hint: str, owner: str, wire: str) -> str:
        name = self._take(class_name(f"{owner} {wire} kind"))
        line = f"{name}: TypeAlias = {hint}"
        if len(line) > WIDTH and " | " in hint:
            is_short = len(hint) + 4 <= WIDTH
            inside = hint if is_short else "\n    | ".join(hint.split(" | "))
            line = f"{name}: TypeAlias = (\n    {inside}\n)"
        self.unions.append(line)
        return name

    def _take(self, name: str) -> str:
        plain, number = name, 2
        while name in self.taken:
            name, number = f"{plain}{number}", number + 1
        self.taken.add(name)
        return name


def _part_name(schema: Mapping[str, Any]) -> str | None:
    every = schema.get("allOf")
    only = every[0] if isinstance(every, list) and len(every) == 1 else schema
    target = schema.get("$ref") or only.get("$ref")
    return target.removeprefix(_DEFS) if isinstance(target, str) else None


def _nulls_last(hints: list[str]) -> list[str]:
    return sorted(hints, key=lambda hint: hint == "None")


def _optional(hint: str) -> str:
    return hint if hint in {"Any", "MediaSource"} else f"{hint} | None"


def _is_media(name: str) -> bool:
    return name == "url" or name.endswith(("_url", "_urls"))


def _limits_of(schema: Mapping[str, Any], hint: str) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if hint == "int" and least is None and isinstance(schema.get("exclusiveMinimum"), int):
        least = schema["exclusiveMinimum"] + 1
    if hint == "int" and most is None and isinstance(schema.get("exclusiveMaximum"), int):
        most = schema["exclusiveMaximum"] - 1
    named = {"least": least, "most": most}
    texts = [f"{key}={at!r}" for key, at in named.items() if type(at) in {int, float}]
    return ", ".join(texts)


def _default_of(
    hint: str, schema: Mapping[str, Any], place: _Place, *, is_required: bool
) -> str | None:
    """Return the default of a field as Python, None if it must be given."""
    if place.side == "input":
        return None if is_required else "None"
    if is_required and _is_file(schema, place.parts):
        return None
    if hint.startswith("tuple["):
        return "()"
    return "dict" if hint == _MAPPING else "None"


def _is_file(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> bool:
    """Return whether a schema is an object with a `url`, or a list of those."""
    schema = follow(schema, parts)
    items = schema.get("items")
    if schema.get("type") == "array" and isinstance(items, Mapping):
        schema = follow(items, parts)
    properties = schema.get("properties")
    return isinstance(properties, Mapping) and "url" in properties


def _assign(attribute: str, wire: str, default: str | None) -> str:
    wire_text = (
        ""
        if attribute == wire
        else f'metadata={{"wire": {word_literal(wire) or json.dumps(wire)}}}'
    )
    if default == "dict":
        return f" = field(factory=dict{', ' if wire_text else ''}{wire_text})"
    if wire_text:
        start = "" if default is None else f"default={default}, "
        return f" = field({start}{wire_text})"
    return "" if default is None else f" = {default}"


def _document(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    described = schema.get("description") or follow(schema, parts).get("description")
    kind = describe_kind(schema, parts)
    # Choices stand in the hint; many of them would only fill the page.
    shown_kind = plain_text(kind) if len(kind) <= _LONGEST_KIND else "one of many"
    text = plain_text(described) or f"{shown_kind[:1].upper()}{shown_kind[1:]}" or "Not told"
    text = text if text.endswith((".", "!", "?")) else f"{text}."
    default = schema.get("default")
    if isinstance(default, bool | int | float) or (isinstance(default, str) and default):
        shown = plain_text(default) if isinstance(default, str) else repr(default)
        text += f" Default: {shown[:60]}."
    return text
