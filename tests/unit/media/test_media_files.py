"""A file is under its final name whole, or not at all."""

from __future__ import annotations

import hashlib

import pytest

from falq.media.files import PartFile


def names_in(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_kept_file_has_its_name_its_bytes_and_its_digest(tmp_path):
    part = PartFile(tmp_path, "cat.png")
    part.write(b"one")
    part.write(b"two")
    assert names_in(tmp_path) != ["cat.png"]
    path = part.keep()
    assert names_in(tmp_path) == ["cat.png"]
    assert path.read_bytes() == b"onetwo"
    assert (part.size_bytes, part.sha256) == (6, hashlib.sha256(b"onetwo").hexdigest())


def test_a_discarded_file_leaves_nothing_and_takes_no_more(tmp_path):
    part = PartFile(tmp_path, "cat.png")
    part.write(b"half")
    part.discard()
    part.write(b"late")
    part.discard()
    assert names_in(tmp_path) == []


def test_a_taken_name_gets_a_number_and_what_is_there_stays(tmp_path):
    (tmp_path / "cat.png").write_bytes(b"mine")
    for _ in range(2):
        part = PartFile(tmp_path, "cat.png")
        part.write(b"new")
        part.keep()
    assert names_in(tmp_path) == ["cat-1.png", "cat-2.png", "cat.png"]
    assert (tmp_path / "cat.png").read_bytes() == b"mine"


def test_a_link_under_the_wanted_name_is_not_followed(tmp_path):
    victim, folder = tmp_path / "victim", tmp_path / "out"
    folder.mkdir()
    (folder / "cat.png").symlink_to(victim)
    part = PartFile(folder, "cat.png")
    part.write(b"new")
    assert part.keep().name == "cat-1.png"
    assert not victim.exists()


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        PartFile(tmp_path / "nowhere", "cat.png")
