"""A journal that cannot be written: no intent is taken, nothing told is lost."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from falq._journal.records import PlannedJob
from falq._journal.sqlite import SqliteJournal
from falq._journal.states import RecordState
from falq.errors import JournalError

A_JOB = PlannedJob(endpoint="a/b", input_sha256="00")
BODY = bytes(200_000)
NEVER_S = 3600.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


async def accept(journal: SqliteJournal, number: int) -> None:
    await journal.record_sending(number, intent_id=f"intent-{number}", sent_at=0.0)
    await journal.record_accepted(number, f"request-{number}")


async def test_after_a_failed_commit_no_intent_is_taken(path: Path) -> None:
    journal = SqliteJournal(path, max_pages=60, retry_s=NEVER_S)
    await journal.open()
    await journal.plan([A_JOB] * 3)
    await accept(journal, 1)
    with pytest.raises(JournalError, match="full") as caught:
        await journal.record_result(1, BODY)
    assert caught.value.is_kept
    assert journal.statistics().is_broken
    with pytest.raises(JournalError, match="nothing may be submitted") as caught:
        await journal.record_sending(2, intent_id="two", sent_at=0.0)
    assert not caught.value.is_kept
    with pytest.raises(JournalError):
        await journal.flush()
    job = await journal.load_job(number=2)
    assert job is not None
    assert job.state is RecordState.PLANNED

    with pytest.raises(JournalError, match="could not be written") as caught:
        await journal.aclose()
    assert caught.value.unwritten == ("result of job 1",)


async def test_an_intent_in_the_group_that_fails_is_not_taken(path: Path) -> None:
    journal = SqliteJournal(path, max_pages=60, retry_s=NEVER_S)
    await journal.open()
    await journal.plan([A_JOB] * 2)
    await accept(journal, 1)
    result, intent = await asyncio.gather(
        journal.record_result(1, BODY),
        journal.record_sending(2, intent_id="two", sent_at=0.0),
        return_exceptions=True,
    )
    assert isinstance(result, JournalError)
    assert isinstance(intent, JournalError)
    assert (result.is_kept, intent.is_kept) == (True, False)
    counts = await journal.load_counts()
    assert (counts[RecordState.SENDING], counts[RecordState.PLANNED]) == (0, 1)
    with pytest.raises(JournalError):
        await journal.aclose()


async def test_above_the_limit_of_memory_a_caller_waits(path: Path) -> None:
    journal = SqliteJournal(path, max_pages=60, retry_s=NEVER_S, keep_bytes=300_000)
    await journal.open()
    await journal.plan([A_JOB] * 2)
    await accept(journal, 1)
    await accept(journal, 2)
    with pytest.raises(JournalError) as caught:
        await journal.record_result(1, BODY)
    assert caught.value.is_kept
    waiting = asyncio.create_task(journal.record_result(2, BODY))
    with pytest.raises(JournalError):
        await journal.flush()
    assert not waiting.done()
    kept = journal.statistics()
    assert (kept.kept, kept.kept_bytes < 300_000) == (2, True)
    with pytest.raises(JournalError) as caught:
        await journal.aclose()
    assert caught.value.unwritten == ("result of job 1", "result of job 2")
    with pytest.raises(JournalError, match="closed before"):
        await waiting


ROOM_AGAIN = """
import asyncio, json, resource, sys
from falq._journal.records import PlannedJob
from falq._journal.sqlite import SqliteJournal
from falq.errors import JournalError

async def main():
    told = []
    journal = SqliteJournal(sys.argv[1], retry_s=float(sys.argv[2]), keep_bytes=300_000)
    await journal.open()
    await journal.plan([PlannedJob(endpoint="a/b", input_sha256="00")] * 4)
    for n in (1, 2, 3):
        await journal.record_sending(n, intent_id=f"i{n}", sent_at=0.0)
    await journal.record_accepted(1, "r1")
    await journal.record_accepted(2, "r2")
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))
    try:
        await journal.record_result(1, bytes(200_000))
    except JournalError as error:
        told.append(["result", error.is_kept])
    try:
        await journal.record_accepted(3, "r3")
    except JournalError as error:
        told.append(["accepted", error.is_kept])
    try:
        await journal.record_sending(4, intent_id="i4", sent_at=0.0)
    except JournalError as error:
        told.append(["sending", error.is_kept])
    waiting = asyncio.create_task(journal.record_result(2, bytes(200_000)))
    await asyncio.sleep(0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    if sys.argv[2] == "3600":
        await journal.flush()
    await waiting
    await journal.flush()
    await journal.record_sending(4, intent_id="i4", sent_at=0.0)
    states = {n: (await journal.load_job(number=n)).state for n in (1, 2, 3, 4)}
    await journal.aclose()
    print(json.dumps([told, states]))

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("retry_s", ["3600", "0.01"])
def test_when_there_is_room_again_all_that_was_kept_is_written(path: Path, retry_s: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ROOM_AGAIN, str(path), retry_s],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told, states = json.loads(done.stdout)
    assert told == [["result", True], ["accepted", True], ["sending", False]]
    assert states == {"1": "fetched", "2": "fetched", "3": "accepted", "4": "sending"}


async def test_a_kept_record_that_proves_illegal_is_named(path: Path) -> None:
    journal = SqliteJournal(path, max_pages=120, retry_s=NEVER_S)
    await journal.open()
    await journal.plan([A_JOB] * 2)
    await accept(journal, 1)
    with pytest.raises(JournalError):
        await journal.record_result(1, bytes(1_000_000))
    with pytest.raises(JournalError) as caught:
        await journal.record_delivered(2)
    assert caught.value.is_kept
    with pytest.raises(JournalError) as caught:
        await journal.aclose()
    assert len(caught.value.unwritten) == 2
