"""How long to wait before trying again.

Owns the shape of the delay curve and nothing else. It never sleeps, reads a
clock or draws a random number: the caller passes the draw in, so a test can
pin it. `retry` asks it about failed calls, `intervals` about status checks.
"""

from __future__ import annotations

from attrs import field, frozen, validators


@frozen(kw_only=True)
class Backoff:
    """An exponential curve with a ceiling, spread by jitter.

    Attributes:
        base_s: Ceiling of the first delay, in seconds. Above 0.
        cap_s: Ceiling of every delay, in seconds. Above 0.
        factor: Growth from one attempt to the next. 1.0 or more.
        jitter: Share of the ceiling that chance takes away at most, from 0
            (none) to 1 (full jitter).
    """

    base_s: float = field(default=0.25, validator=validators.gt(0))
    cap_s: float = field(default=20.0, validator=validators.gt(0))
    factor: float = field(default=2.0, validator=validators.ge(1))
    jitter: float = field(default=1.0, validator=[validators.ge(0), validators.le(1)])

    def ceiling_s(self, attempt: int) -> float:
        """Return the longest wait allowed after `attempt` failures.

        Args:
            attempt: Failures so far, counted from 1.

        Returns:
            Seconds, never above `cap_s`.

        Raises:
            ValueError: `attempt` is below 1.

        Example:
            >>> curve = Backoff(base_s=1.0, cap_s=5.0)
            >>> [curve.ceiling_s(n) for n in (1, 2, 3, 4)]
            [1.0, 2.0, 4.0, 5.0]
        """
        if attempt < 1:
            raise ValueError(f"attempt counts from 1, got {attempt}")
        try:
            grown_s = self.base_s * self.factor ** (attempt - 1)
        except OverflowError:
            # Near attempt 1024 the power stops fitting a float; the cap has
            # applied for long.
            return self.cap_s
        return min(grown_s, self.cap_s)

    def delay_s(self, attempt: int, *, draw: float) -> float:
        """Return the wait after `attempt` failures, in seconds.

        Args:
            attempt: Failures so far, counted from 1.
            draw: A uniform draw from [0, 1). 0 gives the shortest wait.

        Raises:
            ValueError: `attempt` is below 1, or `draw` is outside [0, 1).
        """
        if not 0.0 <= draw < 1.0:
            raise ValueError(f"draw must lie in [0, 1), got {draw}")
        # Full jitter takes everything away, not "a little": clients that failed
        # together must not come back together.
        return self.ceiling_s(attempt) * (1.0 - self.jitter * (1.0 - draw))
