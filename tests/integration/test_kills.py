"""Whole batches killed at random moments, resumed until they are done (promises C15, C17).

Each batch runs in a process of its own, forked from one that has imported
everything, against an emulator in this process that loses answers. What counts
is what the emulator saw: no input may have made two jobs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from falq.emulator import Emulator, Fault, Scenario

SEED = 20261121
JOBS = 40
KILLS = 200
KILLS_PER_BATCH = 20
DONE = {"delivered": JOBS}

NURSERY = """
import asyncio, gc, os, sys
import falq
from falq._journal.sqlite import SqliteJournal
from falq.session import Session

class NaiveJournal(SqliteJournal):
    # Writes the intent only with what became of it, as a journal after the answer would.
    def __init__(self, path):
        super().__init__(path)
        self.unwritten = {}

    async def record_sending(self, number, **facts):
        self.unwritten[number] = facts

    async def catch_up(self, number):
        if number in self.unwritten:
            await super().record_sending(number, **self.unwritten.pop(number))

    async def record_accepted(self, number, request_id, **when):
        await self.catch_up(number)
        await super().record_accepted(number, request_id, **when)

    async def record_unknown(self, number, reason):
        await self.catch_up(number)
        await super().record_unknown(number, reason)

    async def record_not_sent(self, number, reason):
        await self.catch_up(number)
        await super().record_not_sent(number, reason)

    async def record_ended(self, number, state, error):
        await self.catch_up(number)
        await super().record_ended(number, state, error)

async def run(path, kind, url, key, jobs):
    gateway = falq.Fal(key=key, queue_url=url, api_url=url + "/_platform")
    def tell(event):
        os.write(1, b"event\\n")

    async def one(session, n):
        handle = await session.submit("acme/echo", {"n": n}, key=str(n))
        assert await handle == {"n": n}
        await session.acknowledge(handle)

    try:
        async with {"safe": SqliteJournal, "naive": NaiveJournal}[kind](path) as journal:
            async with Session(
                gateway, journal=journal, delivery="reconcile", on_unknown="resubmit",
                settle_s=2.0, poll=falq.PollSettings(initial_s=0.02), max_jobs=12,
                on_event=tell, exit_grace_s=0.5,
            ) as session:
                work = (one(session, n) for n in range(jobs))
                ends = await asyncio.gather(*work, return_exceptions=True)
                os.write(1, b"ends %d\\n" % sum(end is not None for end in ends))
    except falq.JournalLockedError as error:
        os.write(1, b"locked %d\\n" % error.pid)

gc.freeze()
for line in sys.stdin:
    path, kind, url, key, jobs = line.split()
    child = os.fork()
    if child == 0:
        asyncio.run(run(path, kind, url, key, int(jobs)))
        os._exit(0)
    os.write(1, b"began %d\\n" % child)
    _, status = os.waitpid(child, 0)
    os.write(1, b"ended %d\\n" % status)
"""


def lossy(seed: int) -> Scenario:
    """Return an emulator that makes the job and loses one answer in ten, in three ways."""
    how = {"verb": "submit", "when": "after", "has_request_id": False}
    return Scenario(
        seed=seed,
        runners=1000,
        run_s=0.05,
        history_delay_s=0.1,
        history_lists_queued=True,
        faults=(
            Fault("reset", "submit", when="after", probability=0.04),
            Fault("nginx", probability=0.03, **how),
            Fault("cut", "submit", missing_bytes=150, has_request_id=False, probability=0.03),
        ),
    )


class Nursery:
    """A process with everything imported, which forks one for each batch."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lock_holders: list[int] = []

    async def begin(self, path: Path, kind: str, emulator: Emulator) -> int:
        """Start a batch and return the id of its process."""
        assert self._process.stdin is not None
        words = [str(path), kind, emulator.url, emulator.key, str(JOBS)]
        self._process.stdin.write((" ".join(words) + "\n").encode())
        while True:
            word, value = await self.hear()
            if word == "began":
                return value

    async def hear(self) -> tuple[str, int]:
        """Return what was told next: a word and its number."""
        assert self._process.stdout is not None
        line = (await self._process.stdout.readline()).split()
        assert line, "the nursery died"
        return line[0].decode(), int(line[1]) if len(line) > 1 else 0

    async def follow(self, child: int, *, events: int | None = None) -> bool:
        """Wait for the end of a batch, killing it after so many events; return whether it was."""
        heard, was_killed = 0, False
        while True:
            word, value = await self.hear()
            if word == "ended":
                return was_killed and value != 0
            heard += word == "event"
            if word == "locked":
                self.lock_holders.append(value)
            if events is not None and not was_killed and heard >= events:
                was_killed = True
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)


@contextlib.asynccontextmanager
async def a_nursery() -> AsyncIterator[Nursery]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", NURSERY, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    yield Nursery(process)
    assert process.stdin is not None
    process.stdin.close()
    await process.wait()


@pytest.fixture
async def nursery() -> AsyncIterator[Nursery]:
    async with a_nursery() as nursery:
        yield nursery


def states_in(path: Path) -> dict[str, int]:
    """Return how many jobs are in each state, none if there is no journal yet."""
    if not path.exists():
        return {}
    with contextlib.closing(sqlite3.connect(path)) as raw:
        has_jobs = raw.execute("SELECT 1 FROM sqlite_master WHERE name = 'job'").fetchone()
        rows = raw.execute("SELECT state, count(*) FROM job GROUP BY state") if has_jobs else ()
        return dict(rows)


async def run_killed(
    nursery: Nursery, path: Path, kind: str, emulator: Emulator, chance: random.Random
) -> int:
    """Run one batch, killing it again and again; return how often it was killed."""
    killed = 0
    for _ in range(KILLS_PER_BATCH):
        if states_in(path) == DONE:
            break
        child = await nursery.begin(path, kind, emulator)
        killed += await nursery.follow(child, events=chance.randrange(1, 60))
    return killed


async def finish(nursery: Nursery, path: Path, kind: str, emulator: Emulator) -> None:
    """Run one batch unharmed until it is done."""
    for _ in range(5):
        if states_in(path) == DONE:
            return
        await nursery.follow(await nursery.begin(path, kind, emulator))


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_no_kill_pays_twice_or_loses_a_job(tmp_path: Path, nursery: Nursery) -> None:
    chance = random.Random(SEED)
    kills = batch = lost = 0
    while kills < KILLS:
        batch += 1
        path = tmp_path / f"{batch}.sqlite"
        async with Emulator(lossy(batch)) as emulator:
            kills += await run_killed(nursery, path, "safe", emulator, chance)
            await finish(nursery, path, "safe", emulator)
            stats = emulator.stats()
        lost += sum(stats.faults.values())
        assert states_in(path) == DONE, f"batch {batch}"
        assert (stats.jobs, stats.duplicates) == (JOBS, 0), f"batch {batch}"
    assert batch <= KILLS / 3
    assert lost > KILLS / 10


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_record_after_the_answer_pays_twice(tmp_path: Path, nursery: Nursery) -> None:
    """The harness must tell a good order from a bad one."""
    chance = random.Random(SEED)
    doubles = 0
    # Most often the first has one; on a busy machine kills may miss the moment.
    for batch in range(25):
        async with Emulator(lossy(batch)) as emulator:
            await run_killed(nursery, tmp_path / f"{batch}.sqlite", "naive", emulator, chance)
            doubles += emulator.stats().duplicates
        if doubles:
            break
    assert doubles > 0


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_four_processes_on_one_journal_pay_once(tmp_path: Path) -> None:
    path = tmp_path / "shared.sqlite"
    begun: set[int] = set()
    async with contextlib.AsyncExitStack() as stack:
        emulator = await stack.enter_async_context(Emulator(lossy(SEED)))
        nurseries = [await stack.enter_async_context(a_nursery()) for _ in range(4)]
        for _ in range(10):
            if states_in(path) == DONE:
                break
            children = [await one.begin(path, "safe", emulator) for one in nurseries]
            await asyncio.gather(*map(Nursery.follow, nurseries, children))
            begun.update(children)
            assert {pid for one in nurseries for pid in one.lock_holders} <= begun
        stats = emulator.stats()
    assert states_in(path) == DONE
    assert (stats.jobs, stats.duplicates) == (JOBS, 0)
    assert sum(len(one.lock_holders) for one in nurseries) >= 1
