"""Count status checks and lag by schedule and length of job, in virtual time.

Owns a small simulation: jobs that run for known times, and schedules that choose
the instants of their checks. falq's row goes through the real `PollPlan` with its
default settings, the others check at a fixed interval. Nothing here sleeps or
reads a clock, so the same seed gives the same figures to the last digit.

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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

import falq
from falq._core.pollplan import PollPlan, PollSettings
from falq.emulator import Scenario
from falq.model import Completed, InProgress, Queued, Status
from falq.testing import LoopbackEmulator, VirtualTimeLoop

FIXED_S = (0.1, 0.5, 1.0)
SEED = 20261121
ROOM = 32
"""Checks in flight at most, as in a session with default settings."""


@frozen(kw_only=True)
class Load:
    """What runs at the server.

    Attributes:
        name: For the table.
        run_times_s: How long each job runs, in seconds.
        arrivals_s: When each job is accepted.
        runners: Jobs that run at once; the rest wait in order.
    """

    name: str
    run_times_s: Sequence[float]
    arrivals_s: Sequence[float]
    runners: int = 1_000_000
    starts_s: list[float] = field(init=False)

    def __attrs_post_init__(self) -> None:
        free: list[float] = [0.0] * min(self.runners, len(self.run_times_s))
        starts = []
        for arrival, run_s in zip(self.arrivals_s, self.run_times_s, strict=True):
            start = max(arrival, heapq.heappop(free))
            starts.append(start)
            heapq.heappush(free, start + run_s)
        object.__setattr__(self, "starts_s", starts)

    def end(self, job: int) -> float:
        """Return the instant at which a job ends."""
        return self.starts_s[job] + self.run_times_s[job]

    def status(self, job: int, now: float) -> Status:
        """Return what the server says of a job."""
        if now >= self.end(job):
            return Completed()
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


def loads(jobs: int) -> list[Load]:
    """Return the loads of the table, `jobs` jobs each, one accepted every 0.37 s."""
    # An arrival grid that no fixed interval divides: ends fall anywhere between checks.
    arrivals = [0.37 * index for index in range(jobs)]
    found = []
    for length_s in (2.0, 10.0, 40.0, 180.0):
        chance = random.Random(SEED)
        times = [length_s * (0.9 + 0.2 * chance.random()) for _ in range(jobs)]
        found.append(Load(name=f"{length_s:g} s", run_times_s=times, arrivals_s=arrivals))
    for median_s, spread in ((3.0, 0.5), (40.0, 0.8)):
        chance = random.Random(SEED)
        times = [median_s * chance.lognormvariate(0.0, spread) for _ in range(jobs)]
        name = f"log-normal {median_s:g} s, {spread:g}"
        found.append(Load(name=name, run_times_s=times, arrivals_s=arrivals))
    chance = random.Random(SEED)
    times = [3.0 * chance.lognormvariate(0.0, 0.5) for _ in range(jobs)]
    at_once = [0.0] * jobs
    found.append(
        Load(name="saturated, 10 runners", run_times_s=times, arrivals_s=at_once, runners=10)
    )
    return found


def check_at_intervals(load: Load, interval_s: float) -> tuple[list[int], list[float]]:
    """Return polls and lag of each job when it is checked every `interval_s` seconds."""
    polls, lags = [], []
    for job, arrival in enumerate(load.arrivals_s):
        took_s = load.end(job) - arrival
        # The first check is at once, as in the peers' clients.
        gaps = math.ceil(took_s / interval_s)
        polls.append(gaps + 1)
        lags.append(gaps * interval_s - took_s)
    return polls, lags


def check_by_plan(load: Load, settings: PollSettings) -> tuple[list[int], list[float]]:
    """Return polls and lag of each job under falq's plan."""
    chance = random.Random(SEED)
    plan = PollPlan(settings, burst=ROOM)
    jobs = len(load.run_times_s)
    polls, lags = [0] * jobs, [0.0] * jobs
    arriving, now = 0, 0.0
    while arriving < jobs or len(plan):
        while arriving < jobs and load.arrivals_s[arriving] <= now:
            status = load.status(arriving, now)
            position = status.position if isinstance(status, Queued) else 0
            plan.add(arriving, line="all", now=now, draw=chance.random(), position=position)
            arriving += 1
        while due := plan.take_due(now, ROOM):
            for watch in due:
                job = int(str(watch.job))
                status = load.status(job, now)
                polls[job] += 1
                if isinstance(status, Completed):
                    lags[job] = now - load.end(job)
                plan.record_status(watch, status, now=now, draw=chance.random())
        instants = [load.arrivals_s[arriving]] if arriving < jobs else []
        next_due = plan.next_due(now)
        if next_due is not None:
            instants.append(next_due)
        if instants:
            now = max(now, min(instants))
    return polls, lags


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


def summarize(polls: Sequence[int], lags: Sequence[float]) -> dict[str, float]:
    """Return the figures of one schedule under one load."""
    ordered = sorted(lags)
    return {
        "polls_per_job": statistics.fmean(polls),
        "polls_max": max(polls),
        "lag_p50_s": statistics.median(ordered),
        "lag_p95_s": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
        "lag_max_s": ordered[-1],
    }


def run(jobs: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return the figures by load and schedule."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    for load in loads(jobs):
        rows = {f"fixed {one:g} s": check_at_intervals(load, one) for one in FIXED_S}
        rows["falq"] = check_by_plan(load, PollSettings())
        if load.runners < jobs:
            rows["falq session"] = check_by_session(load)
        table[load.name] = {name: summarize(*found) for name, found in rows.items()}
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--smoke", action="store_true", help="fewer jobs")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--json", type=Path, help="write the table to this file")
    given = parser.parse_args()
    jobs = 50 if given.smoke else given.jobs
    report: dict[str, Any] = {"jobs": jobs, "seed": SEED, "loads": run(jobs)}
    print(f"{'load':<24}{'schedule':<13}{'polls/job':>10}{'max':>7}{'lag p50':>9}{'p95':>8}")
    for load, rows in report["loads"].items():
        for schedule, one in rows.items():
            print(
                f"{load:<24}{schedule:<13}{one['polls_per_job']:>10.1f}{one['polls_max']:>7.0f}"
                f"{one['lag_p50_s']:>9.2f}{one['lag_p95_s']:>8.2f}"
            )
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
