"""Painting on the standard library alone, checked with Pillow."""

import io

import pytest
from PIL import Image

from falq.emulator.media import painting
from falq.emulator.media.plain import paint, paint_pixels, write_png
from falq.emulator.media.sketch import BACKDROPS, Disc, Dots, Polygon, Sketch, compose

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def pixels(*elements, size=(60, 40)):
    sketch = Sketch(sky=(BLUE, BLUE), elements=elements, caption="")
    return Image.frombytes("RGB", size, paint_pixels(sketch, *size))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (64, 48), (333, 217)])
def test_a_picture_is_a_png_of_the_asked_size(size):
    sketch = compose(
        "cat city ocean forest planets night", seed=1, index=0, aspect=size[0] / size[1]
    )
    image = Image.open(io.BytesIO(paint(sketch, *size)))
    image.load()
    assert (image.size, image.format) == (size, "PNG")


def test_a_png_holds_the_very_pixels():
    data = bytes(range(24))
    image = Image.open(io.BytesIO(write_png(data, 4, 2)))
    assert (image.mode, image.tobytes()) == ("RGB", data)


@pytest.mark.parametrize("motif", BACKDROPS)
def test_both_painters_agree_on_what_is_where(motif):
    sketch = compose(motif, seed=4, index=0, aspect=1.5)
    rough, fine = paint_pixels(sketch, 90, 60), painting.paint_pixels(sketch, 90, 60)
    apart = sum(abs(a - b) for a, b in zip(rough, fine, strict=True)) / len(fine)
    assert apart < 16


def test_a_disc_a_polygon_and_dots_are_painted_where_they_belong():
    square = ((0.0, 0.5), (0.5, 0.5), (0.5, 1.0), (0.0, 1.0))
    image = pixels(
        Disc(center=(0.5, 0.25), radius=0.2, color=RED),
        Polygon(points=square, color=GREEN, foot=GREEN),
        Dots(points=((0.75, 0.75),), width=0.1, height=0.1, color=RED),
    )
    assert image.getpixel((30, 10)) == RED
    assert image.getpixel((29, 21)) == GREEN
    assert image.getpixel((31, 21)) == BLUE
    assert image.getpixel((46, 31)) == RED
    assert image.getpixel((59, 39)) == BLUE


def test_what_lies_outside_the_picture_leaves_no_trace():
    away = ((1.5, 1.2), (1.9, 1.2), (1.7, 1.9))
    image = pixels(
        Polygon(points=away, color=RED, foot=RED),
        Disc(center=(-2.0, -2.0), radius=0.2, color=RED),
        Dots(points=((-1.0, -1.0), (2.0, 2.0)), width=0.1, height=0.1, color=RED),
    )
    assert image.getcolors() == [(60 * 40, BLUE)]
