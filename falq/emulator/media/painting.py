"""Paint a sketch with Pillow, and enlarge pictures with it.

Owns everything that needs Pillow. It never decides what a picture shows.
`studio` imports it when Pillow is there, nobody else does.

Speed: gradients are made two or four pixels large and stretched, outlines are
drawn twice as large as needed and halved, which smooths their edges.
"""

from __future__ import annotations

import io

from PIL import Image, ImageDraw, ImageFont

from falq.emulator.media.sketch import Disc, Dots, Polygon, Sketch

# The service's own quality is not known; this keeps a megapixel near 100 kB.
JPEG_QUALITY = 85

# Pillow's radial gradient is 0 in its middle and 255 in its corners: this is
# its level at the rim of the circle inside.
RIM = 181
LAST_LATIN = "\u024f"


class UnreadableImageError(ValueError):
    """The bytes are no picture that Pillow can decode."""


class ImageSizeError(ValueError):
    """The picture has more pixels than anybody should decode."""


def paint(sketch: Sketch, width: int, height: int, picture_format: str) -> bytes:
    """Return the file of a painted sketch; `picture_format` is `jpeg` or `png`."""
    image = _paint(sketch, width, height)
    _write_caption(image, sketch.caption)
    return _save(image, picture_format)


def paint_pixels(sketch: Sketch, width: int, height: int) -> bytes:
    """Return the painted sketch as three bytes per pixel, row by row."""
    return _paint(sketch, width, height).tobytes()


def measure(data: bytes) -> tuple[int, int]:
    """Return the width and height of a picture that can be decoded to its end.

    Raises:
        UnreadableImageError: It cannot.
        ImageSizeError: It was not tried, for the size it claims to have.
    """
    image = _open(data)
    size = image.size
    # A JPEG is decoded at an eighth of its size, which is enough to see that
    # all of it is there.
    image.draft("RGB", (size[0] // 8, size[1] // 8))
    try:
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise UnreadableImageError(str(error)) from None
    return size


def enlarge(data: bytes, width: int, height: int) -> bytes:
    """Return the picture as a PNG file of another size.

    Raises:
        UnreadableImageError: `data` is no picture.
        ImageSizeError: `data` claims too many pixels.
    """
    image = _open(data).convert("RGB")
    return _save(image.resize((width, height), Image.Resampling.LANCZOS), "png")


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageSizeError(str(error)) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise UnreadableImageError(str(error)) from None


def _save(image: Image.Image, picture_format: str) -> bytes:
    file = io.BytesIO()
    if picture_format == "png":
        # Level 1: a gallery is drawn on the fly, and level 6 takes four times as long.
        image.save(file, "PNG", compress_level=1)
    else:
        image.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def _paint(sketch: Sketch, width: int, height: int) -> Image.Image:
    strip = Image.new("RGB", (1, len(sketch.sky)))
    strip.putdata(sketch.sky)
    image = strip.resize((width, height), Image.Resampling.BICUBIC)
    for element in sketch.elements:
        match element:
            case Disc():
                _paint_disc(image, element)
            case Polygon():
                _paint_polygon(image, element)
            case Dots():
                _paint_dots(image, element)
    return image


def _paint_disc(image: Image.Image, disc: Disc) -> None:
    radius = max(1, round(disc.radius * min(image.size)))
    if disc.is_soft:
        fade = [max(0.0, 1 - level / RIM) ** 2.2 for level in range(256)]
    else:
        # The edge fades over one pixel of the picture.
        fade = [min(1.0, max(0.0, (RIM - level) * radius / RIM)) for level in range(256)]
    distance = Image.radial_gradient("L").resize((2 * radius, 2 * radius), Image.Resampling.BICUBIC)
    mask = distance.point([round(disc.opacity * 255 * share) for share in fade])
    left = round(disc.center[0] * image.width) - radius
    top = round(disc.center[1] * image.height) - radius
    image.paste(disc.color, (left, top, left + 2 * radius, top + 2 * radius), mask)


def _paint_polygon(image: Image.Image, polygon: Polygon) -> None:
    width, height = image.size
    xs, ys = zip(*polygon.points, strict=True)
    left, right = max(0, int(min(xs) * width)), min(width, int(max(xs) * width) + 1)
    top, bottom = max(0, int(min(ys) * height)), min(height, int(max(ys) * height) + 1)
    if left >= right or top >= bottom:
        return
    size = (right - left, bottom - top)
    mask = Image.new("L", (2 * size[0], 2 * size[1]))
    outline = [(2 * (x * width - left), 2 * (y * height - top)) for x, y in polygon.points]
    ImageDraw.Draw(mask).polygon(outline, fill=255)
    strip = Image.new("RGB", (1, 2))
    strip.putdata((polygon.color, polygon.foot))
    image.paste(strip.resize(size, Image.Resampling.BILINEAR), (left, top), mask.reduce(2))


def _paint_dots(image: Image.Image, dots: Dots) -> None:
    brush = ImageDraw.Draw(image)
    # Whole pixels: Pillow counts both corners in, and refuses a box whose second
    # corner rounding has put before the first.
    wide = max(1, round(dots.width * image.width)) - 1
    tall = max(1, round(dots.height * image.height)) - 1
    for x, y in dots.points:
        left, top = round(x * image.width), round(y * image.height)
        brush.rectangle((left, top, left + wide, top + tall), fill=dots.color)


def _write_caption(image: Image.Image, caption: str) -> None:
    width, height = image.size
    # Pillow's own font has Latin letters only; others would show as empty boxes.
    caption = "".join(letter for letter in caption if letter <= LAST_LATIN).strip()
    letters = max(8, min(26, width // 44))
    if not caption or height < 4 * letters or width < 12 * letters:
        return
    font = ImageFont.load_default(letters)
    pad = letters // 2
    if font.getlength(caption) > width - 4 * pad:
        room = (width - 4 * pad - font.getlength("…")) / font.getlength(caption)
        caption = caption[: int(len(caption) * room)].rstrip() + "…"
    top = height - letters - 3 * pad
    band = image.crop((0, top, width, height)).point([value * 5 // 10 for value in range(256)] * 3)
    image.paste(band, (0, top))
    ImageDraw.Draw(image).text((2 * pad, top + pad), caption, fill=(248, 248, 244), font=font)
