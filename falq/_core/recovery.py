"""What a journal's record means for whoever finds it, and whose a found request is.

Owns two decisions: what to do with a job by the state that its record is in, and
which of the requests in a history are the jobs whose submits were never answered.
It never reads a journal or a history: `reconciler` and the driver bring the
values and carry the decisions out.

    | state                        | after a crash, or when its key comes again     |
    |------------------------------|------------------------------------------------|
    | planned                      | submit: nothing was sent, or provably not      |
    | sending, unknown             | resolve: there may be a job                    |
    | accepted, completed          | watch: the server has it, its id is known      |
    | fetched, delivered           | return: its result is in the journal           |
    | failed, cancelled,           | raise: it ended like that, and is sent again   |
    | refused, gone                | only if somebody asks for it                   |
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence

from attrs import frozen

from falq.errors import (
    ApiError,
    FalqError,
    JobCancelledError,
    JobFailedError,
    JobLostError,
    JobTimeoutError,
    RequestNotFoundError,
)

SKEW_S = 120.0
"""How far the server's clock may be from ours, in seconds."""

LONGEST_SUBMIT_S = 600.0
"""How long after it was sent a submit may still reach the server, in seconds.

Longer than any time-out for one, because proxies hold a request as well.
"""


class Step(enum.Enum):
    """What to do with a job that a journal knows."""

    SUBMIT = "submit"
    RESOLVE = "resolve"
    WATCH = "watch"
    RETURN = "return"
    RAISE = "raise"


STEPS: dict[str, Step] = {
    "planned": Step.SUBMIT,
    "sending": Step.RESOLVE,
    "unknown": Step.RESOLVE,
    "accepted": Step.WATCH,
    "completed": Step.WATCH,
    "fetched": Step.RETURN,
    "delivered": Step.RETURN,
    "failed": Step.RAISE,
    "cancelled": Step.RAISE,
    "refused": Step.RAISE,
    "gone": Step.RAISE,
}

_OVER = frozenset({"requested", "not_found", "not_submitted"})
"""Answers to a cancel after which nobody needs to look at the job again."""


def decide_end(
    error: FalqError, *, is_sent: bool, has_request: bool, cancel_outcome: str | None = None
) -> str | None:
    """Return the state in which an error leaves a job's record, None to leave it as it is.

    What could not be found out is no end: the record stays where it can be
    resumed from. So does a job whose cancel came too late, since its result is
    there and paid, and one that was stopped before it was sent for a reason that
    may pass, such as an account without money.

    Args:
        error: What the job ended with in its session.
        is_sent: Whether its last submit was sent.
        has_request: Whether the server's id is known.
        cancel_outcome: What became of the session's cancel, if it sent one.
    """
    if isinstance(error, JobCancelledError | JobTimeoutError):
        is_over = cancel_outcome is None or cancel_outcome in _OVER
        return "cancelled" if is_over else None
    if not has_request:
        return "refused" if is_sent and isinstance(error, ApiError) else None
    if isinstance(error, JobFailedError):
        return "failed"
    if isinstance(error, JobLostError | RequestNotFoundError):
        return "gone"
    return None


@frozen(kw_only=True)
class Lost:
    """A submit whose answer was lost.

    Attributes:
        name: By which the caller knows it; never two alike.
        input_sha256: Hash of its canonical input.
        sent_at: When it was sent, Unix seconds.
    """

    name: Hashable
    input_sha256: str
    sent_at: float


@frozen(kw_only=True)
class Hit:
    """A request that a history lists.

    Attributes:
        request_id: The server's id.
        input_sha256: Hash of its canonical input; None if the input was not stored.
        sent_at: When the server got it, Unix seconds, if told.
    """

    request_id: str
    input_sha256: str | None
    sent_at: float | None = None


@frozen(kw_only=True)
class Match:
    """What one look at a history tells.

    Attributes:
        found: The server's id of each lost submit that it tells, by name.
        unclear: Those for which it lists requests, but not as many as there are
            submits: any of them may be anybody's.
    """

    found: Mapping[Hashable, str]
    unclear: frozenset[Hashable]


def match_unknowns(
    lost: Sequence[Lost],
    hits: Iterable[Hit],
    *,
    claimed: Collection[str],
    on_the_way: Collection[str] = (),
) -> Match:
    """Tell which requests are the jobs of lost submits.

    Rules:
        1. Only equal inputs are the same: the hash decides.
        2. A request that somebody owns is nobody else's.
        3. Among equal submits it does not matter whose request is whose, but there
           must be as many requests as submits: with fewer one of them is late or
           never was, with more one is a stranger's.
        4. While an equal submit is on its way, a request may be that one's.
        5. What is not listed proves nothing: history is late.

    Args:
        lost: Submits to one endpoint, each once.
        hits: What its history lists.
        claimed: Ids that are known to be somebody's.
        on_the_way: Hashes of submits that are being answered at this moment.
    """
    free: dict[str, dict[str, Hit]] = defaultdict(dict)
    for hit in hits:
        if hit.input_sha256 is not None and hit.request_id not in claimed:
            free[hit.input_sha256].setdefault(hit.request_id, hit)
    alike: dict[str, list[Lost]] = defaultdict(list)
    for one in lost:
        alike[one.input_sha256].append(one)
    found: dict[Hashable, str] = {}
    unclear: set[Hashable] = set()
    for input_sha256, group in alike.items():
        group.sort(key=lambda one: one.sent_at)
        candidates = sorted(
            free[input_sha256].values(), key=lambda hit: (hit.sent_at or 0.0, hit.request_id)
        )
        is_certain = (
            len(candidates) == len(group)
            and input_sha256 not in on_the_way
            and all(map(_may_be, group, candidates))
        )
        if is_certain:
            pairs = zip(group, candidates, strict=True)
            found.update((one.name, hit.request_id) for one, hit in pairs)
        elif candidates:
            unclear.update(one.name for one in group)
    return Match(found=found, unclear=frozenset(unclear))


def _may_be(one: Lost, hit: Hit) -> bool:
    """Return whether the server got `hit` at a time at which it can be `one`."""
    if hit.sent_at is None:
        return True
    return one.sent_at - SKEW_S <= hit.sent_at <= one.sent_at + LONGEST_SUBMIT_S + SKEW_S


def window_of(lost: Sequence[Lost], now: float) -> tuple[float, float]:
    """Return the first instant to look at and the one after the last, Unix seconds.

    Args:
        lost: At least one.
        now: Unix seconds.
    """
    first, last = min(one.sent_at for one in lost), max(one.sent_at for one in lost)
    end = last + LONGEST_SUBMIT_S
    # A clock that was set back meanwhile does not say where the window ends.
    return first - SKEW_S, (end if now < last else min(now, end)) + SKEW_S


def overlaps(one: Lost, others: Sequence[Lost]) -> bool:
    """Return whether a request of `one` could be taken for one of `others`."""
    return any(
        abs(one.sent_at - other.sent_at) <= LONGEST_SUBMIT_S + 2 * SKEW_S for other in others
    )
