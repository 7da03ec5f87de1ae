"""What can be uploaded, how it is read, and what is refused before anything is sent."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tempfile
from pathlib import Path

import pytest
from PIL import Image

from falq.errors import ArgumentError
from falq.media import encode, encode_file, encode_image
from falq.media.encode import image_bytes
from falq.media.types import type_by_name
from falq.media.upload_progress import Meter
from falq.media.upload_source import (
    PIECE_BYTES,
    Span,
    Upload,
    as_upload,
    check_content_type,
    digest_of,
    open_source,
    read_pieces,
)


@pytest.fixture
def anyio_backend():
    """Files are read in threads: a virtual clock would run ahead of them."""
    return "asyncio"


@pytest.fixture
def path(tmp_path):
    place = tmp_path / "cat.png"
    place.write_bytes(b"0123456789")
    return place


async def whole(source):
    return b"".join([piece async for piece in read_pieces(source, 0, source.size_bytes)])


async def taken(upload):
    source = await open_source(upload)
    try:
        return await whole(source), source.file_name, source.content_type
    finally:
        source.close()


async def test_a_path_is_read_from_disk_and_named_by_itself(path):
    assert await taken(Upload(path)) == (b"0123456789", "cat.png", "image/png")


async def test_a_name_and_a_type_that_are_given_hold(path):
    upload = Upload(path, "image/webp", file_name="dog.webp")
    assert await taken(upload) == (b"0123456789", "dog.webp", "image/webp")


@pytest.mark.parametrize(
    "data",
    [b"hi", bytearray(b"hi"), memoryview(b"hi"), "hi"],
    ids=["bytes", "bytearray", "view", "text"],
)
async def test_bytes_and_text_are_themselves(data):
    assert await taken(Upload(data, "text/plain")) == (b"hi", "upload.txt", "text/plain")


async def test_bytes_of_no_known_type_are_called_so():
    assert await taken(Upload(b"hi")) == (b"hi", "upload.bin", "application/octet-stream")


async def test_an_open_file_is_read_from_where_it_stands_and_left_there(path):
    with path.open("rb") as stream:
        stream.seek(4)
        assert (await taken(Upload(stream)))[0] == b"456789"
        assert stream.tell() == 4
        assert stream.read() == b"456789"


async def test_a_file_in_memory_can_be_given_twice():
    stream = io.BytesIO(b"0123")
    stream.seek(1)
    assert (await taken(Upload(stream)))[0] == b"123"
    assert (await taken(Upload(stream)))[0] == b"123"


async def test_an_unpacked_file_gives_what_it_unpacks(tmp_path):
    packed = tmp_path / "a.gz"
    packed.write_bytes(gzip.compress(b"hello"))
    with gzip.open(packed) as stream:
        assert (await taken(Upload(stream, "text/plain")))[0] == b"hello"


async def test_a_temporary_file_is_read_with_what_was_written_to_it():
    with tempfile.NamedTemporaryFile(suffix=".wav") as stream:
        stream.write(b"sound")
        stream.seek(0)
        data, _, content_type = await taken(Upload(stream))
    assert (data, content_type) == (b"sound", "audio/wav")


async def test_a_text_file_is_refused(path):
    with path.open(encoding="utf-8") as stream, pytest.raises(ArgumentError, match="rb"):
        await open_source(Upload(stream))
    with pytest.raises(ArgumentError, match="rb"):
        await open_source(Upload(io.StringIO("text")))


async def test_a_closed_file_is_refused(path):
    stream = path.open("rb")
    stream.close()
    with pytest.raises(ArgumentError, match="cannot be read"):
        await open_source(Upload(stream))


async def test_a_folder_a_pipe_and_a_missing_file_are_refused(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for place, reason in [(tmp_path, "no file"), (pipe, "no file"), (tmp_path / "x", "No such")]:
        with pytest.raises(ArgumentError, match=reason):
            await open_source(Upload(place))


async def test_something_else_is_refused():
    with pytest.raises(ArgumentError, match="int cannot be uploaded"):
        await open_source(Upload(5))


@pytest.mark.parametrize("content_type", ["", "png", "image/", "/png", "image/p\r\nX: y", 5, "é/x"])
def test_a_content_type_that_no_header_could_carry_is_refused(content_type):
    with pytest.raises(ArgumentError, match="content_type"):
        check_content_type(content_type)


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("../../etc/passwd", "passwd"),
        ("Käse.png", "K_se.png"),
        ("a\r\nX-Y: z.png", "a__X-Y_ z.png"),
    ],
)
async def test_a_file_name_is_made_safe_for_a_header(given, safe):
    assert (await taken(Upload(b"x", "image/png", file_name=given)))[1].startswith(safe[:6])
    assert (await taken(Upload(b"x", "image/png", file_name=given)))[1].isascii()


async def test_a_file_name_is_text():
    with pytest.raises(ArgumentError, match="file_name"):
        await open_source(Upload(b"x", "image/png", file_name=5))


async def test_a_file_that_shrinks_is_an_error_and_not_a_short_upload(path):
    source = await open_source(Upload(path))
    path.write_bytes(b"012")
    with pytest.raises(ArgumentError, match="changed"):
        await whole(source)
    source.close()


async def test_a_file_that_was_written_to_is_an_error(path):
    source = await open_source(Upload(path))
    with path.open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(ArgumentError, match="changed"):
        await source.check_unchanged()
    source.close()


async def test_a_file_is_closed_by_whoever_opened_it(path):
    source = await open_source(Upload(path))
    source.close()
    with pytest.raises(ArgumentError, match="cannot be read"):
        await source.read_at(0, 1)
    with path.open("rb") as stream:
        (await open_source(Upload(stream))).close()
        assert not stream.closed


async def test_an_image_is_written_without_loss():
    image = Image.new("RGBA", (3, 2), (1, 2, 3, 4))
    data, name, content_type = await taken(as_upload(image))
    assert (name, content_type) == ("upload.png", "image/png")
    assert Image.open(io.BytesIO(data)).tobytes() == bytes([1, 2, 3, 4]) * 6


async def test_an_image_is_written_as_the_type_that_is_asked_for():
    data, name, content_type = await taken(Upload(Image.new("RGB", (3, 2)), "image/webp"))
    assert (name, content_type, data[:4]) == ("upload.webp", "image/webp", b"RIFF")


def test_text_is_never_taken_for_something_to_upload(path):
    assert as_upload(str(path)) is None
    assert as_upload("data:image/png;base64,") is None
    assert as_upload(5) is None
    assert as_upload(path) == Upload(path)


def test_an_upload_does_not_show_its_bytes():
    assert "secret" not in repr(Upload(b"secret", "text/plain"))


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES + 7])
async def test_pieces_are_the_whole_and_none_is_too_large(tmp_path, size):
    data = os.urandom(size)
    place = tmp_path / "a.bin"
    place.write_bytes(data)
    source = await open_source(Upload(place))
    pieces = [piece async for piece in read_pieces(source, 0, source.size_bytes)]
    assert b"".join(pieces) == data
    assert max(map(len, pieces), default=0) <= PIECE_BYTES
    assert await digest_of(source) == hashlib.sha256(data).hexdigest()
    source.close()


async def test_what_is_sent_again_is_counted_once():
    told = []
    source = await open_source(Upload(b"0123456789"))
    meter = Meter("a.bin", 10, lambda progress: told.append(progress.sent_bytes))
    span = Span(source, 2, 5, meter)
    for _ in range(2):
        assert b"".join([piece async for piece in span.pieces()]) == b"23456"
    assert told == [5, 0, 5]


def test_data_urls_are_those_of_the_standard(path):
    assert encode("hi", "text/plain") == "data:text/plain;base64,aGk="
    assert encode(b"\xff", "image/png") == "data:image/png;base64,/w=="
    assert encode_file(path) == "data:image/png;base64,MDEyMzQ1Njc4OQ=="
    assert encode_image(Image.new("RGB", (2, 2))).startswith("data:image/jpeg;base64,/9j/")
    assert encode_image(Image.new("RGB", (2, 2)), "png").startswith("data:image/png;base64,iVBOR")


def test_an_image_that_its_format_cannot_hold_is_refused_with_a_hint():
    with pytest.raises(ArgumentError, match="png"):
        encode_image(Image.new("RGBA", (2, 2)))
    for image, name in [("no image", "png"), (Image.new("RGB", (2, 2)), "nonsense")]:
        with pytest.raises(ArgumentError):
            image_bytes(image, name)


def test_a_type_is_told_by_the_ending_of_a_name_and_nothing_else():
    assert type_by_name(Path("a/B.JPeG")) == "image/jpeg"
    assert type_by_name("archive.tar.unknown") == type_by_name("") == "application/octet-stream"
