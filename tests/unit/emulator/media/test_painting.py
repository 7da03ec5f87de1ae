"""Painting with Pillow."""

import io

import pytest
from PIL import Image

from falq.emulator.media.painting import (
    ImageSizeError,
    UnreadableImageError,
    enlarge,
    measure,
    paint,
    paint_pixels,
)
from falq.emulator.media.sketch import BACKDROPS, Disc, Dots, Polygon, Sketch, compose

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def decode(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def flat(*elements, caption=""):
    return Sketch(sky=(BLUE, BLUE), elements=elements, caption=caption)


def pixels(sketch, size=(60, 40)):
    return Image.frombytes("RGB", size, paint_pixels(sketch, *size))


@pytest.mark.parametrize("picture_format", ["jpeg", "png"])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (64, 48), (333, 217)])
def test_a_picture_has_the_asked_size_and_format(size, picture_format):
    sketch = compose(
        "cat city ocean forest planets night", seed=1, index=0, aspect=size[0] / size[1]
    )
    image = decode(paint(sketch, *size, picture_format))
    assert (image.size, image.format) == (size, picture_format.upper())


@pytest.mark.parametrize("motif", BACKDROPS)
def test_a_motif_shows_more_than_a_sky(motif):
    sketch = compose(motif, seed=1, index=0, aspect=1.5)
    colors = pixels(sketch, (150, 100)).getcolors(15_000)
    assert colors is not None
    assert len(colors) > 150


def test_a_disc_is_painted_where_it_belongs():
    image = pixels(flat(Disc(center=(0.5, 0.5), radius=0.25, color=RED)))
    assert image.getpixel((30, 20)) == RED
    assert image.getpixel((30, 5)) == BLUE
    assert image.getpixel((15, 20)) == BLUE


def test_a_glow_fades_outward():
    image = pixels(flat(Disc(center=(0.5, 0.5), radius=0.5, color=RED, is_soft=True)))
    reds = [image.getpixel((30 + step, 20))[0] for step in (0, 8, 16, 25)]
    assert reds == sorted(reds, reverse=True)
    assert reds[0] > 150
    assert reds[-1] == 0


def test_a_polygon_runs_from_its_color_to_its_foot():
    square = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))
    image = pixels(flat(Polygon(points=square, color=RED, foot=GREEN)))
    top, bottom = image.getpixel((30, 11)), image.getpixel((30, 28))
    assert top[0] > 150 > top[1]
    assert bottom[1] > 150 > bottom[0]
    assert image.getpixel((5, 20)) == BLUE


def test_a_polygon_outside_the_picture_leaves_no_trace():
    away = ((1.5, 0.2), (1.9, 0.2), (1.7, 0.9))
    assert pixels(flat(Polygon(points=away, color=RED, foot=RED))) == pixels(flat())


def test_dots_have_their_size():
    image = pixels(flat(Dots(points=((0.5, 0.5),), width=0.1, height=0.1, color=RED)))
    assert sum(count for count, color in image.getcolors() if color == RED) == 6 * 4


def test_a_caption_is_written_on_a_band_at_the_foot():
    plain, written = (
        decode(paint(flat(caption=caption), 400, 300, "png")) for caption in ("", "a fox " * 90)
    )
    assert written.crop((0, 0, 400, 250)) == plain.crop((0, 0, 400, 250))
    assert written.getpixel((1, 299)) == (0, 0, 100)
    assert max(red for _, (red, _, _) in written.getcolors(9999)) > 200


def test_a_caption_that_cannot_be_read_is_left_out():
    assert paint(flat(caption="猫"), 400, 300, "png") == paint(flat(), 400, 300, "png")
    assert paint(flat(caption="cat"), 60, 40, "png") == paint(flat(), 60, 40, "png")


def test_measuring_tells_the_size_of_a_whole_picture():
    file = io.BytesIO()
    Image.effect_noise((123, 77), 60).save(file, "JPEG")
    assert measure(file.getvalue()) == (123, 77)
    with pytest.raises(UnreadableImageError):
        measure(file.getvalue()[:-400])


def test_enlarging_keeps_what_is_seen():
    image = decode(enlarge(paint(flat(), 10, 8, "png"), 33, 20))
    assert (image.size, image.format) == ((33, 20), "PNG")
    assert image.getpixel((16, 10)) == BLUE


def test_errors_tell_what_kind_of_picture_it_was():
    assert issubclass(ImageSizeError, ValueError)
    with pytest.raises(UnreadableImageError):
        enlarge(b"nothing", 10, 10)
