"""What all results in a journal come to, the same in a file and in memory."""

from __future__ import annotations

from falq.journal import EndpointUsage, FileRecord, JournalTotals


async def test_an_empty_journal_comes_to_nothing(journal):
    assert await journal.load_totals() == JournalTotals()


async def test_units_are_added_up_by_endpoint_and_results_without_units_are_counted(journal, a_job):
    await journal.plan(
        [a_job(str(n), endpoint=name) for n, name in enumerate(("a/b", "a/b", "c/d"))]
    )
    for number, units in ((1, 1.5), (2, None), (3, 4.0)):
        await journal.record_sending(number, intent_id=f"i{number}", sent_at=0.0)
        await journal.record_accepted(number, f"r{number}")
        await journal.record_result(number, b"{}", billable_units=units)
    await journal.record_delivered(3)
    assert (await journal.load_totals()).usage == (
        EndpointUsage(endpoint="a/b", results=2, billable_units=1.5, unmeasured=1),
        EndpointUsage(endpoint="c/d", results=1, billable_units=4.0, unmeasured=0),
    )


async def test_saved_files_are_added_up_and_those_that_did_not_come_are_counted(journal, a_job):
    await journal.plan([a_job("a")])
    for path, state, size in (("x", "saved", 10), ("y", "saved", 5), ("z", "failed", None)):
        await journal.record_file(
            FileRecord(job=1, json_path=path, url="https://x", state=state, size_bytes=size)
        )
    totals = await journal.load_totals()
    assert (totals.files, totals.file_bytes, totals.failed_files) == (2, 15, 1)
