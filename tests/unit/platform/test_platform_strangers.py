"""Any document at all: a schema, its checker and its stub are made of it, or refused with words."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.errors import ArgumentError, FalqError, WireError
from falq.platform.schemas import read_schema
from falq.platform.stub import write_stub
from falq.platform.validation import ArgumentChecker

PARTS = "#/components/schemas/"
NAMES = st.sampled_from(["a", "url", "image_url", "from", "raw", "class", "$ref", "x y", "ü", ""])
WORDS = st.sampled_from(["string", "integer", "number", "array", "object", "null", "odd"])
JUNK = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
REFERENCES = st.sampled_from(["A", "B", "C", "../x", "absent"]).map(lambda name: PARTS + name)


def keywords(inner):
    """A schema whose keywords mostly hold what they should, and sometimes junk."""
    return st.fixed_dictionaries(
        {},
        optional={
            "type": WORDS | JUNK,
            "enum": st.lists(JUNK, max_size=3) | JUNK,
            "properties": st.dictionaries(NAMES, inner, max_size=3) | JUNK,
            "required": st.lists(NAMES | JUNK, max_size=2) | JUNK,
            "items": inner | JUNK,
            "anyOf": st.lists(inner | JUNK, max_size=3) | JUNK,
            "oneOf": st.lists(inner | JUNK, max_size=2) | JUNK,
            "allOf": st.lists(inner | JUNK, max_size=2) | JUNK,
            "not": inner | JUNK,
            "additionalProperties": inner | JUNK,
            "$ref": REFERENCES | JUNK,
            "nullable": JUNK,
            "minimum": JUNK,
            "maximum": JUNK,
            "exclusiveMinimum": JUNK,
            "maxLength": JUNK,
            "default": JUNK,
            "description": JUNK,
            "title": JUNK,
            "x-fal-order-properties": st.lists(NAMES | JUNK, max_size=2) | JUNK,
        },
    )


SCHEMAS = st.recursive(keywords(JUNK), keywords, max_leaves=4)
ARGUMENTS = st.dictionaries(
    NAMES | st.text(max_size=4),
    st.recursive(JUNK, lambda one: st.lists(one) | st.dictionaries(NAMES, one), max_leaves=4),
    max_size=4,
)


def document(source, answer, parts):
    def given_as(schema):
        return {"content": {"application/json": {"schema": schema}}}

    return {
        "components": {"schemas": parts},
        "paths": {
            "/acme/odd": {"post": {"requestBody": given_as(source)}},
            "/acme/odd/requests/{request_id}": {"get": {"responses": {"200": given_as(answer)}}},
        },
    }


DOCUMENTS = st.builds(
    document,
    SCHEMAS.map(lambda schema: {"properties": {"prompt": {"type": "string"}}} | schema),
    SCHEMAS,
    st.fixed_dictionaries({"A": SCHEMAS, "B": SCHEMAS, "C": SCHEMAS | JUNK}),
)


def made(make, *kinds):
    """What was made; None if one of these errors came, whose words can be shown."""
    try:
        return make()
    except kinds as error:
        return None if str(error).isprintable() else pytest.fail(repr(str(error)))


@pytest.mark.slow
@given(DOCUMENTS, ARGUMENTS)
def test_any_document_checks_arguments_or_says_that_it_cannot(found, arguments):
    schema = made(lambda: read_schema("acme/odd", found), WireError)
    if schema is None:
        return
    assert all(one.kind for one in (*schema.input_fields(), *schema.output_fields()))
    checker = made(lambda: ArgumentChecker(schema), FalqError)
    if checker is not None:
        made(lambda: checker.check(arguments), ArgumentError, WireError)


@pytest.mark.slow
@given(DOCUMENTS)
def test_any_document_makes_a_stub_that_is_python_and_nothing_but_types(found):
    schema = made(lambda: read_schema("acme/odd", found), WireError)
    if schema is None:
        return
    text = write_stub(schema)
    tree = ast.parse(text)
    kinds = {type(node) for node in tree.body[1:]}
    assert kinds <= {ast.ImportFrom, ast.ClassDef, ast.AnnAssign}
    assert text.isascii() or text.replace("\n", "").isprintable()
    exec(compile(tree, "stub", "exec"), {"__name__": "falq.models.base"})
