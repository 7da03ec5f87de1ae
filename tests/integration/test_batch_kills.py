"""A batch whose process is killed: nothing is lost, nothing is paid twice."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections.abc import AsyncIterator

import pytest

from falq.emulator import Emulator, Scenario

pytestmark = pytest.mark.slow

ROWS = 40
KILLS = 8

SCRIPT = """
import asyncio, sys
from falq.batch import Batch
from falq.gateways import Fal

async def main(queue_url, api_url, key, out, rows):
    gateway = Fal(key=key, queue_url=queue_url, api_url=api_url)
    manifest = [{"prompt": f"cat {n}"} for n in range(int(rows))]
    endpoint = "fal-ai/flux/schnell"
    batch = Batch(
        manifest,
        gateway=gateway,
        endpoint=endpoint,
        out=out,
        max_jobs=8,
        # The emulator's history lists a request at once: what it lacks was never made.
        on_unknown="resubmit",
        settle_s=0.5,
    )
    async with batch:
        async for outcome in batch:
            pass
        print((await batch.summary()).is_complete)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    scenario = Scenario(run_s=0.05, runners=20, latency_s=0.01, history_lists_queued=True)
    async with Emulator(scenario) as emulator:
        yield emulator


@pytest.mark.timeout(180)
async def test_a_batch_that_is_killed_again_and_again_ends_whole_and_pays_once(
    start_script, until, emulator, tmp_path
):
    gateway = emulator.gateway
    out = tmp_path / "out"
    words = (gateway.queue_url, gateway.api_url, emulator.key, str(out), str(ROWS))
    chance = random.Random(11)
    for _ in range(KILLS):
        running = await start_script(SCRIPT, *words)
        before = emulator.stats().jobs
        # At any moment of a run: some of its jobs are in, some on the way.
        reached = min(before + chance.randint(1, ROWS // KILLS), ROWS - 1)
        await until(lambda reached=reached: emulator.stats().jobs >= reached)
        running.interrupt(signal.SIGKILL)
        await running.ended()
    ran = await (await start_script(SCRIPT, *words)).ended()
    assert ran.out.strip() == "True", ran.err
    stats = emulator.stats()
    assert (stats.jobs, stats.duplicates) == (ROWS, 0)
    lines = [json.loads(line) for line in (out / "results.jsonl").read_bytes().splitlines()]
    assert len({line["id"] for line in lines}) == len(lines) == ROWS
    media = await asyncio.to_thread(lambda: sorted((out / "media").glob("[!.]*")))
    assert len(media) == ROWS
