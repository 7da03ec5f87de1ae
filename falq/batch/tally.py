"""Count the rows of a batch as its journal knows them.

Owns which row counts as what, so that the summary, the page and `falq journal
show` agree: a row that equals an earlier one counts as that one ended, and not
as cancelled, which is how a journal keeps it. It never writes. The runner, the
report and the command line call it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from attrs import field, frozen

from falq._journal.base import Journal
from falq._journal.records import JobRecord
from falq._journal.states import ENDS, RecordState
from falq.batch.outcomes import DUPLICATE_KIND, RowStatus, status_of_record
from falq.batch.reading import original_of


@frozen(kw_only=True)
class RowTally:
    """How many rows of a batch stand where.

    Attributes:
        rows: All of them.
        statuses: Those that have ended, by how; `unknown` is not among them.
        unknown: Those whose submit may or may not have made a job.
        duplicates: Those among `statuses` that share the end of an equal row.
    """

    rows: int
    statuses: Mapping[RowStatus, int] = field(factory=dict)
    unknown: int = 0
    duplicates: int = 0

    @property
    def left(self) -> int:
        """Rows that were not started, or run on at the server."""
        return self.rows - self.unknown - sum(self.statuses.values())


async def count_rows(journal: Journal) -> RowTally:
    """Return where the rows of a batch stand.

    Rows with a result are counted by state; the others are read, a page at a time.

    Raises:
        JournalError: It cannot be read.
    """
    counts = await journal.load_counts()
    statuses: Counter[RowStatus] = Counter()
    statuses["succeeded"] = counts.get(RecordState.DELIVERED, 0)
    statuses["succeeded"] += counts.get(RecordState.FETCHED, 0)
    duplicates = 0
    async for page in journal.load_jobs(states=ENDS):
        for record in page:
            duplicates += original_of(record) is not None
            statuses[await _status_of(journal, record)] += 1
    return RowTally(
        rows=sum(counts.values()),
        statuses=statuses,
        unknown=counts.get(RecordState.UNKNOWN, 0),
        duplicates=duplicates,
    )


async def count_failed(journal: Journal) -> int:
    """Return how many rows have ended without a result; it reads cancelled ones only."""
    counts = await journal.load_counts()
    failed = sum(counts.get(state, 0) for state in ENDS - {RecordState.CANCELLED})
    async for page in journal.load_jobs(states={RecordState.CANCELLED}):
        for record in page:
            failed += await _status_of(journal, record) != "succeeded"
    return failed


async def count_duplicates(journal: Journal) -> int:
    """Return how many cancelled rows are none: they share the end of an equal row."""
    found = 0
    async for page in journal.load_jobs(states={RecordState.CANCELLED}):
        found += sum(original_of(record) is not None for record in page)
    return found


async def _status_of(journal: Journal, record: JobRecord) -> RowStatus:
    error = record.error or {}
    if error.get("kind") != DUPLICATE_KIND:
        return status_of_record(record)
    told = error.get("status")
    if told in ("succeeded", "failed", "cancelled", "timed_out"):
        return told  # type: ignore[no-any-return]  # one of the words above
    # Noted before the status was: the equal row is asked.
    original_id = original_of(record)
    original = None if original_id is None else await journal.load_job(key=original_id)
    return status_of_record(original or record)
