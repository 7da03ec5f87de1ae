"""How fast calls may go: a token bucket, a limit that adapts, a shared cool-down, a lead.

Owns the arithmetic of four valves. They never wait: each tells when, and
`lanes` and `poller` wait.
"""

from __future__ import annotations

import math

from attrs import define, field

_CLOCK_STEP_S = 1e-6
"""Waits below this count as over, in seconds.

Loop times of a machine that is up for years differ by less than this only by
rounding: without it a caller that waits exactly as told could come too early
and be told to wait for a time that no clock can show.
"""

_LEAD_MARGIN = 1.5
"""Calls that get ready for one that is missing: they come in groups."""

_LEAD_WEIGHT = 1 / 16
"""What the last of the times that a lead goes by counts in their average."""


@define
class TokenBucket:
    """Lets `rate_per_s` things a second through, and `burst` at once after a rest.

    Attributes:
        rate_per_s: Tokens that come back in a second. Above 0.
        burst: Tokens that it holds at most. 1 or more.
    """

    rate_per_s: float
    burst: float
    _tokens: float = field(init=False)
    _counted_at: float | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._tokens = self.burst

    def _count(self, now: float) -> None:
        if self._counted_at is None:
            self._counted_at = now
        elif now > self._counted_at:
            grown = self._tokens + (now - self._counted_at) * self.rate_per_s
            self._tokens = min(self.burst, grown)
            self._counted_at = now

    def take(self, now: float) -> bool:
        """Return whether one may go now, and take its token.

        Args:
            now: Loop time in seconds.
        """
        if self.wait_s(now) > 0.0:
            return False
        self._tokens -= 1.0
        return True

    def spend(self) -> None:
        """Take a token whether there is one or not; what follows waits the longer."""
        self._tokens -= 1.0

    def give_back(self) -> None:
        """Return a token that was not used up."""
        self._tokens = min(self.burst, self._tokens + 1.0)

    def wait_s(self, now: float) -> float:
        """Return the seconds until the next one may go; 0 if it may go now."""
        self._count(now)
        wait_s = (1.0 - self._tokens) / self.rate_per_s
        return wait_s if wait_s > _CLOCK_STEP_S else 0.0


@define
class AdaptiveLimit:
    """A limit of calls in flight that starts at the top and shrinks on trouble.

    Additive increase, multiplicative decrease, on loss only: how long fal takes
    is the work of its runners, not a sign of congestion. A healthy server is
    never slowed.

    Attributes:
        top: Where it starts and what it never exceeds.
        floor: What it never falls below.
    """

    top: int
    floor: int = 1
    _limit: float = field(init=False)
    _successes: int = field(init=False, default=0)
    _shrunk_at: float = field(init=False, default=float("-inf"))

    def __attrs_post_init__(self) -> None:
        self._limit = float(self.top)

    @property
    def limit(self) -> int:
        """Calls that may be in flight now."""
        return int(self._limit)

    def record_success(self) -> None:
        """Count a good answer; a window of them gives one back."""
        if self._limit >= self.top:
            return
        self._successes += 1
        if self._successes >= self._limit:
            self._successes = 0
            self._limit = min(float(self.top), self._limit + 1.0)

    def record_trouble(self, now: float) -> None:
        """Count a 429, 503 or time-out; those of one second count as one.

        Args:
            now: Loop time in seconds.
        """
        self._successes = 0
        if now - self._shrunk_at < 1.0:
            return
        self._shrunk_at = now
        self._limit = max(float(self.floor), self._limit * 0.9)


@define
class Cooldown:
    """A pause that one refused call imposes on all of its kind.

    Attributes:
        until: Loop instant at which it is over.
    """

    until: float = float("-inf")

    def extend(self, now: float, wait_s: float) -> None:
        """Make the pause last `wait_s` seconds from `now` at least."""
        self.until = max(self.until, now + wait_s)

    def left_s(self, now: float) -> float:
        """Return the seconds that are left of it, 0 if it is over."""
        return max(0.0, self.until - now)


@define
class Lead:
    """How many calls may get ready while others hold the places.

    As many as take the places of those that end meanwhile, and some more, because
    they get ready in groups. A call that is ready and waits is a loss if the program
    dies, and a place that waits for a call is one to the pace.

    Attributes:
        most_to_place: Calls for each place at most.
    """

    most_to_place: float = 8.0
    _ready_s: float | None = field(init=False, default=None)
    _call_s: float | None = field(init=False, default=None)

    def record_ready(self, took_s: float) -> None:
        """Count how long one took to get ready, in seconds."""
        self._ready_s = _averaged(self._ready_s, took_s)

    def record_call(self, took_s: float) -> None:
        """Count how long one held its place, in seconds."""
        self._call_s = _averaged(self._call_s, took_s)

    def limit(self, places: int) -> int:
        """Return how many may get ready; as many as there are places while that is not known."""
        if self._ready_s is None or self._call_s is None:
            return places
        most = self.most_to_place * places
        wanted = _LEAD_MARGIN * places * self._ready_s
        # Not divided first: a call may take no time that a clock can show.
        return math.ceil(most if wanted >= most * self._call_s else wanted / self._call_s)


def _averaged(average_s: float | None, took_s: float) -> float:
    """Return the moving average with one more."""
    return took_s if average_s is None else average_s + _LEAD_WEIGHT * (took_s - average_s)
