"""Where a runner takes its rows from: a journal, or a manifest as it is read.

Owns the order in which rows are taken up. Jobs that may be out come first: they
are paid for, and a result is kept for minutes only. It never holds more than a
page of rows. The runner calls it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import islice
from typing import Any

from attrs import field, frozen

from falq._core.codec import load_json
from falq._journal.base import Journal
from falq._journal.records import JobRecord
from falq._journal.states import IN_FLIGHT, RecordState
from falq.batch.entries import Row
from falq.batch.localfiles import LocalFile, resolve_files
from falq.batch.manifest import Manifest
from falq.batch.options import submit_keywords
from falq.errors import ArgumentError

_PAGE_ROWS = 500


@frozen(kw_only=True)
class Work:
    """One row that a runner takes up.

    Attributes:
        seq: Its place among the rows.
        id: Its id.
        endpoint: Where it goes.
        input: Its arguments as JSON, or as a mapping; local files are named in them.
        options: What it asks of the queue, as JSON values.
        files: The local files that the arguments name.
        duplicate_of: Id of the row that it equals.
        record: What the journal knows of it; None without a journal.
    """

    seq: int
    id: str
    endpoint: str
    input: bytes | Mapping[str, Any] = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)
    files: tuple[LocalFile, ...] = ()
    duplicate_of: str | None = None
    record: JobRecord | None = None

    @property
    def is_fresh(self) -> bool:
        """Whether nothing was sent for it, so that it can be left alone."""
        return self.record is None or self.record.state is RecordState.PLANNED

    @property
    def is_lost(self) -> bool:
        """Whether it was sent and nobody knows what became of it."""
        lost = {RecordState.SENDING, RecordState.UNKNOWN}
        return self.record is not None and self.record.state in lost

    def submit_keywords(self) -> dict[str, Any]:
        """Return its options as `Session.submit` takes them."""
        return submit_keywords(self.options)

    def read_arguments(self) -> Mapping[str, Any]:
        """Return its arguments, with local files as they are named."""
        if isinstance(self.input, bytes):
            arguments: Mapping[str, Any] = load_json(self.input)
            return arguments
        return self.input

    async def load_arguments(self) -> Mapping[str, Any]:
        """Return its arguments as the session takes them; see `localfiles.resolve_files`.

        Raises:
            ArgumentError: A file is gone, or no longer what was planned.
        """
        if not self.files:
            return self.read_arguments()
        return await asyncio.to_thread(resolve_files, self.read_arguments(), self.files)


async def work_of_manifest(manifest: Manifest) -> AsyncIterator[Work]:
    """Yield the rows of a manifest, in order.

    Raises:
        ArgumentError: A row is bad, or the manifest cannot be read.
    """
    rows = manifest.rows()
    while page := await asyncio.to_thread(_next_rows, rows):
        for row in page:
            yield Work(
                seq=row.seq,
                id=row.id,
                endpoint=row.endpoint,
                input=row.arguments,
                options=row.options,
                files=row.files,
                duplicate_of=row.duplicate_of,
            )


def _next_rows(rows: Iterator[Row]) -> list[Row]:
    return list(islice(rows, _PAGE_ROWS))


async def work_of_journal(journal: Journal) -> AsyncIterator[Work]:
    """Yield the jobs of a journal that have not ended: those that may be out, then the rest.

    Raises:
        ArgumentError: The journal does not keep the input of a job.
        JournalError: It cannot be read.
    """
    taken: set[int] = set()
    async for page in journal.load_jobs(states=IN_FLIGHT, page=_PAGE_ROWS):
        for record in page:
            taken.add(record.number)
            yield work_of_record(record)
    async for page in journal.load_jobs(states={RecordState.PLANNED}, page=_PAGE_ROWS):
        for record in page:
            # One whose lost submit was proven not sent is planned again meanwhile.
            if record.number not in taken:
                yield work_of_record(record)


def work_of_record(record: JobRecord) -> Work:
    """Return a journal's job as a row to take up.

    Raises:
        ArgumentError: The journal does not keep its input.
    """
    if record.input is None:
        raise ArgumentError(
            f"the journal has job {record.number} without its input; it is not a batch's journal",
            argument="journal",
        )
    return Work(
        seq=record.seq,
        id=record.key or f"job-{record.number}",
        endpoint=record.endpoint,
        input=record.input,
        options=record.options,
        files=tuple(LocalFile(**file) for file in record.extra.get("files", ())),
        duplicate_of=record.extra.get("duplicate_of"),
        record=record,
    )
