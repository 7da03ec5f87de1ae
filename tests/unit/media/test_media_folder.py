"""Nothing leaves the folder, and nothing in it is written over unasked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from falq.media.folder import MediaFolder


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[MediaFolder]:
    made = MediaFolder(tmp_path / "out")
    yield made
    made.close()


@pytest.fixture
def settle(folder: MediaFolder) -> Callable[..., str]:
    def settle(*parts: str, data: bytes = b"new", if_taken="number") -> str:
        (folder.path / ".part").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        path = folder.settle(".part", parts, if_taken=if_taken, sha256=digest)
        assert path.read_bytes() == data
        assert not (folder.path / ".part").exists()
        return path.relative_to(folder.path).as_posix()

    return settle


def test_a_taken_name_gets_a_number_and_what_is_there_stays(settle, folder):
    (folder.path / "cat.png").write_bytes(b"mine")
    assert [settle("cat.png") for _ in range(3)] == ["cat-1.png", "cat-2.png", "cat-3.png"]
    assert (folder.path / "cat.png").read_bytes() == b"mine"


def test_a_name_that_appears_meanwhile_is_not_written_over(settle, folder):
    settle("a.png")
    (folder.path / "a-1.png").write_bytes(b"mine")
    assert settle("a.png") == "a-2.png"
    assert (folder.path / "a-1.png").read_bytes() == b"mine"


def test_names_that_differ_in_case_only_are_one_name(settle):
    assert settle("Cat.png") == "Cat.png"
    assert settle("cat.PNG") == "cat-1.PNG"
    assert settle("stra\u00dfe") == "stra\u00dfe"
    assert settle("STRASSE") == "STRASSE-1"


def test_the_same_bytes_are_kept_once_if_asked(settle, folder):
    settle("a.png")
    assert settle("a.png", if_taken="same") == "a.png"
    assert settle("a.png", data=b"other", if_taken="same") == "a-1.png"
    (folder.path / "dir").mkdir()
    assert settle("dir", if_taken="same") == "dir-1"


def test_an_old_file_is_replaced_if_asked(settle, folder):
    (folder.path / "a.png").write_bytes(b"old")
    assert settle("a.png", if_taken="replace") == "a.png"


@pytest.mark.parametrize("if_taken", ["number", "same", "replace"])
def test_a_link_under_the_wanted_name_is_not_followed(settle, folder, if_taken):
    victim = folder.path.parent / "victim"
    victim.write_bytes(b"new")
    (folder.path / "a.png").symlink_to(victim)
    settle("a.png", if_taken=if_taken)
    assert victim.read_bytes() == b"new"
    assert not victim.is_symlink()
    (folder.path / "b.png").symlink_to(folder.path.parent / "nowhere")
    settle("b.png", if_taken=if_taken)
    assert not (folder.path.parent / "nowhere").exists()


def test_folders_are_made_and_used_again(settle):
    assert settle("a", "b", "c.png") == "a/b/c.png"
    assert settle("a", "b", "c.png") == "a/b/c-1.png"
    assert settle("a", "c.png") == "a/c.png"


def test_a_folder_that_is_a_link_leads_nowhere(settle, folder):
    outside = folder.path.parent / "outside"
    outside.mkdir()
    (folder.path / "a").symlink_to(outside)
    with pytest.raises(OSError, match=r"a"):
        settle("a", "c.png")
    assert list(outside.iterdir()) == []


def test_many_folders_are_more_than_are_remembered(settle):
    for number in range(70):
        assert settle(str(number), "a.png") == f"{number}/a.png"
    assert settle("0", "a.png") == "0/a-1.png"


def test_a_folder_moved_away_still_gets_its_files(folder):
    (folder.path / ".part").write_bytes(b"x")
    moved = folder.path.rename(folder.path.with_name("moved"))
    folder.settle(".part", ("a",), if_taken="number", sha256="")
    assert (moved / "a").read_bytes() == b"x"
