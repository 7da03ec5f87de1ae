"""Count status checks and lag by schedule and length of job, in virtual time.

Owns a small simulation: jobs that run for known times, and schedules that choose
the instants of their checks. Nothing here sleeps or reads a clock, so the same
seed gives the same figures to the last digit. The rows:

    fixed …      a fixed interval, as the peers have
    exponential  falq's plan without learning
    falq         falq's plan with its default settings, from the first job on
    falq, known  the same, of the jobs behind the first `LEARNED` that had ended
    optimum      the best schedule for the true distribution, same jobs as `known`;
                 under the 60 s rule it leaves no job unchecked for longer, as falq

`cost` is lag plus `poll_value_s` a poll, in seconds, mean over jobs. `--plot`
draws polls against lag for many values of a poll, as SVG.

What is left out: a check takes no time and never fails, and the server never
refuses one. Lag counts from the end of a job to the check that sees it. That is
too kind where many jobs share few checks, so the saturated load is also run by a
whole session against the emulator, 20 ms a call; its lag ends with the result.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from attrs import field, frozen
from chart import draw_panels

import falq
from falq._core.inspection import plan_checks
from falq._core.pollplan import PollPlan
from falq._core.pollsettings import PollSettings
from falq.emulator import Scenario
from falq.model import Completed, InProgress, Queued, Status
from falq.testing import LoopbackEmulator, VirtualTimeLoop

FIXED_S = (0.1, 0.5, 1.0)
LEARNED = 200
WORTHS_S = (0.001, 0.0015, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
SEED = 20261121
ROOM = 32
"""Checks in flight at most, as in a session with default settings."""


@frozen(kw_only=True)
class Load:
    """What runs at the server.

    Attributes:
        name: For the table.
        age_at: Age in seconds by which a share of jobs has ended: their true
            distribution, if jobs run at once.
        run_times_s: How long each job runs, in seconds.
        arrivals_s: When each job is accepted.
        runners: Jobs that run at once; the rest wait in order.
        every: Which jobs are ours and watched: each so-many-th. The others are
            strangers', who stand in the same queue.
    """

    name: str
    age_at: Callable[[float], float]
    run_times_s: Sequence[float]
    arrivals_s: Sequence[float]
    runners: int = 1_000_000
    every: int = 1
    starts_s: list[float] = field(init=False)

    def __attrs_post_init__(self) -> None:
        free: list[float] = [0.0] * min(self.runners, len(self.run_times_s))
        starts = []
        for arrival, run_s in zip(self.arrivals_s, self.run_times_s, strict=True):
            start = max(arrival, heapq.heappop(free))
            starts.append(start)
            heapq.heappush(free, start + run_s)
        object.__setattr__(self, "starts_s", starts)

    @property
    def ours(self) -> range:
        """The jobs that are watched."""
        return range(self.every - 1, len(self.run_times_s), self.every)

    def end(self, job: int) -> float:
        """Return the instant at which a job ends."""
        return self.starts_s[job] + self.run_times_s[job]

    def status(self, job: int, now: float) -> Status:
        """Return what the server says of a job."""
        if now >= self.end(job):
            return Completed(metrics={"inference_time": self.run_times_s[job]})
        if now >= self.starts_s[job]:
            return InProgress()
        # Jobs start in the order of arrival: those before it that have not.
        started = _count_until(self.starts_s, now)
        return Queued(job - started)


def _count_until(ordered: Sequence[float], now: float) -> int:
    low, high = 0, len(ordered)
    while low < high:
        middle = (low + high) // 2
        if ordered[middle] <= now:
            low = middle + 1
        else:
            high = middle
    return low


def _narrow(length_s: float) -> Callable[[float], float]:
    return lambda share: length_s * (0.9 + 0.2 * share)


def _lognormal(median_s: float, spread: float) -> Callable[[float], float]:
    normal = statistics.NormalDist()
    return lambda share: median_s * math.exp(spread * normal.inv_cdf(share))


def _warm_and_cold(share: float) -> float:
    # One in five finds no warm runner and takes twenty times as long.
    is_warm = share < 0.8
    within = share / 0.8 if is_warm else (share - 0.8) / 0.2
    age_s = _lognormal(3.0, 0.2)(min(max(within, EDGE), 1 - EDGE))
    return age_s if is_warm else 20.0 * age_s


def _pareto(share: float) -> float:
    return 2.0 * float((1.0 - share) ** (-1 / 1.5))


EDGE = 0.0005
"""Share of the shortest and of the longest runs that are left out, so that means exist."""

SHAPES: dict[str, Callable[[float], float]] = {
    **{f"{length_s:g} s": _narrow(length_s) for length_s in (2.0, 10.0, 40.0, 180.0)},
    "log-normal 3 s, 0.5": _lognormal(3.0, 0.5),
    "log-normal 40 s, 0.8": _lognormal(40.0, 0.8),
    "warm 3 s, cold 60 s": _warm_and_cold,
    "heavy tail": _pareto,
}


def loads(jobs: int) -> list[Load]:
    """Return the loads of the table, `jobs` jobs each, one accepted every 0.37 s."""
    # An arrival grid that no fixed interval divides: ends fall anywhere between checks.
    arrivals = [0.37 * index for index in range(jobs)]
    found = []
    for name, age_at in SHAPES.items():
        chance = random.Random(SEED)
        times = [age_at(chance.uniform(EDGE, 1 - EDGE)) for _ in range(jobs)]
        found.append(Load(name=name, age_at=age_at, run_times_s=times, arrivals_s=arrivals))
    chance = random.Random(SEED)
    age_at = SHAPES["log-normal 3 s, 0.5"]
    times = [age_at(chance.uniform(EDGE, 1 - EDGE)) for _ in range(jobs)]
    at_once = [0.0] * jobs
    full = Load(
        name="saturated, 10 runners",
        age_at=age_at,
        run_times_s=times,
        arrivals_s=at_once,
        runners=10,
    )
    # A little more than ten runners can do: the queue grows to some 450 places.
    others = [age_at(chance.uniform(EDGE, 1 - EDGE)) for _ in range(4 * jobs)]
    shared = Load(
        name="shared, 1 in 40 ours",
        age_at=age_at,
        run_times_s=others,
        arrivals_s=[0.32 * index for index in range(4 * jobs)],
        runners=10,
        every=40,
    )
    return [*found, full, shared]


def check_at_intervals(load: Load, interval_s: float) -> tuple[list[int], list[float]]:
    """Return polls and lag of each job when it is checked every `interval_s` seconds."""
    polls, lags = [], []
    for job in load.ours:
        took_s = load.end(job) - load.arrivals_s[job]
        # The first check is at once, as in the peers' clients.
        gaps = math.ceil(took_s / interval_s)
        polls.append(gaps + 1)
        lags.append(gaps * interval_s - took_s)
    return polls, lags


def check_by_plan(load: Load, settings: PollSettings) -> tuple[list[int], list[float]]:
    """Return polls and lag of each job under falq's plan."""
    chance = random.Random(SEED)
    plan = PollPlan(settings, burst=ROOM)
    ours = load.ours
    polls, lags = dict.fromkeys(ours, 0), dict.fromkeys(ours, 0.0)
    arriving, now = 0, 0.0
    while arriving < len(ours) or len(plan):
        while arriving < len(ours) and load.arrivals_s[ours[arriving]] <= now:
            status = load.status(ours[arriving], now)
            position = status.position if isinstance(status, Queued) else 0
            plan.add(
                ours[arriving],
                line="all",
                now=now,
                draw=chance.random(),
                position=position,
                kinds=("all",),
            )
            arriving += 1
        while due := plan.take_due(now, ROOM):
            for watch in due:
                job = int(str(watch.job))
                status = load.status(job, now)
                polls[job] += 1
                if isinstance(status, Completed):
                    lags[job] = now - load.end(job)
                plan.record_status(watch, status, now=now, draw=chance.random())
        instants = [load.arrivals_s[ours[arriving]]] if arriving < len(ours) else []
        next_due = plan.next_due(now)
        if next_due is not None:
            instants.append(next_due)
        if instants:
            now = max(now, min(instants))
    return list(polls.values()), list(lags.values())


def check_at_best(
    load: Load, jobs: Sequence[int], poll_value_s: float, *, longest_s: float = math.inf
) -> tuple[list[int], list[float]]:
    """Return polls and lag of jobs under the best schedule for their true distribution.

    Args:
        load: Whose distribution.
        jobs: Which of its jobs.
        poll_value_s: Seconds of lag that a poll is worth.
        longest_s: Seconds that a job may go unchecked; who must look sooner than is
            best looks then.
    """
    steps = 2000
    shares = [step / steps for step in range(steps + 1)]
    ages_s, ended = [0.0], [0.0]
    for share in shares:
        age_s = load.age_at(EDGE + (1 - 2 * EDGE) * share)
        # Long steps in the tail would keep the best schedule from looking there.
        while share and age_s > ages_s[-1] * 1.01 and ended[-1] > 0:
            part = (ages_s[-1] * 0.01) / (age_s - ages_s[-1])
            ended.append(ended[-1] + part * (share - ended[-1]))
            ages_s.append(ages_s[-1] * 1.01)
        ages_s.append(age_s)
        ended.append(share)
    schedule = plan_checks(ages_s, ended, look_value_s=poll_value_s)
    polls, lags = [], []
    for job in jobs:
        age_s, looks = 0.0, 0
        while age_s < load.run_times_s[job]:
            best_s = schedule.next_after(age_s) or load.run_times_s[job]
            age_s = min(best_s, age_s + longest_s)
            looks += 1
        polls.append(looks)
        lags.append(age_s - load.run_times_s[job])
    return polls, lags


def known_jobs(load: Load) -> list[int]:
    """Return the jobs that were accepted when `LEARNED` others had ended."""
    ends = sorted(map(load.end, range(len(load.run_times_s))))
    if len(ends) <= LEARNED:
        return []
    learned_at = ends[LEARNED]
    return [job for job, arrival in enumerate(load.arrivals_s) if arrival > learned_at]


def check_by_session(load: Load) -> tuple[list[int], list[float]]:
    """Return polls and lag of each job that a whole session runs; all arrive at once."""

    async def run_jobs() -> tuple[list[int], list[float]]:
        emulator = LoopbackEmulator(Scenario(runners=load.runners))
        inputs = ({"n": n, "_emulator": {"run_s": one}} for n, one in enumerate(load.run_times_s))
        loop = asyncio.get_running_loop()
        lags, jobs = [], emulator.app.queue.jobs
        async with falq.Session(
            emulator.gateway,
            transport=emulator.transport(),
            max_jobs=len(load.run_times_s),
            seed=SEED,
        ) as session:
            async for outcome in session.map("acme/echo", inputs):
                if outcome.error is not None:
                    raise outcome.error
                lags.append(loop.time() - jobs[str(outcome.request_id)].ended)
        return [job.polls for job in jobs.values()], lags

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(run_jobs())


def summarize(
    polls: Sequence[int], lags: Sequence[float], *, poll_value_s: float
) -> dict[str, float]:
    """Return the figures of one schedule under one load."""
    ordered = sorted(lags)
    return {
        "polls_per_job": statistics.fmean(polls),
        "polls_max": max(polls),
        "lag_p50_s": statistics.median(ordered),
        "lag_p95_s": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
        "lag_max_s": ordered[-1],
        "cost_s": statistics.fmean(ordered) + poll_value_s * statistics.fmean(polls),
    }


def run(jobs: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return the figures by load and schedule."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    chosen = PollSettings()
    for load in loads(jobs):
        rows = {f"fixed {one:g} s": check_at_intervals(load, one) for one in FIXED_S}
        rows["exponential"] = check_by_plan(load, PollSettings(learns=False))
        polls, lags = rows["falq"] = check_by_plan(load, chosen)
        known = known_jobs(load)
        if known and load.runners >= jobs:
            rows["falq, known"] = [polls[one] for one in known], [lags[one] for one in known]
            rows["optimum"] = check_at_best(load, known, chosen.poll_value_s)
            rows["optimum, 60 s rule"] = check_at_best(
                load, known, chosen.poll_value_s, longest_s=chosen.longest_gap_s
            )
        if load.runners < jobs and load.every == 1:
            rows["falq session"] = check_by_session(load)
        table[load.name] = {
            name: summarize(*found, poll_value_s=chosen.poll_value_s)
            for name, found in rows.items()
        }
    return table


def sweep(load: Load) -> dict[str, list[tuple[float, float]]]:
    """Return median lag and polls a job, of jobs of a known kind, by schedule and setting."""
    known = known_jobs(load)
    curves: dict[str, list[tuple[float, float]]] = {"falq": [], "optimum": []}
    for worth_s in WORTHS_S:
        polls, lags = check_by_plan(load, PollSettings(poll_value_s=worth_s))
        ours = [polls[one] for one in known], [lags[one] for one in known]
        for name, found in (("falq", ours), ("optimum", check_at_best(load, known, worth_s))):
            curves[name].append((statistics.median(found[1]), statistics.fmean(found[0])))
    for name, found in (
        ("exponential", check_by_plan(load, PollSettings(learns=False))),
        *((f"fixed {one:g} s", check_at_intervals(load, one)) for one in FIXED_S),
    ):
        at = [found[0][one] for one in known], [found[1][one] for one in known]
        curves[name] = [(statistics.median(at[1]), statistics.fmean(at[0]))]
    return curves


def at_lag(curve: Sequence[tuple[float, float]], lag_s: float) -> float | None:
    """Return the polls a job that a curve has at a lag, between its points; None outside."""
    for (lag, polls), (next_lag, next_polls) in pairwise(sorted(curve)):
        if lag <= lag_s <= next_lag and next_lag > 0:
            share = (math.log(lag_s) - math.log(lag)) / (math.log(next_lag) - math.log(lag))
            return math.exp(math.log(polls) + share * (math.log(next_polls) - math.log(polls)))
    return None


def show_loads(table: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """Print the figures as a table that can be copied."""
    print("| load | schedule | polls a job | most | lag p50 | p95 | cost |")
    print("|---|---|---|---|---|---|---|")
    for load, rows in table.items():
        for schedule, one in rows.items():
            print(
                f"| {load} | {schedule} | {one['polls_per_job']:.2f} | {one['polls_max']:.0f} | "
                f"{one['lag_p50_s']:.2f} | {one['lag_p95_s']:.2f} | {one['cost_s']:.2f} |"
            )


def show_equal_lag(table: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """Print polls at the lag of the fixed intervals, as a table that can be copied."""
    print("\n| load | at the median lag of | its polls | falq's | share |\n|---|---|---|---|---|")
    for load, rows in table.items():
        for name, one in rows.items():
            share = one["falq"] / one["fixed"]
            print(f"| {load} | {name} | {one['fixed']:.1f} | {one['falq']:.1f} | {share:.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--smoke", action="store_true", help="fewer jobs")
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--json", type=Path, help="write the table to this file")
    parser.add_argument("--plot", type=Path, help="draw polls against lag into this SVG file")
    given = parser.parse_args()
    jobs = 60 if given.smoke else given.jobs
    report: dict[str, Any] = {"jobs": jobs, "seed": SEED, "loads": run(jobs)}
    show_loads(report["loads"])
    if not given.smoke:
        report["sweeps"] = {load.name: sweep(load) for load in loads(jobs) if load.runners >= jobs}
        report["at_equal_lag"] = equal_lag(report["sweeps"])
        show_equal_lag(report["at_equal_lag"])
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=2) + "\n")
    if given.plot is not None and "sweeps" in report:
        drawing = draw_panels(report["sweeps"], across="median lag, s", up="polls a job")
        given.plot.write_text(drawing)


def equal_lag(
    sweeps: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
) -> dict[str, dict[str, dict[str, float]]]:
    """Return the polls of a fixed interval, and falq's at the same median lag."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    for load, curves in sweeps.items():
        for name, points in curves.items():
            if not name.startswith("fixed"):
                continue
            ours = at_lag(curves["falq"], points[0][0])
            if ours is not None:
                table.setdefault(load, {})[name] = {"fixed": points[0][1], "falq": ours}
    return table


if __name__ == "__main__":
    main()
