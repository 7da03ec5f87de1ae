from __future__ import annotations

import base64
import os

import pytest

from falq.batch.localfiles import FileShelf, resolve_files
from falq.batch.problems import BadFieldError
from falq.errors import ArgumentError

DATA = b"\x89PNG picture"
URL = "data:image/png;base64," + base64.b64encode(DATA).decode()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cat.png").write_bytes(DATA)
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "big.png").write_bytes(b"x" * 101)
    (tmp_path / "pictures").mkdir()
    return tmp_path


SENT = [
    ({"image_url@": "cat.png"}, {"image_url": URL}),
    ({"urls@": ["cat.png", "cat.png"], "n": 1}, {"urls": [URL, URL], "n": 1}),
    ({"deep": [{"mask@": "./cat.png"}]}, {"deep": [{"mask": URL}]}),
    ({"prompt": "@cat.png", "to": "me@"}, {"prompt": "@cat.png", "to": "me@"}),
    ({"urls@": []}, {"urls": []}),
]


@pytest.mark.parametrize(("arguments", "sent"), SENT)
def test_an_argument_whose_name_ends_in_at_is_sent_as_the_file_it_names(folder, arguments, sent):
    shelf = FileShelf(folder)
    shelf.check(arguments)
    assert resolve_files(arguments, shelf.look_up(arguments)) == sent


BAD = [
    ({"image_url@": "dog.png"}, "image_url@", "No such file"),
    ({"a": {"urls@": ["cat.png", "dog.png"]}}, "a.urls@[1]", "No such file"),
    ({"image_url@": "pictures"}, "image_url@", "no file"),
    ({"image_url@": "empty.png"}, "image_url@", "empty"),
    ({"image_url@": "big.png"}, "image_url@", "101 bytes"),
    ({"image_url@": "a\0b"}, "image_url@", "null byte"),
    ({"image_url@": 7}, "image_url@", "path of a file"),
    ({"image_url@": ["cat.png", 7]}, "image_url@", "path of a file"),
    ({"image_url@": "cat.png", "image_url": "https://x"}, "image_url@", "given too"),
    ({"@": "cat.png"}, "@", "for none"),
]


@pytest.mark.parametrize(("arguments", "field", "reason"), BAD)
def test_a_file_that_cannot_be_sent_is_named_by_its_argument(folder, arguments, field, reason):
    shelf = FileShelf(folder, limit_bytes=100)
    for look in (shelf.check, shelf.look_up):
        with pytest.raises(BadFieldError) as caught:
            look(arguments)
        assert caught.value.field == field
        assert reason in caught.value.reason


def test_a_pipe_is_no_file_and_is_not_waited_for(folder):
    os.mkfifo(folder / "pipe.png")
    with pytest.raises(BadFieldError) as caught:
        FileShelf(folder).check({"image_url@": "pipe.png"})
    assert "no file" in caught.value.reason


def test_a_file_that_changed_after_it_was_hashed_is_not_sent(folder):
    arguments = {"image_url@": "cat.png"}
    files = FileShelf(folder).look_up(arguments)
    (folder / "cat.png").write_bytes(DATA + b"!")
    with pytest.raises(ArgumentError, match="changed") as caught:
        resolve_files(arguments, files)
    assert caught.value.argument == "image_url@"


def test_a_file_that_went_away_is_not_sent(folder):
    arguments = {"image_url@": "cat.png"}
    files = FileShelf(folder).look_up(arguments)
    (folder / "cat.png").unlink()
    with pytest.raises(ArgumentError, match="No such file"):
        resolve_files(arguments, files)


def test_a_file_that_was_never_hashed_is_not_sent(folder):
    files = FileShelf(folder).look_up({"image_url@": "cat.png"})
    with pytest.raises(ArgumentError, match="not among"):
        resolve_files({"mask@": "cat.png"}, files)


def test_a_file_is_hashed_again_when_it_has_changed(folder):
    shelf, arguments = FileShelf(folder), {"image_url@": "cat.png"}
    [before] = shelf.look_up(arguments)
    assert shelf.look_up(arguments) == (before,)
    (folder / "cat.png").write_bytes(DATA + b"!")
    [after] = shelf.look_up(arguments)
    assert after.sha256 != before.sha256
    assert after.size_bytes == before.size_bytes + 1


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("a.JPG", "image/jpeg"), ("a.wav", "audio/wav"), ("a.odd", "application/octet-stream")],
)
def test_the_media_type_goes_by_the_ending(tmp_path, name, media_type):
    (tmp_path / name).write_bytes(b"x")
    [file] = FileShelf(tmp_path).look_up({"f@": name})
    assert file.media_type == media_type
