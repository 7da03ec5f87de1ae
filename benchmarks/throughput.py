"""Compare falq, a bare aiohttp loop and fal_client in one run.

Owns the order of measurements and what is made of them. The emulator runs in
one process and every measurement of a client in a fresh one (`clients`).
Rounds are interleaved, so that a slow moment of the machine meets all clients;
a figure is the median of its rounds, and its range is kept beside it.

Rules for reading it:
    1. CPU per job is the figure to compare: jobs/s depends on who else uses
       the core, and `cpu_share` below 1 says that the client waited.
    2. Compare rows of the same scheme. fal_client and fal speak https; over
       plain http asyncio's reads of 256 KiB cost about what TLS does.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
from machine import describe_machine

HERE = Path(__file__).parent
ROWS = (
    ("falq", "http"),
    ("bare", "http"),
    ("falq", "https"),
    ("bare", "https"),
    ("fal_client", "https"),
)
# Jobs in flight: falq's default, the connections that aiohttp and httpx allow.
IN_FLIGHT = {"falq": 1000, "bare": 100, "fal_client": 100}
INTERVALS_S = {"falq": 0.0, "bare": 0.5, "fal_client": 0.1}
# fal_client takes some twenty times as long for a job; its share keeps a round short.
FAL_CLIENT_SHARE = 0.1


@contextmanager
def running_server(
    scheme: str, core: int | None, *, runners: int | None = None
) -> Iterator[tuple[dict[str, Any], int]]:
    """Run the emulator in a process of its own; give its address and process id."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(HERE / "server.py"), "--ca-file", f"{folder}/ca.pem"]
        if scheme == "https":
            command.append("--tls")
        if core is not None:
            command += ["--core", str(core)]
        if runners is not None:
            command += ["--runners", str(runners)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            if process.stdin is None or process.stdout is None:
                raise SystemExit("the server has no pipes")
            try:
                yield json.loads(process.stdout.readline()), process.pid
            finally:
                process.stdin.close()


def measure(order: dict[str, Any]) -> dict[str, Any]:
    """Carry out one order in a fresh process and return its figures."""
    done = subprocess.run(
        [sys.executable, str(HERE / "clients.py")],
        input=json.dumps({"loop": None} | order),
        text=True,
        stdout=subprocess.PIPE,
        check=True,
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def cores() -> tuple[int | None, int | None]:
    """Return one core for the server and one for the client, if there are two to pin to."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else (None, None)


def cpu_s(process_id: int) -> float:
    """Return the CPU seconds that a process has used."""
    times = psutil.Process(process_id).cpu_times()
    return float(times.user + times.system)


def rows() -> list[tuple[str, str]]:
    """Return client and scheme of each row; those on uvloop if it is installed."""
    if importlib.util.find_spec("uvloop") is None:
        return list(ROWS)
    fast = [(f"{client} on uvloop", scheme) for client, scheme in ROWS if client != "fal_client"]
    return [*ROWS, *fast]


def measure_instant(
    servers: dict[str, tuple[dict[str, Any], int]], jobs: int, rounds: int, core: int | None
) -> dict[str, list[dict[str, Any]]]:
    """Return the figures of every round of instant jobs, by row."""
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(rounds):
        for row, scheme in rows():
            client, _, loop = row.partition(" on ")
            count = max(50, int(jobs * FAL_CLIENT_SHARE)) if client == "fal_client" else jobs
            about, server_id = servers[scheme]
            before_s = cpu_s(server_id)
            figures = measure(
                {
                    "measure": "jobs",
                    "client": client,
                    "loop": loop or None,
                    "server": about,
                    "core": core,
                    "plan": {
                        "run_times_s": [0.0] * count,
                        "in_flight": IN_FLIGHT[client],
                        "interval_s": INTERVALS_S["bare"],
                    },
                }
            )
            figures["server_cpu_s"] = cpu_s(server_id) - before_s
            found.setdefault(f"{row} {scheme}", []).append(figures)
    return found


def measure_lag(
    about: dict[str, Any], jobs: int, core: int | None, *, median_s: float, seed: int = 20261121
) -> dict[str, dict[str, float]]:
    """Return how long after its end a job's result is in hand, and the polls, by client."""
    chance = random.Random(seed)
    run_times_s = [min(20.0, median_s * chance.lognormvariate(0.0, 0.5)) for _ in range(jobs)]
    total_s = sum(run_times_s)
    table = {}
    for client in ("falq", "bare", "fal_client"):
        figures = measure(
            {
                "measure": "lag",
                "client": client,
                "server": about,
                "core": core,
                "plan": {
                    "run_times_s": run_times_s,
                    "in_flight": jobs,
                    "interval_s": INTERVALS_S["bare"],
                },
            }
        )
        table[client] = {
            "polls_per_job": figures["polls_per_job"],
            "lag_p50_s": figures["lag_p50_s"],
            "lag_p95_s": figures["lag_p95_s"],
            "mean_run_s": total_s / jobs,
        }
    return table


def summarize(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the medians of a row and the range of its CPU time and speed."""
    names = ("jobs_per_s", "cpu_ms_per_job", "cpu_share", "polls_per_job")
    row: dict[str, Any] = {name: statistics.median(one[name] for one in rounds) for name in names}
    for name in names[:2]:
        row[f"{name}_range"] = [min(o[name] for o in rounds), max(o[name] for o in rounds)]
    return row


def ratios(found: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Return falq against the others: the median of the rounds' own ratios, above 1 is better."""
    pairs = (("http", "bare"), ("https", "bare"), ("https", "fal_client"))
    table = {}
    for scheme, other in pairs:
        both = list(zip(found[f"falq {scheme}"], found[f"{other} {scheme}"], strict=True))
        table[f"jobs/s, falq to {other}, {scheme}"] = statistics.median(
            ours["jobs_per_s"] / theirs["jobs_per_s"] for ours, theirs in both
        )
        table[f"CPU, {other} to falq, {scheme}"] = statistics.median(
            theirs["cpu_ms_per_job"] / ours["cpu_ms_per_job"] for ours, theirs in both
        )
    for row in found:
        plain = row.replace(" on uvloop", "")
        if plain == row:
            continue
        both = list(zip(found[row], found[plain], strict=True))
        table[f"jobs/s, {row} to Python's loop"] = statistics.median(
            fast["jobs_per_s"] / slow["jobs_per_s"] for fast, slow in both
        )
        table[f"CPU, Python's loop to {row}"] = statistics.median(
            slow["cpu_ms_per_job"] / fast["cpu_ms_per_job"] for fast, slow in both
        )
    return table


def run(
    *,
    jobs: int,
    rounds: int,
    waiting: int,
    watch_s: float,
    lag_jobs: int,
    lag_median_s: float = 2.0,
) -> dict[str, Any]:
    """Make all measurements and return the report."""
    server_core, client_core = cores()
    report: dict[str, Any] = {
        "machine": describe_machine(),
        "pinned": {"server": server_core, "client": client_core},
        "settings": {"jobs": jobs, "rounds": rounds, "in_flight": IN_FLIGHT},
    }
    with ExitStack() as stack:
        servers = {
            scheme: stack.enter_context(running_server(scheme, server_core))
            for scheme in ("http", "https")
        }
        found = measure_instant(servers, jobs, rounds, client_core)
        report["rounds"] = found
        report["instant"] = {row: summarize(one) for row, one in found.items()}
        report["ratios"] = ratios(found)
        report["lag"] = measure_lag(
            servers["https"][0], lag_jobs, client_core, median_s=lag_median_s
        )
    with running_server("https", server_core) as (about, _):
        report["waiting"] = measure(
            {
                "measure": "waiting",
                "server": about,
                "core": client_core,
                "jobs": waiting,
                "watch_s": watch_s,
            }
        )
    return report


def show(report: dict[str, Any]) -> None:
    """Print the report, its tables as in `docs/benchmarks.md`."""
    print("| client | jobs/s | CPU per job, ms | CPU share |\n|---|---|---|---|")
    for row, figures in report["instant"].items():
        slow, fast = figures["jobs_per_s_range"]
        least, most = figures["cpu_ms_per_job_range"]
        print(
            f"| {row} | {figures['jobs_per_s']:,.0f} [{slow:,.0f} to {fast:,.0f}] | "
            f"{figures['cpu_ms_per_job']:.3f} [{least:.3f} to {most:.3f}] | "
            f"{figures['cpu_share']:.2f} |"
        )
    for name, ratio in report["ratios"].items():
        print(f"{name}: {ratio:.2f}")
    print("| client | polls per job | lag p50, s | lag p95, s |\n|---|---|---|---|")
    for client, figures in report["lag"].items():
        print(
            f"| {client} | {figures['polls_per_job']:.1f} | {figures['lag_p50_s']:.2f} | "
            f"{figures['lag_p95_s']:.2f} |"
        )
    for name, figure in report["waiting"].items():
        print(f"waiting {name}: {figure:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--smoke", action="store_true", help="a few seconds, to see that it works")
    parser.add_argument("--jobs", type=int, default=3000, help="instant jobs a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the report to this file")
    given = parser.parse_args()
    if given.smoke:
        report = run(jobs=200, rounds=1, waiting=500, watch_s=1.0, lag_jobs=10, lag_median_s=0.2)
    else:
        report = run(
            jobs=given.jobs, rounds=given.rounds, waiting=10_000, watch_s=20.0, lag_jobs=200
        )
    show(report)
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
