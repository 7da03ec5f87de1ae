"""An event loop that never idles: the journal's thread still gets its turn."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from falq._journal.group import Kind, Order
from falq._journal.records import PlannedJob
from falq._journal.sqlite import SqliteJournal
from falq._journal.states import RecordState
from falq._journal.writer import Writer

RECORDS = 40
STARVED_S = 50.0
"""Far above the tenth of a second that a record takes: this is no measure of speed."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_the_loop_steps_aside_for_an_order_that_gets_nowhere() -> None:
    """The thread waits here for what only a loop that steps aside lets happen."""
    stepped_aside = threading.Event()
    asides: list[float] = []

    def step_aside(for_s: float) -> None:
        asides.append(for_s)
        stepped_aside.set()

    def wait_for_room(_: sqlite3.Connection) -> bool:
        return stepped_aside.wait(STARVED_S)

    writer = Writer(
        connect=lambda: sqlite3.connect(":memory:", check_same_thread=False),
        disconnect=lambda: None,
        loop=asyncio.get_running_loop(),
        keep_bytes=0,
        retry_s=STARVED_S,
        step_aside=step_aside,
    )
    await writer.start()
    assert await writer.ask(Order(wait_for_room, Kind.READ))
    await writer.stop()
    assert asides
    assert max(asides) < 0.001


@pytest.mark.slow
@pytest.mark.parametrize("work", [200, 5_000, 20_000])
async def test_records_are_written_while_the_loop_is_busy(tmp_path: Path, work: int) -> None:
    is_done = False
    turns = 0

    async def hog() -> None:
        nonlocal turns
        while not is_done:
            sum(range(work))
            turns += 1
            await asyncio.sleep(0)

    async with SqliteJournal(tmp_path / "journal.sqlite") as journal:
        hogs = [asyncio.create_task(hog()) for _ in range(3)]
        try:
            async with asyncio.timeout(STARVED_S):
                for number in range(1, RECORDS + 1):
                    job = PlannedJob(endpoint="a/b", input_sha256="00", key=str(number))
                    await journal.plan([job])
                    await journal.record_sending(number, intent_id=f"i{number}", sent_at=0.0)
                    await journal.record_accepted(number, f"r{number}")
        finally:
            is_done = True
            await asyncio.gather(*hogs)
        counts = await journal.load_counts()
    assert counts[RecordState.ACCEPTED] == RECORDS
    assert turns > RECORDS
