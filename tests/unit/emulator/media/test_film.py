"""Encoding films with PyAV."""

import io

import av
import pytest

from falq.emulator.media.film import ENCODINGS, choose_encoding, encode

SIZE = {"width": 34, "height": 16}
FRAMES = [bytes([shade, 40, 90]) * (34 * 16) for shade in range(0, 240, 20)]


def available(encoding):
    return encoding.codec in av.codecs_available


def decode(data):
    with av.open(io.BytesIO(data)) as container:
        return container.format.name, list(container.decode(container.streams.video[0]))


def test_the_first_encoding_that_is_there_is_chosen():
    assert choose_encoding() == next(filter(available, ENCODINGS))


@pytest.mark.parametrize(
    "encoding", list(filter(available, ENCODINGS)), ids=lambda encoding: encoding.codec
)
def test_a_film_decodes_to_the_frames_that_were_put_in(encoding):
    data = encode(iter(FRAMES), **SIZE, rate=12, encoding=encoding)
    name, frames = decode(data)
    assert encoding.container in name
    assert len(frames) == len(FRAMES)
    assert {(frame.width, frame.height) for frame in frames} == {(34, 16)}
    assert frames[-1].time == pytest.approx((len(FRAMES) - 1) / 12, abs=0.01)


def test_the_index_stands_before_the_pictures():
    data = encode(iter(FRAMES), **SIZE, rate=12, encoding=ENCODINGS[0])
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_the_same_frames_give_the_same_file():
    first, again = (encode(iter(FRAMES), **SIZE, rate=12, encoding=ENCODINGS[0]) for _ in "ab")
    assert first == again
