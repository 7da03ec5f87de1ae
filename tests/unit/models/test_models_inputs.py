"""Typed inputs: strict, only what was said is sent, and the field that was meant is named."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st

from falq.emulator.catalogue import ENTRIES, list_models
from falq.errors import ArgumentError
from falq.models import (
    MODELS,
    ClarityUpscaler,
    Embedding,
    F5Tts,
    FastSdxl,
    FluxDev,
    FluxSchnell,
    ImageSize,
    ImagesOutput,
    Lora,
    MinimaxVideo01,
    ModelInput,
    OutputPart,
    Whisper,
)
from falq.models.base import name_on_wire
from falq.platform.schemas import read_schema


def attempt(make, kind):
    """What was made and the error that came instead, one of them None."""
    try:
        return make(), None
    except kind as error:
        return None, error


SAMPLES: list[tuple[ModelInput[Any], dict[str, Any]]] = [
    (
        FluxSchnell(prompt="a cat", image_size="square", num_inference_steps=12, seed=7),
        {"prompt": "a cat", "image_size": "square", "num_inference_steps": 12, "seed": 7},
    ),
    (
        FluxDev(prompt="a cat", image_size=ImageSize(width=640), guidance_scale=3),
        {"prompt": "a cat", "image_size": {"width": 640}, "guidance_scale": 3},
    ),
    (
        FastSdxl(
            prompt="a cat",
            loras=(Lora(path="https://x/y", scale=0.5),),
            embeddings=(Embedding(path="z", tokens=("<a>",)),),
            format="png",
        ),
        {
            "prompt": "a cat",
            "loras": [{"path": "https://x/y", "scale": 0.5}],
            "embeddings": [{"path": "z", "tokens": ["<a>"]}],
            "format": "png",
        },
    ),
    (
        ClarityUpscaler(image_url="https://x/cat.png", upscale_factor=2),
        {"image_url": "https://x/cat.png", "upscale_factor": 2},
    ),
    (MinimaxVideo01(prompt="a cat"), {"prompt": "a cat"}),
    (
        F5Tts(gen_text="hello", ref_audio_url="https://x/v.wav", model_type="F5-TTS"),
        {"gen_text": "hello", "ref_audio_url": "https://x/v.wav", "model_type": "F5-TTS"},
    ),
    (
        Whisper(audio_url="https://x/a.mp3", diarize=False, num_speakers=1),
        {"audio_url": "https://x/a.mp3", "diarize": False, "num_speakers": 1},
    ),
]
BY_NAME = [pytest.param(*sample, id=type(sample[0]).__name__) for sample in SAMPLES]


def refusal(make) -> dict[str, str]:
    with pytest.raises(ArgumentError, match="nothing was sent") as caught:
        make()
    assert caught.value.argument == caught.value.problems[0][0]
    return dict(caught.value.problems)


@pytest.mark.parametrize(("source", "arguments"), BY_NAME)
def test_only_what_was_said_is_sent(source, arguments):
    assert source.as_arguments() == arguments


@pytest.mark.parametrize(("source", "arguments"), BY_NAME)
def test_plain_arguments_make_the_same_input(source, arguments):
    assert type(source).from_arguments(arguments).as_arguments() == arguments


@pytest.mark.parametrize(("source", "arguments"), BY_NAME)
def test_an_input_is_a_value_that_can_be_copied_and_pickled(source, arguments):
    assert pickle.loads(pickle.dumps(source)) == source == copy.deepcopy(source)
    again = attrs.evolve(source)
    assert again == source
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        source.prompt = "other"


@pytest.mark.parametrize("kind", MODELS.values(), ids=lambda kind: kind.__name__)
def test_a_field_that_does_not_exist_is_refused(kind):
    name = "no_such_field_anywhere"
    problems = refusal(lambda: kind(**{name: 1}))
    assert problems == {name: problems[name]}
    assert "does not exist" in problems[name]


@pytest.mark.parametrize("kind", MODELS.values(), ids=lambda kind: kind.__name__)
def test_the_fields_are_those_of_the_emulators_own_schema(kind):
    """Two sides that share no code: a misspelt name cannot agree with itself."""
    [entry] = list_models(f"endpoint_id={kind.endpoint}&expand=openapi-3.0")["models"]
    schema = read_schema(kind.endpoint, entry["openapi"])
    known = {name_on_wire(attribute): attribute for attribute in attrs.fields(kind)}
    assert {one.name for one in schema.input_fields()} == known.keys()
    required = {one.name for one in schema.input_fields() if one.is_required}
    assert required == {
        name for name, attribute in known.items() if attribute.default is attrs.NOTHING
    }
    answered = {one.name for one in schema.output_fields()}
    assert answered == {one.name for one in attrs.fields(kind.output)} - {"raw"}


def test_every_model_of_the_emulator_has_its_typed_input():
    assert MODELS.keys() == ENTRIES.keys()
    assert all(kind.endpoint == endpoint for endpoint, kind in MODELS.items())


@pytest.mark.parametrize(
    ("make", "wrong", "meant"),
    [
        (lambda: ClarityUpscaler(image_url="x", scale=2), "scale", "'upscale_factor'?"),
        (lambda: FastSdxl(prompt="x", output_format="png"), "output_format", "'format'?"),
        (lambda: FluxSchnell(prompt="x", format="png"), "format", "'output_format'?"),
        (lambda: FluxSchnell(promt="x"), "promt", "'prompt'?"),
        (lambda: FluxSchnell(prompt="x", steps=4), "steps", "'num_inference_steps'?"),
        (lambda: ImageSize(widht=3), "widht", "'width'?"),
    ],
)
def test_the_field_that_was_meant_is_named(make, wrong, meant):
    assert refusal(make)[wrong].endswith(f"did you mean {meant}")


def test_plain_arguments_are_told_of_everything_at_once():
    problems = refusal(lambda: F5Tts.from_arguments({"text": "hello", "remove_silence": "no"}))
    assert problems == {
        "text": problems["text"],
        "gen_text": "is missing",
        "ref_audio_url": "is missing",
        "model_type": "is missing",
        "remove_silence": "is 'no'; give True or False",
    }


def test_what_stands_inside_is_told_by_its_path():
    arguments = {"prompt": "x", "loras": [{"path": "a"}, {"scal": 1}], "image_size": {"width": 0}}
    problems = refusal(lambda: FastSdxl.from_arguments(arguments))
    assert problems["loras[1].path"] == "is missing"
    assert problems["loras[1].scal"].endswith("did you mean 'scale'?")
    assert problems["image_size.width"] == "is 0; give 1 or more"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": 5}, "is 5; give text"),
        ({"prompt": None}, "is None; give text"),
        ({"num_inference_steps": 13}, "is 13; give 12 or less"),
        ({"num_inference_steps": 0}, "is 0; give 1 or more"),
        ({"num_inference_steps": 4.0}, "is 4.0; give a whole number"),
        ({"num_images": True}, "is True; give a whole number"),
        ({"guidance_scale": float("nan")}, "is nan; give a number"),
        ({"guidance_scale": "3"}, "is '3'; give a number"),
        ({"output_format": "gif"}, "is 'gif'; give 'jpeg' or 'png'"),
        ({"seed": 10**40}, None),
        ({"sync_mode": 1}, "is 1; give True or False"),
        ({"image_size": "huge"}, "or an ImageSize"),
        ({"image_size": []}, "is a list of 0; give"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_and_the_right_one_named(fields, message):
    fields = {"prompt": "x"} | fields
    if message is None:
        assert FluxSchnell(**fields).as_arguments() == fields
    else:
        [text] = refusal(lambda: FluxSchnell(**fields)).values()
        assert message in text


def test_a_missing_field_is_pythons_own_error():
    with pytest.raises(TypeError, match="model_type"):
        F5Tts(gen_text="x", ref_audio_url="y")


@pytest.mark.parametrize("media", [Path("cat.png"), object(), "https://x/cat.png"])
def test_a_media_field_takes_what_is_uploaded_by_itself(media):
    assert ClarityUpscaler(image_url=media).as_arguments() == {"image_url": media}


@pytest.mark.parametrize("wrong", [None, 3, True, [], {}])
def test_a_media_field_takes_nothing_that_is_no_file(wrong):
    assert refusal(lambda: ClarityUpscaler(image_url=wrong)) == {
        "image_url": refusal(lambda: ClarityUpscaler(image_url=wrong))["image_url"]
    }


def test_long_values_are_not_told_whole():
    [text] = refusal(lambda: FluxSchnell(prompt="x", output_format="y" * 5000)).values()
    assert len(text) < 200


@frozen(kw_only=True)
class Odd(ModelInput[ImagesOutput]):
    endpoint: ClassVar[str] = "acme/odd"
    output: ClassVar[type[OutputPart]] = ImagesOutput

    from_: str = field(metadata={"wire": "from"})
    to: list[int] | None = None
    anything: Any = None


def test_a_name_that_python_cannot_say_has_another_on_the_wire():
    assert Odd(from_="x").as_arguments() == {"from": "x"}
    assert Odd.from_arguments({"from": "x", "to": [1]}).from_ == "x"
    assert refusal(lambda: Odd.from_arguments({"from_": "x"})).keys() == {"from_", "from"}
    assert refusal(lambda: Odd(from_=3)) == {"from": "is 3; give text"}


def test_mappings_inside_anything_are_sent_as_they_are():
    value = {"a": [ImageSize(width=1), {"b": (1, 2)}]}
    sent = Odd(from_="x", anything=value).as_arguments()["anything"]
    assert sent == {"a": [{"width": 1}, {"b": [1, 2]}]}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.slow
@given(
    st.sampled_from(list(MODELS.values())),
    st.dictionaries(
        st.sampled_from(["prompt", "image_size", "seed", "loras", "x"]) | st.text(), JSON
    ),
)
def test_any_arguments_are_taken_or_refused_and_nothing_else(kind, arguments):
    taken, error = attempt(lambda: kind.from_arguments(arguments), ArgumentError)
    if error is None:
        assert taken.as_arguments().keys() <= arguments.keys()
    else:
        assert error.problems
        assert str(error).isprintable()
