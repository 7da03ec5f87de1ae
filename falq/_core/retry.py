"""Whether a failed call is tried again, and after how long.

Owns the rules per verb and the session's retry budget. It returns decisions;
`submit_client` and `queue_client` carry them out.

    | call   | again on                              | until                        |
    |--------|---------------------------------------|------------------------------|
    | submit | not sent, 429                         | `submit_attempts`            |
    | status | never: the next check is the retry    |                              |
    | result | transport, 408, 429, 5xx of the edge  | `result_for_s`               |
    | cancel | transport, 429, 5xx                   | `cancel_attempts`            |
"""

from __future__ import annotations

import enum

from attrs import define, field, frozen, validators

from falq._core.backoff import Backoff


class Failure(enum.Enum):
    """Why a call is thought of again."""

    NOT_SENT = "not sent"
    THROTTLED = "throttled"
    BROKEN = "broken"


@frozen(kw_only=True)
class RetrySettings:
    """How falq tries calls again. Delays are drawn from [0, base · 2ⁿ], "full jitter".

    Attributes:
        base_s: Ceiling of the first delay, in seconds.
        throttle_base_s: The same after a 429 that names no time.
        cap_s: Ceiling of every delay, in seconds.
        submit_attempts: Tries of a submit that was surely not sent, or met 429.
        cancel_attempts: Tries of a cancel.
        result_for_s: How long a completed job's result is asked for, in seconds.
            fal keeps results for an hour at least if payloads are stored.
        longest_wait_s: A `Retry-After` above this is raised at once instead of
            waited for, in seconds.
        budget: Retries that a session may make on top of a tenth of its calls.
    """

    base_s: float = field(default=0.25, validator=validators.gt(0))
    throttle_base_s: float = field(default=1.0, validator=validators.gt(0))
    cap_s: float = field(default=20.0, validator=validators.gt(0))
    submit_attempts: int = field(default=3, validator=validators.ge(1))
    cancel_attempts: int = field(default=3, validator=validators.ge(1))
    result_for_s: float = field(default=3600.0, validator=validators.ge(0))
    longest_wait_s: float = field(default=300.0, validator=validators.ge(0))
    budget: int = field(default=35, validator=validators.ge(0))


def decide_wait_s(
    settings: RetrySettings,
    failure: Failure,
    *,
    attempt: int,
    draw: float,
    retry_after_s: float | None = None,
) -> float | None:
    """Return how long to wait before the next attempt, in seconds; None to give up.

    Args:
        settings: The curve and the longest wait.
        failure: What happened.
        attempt: Failures so far, counted from 1.
        draw: A uniform draw from [0, 1).
        retry_after_s: What the server asked for, in seconds, if it did.
    """
    base_s = settings.throttle_base_s if failure is Failure.THROTTLED else settings.base_s
    own_s = Backoff(base_s=base_s, cap_s=max(base_s, settings.cap_s)).delay_s(attempt, draw=draw)
    # "Retry-After: 0" names no time; taken as one it would allow a storm.
    if not retry_after_s:
        return own_s
    if retry_after_s > settings.longest_wait_s:
        return None
    # The server's word is a floor. Up to a fifth on top keeps those who were
    # refused together from coming back together.
    return max(retry_after_s * (1.0 + 0.2 * draw), min(own_s, retry_after_s * 1.2))


PROBE_INTERVAL_S = 5.0
"""In an outage, one retry in this time finds out that it is over."""


@define
class RetryBudget:
    """Retries that a session may still make, so that an outage is not met with a storm.

    Every first attempt adds a tenth, every retry takes one, every retry that
    succeeds gives it back. When nothing is left, one retry goes through
    whenever there was none for `PROBE_INTERVAL_S`.

    Attributes:
        capacity: Most that it holds, and what it starts with.
    """

    capacity: float
    _left: float = field(init=False)
    _probe_at: float = field(init=False, default=float("-inf"))

    def __attrs_post_init__(self) -> None:
        self._left = self.capacity

    @property
    def left(self) -> float:
        """Retries left."""
        return self._left

    def record_first_attempt(self) -> None:
        """Add a tenth of a retry."""
        self._left = min(self.capacity, self._left + 0.1)

    def record_success(self) -> None:
        """Give back a retry that succeeded."""
        self._left = min(self.capacity, self._left + 1.0)

    def take(self, now: float) -> bool:
        """Return whether a retry may go now, and take it.

        Args:
            now: Loop time in seconds.
        """
        if self._left >= 1.0:
            self._left -= 1.0
        elif now < self._probe_at:
            return False
        self._probe_at = now + PROBE_INTERVAL_S
        return True
