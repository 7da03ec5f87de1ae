"""Let a hundred thousand jobs wait in one session, and map a million inputs.

Owns what is measured of many jobs at once. Waiting jobs are at an emulator of their
own in another process, and never end: in its queue behind a few that run, or all
running. Every size runs in a fresh process, so that
its memory is its own. The map's inputs are answered in memory, by `Instant`: what
is asked is whether anything is kept of a job that is over, and a server would keep
more than the client. It asserts nothing but that no job was lost.

Rules for reading it:
    1. Memory is the growth of the resident set, after some hundred jobs.
    2. Lag is what a task sees that sleeps 10 ms at a time; a cancel is from the call
       to the server's answer. Both run while all jobs are watched.
    3. The cost of a call is that of the acceptance, for submits and the checks that
       were made meanwhile. `engine` is the same without sockets, with Python's
       garbage collector and without it: what grows with the number of jobs is the
       collector, which walks all objects there are.
    4. Running jobs are checked at least every 60 s whatever the budget says: that
       is more than `per_s` from 12,000 on. Queued ones keep to the budget.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from batch import in_a_process
from chart import draw_panels
from clients import (
    ENDPOINT,
    accept_waiting,
    loop_lags,
    percentile,
    resident_bytes,
)
from machine import describe_machine

import falq
from falq._core.messages import Call, Reply, Verb

WARM_UP_JOBS = 500
CANCELS = 200
STEPS = 10
COLLECTORS = {"with Python's collector": True, "without": False}
STANDS = {"queued": 40, "running": None}
"""Where the jobs wait, by how many the server runs at once; None is all."""


def wait_with(server: dict[str, Any], folder: str, jobs: int, watch_s: float) -> dict[str, float]:
    """Let so many jobs wait, and return what they cost."""
    del folder
    return asyncio.run(_wait_with(server, jobs, watch_s))


async def _wait_with(server: dict[str, Any], jobs: int, watch_s: float) -> dict[str, float]:
    gateway = falq.Fal(key=server["key"], queue_url=server["url"])
    async with falq.Session(gateway, max_jobs=jobs + 1000, exit_grace_s=5.0) as session:
        await accept_waiting(session, WARM_UP_JOBS)
        gc.collect()
        before_bytes, cpu_s, started = resident_bytes(), time.process_time(), time.perf_counter()
        handles = await accept_waiting(session, jobs)
        accept_cpu_s = time.process_time() - cpu_s
        accept_calls = jobs + session.statistics().polls
        accept_s = time.perf_counter() - started
        gc.collect()
        grown_bytes = resident_bytes() - before_bytes
        polls, cpu_s = session.statistics().polls, time.process_time()
        async with asyncio.TaskGroup() as group:
            lags = group.create_task(loop_lags(watch_s))
            cancels = group.create_task(_cancel_some(handles, watch_s))
        watch_cpu_s = time.process_time() - cpu_s
        polls = session.statistics().polls - polls
        in_flight = session.statistics().in_flight
        leaving = time.perf_counter()
    if in_flight < jobs + WARM_UP_JOBS - CANCELS:
        raise SystemExit(f"only {in_flight} of {jobs} jobs wait")
    return {
        "jobs": jobs,
        "kib_per_job": grown_bytes / jobs / 1024,
        "cpu_ms_per_call": 1000 * accept_cpu_s / accept_calls,
        "accepted_per_s": jobs / accept_s,
        "checks_per_s": polls / watch_s,
        "cpu_share": watch_cpu_s / watch_s,
        "loop_lag_p50_ms": 1000 * statistics.median(lags.result()),
        "loop_lag_p99_ms": 1000 * percentile(lags.result(), 0.99),
        "loop_lag_max_ms": 1000 * max(lags.result()),
        "cancel_p50_ms": 1000 * statistics.median(cancels.result()),
        "cancel_p99_ms": 1000 * percentile(cancels.result(), 0.99),
        "leave_s": time.perf_counter() - leaving,
    }


async def _cancel_some(handles: list[falq.Handle], watch_s: float) -> list[float]:
    found = []
    some = handles[:: max(1, len(handles) // CANCELS)][:CANCELS]
    for handle in some:
        started = time.perf_counter()
        await handle.cancel()
        found.append(time.perf_counter() - started)
        await asyncio.sleep(watch_s / CANCELS)
    return found


class Instant:
    """A transport whose jobs end as soon as they start, or never, and which forgets them.

    Args:
        status: What every job is said to be.
    """

    def __init__(self, status: str = "COMPLETED") -> None:
        self._status = status
        self._count = 0

    async def open(self) -> None:
        """Open nothing."""

    async def aclose(self) -> None:
        """Close nothing."""

    async def send(self, call: Call) -> Reply:
        """Answer at once."""
        if call.verb is Verb.SUBMIT:
            self._count += 1
            return _reply({"status": "IN_QUEUE", "request_id": f"r{self._count:012}"})
        if call.verb is Verb.STATUS:
            return _reply({"status": self._status, "metrics": {"inference_time": 0.3}})
        return _reply({"say": "hello"})


def _reply(answer: dict[str, Any]) -> Reply:
    return Reply(200, {"content-type": "application/json"}, json.dumps(answer).encode())


def accept_many(
    server: dict[str, Any], folder: str, jobs: int, *, collects: bool
) -> dict[str, float]:
    """Accept so many jobs that never end, in memory, and return what one costs.

    Args:
        server: Not asked.
        folder: Not used.
        jobs: How many.
        collects: Whether Python's garbage collector runs meanwhile.
    """
    del server, folder
    return asyncio.run(_accept_many(jobs, collects=collects))


async def _accept_many(jobs: int, *, collects: bool) -> dict[str, float]:
    gateway = falq.Fal(key="benchmark:key")
    transport = Instant("IN_PROGRESS")
    async with falq.Session(gateway, transport=transport, max_jobs=jobs + 1000) as session:
        await accept_waiting(session, WARM_UP_JOBS)
        if not collects:
            gc.disable()
        cpu_s = time.process_time()
        await accept_waiting(session, jobs)
        cpu_s = time.process_time() - cpu_s
        calls = jobs + session.statistics().polls
    return {"jobs": jobs, "cpu_us_per_call": 1e6 * cpu_s / calls}


def map_inputs(server: dict[str, Any], folder: str, count: int) -> dict[str, Any]:
    """Map so many inputs, and return pace and memory on the way."""
    del server, folder
    return asyncio.run(_map_inputs(count))


async def _map_inputs(count: int) -> dict[str, Any]:
    inputs: Iterator[dict[str, int]] = ({"number": number} for number in range(count))
    resident: list[float] = []
    ended, started, cpu_s = 0, time.perf_counter(), time.process_time()
    gateway = falq.Fal(key="benchmark:key")
    async with falq.Session(gateway, transport=Instant()) as session:
        async for outcome in session.map(ENDPOINT, inputs):
            if outcome.error is not None:
                raise outcome.error
            ended += 1
            if ended % (count // STEPS) == 0:
                resident.append(resident_bytes() / 2**20)
    if ended != count:
        raise SystemExit(f"{count - ended} inputs have no outcome")
    return {
        "inputs": count,
        "jobs_per_s": count / (time.perf_counter() - started),
        "cpu_ms_per_job": 1000 * (time.process_time() - cpu_s) / count,
        "resident_mib": resident,
        "grown_mib": resident[-1] - resident[0],
    }


def run(*, sizes: list[int], watch_s: float, inputs: int) -> dict[str, Any]:
    """Measure everything and return the report."""
    return {
        "machine": describe_machine(),
        "waiting": {
            name: [in_a_process(wait_with, size, watch_s, runners=runners) for size in sizes]
            for name, runners in STANDS.items()
        },
        "engine": {
            name: [
                in_a_process(functools.partial(accept_many, collects=collects), size)
                for size in sizes
            ]
            for name, collects in COLLECTORS.items()
        },
        "map": in_a_process(map_inputs, inputs),
    }


def draw(report: dict[str, Any]) -> str:
    """Return costs by number of jobs, as SVG."""
    figures = {
        "CPU of a call, ms": "cpu_ms_per_call",
        "memory of a job, KiB": "kib_per_job",
        "loop lag p99, ms": "loop_lag_p99_ms",
        "cancel p99, ms": "cancel_p99_ms",
    }
    panels = {
        title: {
            name: [(one["jobs"], one[figure]) for one in sizes]
            for name, sizes in report["waiting"].items()
        }
        for title, figure in figures.items()
    }
    panels["CPU of a call in memory, µs"] = {
        name: [(one["jobs"], one["cpu_us_per_call"]) for one in sizes]
        for name, sizes in report["engine"].items()
    }
    return draw_panels(panels, across="jobs that wait", up="")


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    for name, sizes in report["waiting"].items():
        for one in sizes:
            print(name, ", ".join(f"{key} {figure:.3g}" for key, figure in one.items()))
    for name, sizes in report["engine"].items():
        for one in sizes:
            print(
                f"in memory, {name}: {one['jobs']:,} jobs, {one['cpu_us_per_call']:.0f} us a call"
            )
    found = report["map"]
    print(
        f"map of {found['inputs']:,}: {found['jobs_per_s']:.0f} jobs/s, "
        f"{found['cpu_ms_per_job']:.3f} ms of CPU a job, resident "
        f"{found['resident_mib'][0]:.1f} to {found['resident_mib'][-1]:.1f} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--smoke", action="store_true", help="a few seconds, to see that it works")
    parser.add_argument(
        "--sizes", type=int, nargs="*", default=[1000, 10_000, 100_000], help="jobs that wait"
    )
    parser.add_argument("--watch-s", type=float, default=30.0, help="seconds to watch them")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="inputs of the map")
    parser.add_argument("--json", type=Path, help="write the report to this file")
    parser.add_argument("--plot", type=Path, help="write costs by jobs to this file, as SVG")
    given = parser.parse_args()
    if given.smoke:
        report = run(sizes=[300, 600], watch_s=1.0, inputs=2000)
    else:
        report = run(sizes=given.sizes, watch_s=given.watch_s, inputs=given.inputs)
    show(report)
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=2) + "\n")
    if given.plot is not None:
        given.plot.write_text(draw(report))


if __name__ == "__main__":
    main()
