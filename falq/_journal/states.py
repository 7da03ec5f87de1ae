"""The states of a journal's row, and which may follow which.

    planned ──> sending ──> accepted ──> completed ──> fetched ──> delivered
       ^           │  └─> unknown ─┘ │         │          ^
       └─not sent──┘                 └─────────┼──────────┘
    refused, failed, cancelled, gone <─────────┘    (a retry leads back to planned)

Owns the table. `schema` copies it into every journal, where a trigger enforces
it against any program; `memory` asks it directly. It differs from
`_core/lifecycle.py`, which knows one session's handling of a job and forgets it.
"""

from __future__ import annotations

import enum


class RecordState(enum.StrEnum):
    """Where the journal last saw a job.

    Attributes:
        PLANNED: Known; nothing was sent, or the last attempt is proven not sent.
        SENDING: An intent was committed; its bytes may be on the way.
        UNKNOWN: The answer to the submit was lost: there may be a job.
        ACCEPTED: The server gave it an id.
        COMPLETED: The server said so; its result is not here yet.
        FETCHED: Its result is in the journal.
        DELIVERED: The caller has the result and its files.
        FAILED: The model or the platform ended it with an error.
        CANCELLED: It was cancelled.
        REFUSED: The submit was answered no.
        GONE: The server no longer knows it or its result.
    """

    PLANNED = "planned"
    SENDING = "sending"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    COMPLETED = "completed"
    FETCHED = "fetched"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    GONE = "gone"


_S = RecordState

MOVES: dict[RecordState, frozenset[RecordState]] = {
    _S.PLANNED: frozenset({_S.SENDING, _S.REFUSED, _S.CANCELLED, _S.FAILED}),
    _S.SENDING: frozenset({_S.ACCEPTED, _S.UNKNOWN, _S.REFUSED, _S.PLANNED}),
    _S.UNKNOWN: frozenset({_S.ACCEPTED, _S.PLANNED, _S.REFUSED, _S.GONE}),
    _S.ACCEPTED: frozenset({_S.COMPLETED, _S.FETCHED, _S.FAILED, _S.CANCELLED, _S.GONE}),
    _S.COMPLETED: frozenset({_S.FETCHED, _S.FAILED, _S.CANCELLED, _S.GONE}),
    _S.FETCHED: frozenset({_S.DELIVERED}),
    _S.DELIVERED: frozenset(),
    _S.FAILED: frozenset({_S.PLANNED}),
    _S.CANCELLED: frozenset({_S.PLANNED}),
    _S.REFUSED: frozenset({_S.PLANNED}),
    _S.GONE: frozenset({_S.PLANNED}),
}

RETRYABLE = frozenset({_S.UNKNOWN, _S.FAILED, _S.CANCELLED, _S.REFUSED, _S.GONE})
"""States that an explicit retry may leave for PLANNED."""

IN_FLIGHT = frozenset({_S.SENDING, _S.UNKNOWN, _S.ACCEPTED, _S.COMPLETED, _S.FETCHED})
"""States of jobs that may be out, or whose result nobody has taken."""

HAS_RESULT = frozenset({_S.FETCHED, _S.DELIVERED})
"""States of jobs whose result the journal has."""

ENDS = frozenset({_S.FAILED, _S.CANCELLED, _S.REFUSED, _S.GONE})
"""States that end a job without a result."""


def may_move(before: RecordState, after: RecordState) -> bool:
    """Return whether a row in `before` may become `after`."""
    return after in MOVES[before]
