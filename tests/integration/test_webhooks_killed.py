"""A program that waits for webhooks is killed again and again: no job twice, no result lost."""

from __future__ import annotations

import random
import signal

import pytest

from falq._journal.sqlite import SqliteJournal
from falq._journal.states import RecordState
from falq.emulator import Emulator, Scenario
from tests.support.web_servers import free_port

JOBS = 24

# Goes on where the journal is by the keys, takes webhooks, and ends once all is delivered.
PROGRAM = """
import asyncio, sys
from aiohttp import web
import falq
from falq.webhooks import WebhookReceiver

url, key, port, path, jobs = sys.argv[1:]

async def finish(session, handle):
    result = await handle
    print(result["n"], flush=True)
    await session.acknowledge(handle)

async def main():
    gateway = falq.Fal(
        key=key, queue_url=url, run_url=f"{url}/_run", rest_url=f"{url}/_rest",
        cdn_url=f"{url}/_cdn", api_url=f"{url}/_platform",
    )
    async with falq.Session(
        gateway, journal=path, webhook_base_url=f"http://127.0.0.1:{port}/fal",
        delivery="reconcile", poll=falq.PollSettings(announced_s=1.0),
    ) as session:
        receiver = WebhookReceiver(session)
        app = web.Application()
        app.router.add_post("/fal/{intent}", receiver.handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(port), reuse_address=True).start()
        async with asyncio.TaskGroup() as group:
            for n in range(int(jobs)):
                handle = await session.submit("acme/echo", {"n": n}, key=f"job {n}")
                group.create_task(finish(session, handle))
        await receiver.aclose()
        await runner.cleanup()
    print("done", flush=True)

asyncio.run(main())
"""


@pytest.mark.slow
async def test_a_receiver_that_is_killed_at_any_moment_loses_and_doubles_nothing(
    start_script, until, tmp_path
):
    port = free_port()
    path = tmp_path / "jobs.sqlite"
    chance = random.Random(15)
    scenario = Scenario(run_s=0.05, runners=4, speed=100.0, webhook_copies=2)
    async with Emulator(scenario) as emulator:
        arguments = [emulator.url, emulator.key, str(port), str(path), str(JOBS)]
        for _ in range(2):
            program = await start_script(PROGRAM, *arguments)
            jobs_before = emulator.stats().jobs
            wanted = min(JOBS, jobs_before + chance.randrange(1, 9))
            await until(lambda enough=wanted: emulator.stats().jobs >= enough)
            program.interrupt(signal.SIGKILL)
            assert (await program.ended()).code == -signal.SIGKILL
        ran = await (await start_script(PROGRAM, *arguments)).ended()
        assert ran.out.splitlines()[-1] == "done", ran.err
        assert emulator.stats().duplicates == 0
        assert emulator.stats().jobs == JOBS
    async with SqliteJournal(path) as journal:
        counts = await journal.load_counts()
    assert counts[RecordState.DELIVERED] == JOBS
    assert sum(counts.values()) == JOBS
