from __future__ import annotations

import base64
import hashlib
import os

import pytest

from falq.batch.localfiles import FileShelf, resolve_files
from falq.batch.problems import BadFieldError
from falq.errors import ArgumentError
from falq.media.upload_source import Upload

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
    shelf = FileShelf(folder, limit_bytes=100, upload="never")
    for look in (shelf.check, shelf.look_up):
        with pytest.raises(BadFieldError) as caught:
            look(arguments)
        assert caught.value.field == field
        assert reason in caught.value.reason


MODES = [("auto", [False, True]), ("always", [True, True])]


@pytest.mark.parametrize(("upload", "is_uploaded"), MODES)
def test_a_file_above_the_limit_is_uploaded_or_all_are(folder, upload, is_uploaded):
    shelf = FileShelf(folder, limit_bytes=100, upload=upload)
    files = shelf.look_up({"urls@": ["cat.png", "big.png"]})
    assert [file.is_uploaded for file in files] == is_uploaded


def test_what_is_uploaded_is_handed_over_with_its_hash_and_never_read(folder):
    arguments = {"small@": "cat.png", "large@": "big.png"}
    files = FileShelf(folder, limit_bytes=100).look_up(arguments)
    resolved = resolve_files(arguments, files)
    assert resolved["small"] == URL
    assert resolved["large"] == Upload(
        folder / "big.png", "image/png", sha256=hashlib.sha256(b"x" * 101).hexdigest()
    )


@pytest.mark.parametrize(
    ("upload", "reason"),
    [
        ("auto", "101 bytes; 100 is the most that is sent inside a request, and the maton gateway"),
        ("always", "101 bytes; the maton gateway has no uploads"),
    ],
)
def test_where_nothing_can_be_uploaded_a_file_is_refused_with_the_limit(folder, upload, reason):
    shelf = FileShelf(folder, limit_bytes=100, upload=upload)
    shelf.refuse_uploads("maton")
    with pytest.raises(BadFieldError) as caught:
        shelf.check({"image_url@": "big.png"})
    assert reason in caught.value.reason


def test_a_small_file_needs_no_upload_and_is_sent_by_any_gateway(folder):
    shelf = FileShelf(folder, limit_bytes=100)
    shelf.refuse_uploads("maton")
    [file] = shelf.look_up({"image_url@": "cat.png"})
    assert not file.is_uploaded


def test_there_is_no_other_way_to_upload(folder):
    with pytest.raises(ArgumentError, match="auto, always, never"):
        FileShelf(folder, upload="sometimes")


@pytest.mark.parametrize("change", ["grow", "vanish"])
def test_an_upload_whose_file_has_another_size_or_is_gone_is_refused(folder, change):
    arguments = {"image_url@": "big.png"}
    files = FileShelf(folder, limit_bytes=100).look_up(arguments)
    if change == "grow":
        (folder / "big.png").write_bytes(b"x" * 102)
    else:
        (folder / "big.png").unlink()
    with pytest.raises(ArgumentError, match=r"changed|No such file") as caught:
        resolve_files(arguments, files)
    assert caught.value.argument == "image_url@"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("https://h.example/a.png", "a URL; write the argument's name without the @"),
        ("data:image/png;base64,AA==", "a URL"),
        ("", "names no file"),
    ],
)
def test_what_is_no_path_says_what_to_write_instead(folder, name, reason):
    with pytest.raises(BadFieldError) as caught:
        FileShelf(folder).check({"image_url@": name})
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
