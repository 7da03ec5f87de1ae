"""What a record means after a crash, and whose a listed request is."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq._core.recovery import (
    LONGEST_SUBMIT_S,
    SKEW_S,
    STEPS,
    Hit,
    Lost,
    Step,
    decide_end,
    match_unknowns,
    overlaps,
    window_of,
)
from falq._journal.states import ENDS, MOVES, RecordState
from falq.errors import (
    AuthenticationError,
    FalqError,
    JobCancelledError,
    JobError,
    JobFailedError,
    JobLostError,
    JobTimeoutError,
    JournalError,
    RateLimitError,
    RequestNotFoundError,
    ServerError,
    SessionClosedError,
    SubmissionUnknownError,
    TransportError,
    WireError,
)

NOW = 1_800_000_000.0


def lost(name: object, sha: str = "a", at: float = 0.0) -> Lost:
    return Lost(name=name, input_sha256=sha, sent_at=NOW + at)


def hit(request_id: str, sha: str | None = "a", at: float | None = 0.0) -> Hit:
    return Hit(request_id=request_id, input_sha256=sha, sent_at=None if at is None else NOW + at)


def test_every_state_of_a_record_has_its_step() -> None:
    assert STEPS.keys() == set(RecordState)


def test_only_what_was_provably_not_sent_is_submitted() -> None:
    submitted = {state for state, step in STEPS.items() if step is Step.SUBMIT}
    assert submitted == {state for state in RecordState if RecordState.SENDING in MOVES[state]}


def test_every_end_is_raised() -> None:
    assert {state for state, step in STEPS.items() if step is Step.RAISE} == set(ENDS)


ENDED: list[tuple[FalqError, dict[str, object], str | None]] = [
    (ServerError("no", status_code=500), {"is_sent": True}, "refused"),
    (RateLimitError("no", status_code=429), {"is_sent": True}, "refused"),
    (AuthenticationError("no", status_code=401), {}, None),
    (TransportError("no"), {}, None),
    (TransportError("no"), {"is_sent": True}, None),
    (JournalError("no"), {}, None),
    (SubmissionUnknownError("lost"), {"is_sent": True}, None),
    (SessionClosedError("closed"), {}, None),
    (SessionClosedError("closed"), {"has_request": True}, None),
    (JobFailedError("failed"), {"has_request": True}, "failed"),
    (JobLostError("gone"), {"has_request": True}, "gone"),
    (RequestNotFoundError("gone", status_code=404), {"has_request": True}, "gone"),
    (AuthenticationError("no", status_code=401), {"has_request": True}, None),
    (WireError("unreadable"), {"has_request": True}, None),
    (ServerError("no", status_code=503), {"has_request": True}, None),
    (JobError("a bug"), {"has_request": True}, None),
    (JobCancelledError("told"), {"has_request": True}, "cancelled"),
    (JobCancelledError("dropped"), {"cancel_outcome": "not_submitted"}, "cancelled"),
    (JobTimeoutError("late"), {"cancel_outcome": "not_submitted"}, "cancelled"),
    (
        JobTimeoutError("late"),
        {"has_request": True, "cancel_outcome": "requested"},
        "cancelled",
    ),
    (
        JobTimeoutError("late"),
        {"has_request": True, "cancel_outcome": "not_found"},
        "cancelled",
    ),
    (JobTimeoutError("late"), {"has_request": True, "cancel_outcome": "unknown"}, None),
    (
        JobTimeoutError("late"),
        {"has_request": True, "cancel_outcome": "already_completed"},
        None,
    ),
    (JobTimeoutError("late"), {"is_sent": True, "cancel_outcome": "unknown"}, None),
]


@pytest.mark.parametrize(
    ("error", "facts", "state"),
    ENDED,
    ids=[f"{type(error).__name__} {facts}" for error, facts, _ in ENDED],
)
def test_what_could_not_be_found_out_is_no_end(
    error: FalqError, facts: dict[str, object], state: str | None
) -> None:
    asked = {"is_sent": False, "has_request": False, "cancel_outcome": None, **facts}
    assert decide_end(error, **asked) == state  # type: ignore[arg-type]  # the table is checked by use


def test_a_single_request_with_the_input_is_the_lost_submit() -> None:
    match = match_unknowns([lost(1)], [hit("r1")], claimed=())
    assert match.found == {1: "r1"}
    assert match.unclear == frozenset()


def test_what_is_not_listed_is_neither_found_nor_unclear() -> None:
    hits = [hit("r1", "b"), hit("r2", None)]
    match = match_unknowns([lost(1)], hits, claimed=())
    assert match.found == {}
    assert match.unclear == frozenset()


@pytest.mark.parametrize("requests", [1, 3])
def test_another_number_of_requests_than_of_equal_submits_is_unclear(requests: int) -> None:
    hits = [hit(f"r{n}") for n in range(requests)]
    match = match_unknowns([lost(1), lost(2)], hits, claimed=())
    assert match.found == {}
    assert match.unclear == {1, 2}


def test_a_request_that_is_owned_does_not_count() -> None:
    match = match_unknowns([lost(1)], [hit("r1"), hit("r2")], claimed={"r1"})
    assert match.found == {1: "r2"}


def test_a_request_that_is_listed_twice_is_one() -> None:
    match = match_unknowns([lost(1), lost(2)], [hit("r1"), hit("r1")], claimed=())
    assert match.found == {}


def test_while_an_equal_submit_is_on_its_way_nothing_is_adopted() -> None:
    match = match_unknowns([lost(1), lost(2, "b")], [hit("r1"), hit("r2", "b")], claimed=(),
                           on_the_way={"a"})  # fmt: skip
    assert match.found == {2: "r2"}
    assert match.unclear == {1}


def test_equal_submits_take_requests_in_the_order_of_sending() -> None:
    hits = [hit("late", at=61.0), hit("early", at=1.0)]
    match = match_unknowns([lost(2, at=60.0), lost(1)], hits, claimed=())
    assert match.found == {1: "early", 2: "late"}


@pytest.mark.parametrize(
    ("at", "found"),
    [
        (-SKEW_S - 1, {}),
        (-SKEW_S, {1: "r1"}),
        (LONGEST_SUBMIT_S + SKEW_S, {1: "r1"}),
        (LONGEST_SUBMIT_S + SKEW_S + 1, {}),
        (None, {1: "r1"}),
    ],
)
def test_a_request_of_another_time_is_not_it(at: float | None, found: dict[int, str]) -> None:
    assert match_unknowns([lost(1)], [hit("r1", at=at)], claimed=()).found == found


def test_the_window_begins_before_the_first_and_ends_after_now() -> None:
    many = [lost(1, at=-300.0), lost(2, at=-10.0)]
    assert window_of(many, NOW) == (NOW - 300.0 - SKEW_S, NOW + SKEW_S)


def test_a_clock_that_was_set_back_turns_no_window_around() -> None:
    (start, end) = window_of([lost(1, at=3600.0)], NOW)
    assert start == NOW + 3600.0 - SKEW_S
    assert end == NOW + 3600.0 + LONGEST_SUBMIT_S + SKEW_S


def test_the_window_of_an_old_submit_does_not_reach_until_now() -> None:
    (start, end) = window_of([lost(1, at=-86400.0)], NOW)
    assert end - start == LONGEST_SUBMIT_S + 2 * SKEW_S


def test_submits_far_apart_do_not_overlap() -> None:
    assert overlaps(lost(1), [lost(2, at=5000.0), lost(3, at=LONGEST_SUBMIT_S)])
    assert not overlaps(lost(1), [lost(2, at=5000.0)])


HASHES = st.sampled_from(["a", "b", "c"])
TIMES = st.floats(-2000.0, 2000.0)
LOST = st.lists(st.tuples(HASHES, TIMES), max_size=6).map(
    lambda given: [lost(n, sha, at) for n, (sha, at) in enumerate(given)]
)
HITS = st.lists(
    st.builds(
        hit, st.sampled_from([f"r{n}" for n in range(8)]), st.none() | HASHES, st.none() | TIMES
    ),
    max_size=8,
)


@given(LOST, HITS, st.sets(st.sampled_from([f"r{n}" for n in range(8)])), st.sets(HASHES))
def test_no_id_is_adopted_twice_or_from_an_owner_or_by_a_wrong_number(
    many: list[Lost], hits: list[Hit], claimed: set[str], on_the_way: set[str]
) -> None:
    match = match_unknowns(many, hits, claimed=claimed, on_the_way=on_the_way)
    ids = list(match.found.values())
    assert len(ids) == len(set(ids))
    assert claimed.isdisjoint(ids)
    assert match.unclear.isdisjoint(match.found)
    by_name = {one.name: one for one in many}
    adopted = Counter(by_name[name].input_sha256 for name in match.found)
    for sha, count in adopted.items():
        free = {one.request_id for one in hits if one.input_sha256 == sha} - claimed
        assert count == len(free) == sum(one.input_sha256 == sha for one in many)
        assert sha not in on_the_way
    for name, request_id in match.found.items():
        assert by_name[name].input_sha256 in {
            one.input_sha256 for one in hits if one.request_id == request_id
        }


@given(LOST, st.sets(HASHES))
def test_an_empty_history_says_nothing(many: list[Lost], on_the_way: set[str]) -> None:
    match = match_unknowns(many, [], claimed=(), on_the_way=on_the_way)
    assert not match.found
    assert not match.unclear
