"""Disks that fail under a batch: writes refused in mid-run, and a log cut by a loss of power."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from falq.batch import Batch
from falq.emulator import Emulator, Scenario
from falq.journal import RecordState, SqliteJournal

pytestmark = pytest.mark.slow

ROWS = 60
SEED = 20261121

# The journal's log is opened again for reading and put in the place of the descriptor
# that SQLite writes to: the kernel then refuses every write, as it does on a disk with
# errors and on a file system that was made read-only in mid-run. SQLite reports both
# as an I/O error (os_unix.c tells ENOSPC alone apart).
REFUSED_WRITES = """
import asyncio, json, os, sys
from pathlib import Path
from falq.batch import Batch
from falq.errors import FalqError
from falq.gateways import Fal

def refuse_writes(path):
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target == path:
            again = os.open(path, os.O_RDONLY)
            os.dup2(again, int(name))
            os.close(again)

async def main():
    url, key, out, rows = sys.argv[1:]
    told, failure = [], None
    gateway = Fal(key=key, queue_url=url)
    prompts = [{"say": number} for number in range(int(rows))]
    try:
        async with Batch(
            prompts, gateway=gateway, endpoint="acme/echo", out=out, max_jobs=4
        ) as batch:
            async for outcome in batch:
                told.append(outcome.id)
                if len(told) == 10:
                    refuse_writes(str(Path(out).absolute() / "journal.sqlite-wal"))
    except FalqError as error:
        # The end says what could not be written; what came before it says why.
        failure = type(error).__name__, f"{error.__context__} / {error}"
    print(json.dumps([told, failure]))

asyncio.run(main())
"""


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(Scenario(speed=1000.0, runners=50)) as emulator:
        yield emulator


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's /proc")
async def test_after_the_first_refused_write_nothing_is_sent_and_nothing_told_is_lost(
    emulator, tmp_path
):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", REFUSED_WRITES, emulator.url, emulator.key),
        *(str(tmp_path / "out"), str(ROWS)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert b"JournalError" in out, out
    assert b"I/O error" in out
    sent = emulator.stats().jobs
    async with SqliteJournal(tmp_path / "out" / "journal.sqlite") as journal:
        counts = await journal.load_counts()
    assert sum(counts.values()) == ROWS
    # Whatever was sent has an intent, and no intent was written after the refusal: it
    # found jobs that ran ahead of the reader, and four at most with an intent unsent.
    intents = ROWS - counts[RecordState.PLANNED]
    assert 10 <= sent <= intents <= min(sent + 4, ROWS - 1)
    async with Batch(None, gateway=emulator.gateway, out=tmp_path / "out") as batch:
        async for _ in batch:
            pass
        summary = await batch.summary()
    assert summary.succeeded == ROWS
    assert (emulator.stats().jobs, emulator.stats().duplicates) == (ROWS, 0)


# Tells, after each record that returned, how long the log was then: all of it had
# been flushed to the disk by that time.
WRITER = """
import asyncio, os, sys
from falq.journal import PlannedJob, SqliteJournal

async def main():
    wal = sys.argv[1] + "-wal"
    def tell(*words):
        sys.stdout.write(" ".join(map(str, (*words, os.path.getsize(wal)))) + chr(10))
        sys.stdout.flush()
    async with SqliteJournal(sys.argv[1]) as journal:
        async def drive(n):
            (number,) = await journal.plan(
                [PlannedJob(endpoint="a/b", input_sha256="00", key=str(n), input=b"{}")]
            )
            tell("planned", number)
            await journal.record_sending(number, intent_id=f"i{n}", sent_at=0.0)
            tell("sending", number)
            await journal.record_accepted(number, f"r{n}")
            tell("accepted", number)
            await journal.record_result(number, bytes(500))
            tell("fetched", number)
        for n in range(1000):
            await asyncio.gather(drive(2 * n), drive(2 * n + 1))

asyncio.run(main())
"""

ORDER = ["planned", "sending", "accepted", "fetched"]


def write_and_be_killed(path: Path, *, after_lines: int) -> list[tuple[str, int, int]]:
    """Return what was acknowledged, and how long the log was then."""
    command = [sys.executable, "-c", WRITER, str(path)]
    told = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for count, line in enumerate(writer.stdout):
            if count == after_lines:
                writer.send_signal(signal.SIGKILL)
            if line.endswith("\n"):
                state, number, size_bytes = line.split()
                told.append((state, int(number), int(size_bytes)))
    assert writer.returncode == -signal.SIGKILL
    return told


def size_of(path: Path) -> int:
    """Return the length of a journal's log."""
    return Path(f"{path}-wal").stat().st_size


async def states_in(path: Path) -> dict[int, str]:
    async with SqliteJournal(path) as journal:
        return {job.number: str(job.state) async for page in journal.load_jobs() for job in page}


def cut(source: Path, target: Path, size_bytes: int, torn: bytes) -> None:
    """Copy a journal as a loss of power may leave it: its log cut, its end torn."""
    shutil.copy(source, target)
    wal = Path(f"{source}-wal").read_bytes()[:size_bytes]
    Path(f"{target}-wal").write_bytes(wal + torn)


def test_of_a_log_that_was_cut_at_any_byte_what_was_flushed_before_is_there(
    tmp_path: Path,
) -> None:
    chance = random.Random(SEED)
    path = tmp_path / "journal.sqlite"
    told = write_and_be_killed(path, after_lines=160)
    # Short enough that no checkpoint emptied the log, so that sizes only grow.
    assert [size for *_, size in told] == sorted(size for *_, size in told)
    for trial in range(25):
        # The power goes after this record was acknowledged and before the next one was:
        # the log is flushed up to the one, and of what follows anything may be there.
        last = chance.randrange(10, len(told))
        flushed = told[last][2]
        end = told[last + 1][2] if last + 1 < len(told) else size_of(path)
        size_bytes = chance.randint(flushed, max(flushed, end - 1))
        target = tmp_path / f"cut-{trial}.sqlite"
        cut(path, target, size_bytes, chance.randbytes(chance.choice([0, 24, 5000])))
        found = asyncio.run(states_in(target))
        for state, number, size in told:
            if size <= flushed:
                assert ORDER.index(found[number]) >= ORDER.index(state)
        raw = sqlite3.connect(target)
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        intents = raw.execute(
            "SELECT count(*) FROM job WHERE state <> 'planned' AND NOT EXISTS "
            "(SELECT 1 FROM attempt WHERE attempt.intent_id = job.intent_id)"
        ).fetchone()
        assert intents == (0,)
        raw.close()


def test_the_shorter_a_cut_log_is_the_less_is_there_and_never_something_else(
    tmp_path: Path,
) -> None:
    chance = random.Random(SEED)
    path = tmp_path / "journal.sqlite"
    write_and_be_killed(path, after_lines=100)
    whole = size_of(path)
    before: dict[int, str] = {}
    for trial, size_bytes in enumerate(sorted(chance.sample(range(whole // 3, whole + 1), 15))):
        target = tmp_path / f"cut-{trial}.sqlite"
        cut(path, target, size_bytes, b"")
        found = asyncio.run(states_in(target))
        assert before.keys() <= found.keys()
        assert all(ORDER.index(before[n]) <= ORDER.index(found[n]) for n in before)
        before = found
