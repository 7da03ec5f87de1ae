"""Jobs with a key and with files: known by what the files hold, found by what was sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import falq
from falq._core.canonical import input_sha256
from falq.emulator import Emulator, Fault, Scenario
from falq.errors import AuthenticationError, JournalConflictError
from falq.journal import JobRecord, RecordState, SqliteJournal

pytestmark = pytest.mark.slow

ECHO = "acme/echo"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_text("first")
    return path


def emulated(*faults: Fault) -> Emulator:
    return Emulator(Scenario(speed=1000.0, history_lists_queued=True, faults=faults))


def session_on(emulator: Emulator, path: Path, **settings: Any) -> falq.Session:
    return falq.Session(emulator.gateway, journal=path / "jobs.sqlite", **settings)


async def read_record(path: Path) -> JobRecord:
    async with SqliteJournal(path / "jobs.sqlite") as journal:
        record = await journal.load_job(number=1)
    assert record is not None
    return record


async def test_a_key_with_equal_files_is_sent_once_by_whatever_process(file, tmp_path):
    results = []
    async with emulated() as emulator:
        for _ in range(2):
            async with session_on(emulator, tmp_path) as session:
                results.append(await session.subscribe(ECHO, {"a": [file]}, key="one"))
        assert (emulator.stats().jobs, emulator.stats().uploads) == (1, 2)
    assert results[0] == results[1]


async def test_a_key_with_a_file_of_other_content_is_a_conflict(file, tmp_path):
    async with emulated() as emulator:
        async with session_on(emulator, tmp_path) as session:
            await session.subscribe(ECHO, {"a": file}, key="one")
        file.write_text("other")
        async with session_on(emulator, tmp_path) as session:
            with pytest.raises(JournalConflictError):
                await session.subscribe(ECHO, {"a": file}, key="one")
        assert emulator.stats().jobs == 1


async def test_a_lost_submit_with_a_file_is_found_by_what_was_sent(file, tmp_path):
    async with emulated(Fault("reset", "submit", when="after")) as emulator:
        async with session_on(emulator, tmp_path, delivery="reconcile") as session:
            result = await session.subscribe(ECHO, {"a": file}, key="one")
            assert session.statistics().reconciled == 1
        assert emulator.stats().jobs == 1
    record = await read_record(tmp_path)
    assert record.sent_sha256 == input_sha256(ECHO, result) != record.input_sha256


@pytest.mark.parametrize("by", ["key", "recovery"])
async def test_what_was_planned_and_not_sent_is_written_down_with_the_urls_it_is_sent_with(
    file, tmp_path, by
):
    refused = Fault("json_error", "submit", nth=1, status_code=401)
    async with emulated(refused) as emulator:
        async with session_on(emulator, tmp_path) as session:
            with pytest.raises(AuthenticationError):
                await session.submit(ECHO, {"a": file}, key="one")
        assert (await read_record(tmp_path)).state is RecordState.PLANNED
        async with session_on(emulator, tmp_path) as session:
            if by == "key":
                result = await session.subscribe(ECHO, {"a": file}, key="one")
            else:
                (handle,) = await session.recover(resume_planned=True)
                result = await handle.result()
        assert (emulator.stats().jobs, emulator.stats().uploads) == (1, 2 if by == "key" else 1)
    record = await read_record(tmp_path)
    assert record.sent_sha256 == input_sha256(ECHO, result) != record.input_sha256
