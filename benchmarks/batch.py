"""Run batches with and without a journal, small and large, and go on with a large journal.

Owns the rows, the order of measurements and what is made of them. Every measurement
runs in a process of its own, so that memory is that of one batch, against an
emulator of its own, whose memory would grow otherwise. Rounds are interleaved, and
every other one begins with the journal, so that a slow moment of the machine meets
both. Both batches write their lines; what is compared is the journal alone. It
asserts nothing but that every row ended.

Rules for reading it:
    1. `loop_ms_per_row` is the CPU time of the event loop's thread: what the journal
       costs a program. `cpu_ms_per_row` has the journal's own thread in it, which
       runs beside the loop where there is a second core.
    2. `rows_per_s` depends on who else uses the cores.
    3. Python's collector is set as the command line sets it, in both kinds of batch.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from chart import draw_panels
from machine import describe_machine
from throughput import running_server

from falq._core.canonical import canonical_json, input_sha256
from falq._journal.records import PlannedJob
from falq._journal.sqlite import SqliteJournal
from falq.batch import Batch
from falq.batch.planning import PLAN_KIND
from falq.cli.garbage import collect_seldom
from falq.gateways import Fal

ENDPOINT = "acme/echo"
PAGE_ROWS = 1000
NAMES = {"none": "without a journal", "sqlite": "with a journal"}


class Echoes:
    """So many rows, made as they are read."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in range(self._count):
            yield {"say": number}


def in_a_process(task: Any, *words: Any, runners: int | None = None) -> dict[str, float]:
    """Return what `task` gives, run in a fresh process with an emulator and a folder of its own."""
    with (
        running_server("http", None, runners=runners) as (server, _),
        tempfile.TemporaryDirectory() as folder,
        multiprocessing.get_context("spawn").Pool(1) as pool,
    ):
        found: dict[str, float] = pool.apply(task, (server, folder, *words))
        return found


def run_batch(
    server: dict[str, Any], folder: str, count: int, journal: Literal["none", "sqlite"]
) -> dict[str, float]:
    """Run so many instant rows and return pace, CPU and memory."""
    collect_seldom()
    return asyncio.run(_run_batch(server, folder, count, journal))


async def _run_batch(
    server: dict[str, Any], folder: str, count: int, journal: Literal["none", "sqlite"]
) -> dict[str, float]:
    started, cpu, loop_cpu = time.perf_counter(), time.process_time(), time.thread_time()
    ended = 0
    batch = Batch(
        Echoes(count),
        gateway=_gateway(server),
        endpoint=ENDPOINT,
        out=f"{folder}/batch",
        journal=False if journal == "none" else None,
        download=False,
    )
    async with batch:
        planned_s = time.perf_counter() - started
        async for outcome in batch:
            ended += outcome.is_success
    took_s = time.perf_counter() - started
    if ended != count:
        raise SystemExit(f"{count - ended} rows did not succeed")
    return {
        "rows": count,
        "rows_per_s": count / took_s,
        "ms_per_row": 1000 * took_s / count,
        "cpu_ms_per_row": 1000 * (time.process_time() - cpu) / count,
        "loop_ms_per_row": 1000 * (time.thread_time() - loop_cpu) / count,
        "planning_s": planned_s,
        "peak_mib": _peak_mib(),
    }


def resume_batch(server: dict[str, Any], folder: str, count: int) -> dict[str, float]:
    """Write a journal of so many planned rows, and return how soon going on with it starts."""
    collect_seldom()
    return asyncio.run(_resume_batch(server, folder, count))


async def _resume_batch(server: dict[str, Any], folder: str, count: int) -> dict[str, float]:
    async with SqliteJournal(Path(folder) / "journal.sqlite") as journal:
        run = await journal.begin_run({"kind": PLAN_KIND})
        for first in range(0, count, PAGE_ROWS):
            last = min(first + PAGE_ROWS, count)
            await journal.plan([_planned(number) for number in range(first, last)])
        await journal.record_run_ended(run)
    started = time.perf_counter()
    async with Batch(None, gateway=_gateway(server), out=folder, download=False) as batch:
        await anext(batch)
        first_s = time.perf_counter() - started
        batch.stop()
        async for _ in batch:
            pass
    return {"rows": count, "first_outcome_s": first_s, "peak_mib": _peak_mib()}


def _gateway(server: dict[str, Any]) -> Fal:
    url = server["url"]
    return Fal(key=server["key"], queue_url=url, api_url=f"{url}/_platform")


def _planned(number: int) -> PlannedJob:
    arguments = {"say": number}
    return PlannedJob(
        endpoint=ENDPOINT,
        input_sha256=input_sha256(ENDPOINT, arguments),
        input=canonical_json(arguments),
        key=f"row-{number + 1:06}",
        seq=number,
    )


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def compare(rows: int, rounds: int) -> dict[str, Any]:
    """Run rounds with and without a journal; return them, their medians and the ratios.

    The ratios are medians of the rounds' own: above 1, the journal would be faster.
    """
    found: dict[str, list[dict[str, float]]] = {"none": [], "sqlite": []}
    for number in range(rounds):
        for journal in ("none", "sqlite") if number % 2 == 0 else ("sqlite", "none"):
            found[journal].append(in_a_process(run_batch, rows, journal))
    both = list(zip(found["none"], found["sqlite"], strict=True))

    def ratio(name: str) -> float:
        return statistics.median(without[name] / with_[name] for without, with_ in both)

    return {
        "rows": rows,
        "rounds": found,
        "without_journal": _medians(found["none"]),
        "with_journal": _medians(found["sqlite"]),
        "rows_per_s_with_to_without": 1 / ratio("rows_per_s"),
        "loop_cpu_without_to_with": ratio("loop_ms_per_row"),
        "cpu_without_to_with": ratio("cpu_ms_per_row"),
    }


def _medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def run(*, rows: int, rounds: int, sizes: Sequence[int], journal_rows: int) -> dict[str, Any]:
    """Measure everything and return the report."""
    report: dict[str, Any] = {"machine": describe_machine()}
    report["compare"] = compare(rows, rounds)
    report["sizes"] = {
        journal: [in_a_process(run_batch, size, journal) for size in sizes] for journal in NAMES
    }
    report["resume"] = in_a_process(resume_batch, journal_rows)
    return report


def draw(report: dict[str, Any]) -> str:
    """Return cost and memory by number of rows, as SVG."""
    figures = {
        "time per row, ms": "ms_per_row",
        "CPU per row, ms": "cpu_ms_per_row",
        "peak memory, MiB": "peak_mib",
    }
    panels = {
        title: {
            NAMES[journal]: [(one["rows"], one[name]) for one in report["sizes"][journal]]
            for journal in NAMES
        }
        for title, name in figures.items()
    }
    return draw_panels(panels, across="rows of the batch", up="")


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    found = report["compare"]
    for name in ("without_journal", "with_journal"):
        print(name, ", ".join(f"{key} {value:.2f}" for key, value in found[name].items()))
    print(
        f"rows/s with to without a journal: {found['rows_per_s_with_to_without']:.2f}; CPU of "
        f"the loop, without to with: {found['loop_cpu_without_to_with']:.2f}"
    )
    for journal, sizes in report["sizes"].items():
        for one in sizes:
            print(
                f"{NAMES[journal]}, {one['rows']:,} rows: {one['ms_per_row']:.3f} ms and "
                f"{one['cpu_ms_per_row']:.3f} ms of CPU a row, {one['peak_mib']:.0f} MiB"
            )
    print("resume", ", ".join(f"{key} {value:.2f}" for key, value in report["resume"].items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--smoke", action="store_true", help="a few seconds, to see that it works")
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the comparison")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="*",
        default=[1000, 10_000, 100_000, 1_000_000],
        help="rows of single runs",
    )
    parser.add_argument("--journal-rows", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, help="write the report to this file")
    parser.add_argument("--plot", type=Path, help="write cost by rows to this file, as SVG")
    given = parser.parse_args()
    if given.smoke:
        report = run(rows=300, rounds=1, sizes=[100, 300], journal_rows=2000)
    else:
        report = run(
            rows=given.rows,
            rounds=given.rounds,
            sizes=given.sizes,
            journal_rows=given.journal_rows,
        )
    show(report)
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=2) + "\n")
    if given.plot is not None:
        given.plot.write_text(draw(report))


if __name__ == "__main__":
    main()
