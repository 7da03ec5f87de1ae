"""The states of one job on our side, and what moves it.

    WAITING ──admit──> SUBMITTING ──accept──> ACCEPTED ──complete──> FETCHING
       │                   │                   ^   │                  │    │
       │                   │                   └───┼───not ready──────┘    │
       └───settle──────────┴───────────settle──────┴─────────settle────────┘
                                      v
                                   SETTLED

Owns the table. A job attached by its id starts ACCEPTED. From the first byte of
a submit until it is accepted or settled, nobody may drop the job: SUBMITTING is
the only state in which money may be spent without an id.
"""

from __future__ import annotations

import enum


class JobState(enum.Enum):
    """Where falq's handling of a job stands."""

    WAITING = "waiting"
    SUBMITTING = "submitting"
    ACCEPTED = "accepted"
    FETCHING = "fetching"
    SETTLED = "settled"

    # Members are single, and every move of every job looks two of them up.
    __hash__ = object.__hash__


class JobMove(enum.Enum):
    """What can happen to a job."""

    ADMIT = "admit"
    ACCEPT = "accept"
    COMPLETE = "complete"
    NOT_READY = "not ready"
    SETTLE = "settle"

    __hash__ = object.__hash__


MOVES: dict[tuple[JobState, JobMove], JobState] = {
    (JobState.WAITING, JobMove.ADMIT): JobState.SUBMITTING,
    (JobState.WAITING, JobMove.SETTLE): JobState.SETTLED,
    (JobState.SUBMITTING, JobMove.ACCEPT): JobState.ACCEPTED,
    (JobState.SUBMITTING, JobMove.SETTLE): JobState.SETTLED,
    (JobState.ACCEPTED, JobMove.COMPLETE): JobState.FETCHING,
    (JobState.ACCEPTED, JobMove.SETTLE): JobState.SETTLED,
    (JobState.FETCHING, JobMove.NOT_READY): JobState.ACCEPTED,
    (JobState.FETCHING, JobMove.SETTLE): JobState.SETTLED,
}


def next_state(state: JobState, move: JobMove) -> JobState:
    """Return the state that `move` leads to.

    Raises:
        ValueError: The table has no such move: a bug in falq.
    """
    try:
        return MOVES[state, move]
    except KeyError:
        raise ValueError(f"a {state.value} job cannot {move.value}") from None
