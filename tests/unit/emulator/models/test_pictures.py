"""The picture models' answers, and the files behind them."""

import base64
import io

import pytest
from PIL import Image

from falq.emulator.media.studio import Studio
from falq.emulator.models import MODELS
from falq.emulator.models.checked import Checked
from falq.emulator.models.pace import Pace
from falq.emulator.models.pictures import PRESETS, SCHNELL, PictureWork

SCHNELL_MODEL = MODELS["fal-ai/flux/schnell"]
SMALL = {"width": 96, "height": 64}


def run(shelf, endpoint="fal-ai/flux/schnell", *, seed=5, **arguments):
    answer = MODELS[endpoint].run({"prompt": "a fox", **arguments}, seed=seed, files=shelf)
    assert answer.status_code == 200
    return answer


def decode(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def test_the_answer_has_the_documented_keys(shelf):
    body = run(shelf).body
    assert list(body) == ["images", "timings", "seed", "has_nsfw_concepts", "prompt"]
    assert list(body["images"][0]) == ["url", "width", "height", "content_type"]
    assert body["timings"]["inference"] > 0
    assert (body["seed"], body["prompt"], body["has_nsfw_concepts"]) == (5, "a fox", [False])


@pytest.mark.parametrize(("preset", "size"), PRESETS.items())
def test_a_preset_gives_its_size(preset, size, shelf):
    (image,) = run(shelf, image_size=preset).body["images"]
    assert (image["width"], image["height"]) == size


@pytest.mark.parametrize(
    ("endpoint", "size"),
    [
        ("fal-ai/flux/schnell", (1024, 768)),
        ("fal-ai/flux/dev", (1024, 768)),
        ("fal-ai/fast-sdxl", (1024, 1024)),
    ],
)
def test_each_model_has_its_default_size(endpoint, size, shelf):
    answer = run(shelf, endpoint)
    (image,) = answer.body["images"]
    assert (image["width"], image["height"]) == size
    assert answer.billable_units == 1


def test_a_size_with_one_side_gets_512_for_the_other(shelf):
    (image,) = run(shelf, image_size={"width": 64}).body["images"]
    assert (image["width"], image["height"]) == (64, 512)


@pytest.mark.parametrize(
    ("endpoint", "key"), [("fal-ai/flux/schnell", "output_format"), ("fal-ai/fast-sdxl", "format")]
)
@pytest.mark.parametrize("picture_format", ["jpeg", "png"])
def test_the_file_has_the_size_and_format_that_was_asked_for(endpoint, key, picture_format, shelf):
    body = run(shelf, endpoint, image_size=SMALL, **{key: picture_format}).body
    (image,) = body["images"]
    picture = decode(shelf.read(image["url"]))
    assert (picture.format, picture.size) == (picture_format.upper(), (96, 64))
    assert image["content_type"] == f"image/{picture_format}"


def test_several_pictures_differ_and_are_billed_by_begun_megapixels(shelf):
    answer = run(shelf, num_images=3, image_size={"width": 1100, "height": 1100})
    urls = [image["url"] for image in answer.body["images"]]
    assert answer.billable_units == 6
    assert len({shelf.read(url) for url in urls}) == 3
    assert answer.body["has_nsfw_concepts"] == [False] * 3


def test_the_seed_of_the_input_goes_before_the_queues(shelf):
    assert run(shelf, seed=9).body["seed"] == 9
    answer = SCHNELL_MODEL.run({"prompt": "a", "seed": 3}, seed=9, files=shelf)
    assert answer.body["seed"] == 3


def test_the_same_prompt_and_seed_give_the_same_file(shelf):
    first, again, other = (
        shelf.read(run(shelf, seed=seed, image_size=SMALL).body["images"][0]["url"])
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_sync_mode_puts_the_picture_into_the_answer(shelf):
    (image,) = run(shelf, sync_mode=True, image_size=SMALL).body["images"]
    head, _, body = image["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    assert decode(base64.b64decode(body)).size == (96, 64)
    assert shelf.promises == {}


def test_a_picture_beyond_the_cards_memory_fails_on_the_runner(shelf):
    arguments = {"prompt": "a", "image_size": {"width": 14142, "height": 14142}}
    answer = SCHNELL_MODEL.run(arguments, seed=1, files=shelf)
    assert (answer.status_code, answer.body) == (503, {"detail": "CUDA error: out of memory"})
    assert answer.billable_units == 0


def test_without_pillow_every_picture_is_a_png(shelf):
    work = PictureWork(
        usual=Pace(median_s=1.0), usual_steps=4, studio=Studio(without=frozenset({"PIL"}))
    )
    model = Checked(record=SCHNELL, work=work)
    body = model.run({"prompt": "a", "image_size": SMALL}, seed=1, files=shelf).body
    (image,) = body["images"]
    assert image["content_type"] == "image/png"
    assert decode(shelf.read(image["url"])).size == (96, 64)
