"""What is known of how long jobs take, by kind, and the checks that follow from it.

Owns one `RunTimes` for each kind of job, and when its schedule is made anew. A
kind is a name: an endpoint, or an endpoint with those arguments that decide how
much there is to do. A job has several, from the special to the general; the most
special that enough runs are known of speaks for it. `intervals` asks and tells.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

from attrs import define, field, frozen

from falq._core.inspection import CheckSchedule, plan_checks
from falq._core.runtimes import Distribution, RunTimes

FEWEST_RUNS = 5
"""Runs of a kind below which nothing is said of it."""

MOST_KINDS = 1024
"""Kinds that are kept; beyond them, the one that was not used for longest goes."""

_REST_S = 0.25
"""Seconds between two schedules of a kind at least: one takes a third of a millisecond."""

WORK_ARGUMENTS = (
    "num_inference_steps",
    "num_images",
    "num_frames",
    "duration",
    "image_size",
    "resolution",
    "upscale_factor",
)
"""Arguments of fal's models that decide how long a job takes (fal-wire 12)."""


def kinds_of(endpoint: str, arguments: Mapping[str, object]) -> tuple[str, ...]:
    """Return the kinds of a job, the most special first.

    Args:
        endpoint: Its full id.
        arguments: The model's input; values other than short text and numbers do
            not count.
    """
    told = [
        f"{name}={arguments[name]}"
        for name in WORK_ARGUMENTS
        if name in arguments and _is_plain(arguments[name])
    ]
    return (f"{endpoint} {' '.join(told)}", endpoint) if told else (endpoint,)


def _is_plain(value: object) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and len(value) <= 32)


@frozen
class Forecast:
    """What is expected of a job of one kind.

    Attributes:
        distribution: How long such jobs take.
        schedule: When to look at one.
    """

    distribution: Distribution
    schedule: CheckSchedule

    def chance_between(self, since_s: float, age_s: float) -> float:
        """Return the chance that a job, running at one age, has ended by a later one.

        Args:
            since_s: Age in seconds at which it was known to run.
            age_s: Age now, not below.
        """
        before = self.distribution.share_by(since_s)
        if before >= 1.0:
            return 0.0
        return (self.distribution.share_by(age_s) - before) / (1.0 - before)


@define(eq=False)
class _Kind:
    runs: RunTimes = field(factory=RunTimes)
    forecast: Forecast | None = None
    counted: int = 0
    made_at: float = float("-inf")


@define(eq=False)
class Forecaster:
    """Learns run times and says when to look.

    Args:
        look_value_s: Seconds of lag that one look is worth.
    """

    look_value_s: float
    _kinds: OrderedDict[str, _Kind] = field(init=False, factory=OrderedDict)

    def record(
        self, kinds: Sequence[str], low_s: float, high_s: float, *, told_s: float | None
    ) -> None:
        """Take in a run that ended well; see `RunTimes.record`."""
        for name in kinds:
            self._kind(name).runs.record(low_s, high_s, told_s=told_s)

    def find(self, kinds: Sequence[str], now: float) -> Forecast | None:
        """Return what is expected of a job of these kinds, if anything.

        Args:
            kinds: Its kinds, the most special first.
            now: Loop time in seconds.
        """
        for name in kinds:
            kind = self._kinds.get(name)
            if kind is not None and len(kind.runs) >= FEWEST_RUNS:
                return self._fresh(kind, now)
        return None

    def dump(self) -> dict[str, list[float]]:
        """Return the run times of every kind in seconds, for `load`."""
        return {name: kind.runs.dump() for name, kind in self._kinds.items()}

    def load(self, runs_s: Mapping[str, Iterable[float]]) -> None:
        """Take in the run times of an earlier process."""
        for name, known in runs_s.items():
            self._kind(name).runs.load(known)

    def _kind(self, name: str) -> _Kind:
        kind = self._kinds.get(name)
        if kind is None:
            kind = self._kinds[name] = _Kind()
            if len(self._kinds) > MOST_KINDS:
                self._kinds.popitem(last=False)
        else:
            self._kinds.move_to_end(name)
        return kind

    def _fresh(self, kind: _Kind, now: float) -> Forecast:
        news = kind.runs.count - kind.counted
        if kind.forecast is None or (news > len(kind.runs) // 10 and now - kind.made_at >= _REST_S):
            known = kind.runs.learn()
            schedule = plan_checks(known.ages_s, known.ended, look_value_s=self.look_value_s)
            kind.forecast = Forecast(known, schedule)
            kind.counted, kind.made_at = kind.runs.count, now
        return kind.forecast
