"""Check arguments against a schema, before anything is sent and billed.

Owns the words for what is wrong, and what of a schema is checked. It never fetches
a schema (`schemas` does) and never sends anything.

What is checked and what is left to the server:

- kinds, words, limits, lengths, fields that are missing: checked.
- fields that do not exist: refused wherever the schema does not ask for more.
  Models ignore them, run with their defaults and bill that (fal-wire 12, 18.38).
- patterns and fractions of steps: left to the server. A stranger's pattern can
  hold up the loop for hours, and 0.3 is no multiple of 0.1 for a computer.
- conversions of the server (`"4"` for 4): refused here. What is meant is clear
  enough to be written as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from falq.errors import ArgumentError, ConfigError, WireError
from falq.platform.field_names import describe_unknown
from falq.platform.schemas import JsonSchema, ModelSchema, describe_kind, follow
from falq.text import printable

MOST_PROBLEMS = 20
"""Problems that one error tells."""

MOST_LOOKS = 5000
"""How often a schema may look at one value: forty parts that each name the next one
twice would look a billion times."""

_CHECKED = frozenset(
    {
        "$ref",
        "type",
        "enum",
        "const",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "required",
    }
)
_COMBINED = ("anyOf", "oneOf", "allOf")

_PLACE = "https://placeholder.invalid/file"
"""Stands for what is uploaded before the submit, and is a URL by then."""

_MOST_SHOWN = 60

Problem = tuple[str, str]


class ArgumentChecker:
    """Checks the arguments of one endpoint.

    Args:
        schema: Of the endpoint.

    Raises:
        ConfigError: The package that checks is not installed.
        WireError: The schema is none, or looks at a value without end.
    """

    def __init__(self, schema: ModelSchema) -> None:
        self._endpoint = schema.endpoint
        self._parts: Mapping[str, Any] = schema.input.get("$defs", {})
        closed = _close(schema.input)
        if _count_most_looks(closed) > MOST_LOOKS:
            raise _unreadable(schema.endpoint)
        self._validator = _make_validator(closed, schema.endpoint)

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Return if the endpoint can take the arguments.

        Args:
            arguments: As a session is given them. What is no JSON, such as a path,
                counts as the URL that it becomes.

        Raises:
            ArgumentError: It cannot; `problems` has each place and what is allowed
                there. Nothing was sent.
        """
        problems: list[Problem] = []
        try:
            plain = _as_json(arguments)
        except RecursionError:
            raise self._refusal([("arguments", "are nested too deep")]) from None
        for error in self._validator.iter_errors(plain):
            problems += self._describe(error)
            if len(problems) >= MOST_PROBLEMS:
                break
        if problems:
            raise self._refusal(list(dict.fromkeys(problems))[:MOST_PROBLEMS])

    def _refusal(self, problems: list[Problem]) -> ArgumentError:
        safe = [(printable(path, limit=200), printable(text)) for path, text in problems]
        shown = "; ".join(f"{path} {text}" for path, text in safe[:5])
        more = f" (and {len(safe) - 5} more)" if len(safe) > 5 else ""
        return ArgumentError(
            f"{self._endpoint} does not take these arguments: {shown}{more}; nothing was sent",
            argument=safe[0][0],
            problems=tuple(safe),
            endpoint=self._endpoint,
        )

    def _describe(self, error: Any) -> list[Problem]:
        """Return what is wrong, in falq's words and by place."""
        path = _write_path(error.absolute_path)
        rule, limit, value = error.validator, error.validator_value, error.instance
        below = f"{path}." if path else ""
        if rule == "required":
            return [(f"{below}{name}", "is missing") for name in limit if name not in value]
        if rule == "additionalProperties":
            known = error.schema.get("properties", {})
            endpoint = None if path else self._endpoint
            return [
                (f"{below}{name}", describe_unknown(str(name), known, endpoint=endpoint))
                for name in value
                if name not in known
            ]
        if rule in {"anyOf", "oneOf"}:
            return self._describe_options(error, path)
        return [(path or "arguments", _say(rule, limit, value, error.schema, self._parts))]

    def _describe_options(self, error: Any, path: str) -> list[Problem]:
        """Return what is wrong with the only option that is of the value's kind, or say all."""
        by_option: dict[int, list[Any]] = {}
        for inner in error.context or ():
            by_option.setdefault(inner.schema_path[0], []).append(inner)
        of_its_kind = [
            inside
            for inside in by_option.values()
            if not any(one.validator == "type" and not one.path for one in inside)
        ]
        if len(of_its_kind) == 1:
            return [problem for one in of_its_kind[0] for problem in self._describe(one)]
        allowed = describe_kind(error.schema, self._parts)
        text = f"is {show(error.instance)}; give {allowed.replace(' | ', ' or ')}"
        return [(path or "arguments", text)]


def _make_validator(schema: JsonSchema, endpoint: str) -> Any:
    try:
        from jsonschema import Draft202012Validator  # noqa: PLC0415  an extra
        from jsonschema.exceptions import SchemaError  # noqa: PLC0415  an extra
        from referencing import Registry  # noqa: PLC0415  comes with it
    except ModuleNotFoundError:
        raise ConfigError(
            "validate=True needs its extra: pip install 'falq[schema]'", setting="validate"
        ) from None
    try:
        Draft202012Validator.check_schema(schema)
    except (SchemaError, RecursionError):
        raise _unreadable(endpoint) from None
    # An empty registry: nothing that a schema names is fetched.
    return Draft202012Validator(schema, registry=Registry())


def _unreadable(endpoint: str) -> WireError:
    return WireError(
        f"the schema of {endpoint} cannot be used; submit with validate=False to go without",
        endpoint=endpoint,
    )


def _close(whole: Mapping[str, Any]) -> JsonSchema:
    """Return a schema with what is checked of it, and no room for unknown fields."""
    parts = whole.get("$defs", {})
    mixed = {name for schema in (whole, *parts.values()) for name in _mixed_in(schema)}
    closed = _close_one(whole, is_mixed=False)
    closed["$defs"] = {
        name: _close_one(part, is_mixed=name in mixed) for name, part in parts.items()
    }
    return closed


def _mixed_in(schema: Any) -> Iterable[str]:
    """Yield the parts that are put together by `allOf`: alone they know half of the fields."""
    if isinstance(schema, list):
        for inner in schema:
            yield from _mixed_in(inner)
    elif isinstance(schema, Mapping):
        every = schema.get("allOf")
        if isinstance(every, list) and (len(every) > 1 or "properties" in schema):
            for inner in every:
                if isinstance(inner.get("$ref"), str):
                    yield inner["$ref"].rpartition("/")[2]
        for inner in schema.values():
            yield from _mixed_in(inner)


def _close_one(schema: Mapping[str, Any], *, is_mixed: bool) -> JsonSchema:
    closed: JsonSchema = {name: value for name, value in schema.items() if name in _CHECKED}
    for keyword in _COMBINED:
        if isinstance(options := schema.get(keyword), list):
            mixes = is_mixed or (
                keyword == "allOf" and (len(options) > 1 or "properties" in schema)
            )
            closed[keyword] = [_close_one(option, is_mixed=mixes) for option in options]
    if isinstance(items := schema.get("items"), Mapping):
        closed["items"] = _close_one(items, is_mixed=False)
    if isinstance(properties := schema.get("properties"), Mapping):
        closed["properties"] = {
            name: _close_one(inner, is_mixed=False) for name, inner in properties.items()
        }
        is_open = is_mixed or "allOf" in schema or "patternProperties" in schema
        if schema.get("additionalProperties", False) is False and not is_open:
            closed["additionalProperties"] = False
    return closed


def _count_most_looks(whole: JsonSchema) -> int:
    """Return how often the busiest place of a schema looks at its value."""
    parts, known = whole["$defs"], dict[str, int]()
    return max(_count_looks(place, parts, known) for place in _places_in(whole))


def _places_in(schema: JsonSchema) -> Iterator[JsonSchema]:
    """Yield a schema and all that stand inside for values of their own."""
    yield schema
    inside = [*schema.get("$defs", {}).values(), *schema.get("properties", {}).values()]
    inside += [schema["items"]] if "items" in schema else []
    for keyword in _COMBINED:
        inside += schema.get(keyword, [])
    for inner in inside:
        yield from _places_in(inner)


def _count_looks(schema: JsonSchema, parts: Mapping[str, Any], known: dict[str, int]) -> int:
    looks = 1
    for keyword in _COMBINED:
        looks += sum(_count_looks(option, parts, known) for option in schema.get(keyword, ()))
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name in parts:
        if name not in known:
            # What comes back to itself before it is counted never ends.
            known[name] = MOST_LOOKS
            known[name] = _count_looks(parts[name], parts, known)
        looks += known[name]
    return min(looks, 2 * MOST_LOOKS)


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _as_json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(one) for one in value]
    is_plain = value is None or isinstance(value, str | bool | int | float)
    return value if is_plain and not isinstance(value, os.PathLike) else _PLACE


def _write_path(parts: Iterable[str | int]) -> str:
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


_LIMITS = {
    "minimum": "{limit} or more",
    "maximum": "{limit} or less",
    "exclusiveMinimum": "more than {limit}",
    "exclusiveMaximum": "less than {limit}",
    "minLength": "{limit} characters or more",
    "maxLength": "{limit} characters or less",
    "minItems": "{limit} items or more",
    "maxItems": "{limit} items or less",
}


def _say(
    rule: str, limit: Any, value: Any, schema: Mapping[str, Any], parts: Mapping[str, Any]
) -> str:
    if rule in _LIMITS:
        return f"is {show(value)}; give {_LIMITS[rule].format(limit=limit)}"
    if rule in {"type", "enum", "const"}:
        allowed = repr(limit) if rule == "const" else describe_kind(follow(schema, parts), parts)
        return f"is {show(value)}; give {allowed.replace(' | ', ' or ')}"
    return f"does not fit ({rule})"


def show(value: object) -> str:
    """Return a value for a message, never much of it."""
    if isinstance(value, str):
        return repr(value if len(value) <= _MOST_SHOWN else f"{value[:_MOST_SHOWN]}…")
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 100:
        # A text of too many digits cannot be made at all.
        return "a number of many digits"
    is_plain = value is None or isinstance(value, bool | int | float)
    return repr(value) if is_plain else f"a {type(value).__name__}"
