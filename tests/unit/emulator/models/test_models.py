"""All models: what they take, what they refuse, and that nothing makes them raise."""

from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falq.emulator.models import MODELS, find_model
from falq.emulator.models.base import Model

GOOD_INPUTS = {
    "fal-ai/flux/schnell": {"prompt": "a tiny cute cat", "image_size": "square_hd"},
    "fal-ai/flux/dev": {"prompt": "a fox", "num_inference_steps": 50},
    "fal-ai/fast-sdxl": {
        "prompt": "a futuristic city skyline at night",
        "negative_prompt": "blurry, low quality",
        "image_size": "landscape_16_9",
        "num_images": 1,
    },
    "fal-ai/minimax/video-01": {"prompt": "A cat playing with a ball in slow motion"},
    "fal-ai/f5-tts": {
        "gen_text": "Hello world.",
        "ref_audio_url": "https://example.com/voice.wav",
        "model_type": "F5-TTS",
    },
    "fal-ai/whisper": {"audio_url": "https://example.com/talk.mp3"},
}

# endpoint, input, and the (type, loc below "body") of every problem it must give.
BAD_INPUTS = [
    ("fal-ai/flux/schnell", {}, [("missing", ["prompt"])]),
    ("fal-ai/flux/schnell", {"prompt": 7}, [("string_type", ["prompt"])]),
    ("fal-ai/flux/schnell", {"prompt": None}, [("string_type", ["prompt"])]),
    ("fal-ai/flux/schnell", {"prompt": "\ud800"}, [("string_unicode", ["prompt"])]),
    (
        "fal-ai/flux/schnell",
        {"num_images": 5, "num_inference_steps": 0, "guidance_scale": "high"},
        [
            ("missing", ["prompt"]),
            ("greater_than_equal", ["num_inference_steps"]),
            ("float_parsing", ["guidance_scale"]),
            ("less_than_equal", ["num_images"]),
        ],
    ),
    (
        "fal-ai/flux/schnell",
        {"prompt": "a", "image_size": "huge"},
        [
            ("model_attributes_type", ["image_size", "ImageSize"]),
            ("enum", ["image_size", "ImageSizePreset"]),
        ],
    ),
    (
        "fal-ai/flux/schnell",
        {"prompt": "a", "image_size": {"width": 0, "height": 14143}},
        [
            ("greater_than", ["image_size", "ImageSize", "width"]),
            ("less_than_equal", ["image_size", "ImageSize", "height"]),
            ("enum", ["image_size", "ImageSizePreset"]),
        ],
    ),
    (
        "fal-ai/flux/schnell",
        {"prompt": "a", "output_format": "gif", "acceleration": "warp", "sync_mode": "perhaps"},
        [
            ("literal_error", ["output_format"]),
            ("literal_error", ["acceleration"]),
            ("bool_parsing", ["sync_mode"]),
        ],
    ),
    (
        "fal-ai/flux/schnell",
        {"prompt": "a", "seed": 1.5, "num_images": "two", "num_inference_steps": []},
        [
            ("int_type", ["num_inference_steps"]),
            ("int_parsing", ["num_images"]),
            ("int_from_float", ["seed"]),
        ],
    ),
    ("fal-ai/flux/dev", {"prompt": "a", "num_inference_steps": 51}, [
        ("less_than_equal", ["num_inference_steps"])
    ]),
    (
        "fal-ai/fast-sdxl",
        {
            "prompt": "a",
            "num_images": 9,
            "guidance_scale": -1,
            "loras": [{"path": "x"}, {"scale": "y"}, "z"],
            "embeddings": {},
            "format": "webp",
        },
        [
            ("greater_than_equal", ["guidance_scale"]),
            ("less_than_equal", ["num_images"]),
            ("missing", ["loras", 1, "path"]),
            ("float_parsing", ["loras", 1, "scale"]),
            ("model_attributes_type", ["loras", 2]),
            ("list_type", ["embeddings"]),
            ("literal_error", ["format"]),
        ],
    ),
    ("fal-ai/fast-sdxl", {"prompt": "a", "embeddings": [{"path": "p", "tokens": ["t", 1]}]}, [
        ("string_type", ["embeddings", 0, "tokens", 1])
    ]),
    (
        "fal-ai/clarity-upscaler",
        {"upscale_factor": 4.5, "creativity": -0.1, "num_inference_steps": 3},
        [
            ("missing", ["image_url"]),
            ("less_than_equal", ["upscale_factor"]),
            ("greater_than_equal", ["creativity"]),
            ("greater_than_equal", ["num_inference_steps"]),
        ],
    ),
    ("fal-ai/minimax/video-01", {"prompt_optimizer": 2}, [
        ("missing", ["prompt"]),
        ("bool_parsing", ["prompt_optimizer"]),
    ]),
    ("fal-ai/minimax/video-01", {"prompt": "a", "prompt_optimizer": []}, [
        ("bool_type", ["prompt_optimizer"])
    ]),
    (
        "fal-ai/f5-tts",
        {"gen_text": "Hello world, this is a test of fal ai text to speech."},
        [("missing", ["ref_audio_url"]), ("missing", ["model_type"])],
    ),
    (
        "fal-ai/f5-tts",
        {"gen_text": "a" * 5001, "ref_audio_url": "u", "model_type": "F6"},
        [("string_too_long", ["gen_text"]), ("literal_error", ["model_type"])],
    ),
    (
        "fal-ai/whisper",
        {"audio_url": "u", "language": "xx", "batch_size": 65, "num_speakers": 0, "version": 3},
        [
            ("enum", ["language"]),
            ("literal_error", ["version"]),
            ("less_than_equal", ["batch_size"]),
            ("greater_than_equal", ["num_speakers"]),
        ],
    ),
]  # fmt: skip

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def test_the_models_cannot_be_changed():
    assert isinstance(MODELS, MappingProxyType)


def test_an_unknown_id_gets_the_echo(shelf):
    model = find_model("acme/unheard-of")
    assert model.run({"a": [1]}, seed=1, files=shelf).body == {"a": [1]}
    assert model.run_time_s({}, draw=0.5) == pytest.approx(0.2)
    assert model.logs({}) == ("echoing the input",)


@pytest.mark.parametrize(("endpoint", "arguments"), GOOD_INPUTS.items())
def test_a_good_input_is_answered_without_drawing(endpoint, arguments, shelf):
    answer = MODELS[endpoint].run(arguments, seed=5, files=shelf)
    assert answer.status_code == 200
    assert answer.billable_units > 0
    assert shelf.drawn == []
    assert MODELS[endpoint].logs(arguments)


@pytest.mark.parametrize(("endpoint", "arguments", "expected"), BAD_INPUTS)
def test_a_bad_input_is_refused_with_all_its_problems(endpoint, arguments, expected, shelf):
    answer = MODELS[endpoint].run(arguments, seed=5, files=shelf)
    found = [(problem["type"], problem["loc"]) for problem in answer.body["detail"]]
    assert answer.status_code == 422
    assert answer.billable_units == 0
    assert found == [(kind, ["body", *where]) for kind, where in expected]
    assert shelf.promises == {}


def test_the_recorded_refusal_of_schnell_is_told_with_the_same_words(shelf):
    arguments = {"prompt": "a", "num_inference_steps": 28}
    answer = MODELS["fal-ai/flux/schnell"].run(arguments, seed=5, files=shelf)
    recorded = {
        "type": "less_than_equal",
        "loc": ["body", "num_inference_steps"],
        "msg": "Input should be less than or equal to 12",
        "input": 28,
    }
    (problem,) = answer.body["detail"]
    assert recorded.items() <= problem.items()
    assert problem["ctx"] == {"le": 12}
    assert problem["url"] == "https://docs.fal.ai/errors#less_than_equal"


@pytest.mark.parametrize("endpoint", MODELS)
@pytest.mark.parametrize(
    ("body", "kind"),
    [([], "model_attributes_type"), ("a", "model_attributes_type"), (None, "missing")],
)
def test_a_body_that_is_no_object_is_refused_as_a_whole(endpoint, body, kind, shelf):
    answer = MODELS[endpoint].run(body, seed=5, files=shelf)
    (problem,) = answer.body["detail"]
    assert (answer.status_code, problem["type"], problem["loc"]) == (422, kind, ["body"])


@pytest.mark.parametrize(("endpoint", "arguments"), GOOD_INPUTS.items())
def test_unknown_keys_change_nothing(endpoint, arguments, shelf):
    model = MODELS[endpoint]
    plain = model.run(arguments, seed=5, files=shelf)
    shelf.promises.clear()
    assert model.run({**arguments, "no_such_key": 1}, seed=5, files=shelf) == plain


@pytest.mark.parametrize(("endpoint", "arguments"), GOOD_INPUTS.items())
def test_a_later_draw_is_never_a_shorter_run(endpoint, arguments):
    times = [MODELS[endpoint].run_time_s(arguments, draw=n / 50) for n in range(50)]
    assert times == sorted(times)
    assert 0 < times[0] < times[25] < times[-1] < 4 * times[25]


@pytest.mark.parametrize(
    ("endpoint", "median_s"),
    [
        ("fal-ai/flux/schnell", 0.6),
        ("fal-ai/flux/dev", 3.0),
        ("fal-ai/fast-sdxl", 2.0),
        ("fal-ai/minimax/video-01", 150.0),
        ("fal-ai/whisper", 5.0),
    ],
)
def test_half_of_the_usual_runs_are_shorter_than_the_median(endpoint, median_s):
    arguments = {"prompt": "a", "audio_url": "u"}
    assert MODELS[endpoint].run_time_s(arguments, draw=0.5) == pytest.approx(median_s)


@pytest.mark.parametrize(
    ("endpoint", "less", "more"),
    [
        ("fal-ai/flux/dev", {"num_inference_steps": 10}, {"num_inference_steps": 40}),
        ("fal-ai/flux/schnell", {"num_images": 1}, {"num_images": 4}),
        ("fal-ai/clarity-upscaler", {"upscale_factor": 2}, {"upscale_factor": 4}),
        ("fal-ai/f5-tts", {"gen_text": "short"}, {"gen_text": "long " * 100}),
        ("fal-ai/whisper", {"diarize": False}, {"diarize": True}),
    ],
)
def test_more_work_takes_longer(endpoint, less, more):
    base = {
        "prompt": "a", "image_url": "u", "gen_text": "a", "ref_audio_url": "u",
        "model_type": "F5-TTS", "audio_url": "u",
    }  # fmt: skip
    model = MODELS[endpoint]
    short_s = model.run_time_s({**base, **less}, draw=0.5)
    assert model.run_time_s({**base, **more}, draw=0.5) > 1.3 * short_s


def test_a_refusal_takes_only_a_moment_and_prints_nothing():
    model = MODELS["fal-ai/minimax/video-01"]
    assert model.run_time_s({}, draw=0.5) < 0.2
    assert model.logs({}) == ()


def run_everything(model: Model, arguments: object, shelf) -> None:
    assert model.run_time_s(arguments, draw=0.0) > 0
    assert all(isinstance(line, str) for line in model.logs(arguments))
    answer = model.run(arguments, seed=2**70, files=shelf)
    assert answer.status_code in {200, 422, 503}


@pytest.mark.parametrize("endpoint", MODELS)
def test_no_input_makes_a_model_raise(endpoint, shelf):
    names = [entry.name for entry in MODELS[endpoint].record.fields]
    likely = st.sampled_from(["jpeg", "v1", "square", "F5-TTS", "en", "word", 1, 2, 4, True])
    values = likely | JSON | st.dictionaries(st.sampled_from(["width", "height", "path"]), JSON)
    # `sync_mode` draws on the spot, which is a matter for the drawing's own tests.
    keys = st.sampled_from([name for name in names if name != "sync_mode"])

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(JSON | st.dictionaries(keys, values))
    def try_input(arguments):
        run_everything(MODELS[endpoint], arguments, shelf)

    try_input()
