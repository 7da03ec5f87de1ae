"""What is wrong with a file that a journal says is there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from attrs import evolve

from falq.batch.downloads import trouble_with
from falq.journal import FileRecord

DATA = b"a picture"


@pytest.fixture
def file(tmp_path: Path) -> FileRecord:
    (tmp_path / "a.png").write_bytes(DATA)
    return FileRecord(
        job=1,
        json_path="images[0].url",
        url="https://x.example/a.png",
        state="saved",
        name="a.png",
        size_bytes=len(DATA),
        sha256=hashlib.sha256(DATA).hexdigest(),
    )


@pytest.mark.parametrize("with_hashes", [True, False])
def test_nothing_is_wrong_with_a_file_that_is_as_it_was(file, tmp_path, with_hashes):
    assert trouble_with(file, tmp_path, with_hashes=with_hashes) is None


def test_only_its_hash_tells_of_a_change_that_keeps_the_size(file, tmp_path):
    (tmp_path / "a.png").write_bytes(DATA[::-1])
    assert trouble_with(file, tmp_path, with_hashes=False) is None
    assert "was changed" in (trouble_with(file, tmp_path, with_hashes=True) or "")


def test_a_file_that_is_gone_or_shorter_or_no_file_is_told(file, tmp_path):
    (tmp_path / "a.png").write_bytes(DATA[:4])
    assert trouble_with(file, tmp_path, with_hashes=False) == "has 4 bytes and not 9"
    (tmp_path / "a.png").unlink()
    assert trouble_with(file, tmp_path, with_hashes=True) == "is not there"
    (tmp_path / "b").mkdir()
    folder = evolve(file, name="b", size_bytes=(tmp_path / "b").stat().st_size)
    assert "cannot be read" in (trouble_with(folder, tmp_path, with_hashes=True) or "")
    assert trouble_with(evolve(file, name=None), tmp_path, with_hashes=True)
