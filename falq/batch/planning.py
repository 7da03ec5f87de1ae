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
from collections.abc import Container, Iterator, Sequence
from itertools import islice
from typing import Any

from attrs import asdict

from falq._core.canonical import canonical_json
from falq._journal.base import Journal
from falq._journal.records import PlannedJob, RunRecord
from falq._journal.states import RecordState
from falq.batch.entries import ManifestReport, Row
from falq.batch.manifest import Manifest
from falq.batch.seen import SeenTable
from falq.errors import JournalConflictError
from falq.text import printable

PLAN_KIND = "plan"
BATCH_KIND = "batch"
PAGE_ROWS = 1000
_SHOWN_KEYS = 20


async def plan_manifest(
    manifest: Manifest, journal: Journal, report: ManifestReport
) -> frozenset[str]:
    """Put every row of a checked manifest into the journal.

    Args:
        manifest: What to plan.
        journal: Where to; open.
        report: What its check found.

    Returns:
        Ids of rows that are planned and that this manifest does not have: it has
        become shorter. One that a row of it equals is not among them.

    Raises:
        ArgumentError: A row is bad, or the manifest changed under our hands.
        JournalConflictError: A row is in the journal with other content; the
            message names the first, and the journal is as it was.
        JournalError: It cannot be written.
    """
    if await _is_planned(journal, report):
        # Read nevertheless: a local file that a row names may have changed.
        await _plan_pages(manifest, journal)
        return frozenset()
    left_out = await _compare(manifest, journal)
    run = await journal.begin_run(
        {"kind": PLAN_KIND, "rows": report.count, "digest": report.digest}
    )
    await _plan_pages(manifest, journal)
    await journal.record_run_ended(run)
    return left_out


async def _is_planned(journal: Journal, report: ManifestReport) -> bool:
    """Return whether the journal has this manifest's rows, every one and no other."""
    if sum((await journal.load_counts()).values()) != report.count:
        return False
    last = await _load_last_plan(journal)
    return last is not None and last.ended_at is not None and _digest_of(last) == report.digest


def _digest_of(run: RunRecord) -> object:
    return run.settings.get("digest")


async def _load_last_plan(journal: Journal) -> RunRecord | None:
    plans = [run for run in await journal.load_runs() if run.settings.get("kind") == PLAN_KIND]
    return plans[-1] if plans else None


async def _compare(manifest: Manifest, journal: Journal) -> frozenset[str]:
    """Refuse rows that have changed; return the ids of planned rows that are not there."""
    keys, contents = SeenTable(), SeenTable()
    async for jobs in journal.load_jobs(page=PAGE_ROWS):
        for job in jobs:
            if job.key is not None:
                keys.add(_bytes(job.key), job.number)
                contents.add(_bytes(job.key, job.endpoint, job.input_sha256), job.number)
    if not len(keys):
        return frozenset()
    changed, wanted = await asyncio.to_thread(_look_up, manifest, keys, contents)
    if changed:
        raise _changed(changed)
    return await _not_in(wanted, journal)


async def _not_in(wanted: Container[int], journal: Journal) -> frozenset[str]:
    """Return the ids of planned rows that are not `wanted` and that no wanted one equals."""
    left_out: set[str] = set()
    equaled: set[str] = set()
    async for jobs in journal.load_jobs(states={RecordState.PLANNED}, page=PAGE_ROWS):
        left_out.update(job.key for job in jobs if job.key and job.number not in wanted)
        equaled.update(job.extra.get("duplicate_of", "") for job in jobs if job.number in wanted)
    return frozenset(left_out - equaled)


def _look_up(
    manifest: Manifest, keys: SeenTable, contents: SeenTable
) -> tuple[list[str], Container[int]]:
    changed: list[str] = []
    wanted: set[int] = set()
    for row in manifest.rows(keep=True):
        number = contents.find(_bytes(row.id, row.endpoint, row.content_sha256))
        if number is not None:
            wanted.add(number)
        elif keys.find(_bytes(row.id)) is not None:
            changed.append(row.id)
    return changed, wanted


def _bytes(*texts: str) -> bytes:
    return "\n".join(texts).encode("utf-8", "surrogatepass")


async def _plan_pages(manifest: Manifest, journal: Journal) -> None:
    rows = manifest.rows()
    page = await asyncio.to_thread(_next_page, rows)
    while page:
        # The next page is read while this one is written.
        _, page = await asyncio.gather(_plan(journal, page), asyncio.to_thread(_next_page, rows))


async def _plan(journal: Journal, page: list[PlannedJob]) -> None:
    try:
        await journal.plan(page)
    except JournalConflictError as error:
        raise _changed(error.keys) from None


async def is_planned_whole(journal: Journal) -> bool:
    """Return whether the last manifest that was planned is in the journal to its end."""
    last = await _load_last_plan(journal)
    return last is not None and last.ended_at is not None


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


def _changed(keys: Sequence[str]) -> JournalConflictError:
    shown = ", ".join(printable(key, limit=80) for key in keys[:_SHOWN_KEYS])
    more = len(keys) - _SHOWN_KEYS
    rest = f" and {more} more" if more > 0 else ""
    return JournalConflictError(
        f"the input has changed since this batch was planned: {shown}{rest}. Nothing was sent; "
        "put the rows back, give changed rows new ids, or start afresh with another --out",
        keys=tuple(keys),
    )
