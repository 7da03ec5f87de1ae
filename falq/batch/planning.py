"""Put the rows of a manifest into a journal, a page at a time.

Owns the turning of a row into a planned job, and the notes in the journal that
say whether the whole manifest is in it. It never submits. The runner calls it
before the first submit, and again whenever the same batch is started: a row
that is there already is not planned twice, and one that has changed is told.

A row with local files is known by their names and the hashes of their contents:
a file that was changed is a changed row. What is sent for it is known later, when
an upload has its URL; that hash is written with the intent, and a lost submit is
looked up by it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import Any

from attrs import asdict

from falq._core.canonical import canonical_json
from falq._journal.base import Journal
from falq._journal.records import PlannedJob
from falq.batch.entries import ManifestReport, Row
from falq.batch.manifest import Manifest
from falq.errors import JournalConflictError
from falq.text import printable

PLAN_KIND = "plan"
BATCH_KIND = "batch"
PAGE_ROWS = 1000
_SHOWN_KEYS = 20


async def plan_manifest(manifest: Manifest, journal: Journal, report: ManifestReport) -> None:
    """Put every row of a checked manifest into the journal.

    Args:
        manifest: What to plan.
        journal: Where to; open.
        report: What its check found.

    Raises:
        ArgumentError: A row is bad, or the manifest changed under our hands.
        JournalConflictError: A row is in the journal with other content; the
            message names the first.
        JournalError: It cannot be written.
    """
    run = await journal.begin_run(
        {"kind": PLAN_KIND, "rows": report.count, "digest": report.digest}
    )
    rows = manifest.rows()
    page = await asyncio.to_thread(_next_page, rows)
    while page:
        # The next page is read while this one is written.
        _, page = await asyncio.gather(_plan(journal, page), asyncio.to_thread(_next_page, rows))
    await journal.record_run_ended(run)


async def _plan(journal: Journal, page: list[PlannedJob]) -> None:
    try:
        await journal.plan(page)
    except JournalConflictError as error:
        raise _changed(error) from None


async def is_planned_whole(journal: Journal) -> bool:
    """Return whether the last manifest that was planned is in the journal to its end."""
    plans = [run for run in await journal.load_runs() if run.settings.get("kind") == PLAN_KIND]
    return bool(plans) and plans[-1].ended_at is not None


def _next_page(rows: Iterator[Row]) -> list[PlannedJob]:
    return [planned_job(row) for row in islice(rows, PAGE_ROWS)]


def planned_job(row: Row) -> PlannedJob:
    """Return a row as a journal plans it."""
    extra: dict[str, Any] = {}
    if row.files:
        extra["files"] = [asdict(file) for file in row.files]
    if row.duplicate_of is not None:
        extra["duplicate_of"] = row.duplicate_of
    return PlannedJob(
        endpoint=row.endpoint,
        input_sha256=row.content_sha256,
        input=canonical_json(row.arguments),
        key=row.id,
        seq=row.seq,
        options=row.options,
        extra=extra,
    )


def _changed(error: JournalConflictError) -> JournalConflictError:
    shown = ", ".join(printable(key, limit=80) for key in error.keys[:_SHOWN_KEYS])
    more = len(error.keys) - _SHOWN_KEYS
    rest = f" and {more} more" if more > 0 else ""
    return JournalConflictError(
        f"the input has changed since this batch was planned: {shown}{rest}. Nothing was sent; "
        "put the rows back, give changed rows new ids, or start afresh with another --out",
        keys=error.keys,
    )
