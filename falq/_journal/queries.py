"""What is read from a journal, as functions over an open connection.

Owns the SQL that reads and how rows become records. It changes nothing. Every
read is bounded: jobs come in pages that are cut short when their inputs are
large, so that a million rows never sit in memory.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import frozen

from falq._journal.records import (
    AttemptRecord,
    EndpointUsage,
    FileRecord,
    JobRecord,
    JournalTotals,
    RunRecord,
    WebhookRecord,
)
from falq._journal.states import RecordState
from falq.errors import JournalError

PAGE_BYTES = 16 * 1024 * 1024
"""Size of the inputs after which a page of jobs is cut short."""

LAST_NUMBER = 2**63 - 1
"""Above every job's number: a place after all rows of one seq."""

_JOB = """
    SELECT number, run, key, seq, endpoint, body, input_sha256, options, extra, state,
        sent_sha256, request_id, intent_id, attempts, planned_at, sent_at, accepted_at,
        completed_at, ended_at, inference_s, billable_units, cost_usd, reason, error
    FROM job LEFT JOIN input ON input.job = number
"""
# Each part walks the index of its own state; SQLite merges them without a sort,
# so a page costs the same in a journal of a thousand rows and of a million.
_PART = "SELECT seq, number FROM job WHERE state = ? AND (seq, number) > (?, ?)"
# One row with all places of a page: each row that is fetched gives up and takes back
# Python's global lock, which costs the loop more than it costs this thread.
_PLACES = """
    SELECT json_group_array(json_array(
        seq, number, coalesce((SELECT length(body) FROM input WHERE job = number), 0)
    )) FROM ({} ORDER BY 1, 2 LIMIT ?)
"""


@frozen
class Place:
    """Where a page begins: after this row of the order by seq, then number."""

    seq: int = -1
    number: int = 0


def page(
    connection: sqlite3.Connection, states: Sequence[RecordState], after: Place, limit: int
) -> tuple[list[JobRecord], Place | None]:
    """Return a page of jobs, and where the next begins, None if there is none."""
    if not states:
        return [], None
    parts = " UNION ALL ".join([_PART] * len(states))
    values = [value for state in states for value in (state, after.seq, after.number)]
    (found,) = connection.execute(_PLACES.format(parts), (*values, limit)).fetchone()
    places = sorted(json.loads(found))
    chosen: list[int] = []
    size_bytes = 0
    for _, number, input_bytes in places:
        chosen.append(number)
        size_bytes += input_bytes
        if size_bytes > PAGE_BYTES:
            break
    rows = connection.execute(
        f"{_JOB} WHERE number IN (SELECT value FROM json_each(?))",  # noqa: S608  a constant of this module
        (json.dumps(chosen),),
    )
    jobs = {row[0]: _job(row) for row in rows}
    is_last = len(chosen) == len(places) < limit
    after = Place(*places[len(chosen) - 1][:2]) if chosen else after
    return [jobs[number] for number in chosen], None if is_last else after


def _job(row: tuple[Any, ...]) -> JobRecord:
    # Name by name: by a mapping it takes three times as long, for each job there is.
    return JobRecord(
        number=row[0],
        run=row[1],
        key=row[2],
        seq=row[3],
        endpoint=row[4],
        input=row[5],
        input_sha256=row[6],
        # Most have nothing to say.
        options={} if row[7] == "{}" else json.loads(row[7]),
        extra={} if row[8] == "{}" else json.loads(row[8]),
        state=_STATES[row[9]],
        sent_sha256=row[10],
        request_id=row[11],
        intent_id=row[12],
        attempts=row[13],
        planned_at=row[14],
        sent_at=row[15],
        accepted_at=row[16],
        completed_at=row[17],
        ended_at=row[18],
        inference_s=row[19],
        billable_units=row[20],
        cost_usd=row[21],
        reason=row[22],
        error=None if row[23] is None else json.loads(row[23]),
    )


_STATES = {state.value: state for state in RecordState}

_WEBHOOK_BY_NAME = {
    "request_id": "SELECT * FROM webhook WHERE request_id = ?",
    "intent_id": "SELECT * FROM webhook WHERE intent_id = ? ORDER BY received_at LIMIT 1",
}

_BY_NAME = {
    "number": "number = ?",
    "key": "key = ?",
    "request_id": "number = (SELECT job FROM attempt WHERE request_id = ?)",
    "intent_id": "number = (SELECT job FROM attempt WHERE intent_id = ?)",
}


def job(connection: sqlite3.Connection, name: str, value: int | str) -> JobRecord | None:
    """Return one job by one of its names."""
    row = connection.execute(f"{_JOB} WHERE {_BY_NAME[name]}", (value,)).fetchone()
    return None if row is None else _job(row)


def counts(connection: sqlite3.Connection) -> dict[RecordState, int]:
    """Return how many jobs are in each state."""
    rows = connection.execute("SELECT state, jobs FROM tally").fetchall()
    return {RecordState(state): jobs for state, jobs in rows}


def totals(connection: sqlite3.Connection) -> JournalTotals:
    """Return what all results and their files come to."""
    usage = connection.execute(
        "SELECT endpoint, count(*), total(billable_units), "
        "count(*) FILTER (WHERE billable_units IS NULL) "
        "FROM job WHERE state IN ('fetched', 'delivered') GROUP BY endpoint ORDER BY endpoint"
    )
    files = connection.execute(
        "SELECT count(*) FILTER (WHERE state = 'saved'), "
        "coalesce(sum(size_bytes) FILTER (WHERE state = 'saved'), 0), "
        "count(*) FILTER (WHERE state = 'failed') FROM file"
    )
    saved, size_bytes, failed = files.fetchone()
    return JournalTotals(
        usage=tuple(
            EndpointUsage(
                endpoint=endpoint, results=results, billable_units=units, unmeasured=unmeasured
            )
            for endpoint, results, units, unmeasured in usage
        ),
        files=saved,
        file_bytes=size_bytes,
        failed_files=failed,
    )


def attempts(connection: sqlite3.Connection, number: int) -> list[AttemptRecord]:
    """Return the attempts of a job."""
    rows = connection.execute(
        "SELECT job, n, intent_id, sent_at, sent_mono, boot_id, request_id, outcome, reason "
        "FROM attempt WHERE job = ? ORDER BY n",
        (number,),
    )
    return [
        AttemptRecord(
            job=job_number,
            n=n,
            intent_id=intent_id,
            sent_at=sent_at,
            sent_mono=sent_mono,
            boot_id=boot_id,
            request_id=request_id,
            outcome=None if outcome is None else RecordState(outcome),
            reason=reason,
        )
        for (
            job_number,
            n,
            intent_id,
            sent_at,
            sent_mono,
            boot_id,
            request_id,
            outcome,
            reason,
        ) in rows
    ]


def result(connection: sqlite3.Connection, number: int) -> bytes | None:
    """Return a job's result after its hash was compared."""
    row = connection.execute("SELECT body, sha256 FROM result WHERE job = ?", (number,)).fetchone()
    if row is None:
        return None
    body = bytes(row[0])
    if hashlib.sha256(body).hexdigest() != row[1]:
        raise JournalError(
            f"the stored result of job {number} does not match its hash: the journal is damaged; "
            "fetch the result again by its request id"
        )
    return body


def files(connection: sqlite3.Connection, number: int) -> list[FileRecord]:
    """Return the files of a job's result."""
    rows = connection.execute(
        "SELECT json_path, url, state, name, size_bytes, sha256, content_type "
        "FROM file WHERE job = ? ORDER BY json_path",
        (number,),
    )
    return [
        FileRecord(
            job=number,
            json_path=json_path,
            url=url,
            state=state,
            name=name,
            size_bytes=size_bytes,
            sha256=sha256,
            content_type=content_type,
        )
        for json_path, url, state, name, size_bytes, sha256, content_type in rows
    ]


def webhook(connection: sqlite3.Connection, name: str, value: str) -> WebhookRecord | None:
    """Return the oldest delivery with that request or intent id."""
    row = connection.execute(_WEBHOOK_BY_NAME[name], (value,)).fetchone()
    if row is None:
        return None
    request_id, intent_id, received_at, body = row
    return WebhookRecord(
        request_id=request_id, intent_id=intent_id, received_at=received_at, body=bytes(body)
    )


def runs(connection: sqlite3.Connection) -> list[RunRecord]:
    """Return every run."""
    rows = connection.execute(
        "SELECT number, started_at, settings, ended_at FROM run ORDER BY number"
    )
    return [
        RunRecord(
            number=number, started_at=started_at, settings=json.loads(settings), ended_at=ended_at
        )
        for number, started_at, settings, ended_at in rows
    ]


def claimed(connection: sqlite3.Connection, request_ids: Iterable[str]) -> set[str]:
    """Return those ids that an attempt has."""
    rows = connection.execute(
        "SELECT request_id FROM attempt WHERE request_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(request_ids)),),
    )
    return {row[0] for row in rows}
