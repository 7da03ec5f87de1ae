"""Run jobs with one client in this process and report what they cost it.

Owns the three clients that are compared and what is measured inside their
process. `throughput` starts it, once for each measurement, so that no client
pays for another's imports, pools or garbage. It prints one line of JSON.

The clients:
    falq         a session with its defaults, but for `max_jobs`.
    bare         the least that aiohttp needs for the same three calls a job.
    fal_client   the official client, `subscribe` with its defaults.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import os
import ssl
import statistics
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

ENDPOINT = "acme/echo"
WARM_UP_JOBS = 100
LAG_STEP_S = 0.01
EVER_S = 1_000_000.0


@frozen(kw_only=True)
class Server:
    """Where the emulator is.

    Attributes:
        url: Its origin.
        key: A key that it takes.
        ca_file: Certificate of its authority; None for plain http.
    """

    url: str
    key: str
    ca_file: str | None

    def context(self) -> ssl.SSLContext | None:
        """Return a TLS context that trusts it."""
        return None if self.ca_file is None else ssl.create_default_context(cafile=self.ca_file)

    def polls(self) -> int:
        """Return the status calls that it has answered."""
        with urllib.request.urlopen(
            f"{self.url}/_emulator/stats", context=self.context()
        ) as answer:
            return int(json.load(answer)["polls_total"])


@frozen(kw_only=True)
class Plan:
    """What to run.

    Attributes:
        run_times_s: How long each job runs at the server, in seconds.
        in_flight: Jobs between submission and result at once.
        interval_s: Seconds between two checks of the bare loop.
    """

    run_times_s: Sequence[float]
    in_flight: int
    interval_s: float


def arguments_of(index: int, run_s: float) -> dict[str, Any]:
    """Return the input of one job: a prompt, a few settings, and its run time."""
    return {
        "prompt": f"a tiny cute cat, number {index}",
        "num_inference_steps": 4,
        "image_size": {"width": 1024, "height": 768},
        "_emulator": {"run_s": run_s},
    }


async def _spread(plan: Plan, run_one: Callable[[int, float], Awaitable[float]]) -> list[float]:
    """Run every job, `in_flight` at a time, and return the lag of each in seconds."""
    jobs = iter(enumerate(plan.run_times_s))
    found: list[float] = []

    async def work() -> None:
        for index, run_s in jobs:
            found.append(await run_one(index, run_s) - run_s)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(plan.in_flight, len(plan.run_times_s))):
            group.create_task(work())
    return found


Runner = Callable[[Plan], Awaitable[list[float]]]
"""Runs a plan and returns the lag of each job.

The lag is what passed from acceptance, as the client saw it, to the result in
hand, less the run time at the server. The way of the receipt back to the client
is not in it, so on loopback it may be short by a fraction of a millisecond.
"""


async def with_bare(server: Server, measure: Callable[[Runner], Awaitable[None]]) -> None:
    import aiohttp  # noqa: PLC0415  a client's process loads that client only

    connector = aiohttp.TCPConnector(ssl=server.context() or True)
    headers = {"Authorization": f"Key {server.key}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as http:

        async def run(plan: Plan) -> list[float]:
            async def run_one(index: int, run_s: float) -> float:
                url = f"{server.url}/{ENDPOINT}"
                async with http.post(url, json=arguments_of(index, run_s)) as answer:
                    ticket = await answer.json()
                accepted = time.perf_counter()
                while True:
                    async with http.get(ticket["status_url"]) as answer:
                        status = await answer.json()
                    if status["status"] == "COMPLETED":
                        break
                    await asyncio.sleep(plan.interval_s)
                async with http.get(ticket["response_url"]) as answer:
                    answer.raise_for_status()
                    await answer.json()
                return time.perf_counter() - accepted

            return await _spread(plan, run_one)

        await measure(run)


async def with_falq(server: Server, measure: Callable[[Runner], Awaitable[None]]) -> None:
    import falq  # noqa: PLC0415  a client's process loads that client only

    gateway = falq.Fal(key=server.key, queue_url=server.url)

    async def run(plan: Plan) -> list[float]:
        inputs = (arguments_of(index, run_s) for index, run_s in enumerate(plan.run_times_s))
        session.set_limits(max_jobs=plan.in_flight)
        found = []
        async for outcome in session.map(ENDPOINT, inputs):
            if outcome.error is not None:
                raise outcome.error
            timings = outcome.timings
            in_hand_s = (timings.finish_s or 0.0) + (timings.result_s or 0.0)
            found.append(in_hand_s - plan.run_times_s[outcome.index])
        return found

    async with falq.Session(gateway, ssl_context=server.context(), on_exit="detach") as session:
        await measure(run)


async def with_fal_client(server: Server, measure: Callable[[Runner], Awaitable[None]]) -> None:
    # Both are read once: the host when fal_client is imported, the authority
    # when its pool is made.
    os.environ["FAL_QUEUE_RUN_HOST"] = server.url.partition("://")[2]
    if server.ca_file is None:
        raise SystemExit("fal_client speaks https only; start the server with --tls")
    os.environ["SSL_CERT_FILE"] = server.ca_file
    import fal_client  # noqa: PLC0415  a client's process loads that client only

    client = fal_client.AsyncClient(key=server.key)

    async def run(plan: Plan) -> list[float]:
        async def run_one(index: int, run_s: float) -> float:
            accepted = []
            await client.subscribe(
                ENDPOINT,
                arguments_of(index, run_s),
                on_enqueue=lambda _: accepted.append(time.perf_counter()),
            )
            return time.perf_counter() - accepted[0]

        return await _spread(plan, run_one)

    await measure(run)
    await (await client._client).aclose()  # noqa: SLF001  it has no close of its own


CLIENTS = {"falq": with_falq, "bare": with_bare, "fal_client": with_fal_client}


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of `values` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def measure_jobs(client: str, server: Server, plan: Plan) -> dict[str, Any]:
    """Return what the jobs of `plan` cost, after a warm-up that is not counted."""
    figures: dict[str, Any] = {}

    async def measure(run: Runner) -> None:
        await run(Plan(run_times_s=[0.0] * WARM_UP_JOBS, in_flight=50, interval_s=0.1))
        polls_before = server.polls()
        gc.collect()
        before, started = os.times(), time.perf_counter()
        found = await run(plan)
        wall_s, after = time.perf_counter() - started, os.times()
        jobs = len(plan.run_times_s)
        cpu_s = after.user + after.system - before.user - before.system
        figures.update(
            jobs=jobs,
            in_flight=plan.in_flight,
            jobs_per_s=jobs / wall_s,
            cpu_ms_per_job=1000.0 * cpu_s / jobs,
            cpu_share=cpu_s / wall_s,
            polls_per_job=(server.polls() - polls_before) / jobs,
        )
        figures["lag_p50_s"] = statistics.median(found)
        figures["lag_p95_s"] = percentile(found, 0.95)

    await CLIENTS[client](server, measure)
    return figures


async def measure_waiting(server: Server, jobs: int, watch_s: float) -> dict[str, Any]:
    """Return what `jobs` accepted jobs that never end cost a falq session that waits."""
    import falq  # noqa: PLC0415  a client's process loads that client only

    gateway = falq.Fal(key=server.key, queue_url=server.url)
    async with falq.Session(
        gateway, max_jobs=jobs + 1000, ssl_context=server.context(), exit_grace_s=5.0
    ) as session:
        handles = await accept_waiting(session, 500)
        gc.collect()
        before_bytes = resident_bytes()
        handles += await accept_waiting(session, jobs)
        gc.collect()
        grown_bytes = resident_bytes() - before_bytes
        polls_before, cpu_before = session.statistics().polls, os.times()
        lags = await loop_lags(watch_s)
        cpu_after = os.times()
        now = session.statistics()
        figures = {
            "jobs": jobs,
            "kib_per_job": grown_bytes / jobs / 1024,
            "polls_per_s": (now.polls - polls_before) / watch_s,
            "cpu_share": (cpu_after.user + cpu_after.system - cpu_before.user - cpu_before.system)
            / watch_s,
            "loop_lag_p50_ms": 1000 * statistics.median(lags),
            "loop_lag_p99_ms": 1000 * percentile(lags, 0.99),
            "loop_lag_max_ms": 1000 * max(lags),
            "in_flight": now.in_flight,
        }
        if now.in_flight != len(handles):
            raise SystemExit(f"only {now.in_flight} of {len(handles)} jobs wait")
    return figures


async def accept_waiting(session: Any, jobs: int) -> list[Any]:
    """Submit jobs that do not end, and return their handles."""
    handles: list[Any] = []
    indexes = iter(range(jobs))

    async def work() -> None:
        for index in indexes:
            handle = await session.submit(ENDPOINT, arguments_of(index, EVER_S))
            handles.append(handle)

    async with asyncio.TaskGroup() as group:
        for _ in range(100):
            group.create_task(work())
    return handles


async def loop_lags(watch_s: float) -> list[float]:
    """Return how late each short sleep ended, in seconds, over a while."""
    loop = asyncio.get_running_loop()
    ends, lags = loop.time() + watch_s, []
    while (now := loop.time()) < ends:
        await asyncio.sleep(LAG_STEP_S)
        lags.append(loop.time() - now - LAG_STEP_S)
    return lags


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    order = json.load(sys.stdin)
    if order["core"] is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {order["core"]})
    server = Server(**order["server"])
    if order["measure"] == "waiting":
        work = measure_waiting(server, order["jobs"], order["watch_s"])
    else:
        work = measure_jobs(order["client"], server, Plan(**order["plan"]))
    # uvloop is no dependency of falq's: who asks for its rows has it.
    make_loop = importlib.import_module(order["loop"]).new_event_loop if order["loop"] else None
    with asyncio.Runner(loop_factory=make_loop) as runner:
        figures = runner.run(work)
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
