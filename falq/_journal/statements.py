"""What each record writes, as functions over an open connection.

Owns the SQL that changes a journal, except for the moves (`moves`). Every
function may be run twice for one record, if its group has to be written again,
and does nothing but speak to the connection. The writer's thread calls them
inside a transaction.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import itertools
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from falq._journal.moves import RETRIED, Move, state_of
from falq._journal.records import FileRecord, PlannedJob
from falq._journal.states import RETRYABLE, RecordState
from falq.errors import JournalConflictError, JournalError

_PLANNED_COLUMNS = (
    "number",
    "run",
    "key",
    "seq",
    "endpoint",
    "input_sha256",
    "options",
    "extra",
    "planned_at",
)
_INPUT_COLUMNS = ("job", "body")

SMALL_BYTES = 16 * 1024
"""The largest input that is inserted together with others: a statement copies what it
is given."""

INSERT_ROWS = (1000, 100)
"""Rows of one statement that plans, the most first. Each statement that runs gives up and
takes back Python's global lock, while another thread reads the next rows. A thousand
need 9,000 values; SQLite takes 32,766."""

_KNOWN = """
    SELECT json_group_array(json_array(key, number, endpoint, input_sha256)) FROM job
    WHERE key IN (SELECT value FROM json_each(?))
"""
_FILE = """
    INSERT INTO file (job, json_path, url, name, size_bytes, sha256, content_type, state)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (job, json_path) DO UPDATE SET url = excluded.url, name = excluded.name,
        size_bytes = excluded.size_bytes, sha256 = excluded.sha256,
        content_type = excluded.content_type, state = excluded.state
"""


def to_json(value: Mapping[str, Any]) -> str:
    """Return `value` as JSON text.

    Raises:
        ValueError: It holds NaN or an infinity.
        TypeError: It holds something that JSON has not.
    """
    # Most have nothing to say.
    return _to_json(value) if value else "{}"


_to_json = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def plan(
    connection: sqlite3.Connection, jobs: Sequence[PlannedJob], planned_at: float
) -> list[int]:
    """Insert jobs whose key is new; see `Journal.plan`."""
    keys = [job.key for job in jobs if job.key is not None]
    (found,) = connection.execute(_KNOWN, (json.dumps(keys),)).fetchone()
    known = {key: tuple(facts) for key, *facts in json.loads(found)}
    (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM job").fetchone()
    numbers: list[int] = []
    conflicts: list[str] = []
    rows: list[tuple[Any, ...]] = []
    inputs: list[tuple[int, bytes]] = []
    large: list[tuple[int, bytes]] = []
    for job in jobs:
        if job.key in known:
            number, *content = known[job.key]
            if content != [job.endpoint, job.input_sha256]:
                conflicts.append(str(job.key))
            numbers.append(number)
            continue
        last += 1
        numbers.append(last)
        if job.key is not None:
            known[job.key] = (last, job.endpoint, job.input_sha256)
        rows.append(_planned(job, last, planned_at))
        if job.input is not None:
            (inputs if len(job.input) <= SMALL_BYTES else large).append((last, job.input))
    if conflicts:
        raise conflict_error(conflicts)
    _insert(connection, "job", _PLANNED_COLUMNS, rows)
    _insert(connection, "input", _INPUT_COLUMNS, inputs)
    connection.executemany(_insertion("input", _INPUT_COLUMNS, 1), large)
    return numbers


def _insert(
    connection: sqlite3.Connection,
    table: str,
    columns: tuple[str, ...],
    rows: Sequence[tuple[Any, ...]],
) -> None:
    start = 0
    for size in INSERT_ROWS:
        while len(rows) - start >= size:
            values = list(itertools.chain.from_iterable(rows[start : start + size]))
            connection.execute(_insertion(table, columns, size), values)
            start += size
    connection.executemany(_insertion(table, columns, 1), rows[start:])


@functools.cache
def _insertion(table: str, columns: tuple[str, ...], rows: int) -> str:
    row = f"({', '.join('?' * len(columns))})"
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * rows)}"  # noqa: S608  names of this module and placeholders only


def _planned(job: PlannedJob, number: int, planned_at: float) -> tuple[Any, ...]:
    return (
        number,
        job.run,
        job.key,
        number if job.seq is None else job.seq,
        job.endpoint,
        job.input_sha256,
        to_json(job.options),
        to_json(job.extra),
        planned_at,
    )


def conflict_error(keys: Sequence[str]) -> JournalConflictError:
    """Return the error for keys that are there with other content."""
    more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    return JournalConflictError(
        f"key {keys[0]!r}{more} is in the journal with another endpoint or input; nothing was "
        "planned, use a new key or a new journal",
        keys=tuple(keys),
    )


def not_sent(connection: sqlite3.Connection, number: int, reason: str) -> None:
    """Plan a sending job again. From unknown only a retry leads there."""
    changed = connection.execute(
        "UPDATE job SET state = 'planned', reason = ? WHERE number = ? AND state = 'sending'",
        (reason, number),
    ).rowcount
    if not changed:
        raise JournalError(f"job {number} {_standing(connection, number)} cannot become planned")


def _standing(connection: sqlite3.Connection, number: int) -> str:
    state = state_of(connection, number)
    return "is not in the journal and" if state is None else f"is {state} in the journal and"


def file(connection: sqlite3.Connection, record: FileRecord) -> None:
    """Insert or replace one file's row."""
    values = (
        record.job,
        record.json_path,
        record.url,
        record.name,
        record.size_bytes,
        record.sha256,
        record.content_type,
        record.state,
    )
    try:
        connection.execute(_FILE, values)
    except sqlite3.IntegrityError:
        raise JournalError(
            f"the journal has no job {record.job} for that file, or no such file state"
        ) from None


def webhook(
    connection: sqlite3.Connection,
    request_id: str,
    intent_id: str | None,
    received_at: float,
    body: bytes,
) -> bool:
    """Keep the first delivery for a request, and return whether it is."""
    cursor = connection.execute(
        "INSERT INTO webhook VALUES (?, ?, ?, ?) ON CONFLICT (request_id) DO NOTHING",
        (request_id, intent_id, received_at, body),
    )
    return cursor.rowcount == 1


def retry(connection: sqlite3.Connection, numbers: Iterable[int], reason: str) -> None:
    """Plan jobs again, all or none; see `Journal.record_retry`."""
    for number in numbers:
        state = state_of(connection, number)
        if state is not None and state not in RETRYABLE:
            raise JournalError(f"job {number} is {state} in the journal and cannot be retried")
        Move(RETRIED, number, RecordState.PLANNED, (reason,))(connection)


def resend(connection: sqlite3.Connection, move: Move) -> None:
    """Make an unknown job sending; see `Journal.record_sending`."""
    if state_of(connection, move.number) is not RecordState.UNKNOWN:
        standing = _standing(connection, move.number)
        raise JournalError(f"job {move.number} {standing} cannot be sent again")
    retry(connection, [move.number], "")
    move(connection)


def interrupt(connection: sqlite3.Connection) -> int:
    """Make every sending job unknown."""
    return connection.execute(
        "UPDATE job SET state = 'unknown', reason = 'interrupted' WHERE state = 'sending'"
    ).rowcount


def begin_run(connection: sqlite3.Connection, started_at: float, settings: str) -> int:
    """Insert a run and return its number."""
    cursor = connection.execute(
        "INSERT INTO run (started_at, settings) VALUES (?, ?)", (started_at, settings)
    )
    return int(cursor.lastrowid or 0)


def end_run(connection: sqlite3.Connection, run: int, ended_at: float) -> None:
    """Note a run's end."""
    cursor = connection.execute("UPDATE run SET ended_at = ? WHERE number = ?", (ended_at, run))
    if not cursor.rowcount:
        raise JournalError(f"the journal has no run {run}")


def fingerprint(source: str, salt: bytes) -> bytes:
    """Return the salted hash of an account's text.

    scrypt, not a bare hash: the file may be handed on, and a short text could
    be guessed from it.
    """
    return hashlib.scrypt(source.encode(), salt=salt, n=2**14, r=8, p=1, dklen=32)


def check_account(
    connection: sqlite3.Connection, source: str, gateway: str, new_salt: bytes
) -> None:
    """Bind the journal to an account, or refuse another; see `Journal.check_account`."""
    facts = dict(
        connection.execute(
            "SELECT name, value FROM meta "
            "WHERE name IN ('account_salt', 'account_fingerprint', 'gateway')"
        )
    )
    if "account_fingerprint" not in facts:
        rows = [
            ("account_salt", new_salt),
            ("account_fingerprint", fingerprint(source, new_salt)),
            ("gateway", gateway),
        ]
        connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
        return
    known = fingerprint(source, facts["account_salt"])
    if not hmac.compare_digest(known, facts["account_fingerprint"]):
        raise account_error()
    if facts["gateway"] != gateway:
        raise gateway_error(facts["gateway"])


def account_error() -> JournalError:
    """Return the error for a journal of another account."""
    return JournalError(
        "the journal was made under another account's key; its jobs cannot be found under this "
        "one, so use that key or a new journal"
    )


def gateway_error(known: str) -> JournalError:
    """Return the error for a journal of another gateway."""
    return JournalError(f"the journal was made through the gateway {known}; use it again")
