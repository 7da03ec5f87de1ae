"""How one row ended, as a value and as a line of JSON.

Owns the fields of an outcome and the one way to make it of what a journal
knows, so that a line written today and one rebuilt next month are the same. It
never reads a journal or writes a file. `runner`, `lines` and `report` call it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from attrs import field, frozen

from falq._core.codec import load_json
from falq._journal.records import FileRecord, JobRecord
from falq._journal.states import HAS_RESULT, RecordState
from falq.errors import (
    FalqError,
    JobCancelledError,
    JobTimeoutError,
    SubmissionUnknownError,
)
from falq.text import printable

RowStatus: TypeAlias = Literal["succeeded", "failed", "cancelled", "timed_out", "unknown"]

DUPLICATE_KIND = "duplicate"
"""The `kind` of the error that a journal keeps of a row that equals an earlier one."""

_ERROR_FACTS = (
    "status_code",
    "error_type",
    "problems",
    "retryable",
    "possibly_billed",
    "intent_id",
    "timeout_s",
    "cancel_outcome",
)


@frozen(kw_only=True)
class SavedFile:
    """One media file of a row's result.

    Attributes:
        name: Its path below the output folder, with `/` between folders; None
            if it could not be fetched.
        url: Where it came from; of a `data:` URL only its start.
        size_bytes: Its size.
        sha256: Hash of its bytes, in hex.
        content_type: Its media type, if told.
        error: Why it is not there.
    """

    name: str | None
    url: str = field(repr=False)
    size_bytes: int | None = None
    sha256: str | None = None
    content_type: str | None = None
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as a line has it, without what is not known."""
        facts = {
            "name": self.name,
            "url": self.url,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "content_type": self.content_type,
            "error": self.error,
        }
        return {name: value for name, value in facts.items() if value is not None}


@frozen(kw_only=True)
class RowOutcome:
    """How one row of a batch ended.

    Attributes:
        seq: Its place among the rows, from 0.
        id: Its id.
        endpoint: Where it went.
        status: How it ended; `unknown` if the answer to its submit was lost.
        request_id: The server's id, if there is one.
        result: What the model answered; None unless it succeeded.
        error: Why it did not: `kind`, `message` and what else is known.
        files: Its media.
        cost_usd: What it cost in US dollars, if the price is known.
        timings: `sent_at`, `accepted_at`, `completed_at` and `ended_at` in ISO
            8601, `inference_s` and `total_s` in seconds; only what is known.
        duplicate_of: Id of the row whose outcome this is too.
        is_unsent: Whether its submit never reached the server. Such a row counts as
            left: it has no line, and the next run takes it up.
    """

    seq: int
    id: str
    endpoint: str
    status: RowStatus
    request_id: str | None = None
    result: Any = field(default=None, repr=False)
    error: Mapping[str, Any] | None = None
    files: tuple[SavedFile, ...] = ()
    cost_usd: float | None = None
    timings: Mapping[str, Any] = field(factory=dict, repr=False)
    duplicate_of: str | None = None
    is_unsent: bool = False

    @property
    def is_success(self) -> bool:
        """Whether there is a result."""
        return self.status == "succeeded"

    @property
    def lacks_files(self) -> bool:
        """Whether a file of its result could not be fetched."""
        return any(file.error is not None for file in self.files)

    def as_json(self) -> dict[str, Any]:
        """Return the line of `results.jsonl`, as JSON values."""
        line: dict[str, Any] = {
            "id": self.id,
            "seq": self.seq,
            "endpoint": self.endpoint,
            "status": self.status,
            "request_id": self.request_id,
        }
        if self.is_success:
            line["result"] = _shown(self.result)
        else:
            line["error"] = dict(self.error or {})
        line["files"] = [file.as_json() for file in self.files]
        line["cost_usd"] = self.cost_usd
        line["timings"] = dict(self.timings)
        if self.duplicate_of is not None:
            line["duplicate_of"] = self.duplicate_of
        return line


def _shown(result: Any) -> Any:
    if isinstance(result, bytes):
        return {"bytes": len(result)}
    return result


def describe_error(error: FalqError) -> dict[str, Any]:
    """Return an error as JSON values, without secrets or endless texts."""
    facts: dict[str, Any] = {"kind": type(error).__name__, "message": printable(str(error))}
    for name in _ERROR_FACTS:
        value = getattr(error, name, None)
        if value not in (None, (), False):
            facts[name] = value
    return facts


def status_of_error(error: FalqError) -> RowStatus:
    """Return how a row ended that ended with `error`."""
    if isinstance(error, JobTimeoutError):
        return "timed_out"
    if isinstance(error, JobCancelledError):
        return "cancelled"
    return "unknown" if isinstance(error, SubmissionUnknownError) else "failed"


def outcome_of_record(
    record: JobRecord,
    *,
    body: bytes | None,
    files: Sequence[FileRecord],
    cost_usd: float | None,
) -> RowOutcome:
    """Return the outcome of a settled job as a journal knows it.

    Args:
        record: The job.
        body: Its result, as received.
        files: Its files.
        cost_usd: What it cost, if that is known.
    """
    status = status_of_record(record)
    is_success = status == "succeeded"
    return RowOutcome(
        seq=record.seq,
        id=record.key or f"job-{record.number}",
        endpoint=record.endpoint,
        status=status,
        request_id=record.request_id,
        result=_read_result(body) if is_success else None,
        error=None if is_success else _error_of(record, status),
        files=tuple(_saved_file(file) for file in files),
        cost_usd=cost_usd,
        timings=timings_of_record(record),
    )


def _error_of(record: JobRecord, status: RowStatus) -> dict[str, Any]:
    if record.error is None:
        return {"kind": status, "message": record.reason or "it has not ended"}
    names = ("kind", "message", *_ERROR_FACTS)
    return {
        name: record.error[name]
        for name in names
        if record.error.get(name) not in (None, (), [], False)
    }


def status_of_record(record: JobRecord) -> RowStatus:
    """Return how a job stands, for a reader; one that has not ended is `unknown`."""
    if record.state in HAS_RESULT:
        return "succeeded"
    kind = (record.error or {}).get("kind")
    if kind == JobTimeoutError.__name__:
        return "timed_out"
    if record.state is RecordState.CANCELLED:
        return "cancelled"
    is_over = record.state in {RecordState.FAILED, RecordState.REFUSED, RecordState.GONE}
    return "failed" if is_over else "unknown"


def _read_result(body: bytes | None) -> Any:
    if body is None:
        return None
    try:
        return load_json(body)
    except ValueError:
        return body


def _saved_file(file: FileRecord) -> SavedFile:
    is_saved = file.state == "saved"
    return SavedFile(
        name=file.name if is_saved else None,
        url=file.url,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        content_type=file.content_type,
        error=None if is_saved else "it could not be fetched",
    )


def timings_of_record(record: JobRecord) -> dict[str, Any]:
    """Return when a job went where, as `RowOutcome.timings` has it."""
    instants = {
        "sent_at": record.sent_at,
        "accepted_at": record.accepted_at,
        "completed_at": record.completed_at,
        # Of a row with a result it is the mark after its line, which a line cannot have.
        "ended_at": None if record.state in HAS_RESULT else record.ended_at,
    }
    timings: dict[str, Any] = {
        name: write_instant(at) for name, at in instants.items() if at is not None
    }
    if record.inference_s is not None:
        timings["inference_s"] = record.inference_s
    last = record.ended_at if record.completed_at is None else record.completed_at
    if record.sent_at is not None and last is not None:
        timings["total_s"] = round(last - record.sent_at, 3)
    return timings


def write_instant(at: float) -> str:
    """Return Unix seconds as ISO 8601 in UTC.

    Example:
        >>> write_instant(0.5)
        '1970-01-01T00:00:00.500Z'
    """
    # The second is written once for all rows that share it.
    second = math.floor(at)
    more, microseconds = divmod(round((at - second) * 1_000_000), 1_000_000)
    return f"{_write_second(second + more)}.{microseconds // 1000:03d}Z"


@functools.lru_cache(maxsize=64)
def _write_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
