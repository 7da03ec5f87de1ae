"""Processes killed while they write, and processes that race for one journal."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from falq._journal.sqlite import SqliteJournal
from falq._journal.states import RecordState

KILLS = 12
SEED = 20261121

WRITER = """
import asyncio, sys
from falq._journal.records import PlannedJob
from falq._journal.sqlite import SqliteJournal

def tell(*words):
    sys.stdout.write(" ".join(map(str, words)) + chr(10))
    sys.stdout.flush()

async def drive(journal, name, jobs):
    for n in range(jobs):
        key = f"{name}-{n}"
        (number,) = await journal.plan([PlannedJob(endpoint="a/b", input_sha256="00", key=key)])
        tell("planned", number)
        await journal.record_sending(number, intent_id="i" + key, sent_at=0.0)
        tell("sending", number)
        await journal.record_accepted(number, "r" + key)
        tell("accepted", number)
        journal.record_completed_nowait(number)
        await journal.record_result(number, key.encode() * 50)
        tell("fetched", number)
        await journal.record_delivered(number)
        tell("delivered", number)

async def main():
    async with SqliteJournal(sys.argv[1]) as journal:
        await asyncio.gather(*(drive(journal, f"{sys.argv[2]}-{n}", 10_000) for n in range(8)))

asyncio.run(main())
"""

ORDER = ["planned", "sending", "accepted", "completed", "fetched", "delivered"]


def write_and_be_killed(path: Path, name: str, *, after_lines: int) -> dict[int, str]:
    """Return what was acknowledged last of each job, by a writer killed in the middle."""
    command = [sys.executable, "-c", WRITER, str(path), name]
    told: dict[int, str] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for count, line in enumerate(writer.stdout):
            if count == after_lines:
                writer.send_signal(signal.SIGKILL)
            if line.endswith("\n"):
                state, number = line.split()
                told[int(number)] = state
    assert writer.returncode == -signal.SIGKILL
    return told


async def states_in(path: Path) -> dict[int, RecordState]:
    async with SqliteJournal(path) as journal:
        return {job.number: job.state async for page in journal.load_jobs() for job in page}


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_was_acknowledged_before_a_kill_is_there_after_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    chance = random.Random(SEED)
    told: dict[int, str] = {}
    for kill in range(KILLS):
        told |= write_and_be_killed(path, str(kill), after_lines=chance.randrange(1500))
        found = asyncio.run(states_in(path))
        behind = {
            number: (state, found.get(number))
            for number, state in told.items()
            if number not in found or ORDER.index(found[number]) < ORDER.index(state)
        }
        assert behind == {}
    assert len(told) > KILLS
    raw = sqlite3.connect(path)
    assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
    counted = dict(raw.execute("SELECT state, count(*) FROM job GROUP BY state"))
    tally = {state: jobs for state, jobs in raw.execute("SELECT state, jobs FROM tally") if jobs}
    assert tally == counted
    unnoted = raw.execute(
        "SELECT count(*) FROM job WHERE state <> 'planned' AND NOT EXISTS "
        "(SELECT 1 FROM attempt WHERE attempt.intent_id = job.intent_id)"
    ).fetchone()
    assert unnoted == (0,)
    raw.close()


HOLDER = """
import asyncio, os, sys
from falq._journal.sqlite import SqliteJournal
from falq.errors import JournalLockedError

async def main():
    journal = SqliteJournal(sys.argv[1])
    try:
        await journal.open()
    except JournalLockedError as error:
        print("locked", error.pid, flush=True)
        return
    if sys.argv[2] == "fork" and os.fork() == 0:
        sys.stdin.read()
        os._exit(0)
    print("open", os.getpid(), flush=True)
    sys.stdin.read()
    await journal.aclose()

asyncio.run(main())
"""


def hold(path: Path, how: str = "alone") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def answer_of(holder: subprocess.Popen[str]) -> tuple[str, int]:
    assert holder.stdout is not None
    word, pid = holder.stdout.readline().split()
    return word, int(pid)


@pytest.mark.slow
def test_of_four_that_race_one_has_it_and_the_others_name_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    racers = [hold(path) for _ in range(4)]
    answers = sorted(answer_of(racer) for racer in racers)
    for racer in racers:
        racer.communicate()
    assert [word for word, _ in answers] == ["locked", "locked", "locked", "open"]
    assert {pid for _, pid in answers} == {answers[-1][1]}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["alone", "fork"])
def test_a_lock_ends_with_its_process_even_if_a_forked_child_lives(
    tmp_path: Path, how: str
) -> None:
    path = tmp_path / "journal.db"
    first = hold(path, how)
    assert answer_of(first) == ("open", first.pid)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    second = hold(path)
    assert answer_of(second) == ("open", second.pid)
    first.communicate()
    second.communicate()
    assert json.loads(path.with_name("journal.db.lock").read_text())["pid"] == second.pid
