"""Arguments against a schema: every problem with its place and what is allowed there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.emulator.catalogue import ENTRIES, list_models
from falq.emulator.models.schema import read_input
from falq.errors import ArgumentError, WireError
from falq.platform.field_names import find_close
from falq.platform.schemas import ModelSchema, read_schema
from falq.platform.validation import MOST_PROBLEMS, ArgumentChecker


def checker_of(endpoint):
    [entry] = list_models(f"endpoint_id={endpoint}&expand=openapi-3.0")["models"]
    return ArgumentChecker(read_schema(endpoint, entry["openapi"]))


CHECKERS = {endpoint: checker_of(endpoint) for endpoint in ENTRIES}
SCHNELL = CHECKERS["fal-ai/flux/schnell"]
SDXL = CHECKERS["fal-ai/fast-sdxl"]


def own(properties, *, parts=None, **more):
    """A checker for a schema of one's own."""
    source = {"type": "object", "properties": properties, "$defs": parts or {}} | more
    return ArgumentChecker(ModelSchema(endpoint="a/b", input=source))


def problems(checker, arguments):
    with pytest.raises(ArgumentError, match="nothing was sent") as caught:
        checker.check(arguments)
    assert caught.value.argument == caught.value.problems[0][0]
    return dict(caught.value.problems)


@pytest.mark.parametrize(
    ("arguments", "place", "text"),
    [
        ({}, "prompt", "is missing"),
        ({"prompt": 3}, "prompt", "is 3; give string"),
        ({"prompt": None}, "prompt", "is None; give string"),
        ({"num_inference_steps": 28}, "num_inference_steps", "is 28; give 12 or less"),
        ({"num_images": "4"}, "num_images", "is '4'; give integer 1 to 4"),
        ({"num_images": True}, "num_images", "is True; give integer 1 to 4"),
        ({"output_format": "gif"}, "output_format", "is 'gif'; give 'jpeg' or 'png'"),
        ({"image_size": {"widht": 3}}, "image_size.widht", "does not exist; did you mean 'width'?"),
        ({"image_size": {"width": 0}}, "image_size.width", "is 0; give more than 0"),
        ({"steps": 4}, "steps", "does not exist; did you mean 'num_inference_steps'?"),
        ({"sync_mode": []}, "sync_mode", "is a list of 0; give boolean"),
        ({"seed": {}}, "seed", "is an object; give integer or null"),
    ],
)
def test_a_problem_has_its_place_and_what_is_allowed_there(arguments, place, text):
    arguments = arguments and {"prompt": "a cat"} | arguments
    assert problems(SCHNELL, arguments) == {place: text}


def test_a_choice_or_an_object_names_all_that_it_may_be():
    told = problems(SCHNELL, {"prompt": "x", "image_size": 7})["image_size"]
    assert told.startswith("is 7; give ImageSize or 'square_hd' or 'square'")
    told = problems(SCHNELL, {"prompt": "x", "image_size": "huge"})["image_size"]
    assert told.startswith("is 'huge'; give 'square_hd' or")


def test_everything_wrong_is_told_at_once():
    arguments = {"loras": [{"path": "a", "scal": 1}, {}], "seed": "x", "output_format": "png"}
    assert problems(SDXL, arguments) == {
        "prompt": "is missing",
        "loras[0].scal": "does not exist; did you mean 'scale'?",
        "loras[1].path": "is missing",
        "seed": "is 'x'; give integer or null",
        "output_format": "does not exist; did you mean 'format'?",
    }


def test_a_hundred_problems_are_not_all_told():
    told = problems(SCHNELL, {f"x{n}": n for n in range(100)})
    assert len(told) <= MOST_PROBLEMS


def test_what_is_uploaded_counts_as_the_url_that_it_becomes():
    upscaler = CHECKERS["fal-ai/clarity-upscaler"]
    for media in (Path("cat.png"), b"png", object()):
        upscaler.check({"image_url": media})
    assert problems(upscaler, {"image_url": Path("x"), "scale": 2}).keys() == {"scale"}


def test_an_object_that_asks_for_more_may_have_more():
    checker = own({"a": {}}, additionalProperties=True)
    checker.check({"b": 1})
    own({"a": {"type": "object"}}).check({"a": {"b": 1}})
    own({"a": {}}, patternProperties={"^x": {}}).check({"xyz": 1})


def test_objects_that_are_put_together_know_each_others_fields():
    parts = {
        "Base": {"type": "object", "properties": {"a": {"type": "integer"}}},
        "More": {"type": "object", "properties": {"b": {"type": "integer"}}},
    }
    both = {"allOf": [{"$ref": "#/$defs/Base"}, {"$ref": "#/$defs/More"}]}
    checker = own({"x": both}, parts=parts)
    checker.check({"x": {"a": 1, "b": 2}})
    assert problems(checker, {"x": {"a": "1"}}) == {"x.a": "is '1'; give integer"}


def test_patterns_and_steps_are_left_to_the_server():
    checker = own({"a": {"type": "string", "pattern": "(a+)+$"}, "b": {"multipleOf": 0.1}})
    checker.check({"a": "a" * 5000 + "!", "b": 0.3})


@pytest.mark.parametrize(
    ("schema", "value", "text"),
    [
        ({"const": 3}, 4, "is 4; give 3"),
        ({"minLength": 2}, "x", "is 'x'; give 2 characters or more"),
        ({"maxLength": 2}, "xyz", "is 'xyz'; give 2 characters or less"),
        ({"minItems": 2}, [1], "is a list of 1; give 2 items or more"),
        ({"maxItems": 0}, [1], "is a list of 1; give 0 items or less"),
        ({"exclusiveMaximum": 1}, 1, "is 1; give less than 1"),
        ({"maximum": 1}, 10**400, "is a number of many digits; give 1 or less"),
        ({"minProperties": 1}, {}, "does not fit (minProperties)"),
        ({"type": ["string", "null"]}, 3, "is 3; give any"),
        ({"oneOf": [{"type": "string"}, {"type": "string"}]}, "x", "is 'x'; give string or string"),
    ],
)
def test_each_rule_has_its_words(schema, value, text):
    assert problems(own({"x": schema}), {"x": value}) == {"x": text}


@pytest.mark.parametrize(
    "broken",
    [
        {"x": {"type": "no such type"}},
        {"x": {"minimum": "3"}},
        {"x": {"enum": 3}},
        {"x": {"required": "a"}},
    ],
)
def test_a_schema_that_is_none_cannot_be_used(broken):
    with pytest.raises(WireError, match="validate=False"):
        own(broken)


@pytest.mark.parametrize(
    "parts",
    [
        {"P0": {"$ref": "#/$defs/P1"}, "P1": {"$ref": "#/$defs/P0"}},
        {"P0": {"anyOf": [{"type": "null"}, {"allOf": [{"$ref": "#/$defs/P0"}]}]}},
        {f"P{n}": {"anyOf": [{"$ref": f"#/$defs/P{n + 1}"}] * 2} for n in range(40)} | {"P40": {}},
    ],
    ids=["circle", "circle inside", "forty doublings"],
)
def test_a_schema_that_would_look_at_a_value_without_end_cannot_be_used(parts):
    with pytest.raises(WireError, match="validate=False"):
        own({"x": {"$ref": "#/$defs/P0"}}, parts=parts)


def test_arguments_that_are_nested_without_end_are_refused():
    deep = []
    for _ in range(5000):
        deep = [deep]
    assert problems(own({"x": {}}), {"x": deep}) == {"arguments": "are nested too deep"}


def test_a_part_may_hold_itself():
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    checker = own({"x": {"$ref": "#/$defs/Node"}}, parts={"Node": node})
    checker.check({"x": {"next": {"next": {}}}})
    assert problems(checker, {"x": {"next": {"next": 3}}}) == {"x.next.next": "is 3; give object"}


def test_a_strangers_text_is_told_safely_and_briefly():
    with pytest.raises(ArgumentError) as caught:
        SCHNELL.check({"prompt": "x", "\x1b[2J": 1, "output_format": "\u202e" + "y" * 9000})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 60) | st.floats(-1, 60) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


@pytest.mark.slow
@given(st.data(), st.sampled_from(list(ENTRIES)))
def test_what_is_let_through_is_never_refused_by_the_model(data, endpoint):
    source = ENTRIES[endpoint].source
    names = [one.name for one in source.fields]
    good = {"prompt": "x", "gen_text": "x", "model_type": "F5-TTS"}
    arguments = {name: good.get(name, "x") for name in names if name in good or "_url" in name}
    arguments |= data.draw(st.dictionaries(st.sampled_from(names), JSON, max_size=3))
    try:
        CHECKERS[endpoint].check(arguments)
    except ArgumentError:
        return
    assert read_input(source, arguments)[1] == []


def test_without_the_extra_the_command_that_brings_it_is_named():
    code = (
        "import sys; sys.modules['jsonschema'] = None\n"
        "from falq.platform import ArgumentChecker, ModelSchema\n"
        "ArgumentChecker(ModelSchema(endpoint='a/b', input={'properties': {}}))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ConfigError: validate=True needs its extra: pip install 'falq[schema]'" in ran.stderr


@pytest.mark.parametrize(
    ("name", "known", "found"),
    [
        ("promt", ["prompt", "seed"], ["prompt"]),
        ("text", ["gen_text", "ref_text", "seed"], ["ref_text", "gen_text"]),
        ("image_url_to_use", ["image_url", "seed"], ["image_url"]),
        ("xyz", ["prompt", "seed"], []),
        ("seed", [], []),
    ],
)
def test_close_names_are_found(name, known, found):
    assert find_close(name, known) == found


def test_a_wrong_name_on_record_counts_for_its_endpoint_only():
    known = ["guidance_scale", "upscale_factor"]
    assert find_close("scale", known, endpoint="fal-ai/clarity-upscaler") == ["upscale_factor"]
    assert find_close("scale", known) == ["guidance_scale", "upscale_factor"]
    assert find_close("scale", ["size"], endpoint="fal-ai/clarity-upscaler") == []
