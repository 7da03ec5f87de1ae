from __future__ import annotations

import itertools

import pytest

from falq._core.lifecycle import MOVES, JobMove, JobState, next_state

LEGAL = {
    (JobState.WAITING, JobMove.ADMIT): JobState.SUBMITTING,
    (JobState.WAITING, JobMove.SETTLE): JobState.SETTLED,
    (JobState.SUBMITTING, JobMove.ACCEPT): JobState.ACCEPTED,
    (JobState.SUBMITTING, JobMove.SETTLE): JobState.SETTLED,
    (JobState.ACCEPTED, JobMove.COMPLETE): JobState.FETCHING,
    (JobState.ACCEPTED, JobMove.SETTLE): JobState.SETTLED,
    (JobState.FETCHING, JobMove.NOT_READY): JobState.ACCEPTED,
    (JobState.FETCHING, JobMove.SETTLE): JobState.SETTLED,
}
EVERY_PAIR = list(itertools.product(JobState, JobMove))


@pytest.mark.parametrize(
    ("state", "move"), EVERY_PAIR, ids=[f"{state.name}-{move.name}" for state, move in EVERY_PAIR]
)
def test_every_move_leads_where_the_table_says_or_is_refused(state, move):
    if (state, move) in LEGAL:
        assert next_state(state, move) is LEGAL[state, move]
    else:
        with pytest.raises(ValueError, match="cannot"):
            next_state(state, move)


def test_nothing_leaves_a_settled_job():
    assert not [pair for pair in MOVES if pair[0] is JobState.SETTLED]


def test_every_state_can_be_settled():
    assert {state for state, move in MOVES if move is JobMove.SETTLE} == set(JobState) - {
        JobState.SETTLED
    }


def test_a_job_is_submitted_once_only():
    assert [to for (_, move), to in MOVES.items() if move is JobMove.ADMIT] == [JobState.SUBMITTING]
    assert JobState.WAITING not in MOVES.values()
