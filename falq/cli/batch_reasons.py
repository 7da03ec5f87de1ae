"""Why rows of a batch failed: each reason once, as it comes up, and counted at the end.

Owns which reasons are the same. Rows fail by the hundred for one reason, and a
reader needs the reason and not the hundred. It prints nothing: `batch` does.
"""

from __future__ import annotations

import re

from attrs import define

from falq.batch import RowOutcome
from falq.cli.output import describe_count
from falq.text import printable

MOST_REASONS = 20
"""Reasons that are told apart; what comes after them is counted as others."""

_MESSAGE_LIMIT = 300
_REPEAT_LIMIT = 80

_NOT_FETCHED = "file not fetched"
_OF_ROWS = {_NOT_FETCHED: "with a file not fetched"}

# Ids, addresses and numbers tell rows apart, and not reasons.
_DETAILS = re.compile(r"'[^']*'|[0-9a-f]{8}[0-9a-f-]*|\d+", re.IGNORECASE)


@define
class _Reason:
    status: str
    message: str
    first_id: str
    count: int = 0


class Reasons:
    """The reasons of a run."""

    def __init__(self) -> None:
        self._reasons: dict[tuple[str, ...], _Reason] = {}
        self._others = 0

    def take(self, outcome: RowOutcome) -> str | None:
        """Take in a row; return the line to print if its reason is new."""
        if outcome.is_success:
            return self._take_files(outcome)
        error = outcome.error or {}
        message = str(error.get("message", ""))
        status = "not sent" if outcome.is_unsent else outcome.status.replace("_", " ")
        kind = str(error.get("error_type") or error.get("kind") or "")
        return self._count(outcome.id, status, kind, message)

    def _take_files(self, outcome: RowOutcome) -> str | None:
        broken = [file.error for file in outcome.files if file.error is not None]
        if not broken or outcome.duplicate_of is not None:
            return None
        return self._count(outcome.id, _NOT_FETCHED, "", broken[0])

    def _count(self, row_id: str, status: str, kind: str, message: str) -> str | None:
        key = (status, kind, _DETAILS.sub("#", message))
        reason = self._reasons.get(key)
        if reason is None and len(self._reasons) == MOST_REASONS:
            self._others += 1
            return None
        is_new = reason is None
        if reason is None:
            text = printable(message, limit=_MESSAGE_LIMIT)
            reason = self._reasons[key] = _Reason(status, text, printable(row_id, limit=100))
        reason.count += 1
        return f"{reason.first_id} {status}: {reason.message}" if is_new else None

    def counted(self) -> list[str]:
        """Return a line for each reason that came up more than once, the most frequent first."""
        frequent = sorted(self._reasons.values(), key=lambda reason: -reason.count)
        lines = [
            # In full it stands in the line of the row that came with it.
            f"{reason.count:,} rows {_OF_ROWS.get(reason.status, reason.status)}, first told of "
            f"{reason.first_id}: {printable(reason.message, limit=_REPEAT_LIMIT)}"
            for reason in frequent
            if reason.count > 1
        ]
        if self._others:
            others = describe_count(self._others, "row")
            lines.append(f"{others} ended for other reasons; results.jsonl has them")
        return lines
