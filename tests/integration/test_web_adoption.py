"""Workers that are gone: those that live bring their jobs home, each job once."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter

import pytest

import falq
from falq.emulator import Emulator, Scenario
from falq.journal import SqliteJournal
from falq.web import AppSession

pytestmark = pytest.mark.slow

GUARD_S = 40.0
OFTEN_S = 0.1
WORKERS = 4
GONE = 7
JOBS = 5

WORKER = """
import asyncio, os, sys, threading
import falq
from falq.web import AppSession

url, key, folder, story, own = sys.argv[1:]

def tell(word):
    with open(story, "a") as file:
        file.write(word + "\\n")

async def keep(session, handle):
    result = await handle
    tell(f"got {result['n']}")
    await session.acknowledge(handle)
    tell(f"kept {result['n']}")

async def main():
    gateway = falq.Fal(
        key=key, queue_url=url, rest_url=f"{url}/_rest", cdn_url=f"{url}/_cdn",
        api_url=f"{url}/_platform",
    )
    fal = AppSession(
        gateway=gateway, journal_folder=folder, recover=keep, adopt_every_s=0.1,
    )
    async with fal as session:
        if own:
            await session.submit("acme/echo", {"n": int(own)})
        tell(f"up {os.getpid()}")
        await asyncio.Event().wait()

asyncio.run(main())
"""


def at(emulator, folder, **settings):
    return AppSession(gateway=emulator.gateway, journal_folder=folder, seed=1, **settings)


async def leave_jobs(emulator, folder, *, workers=GONE, jobs=JOBS):
    """Have workers that submit jobs and end before those do."""
    apps = [at(emulator, folder) for _ in range(workers)]
    for worker, app in enumerate(apps):
        session = await app.open()
        for n in range(jobs):
            await session.submit("acme/echo", {"n": worker * jobs + n})
    for app in apps:
        await app.aclose()


async def unfinished(folder):
    left = 0
    for path in folder.glob("*.sqlite"):
        async with SqliteJournal(path) as journal:
            counts = await journal.load_counts()
        left += sum(jobs for state, jobs in counts.items() if state != "delivered")
    return left


async def test_one_worker_takes_up_what_all_that_are_gone_have_left(tmp_path, until):
    kept, done = Counter(), []

    async def keep(session, handle):
        kept[(await handle)["n"]] += 1
        await session.acknowledge(handle)
        done.append(handle)

    async with Emulator(Scenario(speed=10.0)) as emulator, asyncio.timeout(GUARD_S):
        await leave_jobs(emulator, tmp_path, workers=3)
        alone = at(emulator, tmp_path, recover=keep, adopt_every_s=OFTEN_S)
        async with alone:
            await until(lambda: len(done) == 3 * JOBS)
        assert set(kept.values()) == {1}
        assert emulator.stats().submits == 3 * JOBS
    assert await unfinished(tmp_path) == 0


async def test_a_job_that_cannot_be_seen_to_is_tried_once_by_each_worker(tmp_path, until):
    tried = []

    async def fail(session, handle):
        tried.append((await handle)["n"])
        raise RuntimeError("no room for it")

    async with Emulator(Scenario(speed=10.0)) as emulator, asyncio.timeout(GUARD_S):
        await leave_jobs(emulator, tmp_path, workers=2, jobs=1)
        async with at(emulator, tmp_path, recover=fail, adopt_every_s=OFTEN_S):
            await until(lambda: len(tried) == 2)
            # Longer than it takes to look again.
            late = at(emulator, tmp_path / "other", recover=fail, adopt_every_s=OFTEN_S)
            async with late as session:
                await session.subscribe("acme/echo", {"n": 9})
        assert sorted(tried) == [0, 1]


@pytest.mark.parametrize("settings", [{"adopt_every_s": None}, {"adopt_every_s": 3600.0}])
async def test_who_does_not_look_leaves_a_journal_to_others(tmp_path, settings):
    async with Emulator(Scenario(speed=100.0)) as emulator, asyncio.timeout(GUARD_S):
        await leave_jobs(emulator, tmp_path, workers=2, jobs=1)

        async def keep(session, handle):
            await handle
            await session.acknowledge(handle)

        async with at(emulator, tmp_path, recover=keep, **settings) as session:
            await session.subscribe("acme/echo", {"n": 9})
            async with SqliteJournal(tmp_path / "worker-1.sqlite") as free:
                assert sum((await free.load_counts()).values()) == 1


def test_an_interval_of_nothing_is_refused():
    with pytest.raises(falq.ConfigError) as caught:
        AppSession(journal_folder="x", adopt_every_s=0.0)
    assert caught.value.setting == "adopt_every_s"


async def test_four_racing_workers_bring_each_job_home_once(tmp_path, start_script, until):
    folder, story = tmp_path / "journals", tmp_path / "story"
    story.touch()
    async with Emulator(Scenario(speed=5.0)) as emulator, asyncio.timeout(GUARD_S):
        await leave_jobs(emulator, folder)
        words = (emulator.url, emulator.key, str(folder), str(story))
        running = [await start_script(WORKER, *words, own) for own in ("", "", "", "1000")]
        await until(lambda: story.read_text().count("up") == WORKERS)
        await until(lambda: story.read_text().count("kept") == GONE * JOBS)
        # The last dies with a job of its own, which another one finishes.
        running[-1].interrupt(signal.SIGKILL)
        await until(lambda: story.read_text().count("kept") == GONE * JOBS + 1)
        for one in running[:-1]:
            one.interrupt(signal.SIGKILL)
        for one in running:
            await one.ended()
        got = Counter(line for line in story.read_text().splitlines() if line.startswith("got"))
        assert len(got) == GONE * JOBS + 1
        assert set(got.values()) == {1}
        assert emulator.stats().submits == GONE * JOBS + 1
