"""Count HTTP requests a job by the way in which its end is noticed.

Owns the rows and their loads: a whole session against the emulator in virtual time,
20 ms a call, so the same seed gives the same figures to the last digit. Lengths of
jobs are spread by a tenth either way, and all jobs of a row are in flight at once.
The ways:

    fixed 0.1 s       what the official clients do: a check every tenth of a second
    polling, new      falq's default, of an endpoint that nothing is known of
    polling, known    the same, after `LEARNED` jobs of that endpoint had ended
    streams           `completion="stream"`
    webhooks          `webhook_base_url`, the result fetched
    webhooks, kept    the same with a journal, which takes the result from the webhook

A request is a submit, a status check, a stream or a result; a webhook is a request of
fal's and not counted. The lag is from a job's end to its result in hand, in seconds.

The official client itself is run beside it on jobs of two seconds, over https and in
real time, to see that it makes the requests that its interval asks for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import statistics
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from attrs import frozen
from machine import describe_machine
from throughput import measure, running_server

import falq
from falq.emulator import Scenario
from falq.journal import MemoryJournal
from falq.testing import LoopbackEmulator, VirtualTimeLoop
from falq.webhooks import read_keys, verify

ENDPOINT = "acme/echo"
LENGTHS_S = (2.0, 10.0, 40.0, 180.0)
LEARNED = 200
FIXED_S = 0.1
CALL_S = 0.02
"""How long a call takes, in seconds."""

WEBHOOK_URL = "http://127.0.0.1:9/fal"
"""Where webhooks are said to go; they are carried in memory."""

SEED = 20261121


@frozen(kw_only=True)
class Row:
    """What one way costs, per job.

    Attributes:
        requests: HTTP requests.
        checks: Status checks among them.
        lag_p50_s: Seconds from the end of a job to its result in hand, in the median.
        lag_p95_s: The same, of 95 in 100.
    """

    requests: float
    checks: float
    lag_p50_s: float
    lag_p95_s: float


def lengths_of(length_s: float, jobs: int) -> list[float]:
    """Return how long each job runs, in seconds."""
    chance = random.Random(SEED)
    return [length_s * chance.uniform(0.9, 1.1) for _ in range(jobs)]


def at_fixed_interval(length_s: float, jobs: int) -> Row:
    """Return what a check every `FIXED_S` costs: one at once, one after each interval."""
    checks, lags_s = [], []
    for run_s in lengths_of(length_s, jobs):
        # An interval begins when the answer before it is there.
        gaps = math.ceil(run_s / (FIXED_S + CALL_S))
        checks.append(gaps + 1)
        lags_s.append(gaps * (FIXED_S + CALL_S) - run_s + CALL_S)
    return _row([2 + one for one in checks], checks, lags_s)


def _row(requests: Sequence[float], checks: Sequence[float], lags_s: Sequence[float]) -> Row:
    ordered = sorted(lags_s)
    return Row(
        requests=statistics.fmean(requests),
        checks=statistics.fmean(checks),
        lag_p50_s=statistics.median(ordered),
        lag_p95_s=ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
    )


async def _carry_webhooks(emulator: LoopbackEmulator, session: falq.Session) -> None:
    """Bring the emulator's webhooks to the session, verified, as a web framework would."""
    loop, app = asyncio.get_running_loop(), emulator.app
    keys = read_keys(app.webhooks.key_set())
    while True:
        for post in app.take_webhooks(loop.time()):
            delivery = verify(
                post.headers,
                post.body,
                keys=keys,
                now=app.queue.wall_s(loop.time()),
                intent_id=post.url.rpartition("/")[2],
            )
            await session.take_delivery(delivery)
            app.webhooks.record_answer(post, 200, loop.time())
        await asyncio.sleep(0.01)


@asynccontextmanager
async def _open(
    emulator: LoopbackEmulator, settings: Mapping[str, Any]
) -> AsyncIterator[falq.Session]:
    async with MemoryJournal() as journal:
        chosen = dict(settings)
        if chosen.pop("keeps", False):
            chosen["journal"] = journal
        async with falq.Session(
            emulator.gateway,
            transport=emulator.transport(),
            max_jobs=10_000,
            max_streams=10_000,
            seed=SEED,
            **chosen,
        ) as session:
            carrying = asyncio.create_task(_carry_webhooks(emulator, session))
            yield session
            carrying.cancel()
            await asyncio.wait({carrying})


async def _run_all(
    emulator: LoopbackEmulator, session: falq.Session, run_times_s: Sequence[float]
) -> list[float]:
    """Run jobs to their ends, and return the lag of each."""
    loop, jobs = asyncio.get_running_loop(), emulator.app.queue.jobs
    inputs = ({"n": n, "_emulator": {"run_s": one}} for n, one in enumerate(run_times_s))
    lags_s = []
    async for outcome in session.map(ENDPOINT, inputs):
        if outcome.error is not None:
            raise outcome.error
        lags_s.append(loop.time() - jobs[str(outcome.request_id)].ended)
    return lags_s


async def _with_session(length_s: float, jobs: int, settings: Mapping[str, Any]) -> Row:
    emulator = LoopbackEmulator(Scenario(runners=1_000_000), latency_s=CALL_S)
    chosen = dict(settings)
    learned = chosen.pop("learned", 0)
    async with _open(emulator, chosen) as session:
        await _run_all(emulator, session, lengths_of(length_s, learned))
        before = dict(emulator.stats().calls)
        lags_s = await _run_all(emulator, session, lengths_of(length_s, jobs))
        after = emulator.stats().calls
    made = {verb: count - before.get(verb, 0) for verb, count in after.items()}
    return _row([sum(made.values()) / jobs], [made.get("status", 0) / jobs], lags_s)


def _session(**settings: Any) -> Callable[[float, int], Row]:
    def run(length_s: float, jobs: int) -> Row:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            return runner.run(_with_session(length_s, jobs, settings))

    return run


WAYS: dict[str, Callable[[float, int], Row]] = {
    "fixed 0.1 s": at_fixed_interval,
    "polling, new": _session(poll=falq.PollSettings(learns=False)),
    "polling, known": _session(learned=LEARNED),
    "streams": _session(completion="stream"),
    "webhooks": _session(webhook_base_url=WEBHOOK_URL),
    "webhooks, kept": _session(webhook_base_url=WEBHOOK_URL, keeps=True),
}


def official_client(jobs: int) -> dict[str, float]:
    """Return what the official client itself makes of jobs of two seconds, in real time."""
    with running_server("https", None) as (about, _):
        figures = measure(
            {
                "measure": "lag",
                "client": "fal_client",
                "server": about,
                "core": None,
                "plan": {
                    "run_times_s": lengths_of(2.0, jobs),
                    "in_flight": jobs,
                    "interval_s": FIXED_S,
                },
            }
        )
    return {
        "requests": 2 + figures["polls_per_job"],
        "lag_p50_s": figures["lag_p50_s"],
        "lag_p95_s": figures["lag_p95_s"],
    }


def run(jobs: int, lengths_s: Sequence[float], *, official: int) -> dict[str, Any]:
    """Make all measurements and return the report."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    for length_s in lengths_s:
        rows = {name: way(length_s, jobs) for name, way in WAYS.items()}
        polled = rows["polling, known"].requests
        table[f"{length_s:g} s"] = {
            name: {
                "requests": row.requests,
                "checks": row.checks,
                "to_polling": row.requests / polled,
                "lag_p50_s": row.lag_p50_s,
                "lag_p95_s": row.lag_p95_s,
            }
            for name, row in rows.items()
        }
    return {
        "machine": describe_machine(),
        "settings": {"jobs": jobs, "learned": LEARNED, "seed": SEED},
        "lengths": table,
        "fal_client, 2 s": official_client(official),
    }


def show(report: Mapping[str, Any]) -> None:
    """Print the report as the tables of `docs/benchmarks.md`."""
    lengths = report["lengths"]
    print(f"| requests a job | {' | '.join(lengths)} |")
    print(f"|---|{'---|' * len(lengths)}")
    for way in WAYS:
        cells = [
            f"{rows[way]['requests']:.2f} ({rows[way]['to_polling']:.2f})"
            for rows in lengths.values()
        ]
        print(f"| {way} | {' | '.join(cells)} |")
    print(f"\n| lag p50 / p95, s | {' | '.join(lengths)} |")
    print(f"|---|{'---|' * len(lengths)}")
    for way in WAYS:
        cells = [
            f"{rows[way]['lag_p50_s']:.2f} / {rows[way]['lag_p95_s']:.2f}"
            for rows in lengths.values()
        ]
        print(f"| {way} | {' | '.join(cells)} |")
    real = report["fal_client, 2 s"]
    print(
        f"\nfal_client itself, jobs of 2 s: {real['requests']:.1f} requests a job, lag "
        f"{real['lag_p50_s']:.2f} / {real['lag_p95_s']:.2f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--smoke", action="store_true", help="fewer and shorter jobs")
    parser.add_argument("--jobs", type=int, default=200, help="jobs of each length and way")
    parser.add_argument("--json", type=Path, help="write the report to this file")
    given = parser.parse_args()
    if given.smoke:
        report = run(20, LENGTHS_S[:2], official=2)
    else:
        report = run(given.jobs, LENGTHS_S, official=20)
    show(report)
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
