"""From an OpenAPI document to a schema that stands for itself, and safely so."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry

from falq.emulator.catalogue import ENTRIES, list_models
from falq.errors import RequestNotFoundError, WireError
from falq.model import EndpointId
from falq.platform.schemas import describe_kind, load_schema, read_schema

PARTS = "#/components/schemas/"


def document(properties, *, parts=None, endpoint="a/b", more=None):
    source = {"type": "object", "properties": properties} | (more or {})
    content = {"application/json": {"schema": {"$ref": f"{PARTS}BInput"}}}
    return {
        "info": {"title": "B"},
        "components": {"schemas": {"BInput": source} | (parts or {})},
        "paths": {f"/{endpoint}": {"post": {"requestBody": {"content": content}}}},
    }


def fields_of(properties, **more):
    schema = read_schema("a/b", document(properties, **more))
    return {one.name: one for one in schema.input_fields()}


@pytest.mark.parametrize("endpoint", ENTRIES)
def test_the_documents_of_the_emulator_become_complete_schemas(endpoint):
    [entry] = list_models(f"endpoint_id={endpoint}&expand=openapi-3.0")["models"]
    schema = read_schema(endpoint, entry["openapi"])
    for whole in (schema.input, schema.output):
        Draft202012Validator.check_schema(whole)
        assert "components" not in json.dumps(whole)
        # Every reference leads somewhere inside.
        list(Draft202012Validator(whole, registry=Registry()).iter_errors({"image_size": {}}))
    assert [one.name for one in schema.input_fields() if one.is_required]
    assert schema.output_fields()


def test_fields_come_in_the_models_order_with_what_is_told_of_them():
    order = {"x-fal-order-properties": ["b", "a", "ghost"], "required": ["a"]}
    properties = {
        "a": {"type": "string", "description": "The a."},
        "b": {"type": "integer", "minimum": 1, "maximum": 4, "default": 2},
        "c": {"$ref": f"{PARTS}Size"},
    }
    parts = {"Size": {"type": "object", "title": "Size", "description": "How large."}}
    fields = fields_of(properties, parts=parts, more=order)
    assert list(fields) == ["b", "a", "c"]
    assert (fields["a"].is_required, fields["a"].description) == (True, "The a.")
    assert (fields["b"].kind, fields["b"].default) == ("integer 1 to 4", 2)
    assert (fields["c"].kind, fields["c"].description) == ("Size", "How large.")


def test_what_openapi_3_0_writes_otherwise_becomes_json_schema():
    fields = {
        "seed": {"type": "integer", "nullable": True},
        "side": {"type": "integer", "minimum": 0, "exclusiveMinimum": True, "maximum": 9},
        "most": {"type": "number", "maximum": 1, "exclusiveMaximum": False},
    }
    whole = read_schema("a/b", document(fields)).input
    properties = whole["$defs"]["BInput"]["properties"]
    assert properties["seed"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert properties["side"] == {"type": "integer", "exclusiveMinimum": 0, "maximum": 9}
    assert properties["most"] == {"type": "number", "maximum": 1}


def test_a_field_may_be_called_like_a_keyword():
    properties = {"nullable": {"type": "boolean"}, "$ref": {"type": "string"}, "items": {}}
    assert list(fields_of(properties)) == ["nullable", "$ref", "items"]


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/schema.json",
        "file:///etc/passwd",
        "#/info",
        f"{PARTS}Absent",
        f"{PARTS}../BInput",
        3,
        None,
    ],
)
def test_a_reference_to_anything_but_its_own_parts_is_dropped(target):
    whole = read_schema("a/b", document({"x": {"$ref": target}})).input
    assert whole["$defs"]["BInput"]["properties"]["x"] == {}


def test_parts_that_hold_themselves_are_read():
    parts = {
        "Node": {"type": "object", "properties": {"next": {"$ref": f"{PARTS}Node"}}},
        "Loop": {"$ref": f"{PARTS}Loop"},
        "Unused": {"type": "string"},
    }
    properties = {"node": {"$ref": f"{PARTS}Node"}, "loop": {"$ref": f"{PARTS}Loop"}}
    schema = read_schema("a/b", document(properties, parts=parts))
    assert schema.input["$defs"].keys() == {"BInput", "Node", "Loop"}
    assert [one.kind for one in schema.input_fields()] == ["object", "any"]


def test_without_paths_the_only_part_that_is_called_input_is_it():
    found = document({"a": {}}) | {"paths": {}}
    assert [one.name for one in read_schema("a/b", found).input_fields()] == ["a"]


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"components": 3, "paths": []},
        document({}) | {"components": {}},
        document({"a": {}}, parts={"CInput": {}}) | {"paths": {}},
        {"components": {"schemas": {"BInput": "x"}}},
    ],
)
def test_a_document_that_does_not_say_what_the_input_is_is_an_error(broken):
    with pytest.raises(WireError, match="what its input is"):
        read_schema("a/b", broken)


def test_an_odd_schema_inside_allows_everything():
    fields = fields_of({"a": True, "b": "text", "c": None, "d": {"items": 3, "anyOf": 4}})
    assert [one.kind for one in fields.values()] == ["any"] * 4


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "number", "minimum": 0.5}, "number 0.5 or more"),
        ({"type": "number", "exclusiveMinimum": 0}, "number above 0"),
        ({"type": "number", "maximum": 9}, "number 9 or less"),
        ({"type": "number", "exclusiveMaximum": 9}, "number below 9"),
        ({"type": "array", "items": {"type": "string"}}, "list of string"),
        ({"type": "array"}, "list of any"),
        ({"allOf": [{"type": "string"}]}, "string"),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, "string | null"),
        ({"type": ["string", "null"]}, "any"),
    ],
)
def test_a_kind_is_described_in_a_few_words(schema, text):
    assert describe_kind(schema, {}) == text


def test_kinds_within_kinds_come_to_an_end():
    parts = {
        "A": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "array", "items": {"$ref": "#/$defs/A"}}]}
    }
    assert describe_kind({"$ref": "#/$defs/A"}, parts)


async def test_a_model_without_a_document_has_no_schema(script, tries):
    send = script({"models": [{"endpoint_id": "a/b", "openapi": None}]})
    with pytest.raises(RequestNotFoundError, match="no schema of a/b"):
        await load_schema(send, EndpointId.parse("a/b"), tries=tries)
