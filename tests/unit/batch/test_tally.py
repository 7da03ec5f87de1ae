"""Which row of a journal counts as what."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from falq.batch.tally import count_duplicates, count_failed, count_rows
from falq.journal import MemoryJournal, PlannedJob, RecordState


@pytest.fixture
async def journal() -> AsyncIterator[MemoryJournal]:
    async with MemoryJournal() as journal:
        yield journal


async def plan(journal: MemoryJournal, *keys: str) -> list[int]:
    jobs = [PlannedJob(endpoint="acme/echo", input_sha256=key, key=key) for key in keys]
    return await journal.plan(jobs)


async def fetch(journal: MemoryJournal, number: int) -> None:
    await accept(journal, number)
    await journal.record_result(number, b"{}")


async def accept(journal: MemoryJournal, number: int) -> None:
    await journal.record_sending(number, intent_id=f"i{number}", sent_at=0.0)
    await journal.record_accepted(number, f"r{number}")


async def end_as_duplicate(journal: MemoryJournal, number: int, of: str, **facts: str) -> None:
    error = {"kind": "duplicate", "duplicate_of": of} | facts
    await journal.record_ended(number, RecordState.CANCELLED, error)


async def test_a_row_that_equals_another_counts_as_that_one_ended(journal):
    await plan(journal, "a", "b", "c", "d")
    await fetch(journal, 1)
    await journal.record_ended(2, RecordState.FAILED, {"kind": "JobFailedError"})
    await end_as_duplicate(journal, 3, "a", status="succeeded")
    await end_as_duplicate(journal, 4, "b", status="failed")
    tally = await count_rows(journal)
    assert (tally.rows, dict(tally.statuses)) == (4, {"succeeded": 2, "failed": 2})
    assert (tally.duplicates, tally.left, tally.unknown) == (2, 0, 0)
    assert await count_failed(journal) == 2
    assert await count_duplicates(journal) == 2


async def test_one_that_was_noted_without_a_status_is_looked_up(journal):
    await plan(journal, "a", "b")
    await fetch(journal, 1)
    await end_as_duplicate(journal, 2, "a")
    tally = await count_rows(journal)
    assert dict(tally.statuses) == {"succeeded": 2}
    assert await count_failed(journal) == 0


async def test_timed_out_and_cancelled_rows_are_told_apart_and_both_have_failed(journal):
    await plan(journal, "a", "b")
    for number, kind in ((1, "JobTimeoutError"), (2, "JobCancelledError")):
        await journal.record_ended(number, RecordState.CANCELLED, {"kind": kind})
    tally = await count_rows(journal)
    assert {status: count for status, count in tally.statuses.items() if count} == {
        "timed_out": 1,
        "cancelled": 1,
    }
    assert await count_failed(journal) == 2
    assert await count_duplicates(journal) == 0


async def test_what_has_not_ended_is_left_and_what_is_unknown_is_neither(journal):
    await plan(journal, "a", "b", "c")
    await accept(journal, 1)
    await journal.record_sending(2, intent_id="i2", sent_at=0.0)
    await journal.record_unknown(2, "reset")
    tally = await count_rows(journal)
    assert (tally.rows, tally.left, tally.unknown) == (3, 2, 1)
