"""Write a model's tables as the OpenAPI document that fal publishes of an endpoint.

Owns the form of the document (fal-wire 9, end) and of each kind of field in it.
The inputs are the tables that the models read by, so that the document and the
behavior cannot differ; the outputs are tables of their own, which nothing reads by.
`catalogue` hands the documents out.
"""

from __future__ import annotations

from typing import Any

from falq.emulator.models.schema import (
    Boolean,
    Choice,
    Field,
    Integer,
    Kind,
    ListOf,
    Number,
    OneOf,
    Record,
    Text,
)

Schema = dict[str, Any]

_PARTS = "#/components/schemas/"


def write_document(
    endpoint: str, *, title: str, category: str, source: Record, answer: Record
) -> Schema:
    """Return the OpenAPI document of an endpoint.

    Args:
        endpoint: Full endpoint id.
        title: What the model is called.
        category: Such as `text-to-image`.
        source: The table of its input.
        answer: The table of its output.
    """
    stem = "".join(word.capitalize() for word in endpoint.replace("/", "-").split("-"))
    components: Schema = {}
    for name, record in ((f"{stem}Input", source), (f"{stem}Output", answer)):
        components[name] = _write_record(name, record, components)
    status = {
        "type": "object",
        "properties": {"status": {"type": "string"}},
        "title": "QueueStatus",
    }
    return {
        "openapi": "3.0.4",
        "info": {
            "title": f"Queue OpenAPI for {endpoint}",
            "version": "1.0.0",
            "description": f"The OpenAPI schema for the {endpoint} queue.",
            "x-fal-metadata": {
                "endpointId": endpoint,
                "category": category,
                "thumbnailUrl": None,
                "playgroundUrl": f"https://fal.ai/models/{endpoint}",
                "documentationUrl": f"https://fal.ai/models/{endpoint}/api",
                "title": title,
            },
        },
        "components": {"schemas": {"QueueStatus": status, **components}},
        "paths": _write_paths(endpoint, f"{_PARTS}{stem}"),
        "servers": [{"url": "https://queue.fal.run"}],
    }


def _write_paths(endpoint: str, stem: str) -> Schema:
    """Return the paths as fal writes them: boiler-plate, with the full id everywhere."""

    def answers(reference: str) -> Schema:
        content = {"application/json": {"schema": {"$ref": reference}}}
        return {"responses": {"200": {"description": "The answer.", "content": content}}}

    taken = {"application/json": {"schema": {"$ref": f"{stem}Input"}}}
    status = answers(f"{_PARTS}QueueStatus")
    request = f"/{endpoint}/requests/{{request_id}}"
    return {
        f"{request}/status": {"get": status},
        f"{request}/cancel": {"put": status},
        f"/{endpoint}": {"post": {"requestBody": {"required": True, "content": taken}, **status}},
        request: {"get": answers(f"{stem}Output")},
    }


def _write_record(title: str, record: Record, components: Schema) -> Schema:
    schema: Schema = {
        "title": title,
        "type": "object",
        "properties": {one.name: _write_field(one, components) for one in record.fields},
        "x-fal-order-properties": [one.name for one in record.fields],
    }
    required = [one.name for one in record.fields if one.required]
    return schema | ({"required": required} if required else {})


def _write_field(one: Field, components: Schema) -> Schema:
    words = one.name.split("_")
    title = " ".join(word.capitalize() for word in words)
    part = "".join(word.capitalize() for word in words).removesuffix("s")
    schema = _write_kind(one.kind, part, components)
    if one.nullable:
        options = schema.get("anyOf", [schema])
        schema = {"anyOf": [*options, {"type": "null"}]}
    schema = {"title": title, **schema}
    if not one.required and one.default is not None:
        default = one.default
        schema["default"] = list(default) if isinstance(default, tuple) else default
    return schema


def _write_kind(kind: Kind, name: str, components: Schema) -> Schema:
    match kind:
        case ListOf(item=item):
            return {"type": "array", "items": _write_kind(item, name, components)}
        case OneOf(kinds=kinds):
            return {"anyOf": [_write_kind(one, part, components) for part, one in kinds.items()]}
        case Record():
            components[name] = _write_record(name, kind, components)
            return {"$ref": f"{_PARTS}{name}"}
        case _:
            return _write_plain(kind)


def _write_plain(kind: Kind) -> Schema:
    match kind:
        case Text(max_length=limit):
            return {"type": "string"} | ({} if limit is None else {"maxLength": limit})
        case Boolean():
            return {"type": "boolean"}
        case Choice(words=words):
            return {"type": "string", "enum": list(words)}
        case Integer(bounds=bounds) | Number(bounds=bounds):
            word = "integer" if isinstance(kind, Integer) else "number"
            limits = {"exclusiveMinimum": bounds.gt, "minimum": bounds.ge, "maximum": bounds.le}
            return {"type": word} | {key: at for key, at in limits.items() if at is not None}
        case _:
            # A kind that says nothing of itself: anything goes.
            return {}
