"""The choice between the drawing modules."""

import subprocess
import sys
import zlib

import pytest

from falq.emulator.media.studio import OversizeError, Studio, UnreadableError, build_data_url

FULL = Studio()
BARE = Studio(without=frozenset({"PIL", "av"}))
PICTURE = {"seed": 1, "index": 0, "width": 48, "height": 32, "picture_format": "jpeg"}


def test_a_full_studio_can_do_everything():
    assert FULL.can_enlarge()
    assert FULL.picture_format("jpeg") == "jpeg"
    assert FULL.film_type() == ("video/mp4", "mp4")
    assert FULL.draw_picture("a cat", **PICTURE).startswith(b"\xff\xd8\xff")


def test_a_bare_studio_draws_png_and_shoots_nothing():
    assert not BARE.can_enlarge()
    assert BARE.picture_format("jpeg") == "png"
    assert BARE.film_type() is None
    assert BARE.draw_picture("a cat", **PICTURE).startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_film_repeats_and_needs_no_pillow():
    assert FULL.shoot_film("a cat", seed=1) == FULL.shoot_film("a cat", seed=1)
    assert b"ftyp" in Studio(without=frozenset({"PIL"})).shoot_film("a cat", seed=1)[:16]


def test_a_picture_is_measured_and_enlarged():
    data = FULL.draw_picture("a cat", **PICTURE)
    assert FULL.measure(data) == (48, 32)
    assert FULL.measure(FULL.enlarge(data, width=96, height=64)) == (96, 64)


def png_chunk(kind, data):
    checksum = zlib.crc32(kind + data).to_bytes(4, "big")
    return len(data).to_bytes(4, "big") + kind + data + checksum


def test_what_cannot_be_measured_is_told_apart():
    side = (60_000).to_bytes(4, "big")
    header = png_chunk(b"IHDR", side + side + b"\x08\x02\0\0\0")
    bomb = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", b"\0")
    with pytest.raises(UnreadableError):
        FULL.measure(b"no picture")
    with pytest.raises(OversizeError):
        FULL.measure(bomb)


def test_a_data_url_carries_the_file():
    assert build_data_url(b"\0\1", "image/png") == "data:image/png;base64,AAE="


@pytest.mark.slow
def test_importing_the_models_loads_neither_pillow_nor_pyav():
    code = "import sys, falq.emulator.models; print(sorted({'PIL', 'av'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.strip() == "[]"
