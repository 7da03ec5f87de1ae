"""A session with a journal in a file: opened, locked, closed, and taken up by the next process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

import falq
from falq._journal.sqlite import SqliteJournal
from falq._journal.states import RecordState
from falq.emulator import Emulator, Scenario

POLL = falq.PollSettings(initial_s=0.02)

BACKEND = """
import asyncio, sys
import falq

async def main(path, url, key):
    gateway = falq.Fal(key=key, queue_url=url)
    async with falq.Session(gateway, journal=path) as session:
        for n in range(5):
            handle = await session.submit("acme/echo", {"order": n}, key=f"order-{n}")
            print(handle.request_id, flush=True)
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


async def counts_of(path: Path) -> dict[RecordState, int]:
    async with SqliteJournal(path) as journal:
        counts = await journal.load_counts()
    return {state: count for state, count in counts.items() if count}


@pytest.mark.slow
async def test_a_backend_that_was_killed_gets_every_result_after_its_restart(
    tmp_path: Path,
) -> None:
    path = tmp_path / "jobs.sqlite"
    async with Emulator(Scenario(run_s=0.2)) as emulator:
        backend = await asyncio.create_subprocess_exec(
            sys.executable, "-c", BACKEND, str(path), emulator.url, emulator.key,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert backend.stdout is not None
        told = [(await backend.stdout.readline()).decode().strip() for _ in range(5)]
        os.kill(backend.pid, signal.SIGKILL)
        await backend.wait()
        async with falq.Session(emulator.gateway, journal=path, poll=POLL) as session:
            handles = await session.recover()
            results = [await handle for handle in handles]
            for handle in handles:
                await session.acknowledge(handle)
        assert [handle.request_id for handle in handles] == told
        assert results == [{"order": n} for n in range(5)]
        assert emulator.stats().submits == 5
    assert await counts_of(path) == {RecordState.DELIVERED: 5}


async def test_a_result_that_was_not_acknowledged_comes_again_without_a_call(
    tmp_path: Path,
) -> None:
    path = tmp_path / "jobs.sqlite"
    async with Emulator(Scenario(run_s=0.0)) as emulator:
        async with falq.Session(emulator.gateway, journal=path, poll=POLL) as session:
            assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
        replies = dict(emulator.stats().replies)
        async with falq.Session(emulator.gateway, journal=str(path)) as session:
            (handle,) = await session.recover()
            assert handle.is_done()
            assert await handle == {"n": 1}
        assert emulator.stats().replies == replies


async def test_acknowledging_a_row_at_once_from_everywhere_is_harmless(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    async with (
        Emulator(Scenario(run_s=0.0)) as emulator,
        falq.Session(emulator.gateway, journal=path, poll=POLL) as session,
    ):
        handle = await session.submit("acme/echo", {"n": 1})
        assert await handle == {"n": 1}
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(session.acknowledge(handle))
    assert await counts_of(path) == {RecordState.DELIVERED: 1}


async def test_a_second_session_on_the_same_file_is_told_who_has_it(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    async with Emulator() as emulator:
        async with falq.Session(emulator.gateway, journal=path):
            with pytest.raises(falq.JournalLockedError) as caught:
                async with falq.Session(emulator.gateway, journal=path):
                    pass
            assert caught.value.pid == os.getpid()
        async with falq.Session(emulator.gateway, journal=path):
            pass


async def test_a_journal_of_another_account_is_closed_again_untouched(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    async with Emulator() as emulator:
        async with falq.Session(emulator.gateway, journal=path):
            pass
        other = falq.Fal(key="other:key", queue_url=emulator.url)
        with pytest.raises(falq.JournalError, match="account"):
            async with falq.Session(other, journal=path):
                pass
        async with falq.Session(emulator.gateway, journal=path):
            pass


async def test_an_open_journal_stays_with_its_owner(tmp_path: Path) -> None:
    async with (
        Emulator(Scenario(run_s=0.0)) as emulator,
        SqliteJournal(tmp_path / "jobs.sqlite") as journal,
    ):
        for n in range(2):
            async with falq.Session(emulator.gateway, journal=journal, poll=POLL) as session:
                await session.subscribe("acme/echo", {"n": n})
        assert (await journal.load_counts())[RecordState.FETCHED] == 2


async def test_a_closed_journal_keeps_a_session_from_opening(tmp_path: Path) -> None:
    async with Emulator() as emulator:
        session = falq.Session(emulator.gateway, journal=SqliteJournal(tmp_path / "a.sqlite"))
        with pytest.raises(falq.JournalError, match="not open"):
            await session.open()


def files_in(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.slow
async def test_no_key_is_in_the_journals_files(tmp_path: Path) -> None:
    async with Emulator(Scenario(run_s=0.0)) as emulator:
        path = tmp_path / "jobs.sqlite"
        async with falq.Session(emulator.gateway, journal=path, poll=POLL) as session:
            outcomes = [one async for one in session.map("fal-ai/flux/schnell", [{}, {}])]
            assert all(isinstance(one.error, falq.JobInputError) for one in outcomes)
            await session.subscribe("acme/echo", {"n": 1})
            files = files_in(tmp_path)
        assert {"jobs.sqlite", "jobs.sqlite-wal"} <= files.keys()
        for part in emulator.key.split(":"):
            assert [name for name, body in files.items() if part.encode() in body] == []


@pytest.mark.slow
async def test_a_full_disk_stops_submits_and_loses_no_result(tmp_path: Path) -> None:
    async with Emulator(Scenario(run_s=0.0)) as emulator:
        journal = SqliteJournal(tmp_path / "jobs.sqlite", max_pages=60)
        await journal.open()
        async with falq.Session(
            emulator.gateway, journal=journal, poll=POLL, max_jobs=5
        ) as session:
            inputs = ({"n": n, "body": "x" * 2000} for n in range(200))
            outcomes = [one async for one in session.map("acme/echo", inputs)]
        ended = [one for one in outcomes if one.is_success]
        refused = [one for one in outcomes if isinstance(one.error, falq.JournalError)]
        assert len(ended) + len(refused) == 200
        assert 0 < len(ended) == emulator.stats().jobs < 200
        with contextlib.suppress(falq.JournalError):
            await journal.aclose()


async def test_a_close_that_is_cancelled_leaves_the_journal_to_the_next(tmp_path: Path) -> None:
    path, times = tmp_path / "jobs.sqlite", tmp_path / "times.json"
    async with Emulator(Scenario(run_s=3600.0)) as emulator:
        session = await falq.Session(emulator.gateway, journal=path, run_times=times).open()
        await session.submit("acme/echo", {"n": 1})
        closing = asyncio.create_task(session.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait({closing})
        assert closing.cancelled()
    assert await counts_of(path) == {RecordState.ACCEPTED: 1}
    assert times.exists()
