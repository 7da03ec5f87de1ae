"""What a span or a metric calls the things that happen to a job.

Owns the names and attributes, and which facts leave the process at all. `telemetry`
asks it. Rules:

    1. A message, a detail or a body never passes: a server may quote the input.
    2. A server's own word passes only if it looks like one.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from falq.errors import (
    FalqError,
    JobCancelledError,
    JobTimeoutError,
    SessionError,
    SubmissionUnknownError,
)
from falq.events import (
    Accepted,
    Admitted,
    CancelRequested,
    Event,
    PollFailed,
    Resending,
    Retrying,
    Settled,
    StatusChanged,
    SubmitLost,
)
from falq.model import Queued, Status
from falq.text import printable

Attributes: TypeAlias = dict[str, str | int | float | bool]

_NAMES: Final[dict[type[Event], str]] = {
    # `Polled` is not among them: it only counts, for a long job has hundreds.
    Admitted: "falq.admitted",
    Accepted: "falq.accepted",
    StatusChanged: "falq.status",
    PollFailed: "falq.poll_failed",
    Retrying: "falq.retrying",
    SubmitLost: "falq.submit_lost",
    Resending: "falq.resending",
    CancelRequested: "falq.cancel_requested",
    Settled: "falq.settled",
}
_OUTCOMES: Final[dict[type[FalqError], str]] = {
    JobCancelledError: "cancelled",
    JobTimeoutError: "timed_out",
    SubmissionUnknownError: "unknown",
    SessionError: "detached",
}
_PASSED: Final = ("verb", "attempt", "delay_s", "next_in_s", "resends", "cancel_outcome")
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_LONGEST_ID = 128
"""Characters of a request id; fal's have 36."""


def identify(event: Event) -> Attributes:
    """Return which job an event is about."""
    facts: Attributes = {"falq.endpoint": event.endpoint, "falq.job_id": event.job_id}
    if event.request_id is not None:
        facts["falq.request_id"] = printable(event.request_id, limit=_LONGEST_ID)
    return facts


def describe(event: Event) -> tuple[str, Attributes] | None:
    """Return the name and the attributes of a span's event; None if it makes none."""
    name = _NAMES.get(type(event))
    if name is None:
        return None
    facts: Attributes = {
        f"falq.{fact}": getattr(event, fact) for fact in _PASSED if hasattr(event, fact)
    }
    if isinstance(event, StatusChanged):
        facts |= _describe_status(event.status)
    if isinstance(event, Settled):
        facts["falq.outcome"] = name_outcome(event.error)
    error = getattr(event, "error", None)
    if error is not None:
        facts |= describe_error(error)
    return name, facts


def describe_error(error: FalqError) -> Attributes:
    """Return what may be told of an error: its kind, never its text."""
    facts: Attributes = {"error.type": type(error).__name__}
    status_code = getattr(error, "status_code", None)
    if isinstance(status_code, int):
        facts["http.response.status_code"] = status_code
    error_type = getattr(error, "error_type", None)
    if isinstance(error_type, str):
        facts["falq.error_type"] = _as_word(error_type)
    return facts


def name_outcome(error: FalqError | None) -> str:
    """Return how a job ended, in one of six words.

    `succeeded`, `failed`, `cancelled`, `timed_out`; `unknown` if nobody knows whether
    there is a job, and `detached` if the session was closed before its end.
    """
    if error is None:
        return "succeeded"
    for kind, word in _OUTCOMES.items():
        if isinstance(error, kind):
            return word
    return "failed"


def _describe_status(status: Status) -> Attributes:
    facts: Attributes = {"falq.status": _as_word(status.word)}
    if isinstance(status, Queued) and status.position is not None:
        facts["falq.position"] = status.position
    return facts


def _as_word(text: str) -> str:
    return text if _WORD.fullmatch(text) else "other"
