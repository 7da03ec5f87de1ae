"""How long the jobs of one kind take, as far as a few hundred of them tell.

Owns the last run times of one kind of job and the distribution that is read from
them. It never decides anything: `forecast` keeps one for each kind, and
`inspection` turns the distribution into checks.

What a run time is: the seconds from a job's start, or from its acceptance where
it was never seen in a queue, to its end. A check only tells that a job ended
between two instants; what the server says (`metrics.inference_time`, fal-wire
1.3) is the run alone. So:
    1. A told time, plus what these jobs were seen to take beside it (start-up,
       queue, network), counts if it fits between the two instants, else the
       nearer of these.
    2. Without a told time it stands between the two instants where the
       distribution known so far has its mass, spread evenly over it.
    3. Later runs count more: each is worth a hundredth less than the next.
    4. When most of the last runs were far from what was expected, the world has
       changed, and only those are kept.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

from attrs import define, field, frozen

KEPT = 256
"""Runs that are remembered."""

_FADING = 0.995
_PRIOR_RUNS = 0.3
"""How many runs the belief is worth that anything within a factor of 8 may happen."""

_PRIOR_REACH = 8.0
_SHORTEST_S = 0.001
"""No run is shorter: below, the checks themselves take longer."""

_RUNS_PER_BIN = 5.0
_MOST_BINS = 40
_GAP_OF_BIN = 0.6
_GAP_RATIO = 1.3
_GAP_SIDE = 1.2
_STEP_RATIO = 1.03
_STEPS_INSIDE = 120
_STEPS_OF_TAIL = 40
_TAIL = range(1, _STEPS_OF_TAIL + 1)

_SURPRISE_TAIL = 0.02
_SURPRISE_WEIGHT = 1 / 8
_MANY_SURPRISES = 0.65
"""Of a running mean: some eight strange runs in a row, or most of a dozen."""

_KEPT_AFTER_CHANGE = 8
_GOLDEN = (math.sqrt(5) - 1) / 2


@frozen
class Distribution:
    """A distribution of run times, linear between its points.

    Attributes:
        ages_s: Ages in seconds, growing, from 0.
        ended: Share of runs that have ended by each, from 0 to 1, never falling.
    """

    ages_s: Sequence[float]
    ended: Sequence[float]

    def share_by(self, age_s: float) -> float:
        """Return the share of runs that have ended by `age_s` seconds."""
        return _interpolate(self.ages_s, self.ended, age_s)

    def age_at(self, share: float) -> float:
        """Return the age in seconds by which `share` of the runs have ended."""
        return _interpolate(self.ended, self.ages_s, share)


@define(eq=False)
class RunTimes:
    """The last run times of one kind of job."""

    _runs_s: deque[float] = field(init=False, factory=lambda: deque(maxlen=KEPT))
    _beside_s: float = field(init=False, default=0.0)
    _surprise: float = field(init=False, default=0.0)
    _known: Distribution | None = field(init=False, default=None)
    count: int = field(init=False, default=0)

    def __len__(self) -> int:
        return len(self._runs_s)

    def record(self, low_s: float, high_s: float, *, told_s: float | None = None) -> None:
        """Take in one run.

        Args:
            low_s: Age in seconds at which it was last seen running.
            high_s: Age at which it was seen to have ended, not below.
            told_s: What the server says that it ran, if it says so.
        """
        if told_s is None:
            run_s = self._between(low_s, high_s)
        else:
            run_s = min(max(told_s + self._beside_s, low_s), high_s)
            self._beside_s += (run_s - told_s - self._beside_s) / 5
        self.add(run_s)

    def add(self, run_s: float) -> None:
        """Take in one run whose time is known, in seconds."""
        run_s = max(run_s, _SHORTEST_S)
        if self._known is not None:
            share = self._known.share_by(run_s)
            is_strange = not _SURPRISE_TAIL < share < 1 - _SURPRISE_TAIL
            self._surprise += (is_strange - self._surprise) * _SURPRISE_WEIGHT
            if self._surprise > _MANY_SURPRISES:
                self._surprise = 0.0
                while len(self._runs_s) >= _KEPT_AFTER_CHANGE:
                    self._runs_s.popleft()
        self._runs_s.append(run_s)
        self.count += 1

    def dump(self) -> list[float]:
        """Return the run times in seconds, the oldest first."""
        return list(self._runs_s)

    def load(self, runs_s: Iterable[float]) -> None:
        """Take in the run times of an earlier process, the oldest first."""
        for run_s in runs_s:
            self._runs_s.append(max(run_s, _SHORTEST_S))
            self.count += 1

    def learn(self) -> Distribution:
        """Return the distribution that the runs tell, at least one of them."""
        count = len(self._runs_s)
        weighed = sorted(
            (run_s, _FADING ** (count - 1 - index)) for index, run_s in enumerate(self._runs_s)
        )
        self._known = _smooth(weighed)
        return self._known

    def _between(self, low_s: float, high_s: float) -> float:
        share = (_GOLDEN * (self.count + 1)) % 1.0
        if self._known is not None:
            before, after = self._known.share_by(low_s), self._known.share_by(high_s)
            if after - before > _SURPRISE_TAIL / 2:
                # A table of ages has flat parts, where a share has many ages.
                age_s = self._known.age_at(before + share * (after - before))
                return min(max(age_s, low_s), high_s)
        return low_s + share * (high_s - low_s)


def _smooth(weighed: Sequence[tuple[float, float]]) -> Distribution:
    """Return runs as a distribution: bins of equal mass, and a thin wide belief.

    Bins of equal mass are narrow where runs are close together, so that two
    humps stay two, however far apart.
    """
    total = sum(weight for _, weight in weighed)
    effective = total**2 / sum(weight**2 for _, weight in weighed)
    bins = max(1, min(_MOST_BINS, int(effective / _RUNS_PER_BIN)))
    points = _points(weighed, total, bins)
    first, last = points[0][0], points[-1][0]
    prior = _PRIOR_RUNS / (effective + _PRIOR_RUNS)
    low, high = math.log(first / _PRIOR_REACH), math.log(last * _PRIOR_REACH)

    # Dense beside what is known, where most of what surprises will lie.
    away = [math.log(_PRIOR_REACH) * (step / _STEPS_OF_TAIL) ** 2 for step in _TAIL]
    below = [(first * math.exp(-one), 0.0) for one in reversed(away)]
    above = [(last * math.exp(one), 1.0) for one in away]
    ages_s, ended = [0.0], [0.0]
    for age_s, share in [*below, *_refined(points), *above]:
        believed = (math.log(age_s) - low) / (high - low)
        mixed = (1 - prior) * share + prior * believed
        if age_s > ages_s[-1]:
            ages_s.append(age_s)
            ended.append(mixed)
        else:
            ended[-1] = mixed
    ended[-1] = 1.0
    return Distribution(ages_s, ended)


def _points(
    weighed: Sequence[tuple[float, float]], total: float, bins: int
) -> list[tuple[float, float]]:
    """Return ages, growing, with the share of runs that ended by each, from 0 to 1."""
    ages_s = [run_s for run_s, _ in weighed]
    # A run stands in the middle of its own weight.
    shares = [
        (mass - weight / 2) / total
        for mass, (_, weight) in zip(
            accumulate(weight for _, weight in weighed), weighed, strict=True
        )
    ]
    points = [(_interpolate(shares, ages_s, one / bins), one / bins) for one in range(1, bins)]
    # What is known ends a little beyond the shortest and the longest run.
    low, high = ages_s[0], ages_s[-1]
    width = min(max((high / low) ** (1 / bins), 1.05 if len(ages_s) > bins else 1.2), 1.5)
    points = [(low / width, 0.0), *points, (high * width, 1.0)]
    for edges in _edges_of_gaps(ages_s, shares, points):
        points = [one for one in points if not edges[0][0] < one[0] < edges[-1][0]]
        points = sorted([*points, *edges])
    return points


def _edges_of_gaps(
    ages_s: Sequence[float], shares: Sequence[float], points: Sequence[tuple[float, float]]
) -> list[list[tuple[float, float]]]:
    """Return points for each gap that fills most of a bin: what ends in it, ends at its sides."""
    edges = []
    bins = iter(points[1:])
    end_s, start_s = points[0][0], points[0][0]
    for (before_s, share), (after_s, next_share) in pairwise(zip(ages_s, shares, strict=True)):
        while end_s <= before_s:
            start_s, end_s = end_s, next(bins)[0]
        width_s = max(end_s, after_s) - start_s
        if after_s - before_s > _GAP_OF_BIN * width_s and after_s > _GAP_RATIO * before_s:
            side, tenth = (
                min(after_s / before_s, _GAP_SIDE**3) ** (1 / 3),
                (next_share - share) / 10,
            )
            edges.append(
                [
                    (before_s, share),
                    (before_s * side, share + 4.5 * tenth),
                    (after_s / side, next_share - 4.5 * tenth),
                    (after_s, next_share),
                ]
            )
    return edges


def _refined(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return points with more between them: no step is large in age or in share."""
    fine = [points[0]]
    for (age_s, share), (next_s, next_share) in pairwise(points):
        steps = math.ceil(
            max(
                (next_share - share) * _STEPS_INSIDE,
                math.log(next_s / age_s) / math.log(_STEP_RATIO),
                1,
            )
        )
        fine += [
            (
                age_s + (next_s - age_s) * step / steps,
                share + (next_share - share) * step / steps,
            )
            for step in range(1, steps + 1)
        ]
    return fine


def _interpolate(across: Sequence[float], up: Sequence[float], place: float) -> float:
    index = bisect_left(across, place)
    if index == 0:
        return up[0]
    if index == len(across):
        return up[-1]
    before, after = across[index - 1], across[index]
    return up[index - 1] + (up[index] - up[index - 1]) * (place - before) / (after - before)
