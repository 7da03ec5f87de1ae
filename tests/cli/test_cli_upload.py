"""The command that uploads, as a process against an emulator."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


async def test_each_uploaded_file_is_a_line_with_its_url(run_falq, emulator, tmp_path):
    for name in ("cat.png", "dog.png"):
        (tmp_path / name).write_bytes(name.encode())
    ran = await run_falq("upload", "cat.png", "dog.png", "--expires", "3600")
    assert ran.code == 0, ran
    assert [line["path"] for line in ran.lines] == ["cat.png", "dog.png"]
    assert [line["url"].rpartition("/")[2] for line in ran.lines] == ["cat.png", "dog.png"]
    assert "cat.png: 7 bytes of 7 bytes" in ran.err
    assert emulator.stats().uploads == 2


@pytest.mark.parametrize("name", ["none.png", "folder"])
async def test_a_file_that_cannot_be_read_is_said_before_any_is_uploaded(
    run_falq, emulator, tmp_path, name
):
    (tmp_path / "cat.png").write_bytes(b"png")
    (tmp_path / "folder").mkdir()
    ran = await run_falq("upload", "cat.png", name)
    assert ran.code == 2
    assert f"{name} " in ran.err
    assert "nothing was sent" in ran.err
    assert ran.lines == []
    assert emulator.stats().uploads == 0
