"""Run batches with and without a journal, and go on with a large journal.

Owns the rows, the order of measurements and what is made of them. The emulator
and every measurement run in processes of their own, so that memory is that of
one batch. Both batches write their lines; what is compared is the journal alone. It
asserts nothing but that every row ended.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from machine import describe_machine
from throughput import running_server

from falq._core.canonical import canonical_json, input_sha256
from falq._journal.records import PlannedJob
from falq._journal.sqlite import SqliteJournal
from falq.batch import Batch
from falq.batch.planning import PLAN_KIND
from falq.gateways import Fal

ENDPOINT = "acme/echo"
PAGE_ROWS = 1000


class Echoes:
    """So many rows, made as they are read."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in range(self._count):
            yield {"say": number}


def in_a_process(task: Any, *words: Any) -> dict[str, float]:
    """Return what `task` gives, run in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found: dict[str, float] = pool.apply(task, words)
        return found


def run_batch(
    server: dict[str, Any], folder: str, count: int, journal: Literal["none", "sqlite"]
) -> dict[str, float]:
    """Run so many instant rows and return pace, CPU and memory."""
    return asyncio.run(_run_batch(server, folder, count, journal))


async def _run_batch(
    server: dict[str, Any], folder: str, count: int, journal: Literal["none", "sqlite"]
) -> dict[str, float]:
    gateway = Fal(key=server["key"], queue_url=server["url"], api_url=server["url"] + "/_platform")
    started, cpu = time.perf_counter(), time.process_time()
    ended = 0
    batch = Batch(
        Echoes(count),
        gateway=gateway,
        endpoint=ENDPOINT,
        out=folder,
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
        "jobs_per_s": count / took_s,
        "planning_s": planned_s,
        "cpu_ms_per_row": 1000 * (time.process_time() - cpu) / count,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def resume_batch(server: dict[str, Any], folder: str, count: int) -> dict[str, float]:
    """Write a journal of so many planned rows, and return how soon going on with it starts."""
    return asyncio.run(_resume_batch(server, folder, count))


async def _resume_batch(server: dict[str, Any], folder: str, count: int) -> dict[str, float]:
    path = Path(folder) / "journal.sqlite"
    async with SqliteJournal(path) as journal:
        run = await journal.begin_run({"kind": PLAN_KIND})
        for first in range(0, count, PAGE_ROWS):
            await journal.plan([_planned(number) for number in range(first, first + PAGE_ROWS)])
        await journal.record_run_ended(run)
    gateway = Fal(key=server["key"], queue_url=server["url"], api_url=server["url"] + "/_platform")
    started = time.perf_counter()
    async with Batch(None, gateway=gateway, out=folder, download=False) as batch:
        await anext(batch)
        first_s = time.perf_counter() - started
        batch.stop()
        async for _ in batch:
            pass
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows": count, "first_outcome_s": first_s, "peak_mib": peak_mib}


def _planned(number: int) -> PlannedJob:
    arguments = {"say": number}
    return PlannedJob(
        endpoint=ENDPOINT,
        input_sha256=input_sha256(ENDPOINT, arguments),
        input=canonical_json(arguments),
        key=f"row-{number + 1:06}",
        seq=number,
    )


def run(*, rows: int, journal_rows: int) -> dict[str, Any]:
    """Measure everything and return the report."""
    report: dict[str, Any] = {"machine": describe_machine()}
    with running_server("http", None) as (server, _), tempfile.TemporaryDirectory() as folder:
        report["without_journal"] = in_a_process(run_batch, server, f"{folder}/plain", rows, "none")
        report["with_journal"] = in_a_process(run_batch, server, f"{folder}/batch", rows, "sqlite")
        Path(folder, "large").mkdir()
        report["resume"] = in_a_process(resume_batch, server, f"{folder}/large", journal_rows)
    pace = report["with_journal"]["jobs_per_s"] / report["without_journal"]["jobs_per_s"]
    report["ratio_with_to_without"] = pace
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--smoke", action="store_true", help="a few seconds, to see that it works")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--journal-rows", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, help="write the report to this file")
    given = parser.parse_args()
    if given.smoke:
        report = run(rows=500, journal_rows=2000)
    else:
        report = run(rows=given.rows, journal_rows=given.journal_rows)
    for name in ("without_journal", "with_journal", "resume"):
        print(name, ", ".join(f"{key} {value:.2f}" for key, value in report[name].items()))
    print(f"with journal to without: {report['ratio_with_to_without']:.2f}")
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
