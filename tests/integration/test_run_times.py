"""Run times that outlive a session, in a real file."""

from __future__ import annotations

import json
import logging

import pytest

import falq
from falq.emulator import Emulator


async def run_jobs(emulator, path, count):
    async with falq.Session(emulator.gateway, run_times=path) as session:
        async for outcome in session.map("acme/echo", ({"n": n} for n in range(count))):
            assert outcome.error is None
        return session.statistics()


async def test_the_next_session_knows_what_the_first_learned(tmp_path):
    path = tmp_path / "run-times.json"
    async with Emulator() as emulator:
        await run_jobs(emulator, path, 6)
        first = json.loads(path.read_text())
        assert len(first["run_times_s"]["acme/echo"]) == 6
        await run_jobs(emulator, path, 3)
    second = json.loads(path.read_text())["run_times_s"]["acme/echo"]
    assert second[:6] == first["run_times_s"]["acme/echo"]
    assert len(second) == 9
    assert path.stat().st_mode & 0o077 == 0
    assert [one.name for one in tmp_path.iterdir()] == ["run-times.json"]


@pytest.mark.parametrize(
    "kept",
    [
        b"",
        b"[]",
        b'{"form": 2, "run_times_s": {}}',
        b'{"form": 1, "run_times_s": {"a": [-1]}}',
        b'{"form": 1, "run_times_s": {"a": ["x"]}}',
        b'{"form": 1, "run_times_s": {"a": 3}}',
        b'{"form": 1, "run_times_s": [1]}',
    ],
    ids=repr,
)
async def test_a_file_that_is_none_is_told_of_and_written_anew(tmp_path, caplog, kept):
    path = tmp_path / "run-times.json"
    path.write_bytes(kept)
    async with Emulator() as emulator:
        with caplog.at_level(logging.WARNING, "falq"):
            await run_jobs(emulator, path, 2)
    assert "learned anew" in caplog.text
    assert len(json.loads(path.read_text())["run_times_s"]["acme/echo"]) == 2


async def test_without_its_folder_nothing_is_sent(tmp_path):
    async with Emulator() as emulator:
        with pytest.raises(falq.ConfigError, match="no folder"):
            await run_jobs(emulator, tmp_path / "none" / "run-times.json", 1)
        assert emulator.stats().submits == 0


async def test_a_file_that_cannot_be_written_loses_no_result(tmp_path, caplog):
    folder = tmp_path / "here"
    folder.mkdir()
    async with (
        Emulator() as emulator,
        falq.Session(emulator.gateway, run_times=folder / "run-times.json") as session,
    ):
        result = await session.subscribe("acme/echo", {"n": 1})
        folder.rmdir()
    assert result == {"n": 1}
    assert "could not be written" in caplog.text
