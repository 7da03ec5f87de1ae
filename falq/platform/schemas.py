"""An endpoint's schema: what its input and its output are made of.

Owns the way from the OpenAPI document in the catalogue (fal-wire 9, end; OpenAPI
3.0) to plain JSON Schema that stands for itself: references point into `$defs`,
`nullable` is a type, properties come in their order. It never checks anything
against a schema: `validation` does.

A document is a stranger's text. Of its references only those to its own parts are
kept; nothing it names is ever fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from attrs import define, field, frozen

from falq.errors import RequestNotFoundError, WireError
from falq.model import EndpointId
from falq.platform.calls import USUAL_TRIES, Send, Tries
from falq.platform.catalogue import load_model

JsonSchema = dict[str, Any]

_PARTS = "#/components/schemas/"
_DEFS = "#/$defs/"
# What a keyword must hold to mean anything; what holds something else is left out.
_SHAPES: Mapping[str, Any] = MappingProxyType({
    "properties": Mapping,
    "patternProperties": Mapping,
    "anyOf": list,
    "oneOf": list,
    "allOf": list,
    "prefixItems": list,
    "items": (Mapping, bool),
    "additionalProperties": (Mapping, bool),
    "required": list,
    "enum": list,
    "type": (str, list),
    "title": str,
    "description": str,
})  # fmt: skip

# References are followed apart; the others say nothing that falq uses.
_DROPPED = frozenset({"$ref", "$defs", "nullable", "not"})

_PLAIN_NAME = re.compile(r"[A-Za-z0-9._-]+")
_ORDER = "x-fal-order-properties"


@frozen(kw_only=True)
class SchemaField:
    """One field of an input or an output, for a reader.

    Attributes:
        name: Its name on the wire.
        kind: What it holds, such as `integer` or `'jpeg' | 'png'`.
        is_required: Whether it must be there.
        default: What it is if it is not said, None if that is not told.
        description: What it is for, in the model's words.
    """

    name: str
    kind: str
    is_required: bool
    default: Any = None
    description: str = ""


@frozen(kw_only=True)
class ModelSchema:
    """What an endpoint takes and gives.

    Attributes:
        endpoint: Full endpoint id.
        input: JSON Schema of the arguments, complete in itself.
        output: JSON Schema of the result; empty if the document has none.
        title: What fal calls the model, if told.
    """

    endpoint: str
    input: Mapping[str, Any] = field(repr=False)
    output: Mapping[str, Any] = field(factory=dict, repr=False)
    title: str = ""

    def input_fields(self) -> tuple[SchemaField, ...]:
        """Return the fields of the input, in the model's order."""
        return tuple(_list_fields(self.input))

    def output_fields(self) -> tuple[SchemaField, ...]:
        """Return the fields of the output, in the model's order."""
        return tuple(_list_fields(self.output))


async def load_schema(
    send: Send, endpoint: EndpointId, *, tries: Tries = USUAL_TRIES
) -> ModelSchema:
    """Return the schema of an endpoint.

    Args:
        send: Carries a call, as `Transport.send` does. A cancelled call leaves
            nothing behind.
        endpoint: Which, with its sub-path.
        tries: How the call is tried again.

    Raises:
        RequestNotFoundError: The catalogue has no such model, or no schema of it.
        UnsupportedError: The gateway does not reach the Platform API. Nothing
            was sent.
        ApiError: The API says no.
        WireError: The answer is no list of models, or its schema cannot be read.
        TransportError: There was no whole answer.
    """
    model = await load_model(send, endpoint, with_openapi=True, tries=tries)
    if model.openapi is None:
        raise RequestNotFoundError(
            f"the catalogue has no schema of {endpoint.full}; its arguments cannot be checked",
            status_code=404,
            endpoint=endpoint.full,
        )
    return read_schema(endpoint.full, model.openapi)


def read_schema(endpoint: str, document: Mapping[str, Any]) -> ModelSchema:
    """Return the schema that an endpoint's OpenAPI document describes.

    Args:
        endpoint: Full endpoint id.
        document: OpenAPI 3.0, of one endpoint.

    Raises:
        WireError: It does not say what the input is.
    """
    components = _object(document, "components", "schemas")
    paths = _object(document, "paths")
    submit = _object(paths, f"/{endpoint}", "post")
    wanted = _object(submit, "requestBody", "content", "application/json", "schema")
    answer = _object(paths, f"/{endpoint}/requests/{{request_id}}", "get")
    given = _object(answer, "responses", "200", "content", "application/json", "schema")
    source = _stand_alone(wanted or _by_name(components, "Input"), components)
    if not isinstance(_follow(source).get("properties"), dict):
        raise WireError(
            f"the schema of {endpoint} does not say what its input is; its arguments cannot be "
            "checked",
            endpoint=endpoint,
        )
    title = _object(document, "info").get("title")
    return ModelSchema(
        endpoint=endpoint,
        input=source,
        output=_stand_alone(given or _by_name(components, "Output"), components),
        title=title if isinstance(title, str) else "",
    )


def _object(value: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    found: Any = value
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _by_name(components: Mapping[str, Any], ending: str) -> Mapping[str, Any]:
    names = [name for name in components if str(name).endswith(ending)]
    return {"$ref": f"{_PARTS}{names[0]}"} if len(names) == 1 else {}


def _stand_alone(schema: Mapping[str, Any], components: Mapping[str, Any]) -> JsonSchema:
    """Return a schema with every part that it refers to below `$defs`."""
    reader = _Reader(components)
    whole = reader.read(schema)
    parts: JsonSchema = {}
    while reader.wanted - parts.keys():
        for name in reader.wanted - parts.keys():
            parts[name] = reader.read(components[name])
    if parts:
        whole["$defs"] = {name: parts[name] for name in components if name in parts}
    return whole


@define
class _Reader:
    """Reads schema objects of one document.

    Attributes:
        components: Its parts by name.
        wanted: Parts that what was read refers to.
    """

    components: Mapping[str, Any]
    wanted: set[str] = field(factory=set)

    def read(self, schema: Any) -> JsonSchema:
        """Return one schema object as JSON Schema has it, its references into `$defs`."""
        if not isinstance(schema, Mapping):
            # `true`, and whatever is no schema at all, allows everything.
            return {}
        plain = {
            keyword: self._read_keyword(keyword, value)
            for keyword, value in schema.items()
            if keyword not in _DROPPED and isinstance(value, _SHAPES.get(keyword, object))
        }
        plain |= self._point(schema.get("$ref"))
        _order_properties(plain)
        _lift_limits(plain)
        return {"anyOf": [plain, {"type": "null"}]} if schema.get("nullable") is True else plain

    def _read_keyword(self, keyword: str, value: Any) -> Any:
        if keyword in {"properties", "patternProperties"}:
            return {name: self.read(inner) for name, inner in value.items()}
        if keyword in {"anyOf", "oneOf", "allOf", "prefixItems"}:
            return [self.read(inner) for inner in value]
        if keyword in {"items", "additionalProperties"} and not isinstance(value, bool):
            return self.read(value)
        if keyword == "required":
            return [name for name in value if isinstance(name, str)]
        return value

    def _point(self, target: object) -> JsonSchema:
        name = str(target).removeprefix(_PARTS)
        is_own = isinstance(target, str) and target.startswith(_PARTS) and name in self.components
        # Names that a pointer would have to quote are not worth the reading: fal has none.
        if not is_own or not _PLAIN_NAME.fullmatch(name):
            return {}
        self.wanted.add(name)
        return {"$ref": f"{_DEFS}{name}"}


def _order_properties(schema: JsonSchema) -> None:
    order, properties = schema.pop(_ORDER, None), schema.get("properties")
    if not isinstance(order, list) or not isinstance(properties, dict):
        return
    first = [name for name in order if isinstance(name, str) and name in properties]
    schema["properties"] = {name: properties[name] for name in [*first, *properties]}


def _lift_limits(schema: JsonSchema) -> None:
    """Write `exclusiveMinimum: true` of OpenAPI 3.0 as the number that it belongs to."""
    for exclusive, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        flag = schema.get(exclusive)
        if isinstance(flag, bool):
            del schema[exclusive]
            if flag and limit in schema:
                schema[exclusive] = schema.pop(limit)


def follow(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a schema refers to, or itself.

    Args:
        schema: One that may be a reference, plain or as the only part of `allOf`.
        parts: The `$defs` of the whole.
    """
    for _ in range(len(parts) + 1):
        every = schema.get("allOf")
        if isinstance(every, list) and len(every) == 1 and "properties" not in schema:
            schema = every[0]
        target = schema.get("$ref")
        if not isinstance(target, str):
            return schema
        schema = parts.get(target.removeprefix(_DEFS), {})
    return {}


def _follow(whole: Mapping[str, Any]) -> Mapping[str, Any]:
    return follow(whole, whole.get("$defs", {}))


def _list_fields(whole: Mapping[str, Any]) -> Iterator[SchemaField]:
    schema, parts = _follow(whole), whole.get("$defs", {})
    required = schema.get("required")
    names = required if isinstance(required, list) else []
    for name, inner in schema.get("properties", {}).items():
        described = inner.get("description") or follow(inner, parts).get("description")
        yield SchemaField(
            name=name,
            kind=describe_kind(inner, parts),
            is_required=name in names,
            default=inner.get("default"),
            description=described if isinstance(described, str) else "",
        )


def describe_kind(schema: Mapping[str, Any], parts: Mapping[str, Any], *, depth: int = 0) -> str:
    """Return what a schema allows, for a reader.

    Args:
        schema: What is allowed.
        parts: The `$defs` of the whole.
        depth: How deep it stands in what is described.

    Example:
        >>> describe_kind({"type": "integer", "minimum": 1, "maximum": 4}, {})
        'integer 1 to 4'
        >>> describe_kind({"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]}, {})
        "'a' | 'b' | null"
    """
    schema = follow(schema, parts)
    words = schema.get("enum")
    if isinstance(words, list) and words:
        return " | ".join(repr(word) for word in words)
    options = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(options, list) and options and depth < 3:
        return " | ".join(describe_kind(option, parts, depth=depth + 1) for option in options)
    kind = schema.get("type")
    if kind == "array" and depth < 3:
        items = schema.get("items")
        inner = describe_kind(items if isinstance(items, Mapping) else {}, parts, depth=depth + 1)
        return f"list of {inner}"
    if kind == "object" and schema.get("title"):
        return str(schema["title"])
    text = kind if isinstance(kind, str) and kind else "any"
    return f"{text}{_describe_range(schema)}"


def _describe_range(schema: Mapping[str, Any]) -> str:
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    most = schema.get("maximum", schema.get("exclusiveMaximum"))
    if least is None and most is None:
        return ""
    if most is None:
        return f" {least} or more" if "minimum" in schema else f" above {least}"
    if least is None:
        return f" {most} or less" if "maximum" in schema else f" below {most}"
    return f" {least} to {most}"
