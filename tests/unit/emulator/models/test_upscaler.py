"""The upscaler's answers, and the pictures it cannot have."""

import base64
import io
import zlib

import pytest
from PIL import Image

from falq.emulator.media.studio import Studio
from falq.emulator.models import MODELS
from falq.emulator.models.checked import Checked
from falq.emulator.models.upscaler import CLARITY, UpscaleWork

MODEL = MODELS["fal-ai/clarity-upscaler"]


def save(picture, picture_format="PNG"):
    file = io.BytesIO()
    picture.save(file, picture_format)
    return file.getvalue()


def half_red_half_blue(size=(40, 20)):
    picture = Image.new("RGB", size, (200, 0, 0))
    picture.paste((0, 0, 200), (size[0] // 2, 0, *size))
    return save(picture)


def as_url(data):
    return "data:image/png;base64," + base64.b64encode(data).decode()


def refusal(shelf, url, **arguments):
    answer = MODEL.run({"image_url": url, **arguments}, seed=1, files=shelf)
    (problem,) = answer.body["detail"]
    assert (answer.status_code, answer.billable_units) == (422, 0)
    assert problem["loc"] == ["body", "image_url"]
    return problem


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ({}, (80, 40)),
        ({"upscale_factor": 4}, (160, 80)),
        ({"upscale_factor": 1.5}, (60, 30)),
        # The seed's sample says `scale`, which is no field: it runs with the default of 2.
        ({"scale": 4}, (80, 40)),
    ],
)
def test_the_picture_that_was_given_comes_back_larger(arguments, size, shelf):
    source = shelf.add(name="a.png", content_type="image/png", draw=half_red_half_blue)
    answer = MODEL.run({"image_url": source, **arguments}, seed=1, files=shelf)
    image = answer.body["image"]
    picture = Image.open(io.BytesIO(shelf.read(image["url"])))
    assert answer.status_code == 200
    assert (image["width"], image["height"]) == picture.size == size
    assert (picture.format, image["content_type"]) == ("PNG", "image/png")
    assert picture.getpixel((2, 2)) == (200, 0, 0)
    assert picture.getpixel((size[0] - 3, size[1] - 3)) == (0, 0, 200)
    assert list(answer.body) == ["image", "seed", "timings"]


def test_a_picture_may_come_in_a_data_url(shelf):
    answer = MODEL.run({"image_url": as_url(half_red_half_blue())}, seed=1, files=shelf)
    assert answer.body["image"]["width"] == 80


def test_a_foreign_address_cannot_be_downloaded(shelf):
    problem = refusal(shelf, "https://example.com/image.jpg", scale=2)
    assert problem["type"] == "file_download_error"
    assert problem["input"] == "https://example.com/image.jpg"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture at all",
        half_red_half_blue((200, 200))[:90],
        save(Image.effect_noise((300, 300), 80), "JPEG")[:2000],
    ],
)
def test_bytes_that_are_no_whole_picture_are_refused(data, shelf):
    assert refusal(shelf, as_url(data))["type"] == "image_load_error"


def test_a_picture_that_would_become_too_large_is_refused(shelf):
    url = as_url(save(Image.new("1", (1600, 10))))
    problem = refusal(shelf, url, upscale_factor=4)
    assert problem["type"] == "image_too_large"
    assert problem["ctx"] == {"max_height": 1500, "max_width": 1500}


def test_a_decompression_bomb_is_refused_without_decoding_it(shelf):
    picture = bytearray(half_red_half_blue())
    picture[16:24] = (60_000).to_bytes(4, "big") * 2
    picture[29:33] = zlib.crc32(picture[12:29]).to_bytes(4, "big")
    assert refusal(shelf, as_url(bytes(picture)))["type"] == "image_too_large"


def test_without_pillow_the_refusal_names_the_extra(shelf):
    work = UpscaleWork(studio=Studio(without=frozenset({"PIL"})))
    model = Checked(record=CLARITY, work=work)
    answer = model.run({"image_url": as_url(half_red_half_blue())}, seed=1, files=shelf)
    (problem,) = answer.body["detail"]
    assert problem["type"] == "feature_not_supported"
    assert "pip install 'falq[emulator]'" in problem["msg"]


def test_a_picture_that_left_the_shelf_is_not_drawn_from_nothing(shelf):
    source = shelf.add(name="a.png", content_type="image/png", draw=half_red_half_blue)
    answer = MODEL.run({"image_url": source}, seed=1, files=shelf)
    del shelf.promises[source]
    with pytest.raises(LookupError, match="left the shelf"):
        shelf.read(answer.body["image"]["url"])
