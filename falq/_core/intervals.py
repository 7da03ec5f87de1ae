"""How long until a job's next check.

Owns the curves, the first waits that each endpoint taught, and what is made of the
run times that `forecast` knows: the rules 1, 2, 3 and 7 of `pollplan`. It never
knows who is due or what a budget allows: `pollplan` asks it and tells it what the
checks found.
"""

from __future__ import annotations

import math

from attrs import define, field

from falq._core.backoff import Backoff
from falq._core.forecast import Forecast, Forecaster
from falq._core.lines import Line
from falq._core.pollsettings import PollSettings
from falq._core.watch import Watch
from falq.model import Completed, Status

GROWTH_AFTER_FAILURE = 1.5

LONGEST_FLOOR_S = 300.0
"""Longest wait that a server may ask for before the next check of a job, in seconds.

Some results are gone six minutes after the end (fal's result page, 2026): whoever waits
for a day because an answer said so loses what was paid for.
"""

_AT_ONCE_S = 0.002
"""A shorter wait is none: a timer costs as much as the check it puts off."""

_SPREAD = 0.5
"""How much of the gap that follows, a check may be moved by chance."""

_SHARE_OF_WAIT = 0.7
"""Share of the wait that a queued job has before it, after which it is looked at again.

The rest is for a line that moves faster than it did. In `benchmarks/poll_load.py` a half
costs a tenth more, and 0.85 a little less for a fifth more lag.
"""

_SCOUT = 10
"""Which job of an unknown endpoint is checked early: not the first, so that one job
alone costs no check more."""


@define(eq=False)
class Intervals:
    """The waits between two checks of a session's jobs.

    Args:
        settings: The curves and their bounds.

    Attributes:
        forecaster: The run times that were seen.
    """

    settings: PollSettings
    forecaster: Forecaster = field(init=False)
    _curve: Backoff = field(init=False)
    _queue_curve: Backoff = field(init=False)
    _first_s: dict[str, float] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        chosen = self.settings
        self._curve = Backoff(
            base_s=chosen.initial_s,
            cap_s=min(chosen.cap_s, chosen.longest_gap_s),
            factor=chosen.factor,
            jitter=chosen.jitter,
        )
        self._queue_curve = Backoff(
            base_s=chosen.initial_s,
            cap_s=chosen.queued_cap_s,
            factor=chosen.factor,
            jitter=chosen.jitter,
        )
        self.forecaster = Forecaster(chosen.poll_value_s)

    def announced_s(self, draw: float) -> float:
        """Return how long a job is left alone whose end a webhook will tell, rule 9."""
        pace_s = min(self.settings.announced_s, self.settings.longest_gap_s)
        return pace_s * (1.0 - self.settings.jitter * draw)

    def first_s(self, watch: Watch, line: Line, draw: float) -> float:
        """Return the first wait of a job of which nothing is known, rules 1 and 7.

        Args:
            watch: Of the job.
            line: Its queue, in which it stands already.
            draw: A uniform draw from [0, 1).
        """
        first_s = self._first_s.get(watch.line)
        if first_s is None:
            is_scout = len(line) == _SCOUT
            first_s = self.settings.initial_s / (16 if is_scout else 1)
        share = first_s / self.settings.initial_s
        return self._curve.delay_s(1, draw=draw) * share

    def fresh_s(self, line: str) -> float:
        """Return the first wait of a line's next job, before chance moves it."""
        return self._first_s.get(line, self.settings.initial_s)

    def next_s(self, watch: Watch, line: Line | None, now: float, draw: float) -> float:
        """Return the wait after a check that found the job running or queued.

        Args:
            watch: Of the job, with what the check found taken in.
            line: The queue that it stands in, if any job stands there.
            now: Loop time in seconds.
            draw: A uniform draw from [0, 1).
        """
        if watch.is_running:
            learned_s = self.learned_s(watch, now, draw)
            if learned_s is not None:
                return learned_s
        curve = self._curve if watch.is_running else self._queue_curve
        delay_s = curve.delay_s(watch.steps + 1, draw=draw)
        start_s = self._start_s(watch, line)
        if start_s is not None:
            by_pace_s = max(self.settings.initial_s, _SHARE_OF_WAIT * start_s)
            delay_s = min(self.settings.queued_cap_s, by_pace_s)
        elif not watch.is_running and watch.position:
            by_place_s = self.settings.initial_s + self.settings.per_position_s * watch.position
            delay_s = max(delay_s, min(self.settings.queued_cap_s, by_place_s))
        return min(delay_s, self.settings.longest_gap_s) if watch.keeps_pace else delay_s

    def after_failure_s(self, watch: Watch, floor_s: float) -> float:
        """Return the wait after a check that failed, rule 3.

        Args:
            watch: Of the job.
            floor_s: Seconds that the server asked to wait at least; `LONGEST_FLOOR_S` at
                most count.
        """
        grown_s = max(watch.interval_s, self.settings.initial_s) * GROWTH_AFTER_FAILURE
        return max(min(grown_s, self.settings.longest_gap_s), min(floor_s, LONGEST_FLOOR_S))

    def record_run(self, watch: Watch, done: Status, now: float, *, alive_at: float) -> None:
        """Learn how long a job ran, if it ended well.

        Args:
            watch: Of the job.
            done: What the server said.
            now: Loop time in seconds.
            alive_at: Loop instant at which it surely had not ended.
        """
        if not isinstance(done, Completed) or done.error is not None or not watch.kinds:
            return
        told = done.metrics.get("inference_time")
        is_told = isinstance(told, int | float) and 0 <= told < math.inf
        if watch.started_at is None:
            # It started and ended unseen: only the server can tell.
            if is_told:
                self.forecaster.record(watch.kinds, 0.0, math.inf, told_s=told)
            return
        age_s = now - watch.started_at
        low_s = min(max(0.0, alive_at - watch.started_at), age_s)
        self.forecaster.record(watch.kinds, low_s, age_s, told_s=told if is_told else None)

    def learned_s(self, watch: Watch, now: float, draw: float) -> float | None:
        """Return the wait that the run times of the job's kind ask for, if they are known.

        Args:
            watch: Of the job.
            now: Loop time in seconds.
            draw: A uniform draw from [0, 1).
        """
        forecast = self.forecast(watch, now)
        if forecast is None or watch.started_at is None:
            return None
        age_s = now - watch.started_at
        next_s = forecast.schedule.next_after(age_s)
        if next_s is None:
            return None
        wait_s = next_s - age_s
        if wait_s < _AT_ONCE_S:
            return 0.0 if age_s == 0.0 else _AT_ONCE_S
        after_s = forecast.schedule.next_after(next_s) or next_s
        spread_s = min(self.settings.jitter * wait_s, _SPREAD * (after_s - next_s))
        return min(wait_s + spread_s * (0.5 - draw), self.settings.longest_gap_s)

    def forecast(self, watch: Watch, now: float) -> Forecast | None:
        """Return what is known of a job's run time, if that is enough and wanted."""
        if not self.settings.learns:
            return None
        return self.forecaster.find(watch.kinds, now)

    def chance(self, watch: Watch, now: float) -> float:
        """Return how likely a job is to have ended since its last check."""
        started_at = watch.checked_at if watch.started_at is None else watch.started_at
        since_s, age_s = watch.checked_at - started_at, now - started_at
        forecast = self.forecast(watch, now)
        if forecast is not None:
            return forecast.chance_between(since_s, age_s)
        # Of what nothing is known, each doubling of the age is as likely as the last.
        return 0.5 * (age_s - since_s) / age_s if age_s > 0.0 else 0.0

    def record_first(self, watch: Watch, *, is_early: bool) -> None:
        """Move the first wait of a line's next jobs, rule 7.

        Args:
            watch: Of a job that was checked for the first time.
            is_early: Whether it had ended by then.
        """
        longest_s = self.settings.initial_s
        first_s = self._first_s.get(watch.line, longest_s)
        if is_early:
            moved_s = min(first_s, watch.interval_s) / 2
            self._first_s[watch.line] = moved_s if moved_s > longest_s / 1000 else 0.0
        else:
            self._first_s[watch.line] = min(longest_s, max(first_s * 2, longest_s / 16))

    def _start_s(self, watch: Watch, line: Line | None) -> float | None:
        """Return how long a queued job still waits for its start, in seconds, if its line tells."""
        if watch.is_running or watch.position is None or line is None or not self.settings.learns:
            return None
        return line.wait_s(watch.position)
