"""When to look at something that ends at an unknown moment.

Owns the schedule of looks that costs the least: a look has a price, and so has
every second between the end and the look that finds it. It knows no jobs and no
samples: `forecast` gives it a distribution of run times, and `intervals` asks the
schedule for the next look.

The sum to be made small, over looks t(1) < t(2) < … at a job that ends at T, is

    look_value_s * looks + (t(found) - T)

in expectation (Barlow, Hunter and Proschan, "Optimum checking procedures", 1963).
Where the hazard is h, the best looks stand about sqrt(2 * look_value_s / h) apart
(Keller, "Optimum checking schedules for systems subject to random failure", 1974).
Here it is solved exactly on a grid, from the last point back: with S the share
that runs on and F that which has ended, the cost to come of a look at t, times S,
is

    W(t) = min over s > t of  look_value_s * S(t) + ∫[t, s] (F(u) - F(t)) du + W(s)

The next look never moves forward when the present one moves back, so each point
searches only up to the next look of the point behind it.
docs/explanation/polling.md tells the same in words.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise

from attrs import frozen


@frozen
class CheckSchedule:
    """The best next look for every age of a job.

    Attributes:
        ages_s: Grid of ages, in seconds, growing, from 0.
        next_s: The age at which to look next, for a job that runs at that age.
    """

    ages_s: Sequence[float]
    next_s: Sequence[float]

    @property
    def end_s(self) -> float:
        """Age past which the schedule knows nothing."""
        return self.ages_s[-1]

    def next_after(self, age_s: float) -> float | None:
        """Return the age of the next look at a job that runs at `age_s`.

        Args:
            age_s: Seconds since it started, 0 or more.

        Returns:
            A larger age; None past the end of the schedule.
        """
        index = bisect_right(self.ages_s, age_s) - 1
        if index >= len(self.next_s):
            return None
        before_s, after_s = self.next_s[index], self.next_s[min(index + 1, len(self.next_s) - 1)]
        share = (age_s - self.ages_s[index]) / (self.ages_s[index + 1] - self.ages_s[index])
        next_s = before_s + share * (after_s - before_s)
        return next_s if next_s > age_s else self.end_s


def plan_checks(
    ages_s: Sequence[float], ended: Sequence[float], *, look_value_s: float
) -> CheckSchedule:
    """Return the schedule of the least expected cost.

    Args:
        ages_s: Grid of ages in seconds, growing, the first 0; looks are made at
            these, and the last is made in any case.
        ended: Share of jobs that have ended by each; from 0 to 1, never falling.
        look_value_s: Seconds of lag that one look is worth, above 0.
    """
    last = len(ages_s) - 1
    areas = [
        0.0,
        *accumulate(
            (right_s - left_s) * (low + high) / 2
            for (left_s, right_s), (low, high) in zip(
                pairwise(ages_s), pairwise(ended), strict=True
            )
        ),
    ]
    # W(s) + ∫[0, s] F, so that the search below is one sum per candidate.
    behind = [0.0] * last + [areas[last]]
    next_s = [ages_s[last]] * last
    furthest = last
    for index in range(last - 1, -1, -1):
        share, age_s = ended[index], ages_s[index]
        best, found = behind[furthest] - share * ages_s[furthest], furthest
        for candidate in range(index + 1, furthest):
            cost = behind[candidate] - share * ages_s[candidate]
            if cost < best:
                best, found = cost, candidate
        next_s[index] = ages_s[found]
        furthest = found
        behind[index] = look_value_s * (1.0 - share) + best + share * age_s
    return CheckSchedule(ages_s, next_s)
