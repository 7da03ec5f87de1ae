"""A file is under its final name whole, or not at all, and survives its process."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from falq.media.files import PartFile
from falq.media.folder import MediaFolder

TAG = '"v1"'
WHOLE = b"0123456789"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[MediaFolder]:
    made = MediaFolder(tmp_path / "out")
    yield made
    made.close()


@pytest.fixture
def open_part(folder: MediaFolder) -> Iterator[Callable[..., PartFile]]:
    opened = []

    def open_part(key: str = "key", *, checkpoint_bytes: int = 4) -> PartFile:
        opened.append(PartFile(folder, key, checkpoint_bytes=checkpoint_bytes))
        return opened[-1]

    yield open_part
    for part in opened:
        part.discard()


def begun(part: PartFile, *, validator: str | None = TAG) -> PartFile:
    part.begin(start=0, total_bytes=len(WHOLE), validator=validator)
    return part


def left_by_a_killed_process(folder: MediaFolder, data: bytes, **changes: object) -> None:
    """Write what a part and its note look like when nobody had time to close them."""
    note = {"validator": TAG, "total_bytes": 10, "synced_bytes": 4, "boot_id": boot_id()}
    (folder.path / ".falq-key.part").write_bytes(data)
    (folder.path / ".falq-key.part.json").write_text(json.dumps(note | changes))


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_a_kept_file_has_its_name_its_bytes_and_its_digest(open_part, folder):
    part = begun(open_part())
    part.write(WHOLE[:6])
    part.write(WHOLE[6:])
    assert "cat.png" not in names_in(folder.path)
    path = part.keep(("cat.png",), if_taken="number")
    assert names_in(folder.path) == ["cat.png"]
    assert path.read_bytes() == WHOLE
    assert (part.size_bytes, part.sha256) == (10, hashlib.sha256(WHOLE).hexdigest())


def test_a_discarded_file_leaves_nothing_and_takes_no_more(open_part, folder):
    part = begun(open_part())
    part.write(b"half")
    part.discard()
    part.write(b"late")
    part.begin(start=0, total_bytes=1, validator=None)
    part.restart()
    part.suspend()
    with pytest.raises(OSError, match="put away"):
        part.keep(("cat.png",), if_taken="number")
    assert names_in(folder.path) == []


@pytest.mark.parametrize("checkpoint_bytes", [4, 1000])
def test_a_suspended_file_goes_on_with_its_bytes_and_digest(open_part, checkpoint_bytes):
    first = begun(open_part(checkpoint_bytes=checkpoint_bytes))
    first.write(WHOLE[:6])
    first.suspend()
    second = open_part()
    assert second.held == first.held
    assert second.size_bytes == 6
    second.begin(start=6, total_bytes=10, validator=TAG)
    second.write(WHOLE[6:])
    assert second.keep(("a",), if_taken="number").read_bytes() == WHOLE
    assert second.sha256 == hashlib.sha256(WHOLE).hexdigest()


def test_a_file_of_no_known_version_is_not_suspended_but_removed(open_part, folder):
    part = begun(open_part(), validator=None)
    part.write(b"half")
    part.suspend()
    assert names_in(folder.path) == []


def test_bytes_of_another_version_are_dropped(open_part):
    part = begun(open_part())
    part.write(b"old")
    part.begin(start=0, total_bytes=3, validator='"v2"')
    part.write(b"new")
    assert part.keep(("a",), if_taken="number").read_bytes() == b"new"
    assert part.sha256 == hashlib.sha256(b"new").hexdigest()


def test_what_a_killed_process_wrote_counts(folder, open_part):
    left_by_a_killed_process(folder, WHOLE[:7])
    assert open_part().size_bytes == 7


def test_what_a_lost_power_left_counts_as_far_as_it_was_synced(folder, open_part):
    left_by_a_killed_process(folder, WHOLE[:7], boot_id="another")
    assert open_part().size_bytes == 4


def test_of_a_whole_part_one_byte_is_asked_for_again(folder, open_part):
    left_by_a_killed_process(folder, WHOLE)
    assert open_part().size_bytes == 9


def test_bytes_without_a_readable_note_are_dropped(folder, open_part):
    for wrong in ({"validator": 7}, {"synced_bytes": -1}, {"total_bytes": "x"}):
        left_by_a_killed_process(folder, WHOLE[:7], **wrong)
        part = open_part()
        assert part.size_bytes == 0
        part.discard()
    (folder.path / ".falq-key.part").write_bytes(WHOLE)
    assert open_part().size_bytes == 0


def test_the_note_holds_nothing_of_the_url(open_part, folder):
    part = begun(open_part())
    part.write(WHOLE)
    note = json.loads((folder.path / ".falq-key.part.json").read_text())
    assert set(note) == {"validator", "total_bytes", "synced_bytes", "boot_id"}
    assert note["synced_bytes"] == 10


def test_two_writers_of_one_file_have_a_part_each(open_part, folder):
    first, second = begun(open_part()), begun(open_part())
    first.write(b"one")
    second.write(b"two")
    names = [part.keep(("a",), if_taken="number").name for part in (first, second)]
    assert names == ["a", "a-1"]
    assert (folder.path / "a").read_bytes() == b"one"


@pytest.mark.parametrize("kind", ["symlink", "hard link", "pipe"])
def test_what_was_laid_under_the_name_of_a_part_is_not_written_to(open_part, folder, kind):
    victim, trap = folder.path.parent / "victim", folder.path / ".falq-key.part"
    victim.write_bytes(b"mine")
    if kind == "symlink":
        trap.symlink_to(victim)
    elif kind == "hard link":
        trap.hardlink_to(victim)
    else:
        os.mkfifo(trap)
    part = begun(open_part())
    part.write(b"theirs")
    part.keep(("a",), if_taken="number")
    assert victim.read_bytes() == b"mine"
    assert (folder.path / "a").read_bytes() == b"theirs"
