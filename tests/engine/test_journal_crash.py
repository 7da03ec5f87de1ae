"""A process that stops between any two records: the next one goes on, and nothing is paid twice.

A journal that stops answering stands for the kill: whatever comes after a record
waits for it, so the session does nothing more, as if it were dead.
"""

from __future__ import annotations

import asyncio

import pytest

import falq
from falq._core.recovery import STEPS, Step
from falq._journal.memory import MemoryJournal
from falq._journal.states import RecordState
from falq.emulator import Fault, Scenario
from falq.testing import LoopbackEmulator

RECORDS = ["plan", "record_sending", "record_accepted", "record_completed_nowait", "record_result"]
OTHER_RECORDS = ["record_unknown", "record_not_sent", "record_retry", "record_ended"]

# After so many records: the state that is found, and what it asks for.
TABLE = [
    (1, RecordState.PLANNED, Step.SUBMIT),
    (2, RecordState.SENDING, Step.RESOLVE),
    (3, RecordState.ACCEPTED, Step.WATCH),
    (4, RecordState.COMPLETED, Step.WATCH),
    (5, RecordState.FETCHED, Step.RETURN),
]


class StoppingJournal:
    """Writes so many records and then never answers again.

    Args:
        journal: What it writes to.
        records: How many it writes.
        answers: Whether it answers the last one it writes.
    """

    def __init__(self, journal: MemoryJournal, records: int, *, answers: bool) -> None:
        self._journal = journal
        self._left = records
        self._answers = answers
        self.written: list[str] = []
        self.stopped = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        verb = getattr(self._journal, name)
        if name not in RECORDS + OTHER_RECORDS:
            return verb
        return self._note_now(verb) if name.endswith("_nowait") else self._note(verb)

    def _note(self, verb):
        async def note(*args, **facts):
            if self._left == 0:
                await self._stop()
            self._left -= 1
            answer = await verb(*args, **facts)
            self.written.append(verb.__name__)
            if self._left == 0 and not self._answers:
                await self._stop()
            return answer

        return note

    def _note_now(self, verb):
        def note(*args, **facts):
            if self._left > 0:
                self._left -= 1
                verb(*args, **facts)
                self.written.append(verb.__name__)

        return note

    async def _stop(self):
        self.stopped.set()
        await asyncio.Event().wait()


async def stop_after(a_session, emulator, memory, records, *, answers, **settings):
    """Run one job until its journal stops, and leave the session as it is then."""
    journal = StoppingJournal(memory, records, answers=answers)
    async with a_session(emulator, journal=journal, exit_grace_s=0, **settings) as session:
        job = asyncio.create_task(session.subscribe("acme/echo", {"n": 1}))
        stopping = asyncio.create_task(journal.stopped.wait())
        await asyncio.wait({job, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
    await asyncio.gather(job, return_exceptions=True)
    return journal.written


@pytest.mark.parametrize("answers", [True, False], ids=["then silent", "never answered"])
@pytest.mark.parametrize(("records", "state", "step"), TABLE)
async def test_a_crash_after_any_record_costs_nothing_and_loses_nothing(
    a_session, records, state, step, answers
):
    # Only of a result that has to be asked for again is it written that it is due.
    faults = (Fault("nginx", "result", nth=1),)
    emulator = LoopbackEmulator(Scenario(run_s=1.0, history_delay_s=3.0, faults=faults))
    async with MemoryJournal() as memory:
        written = await stop_after(a_session, emulator, memory, records, answers=answers)
        assert written == RECORDS[:records]
        (row,) = [row async for page in memory.load_jobs() for row in page]
        assert row.state is state
        assert STEPS[row.state] is step
        settings = {"delivery": "reconcile", "on_unknown": "resubmit", "settle_s": 30.0}
        async with a_session(emulator, journal=memory, **settings) as session:
            (handle,) = await session.recover(resume_planned=True)
            assert await handle == {"n": 1}
        (row,) = [row async for page in memory.load_jobs() for row in page]
        assert row.state is RecordState.FETCHED
    assert emulator.stats().jobs == 1


RESENDS = [
    {"delivery": "at_least_once", "max_resends": 3},
    {"delivery": "reconcile", "on_unknown": "resubmit", "settle_s": 30.0},
]
RESEND_RECORDS = ["plan", *["record_sending", "record_unknown"] * 2, "record_sending"]


@pytest.mark.parametrize("settings", RESENDS, ids=["at_least_once", "resubmit"])
@pytest.mark.parametrize("records", range(2, len(RESEND_RECORDS) + 1))
async def test_a_crash_between_the_records_of_a_resend_forgets_no_job_that_may_exist(
    a_session, records, settings
):
    faults = (Fault("reset", "submit", when="before", times=2),)
    emulator = LoopbackEmulator(Scenario(run_s=1.0, faults=faults))
    async with MemoryJournal() as memory:
        written = await stop_after(a_session, emulator, memory, records, answers=True, **settings)
        assert written == RESEND_RECORDS[:records]
        (row,) = [row async for page in memory.load_jobs() for row in page]
        assert STEPS[row.state] is Step.RESOLVE
        submits = emulator.stats().submits
        async with a_session(emulator, journal=memory) as session:
            (handle,) = await session.recover(resume_planned=True)
            with pytest.raises(falq.SubmissionUnknownError):
                await handle
    assert emulator.stats().submits == submits


async def test_a_crash_before_the_first_record_leaves_nothing(a_session):
    emulator = LoopbackEmulator()
    async with MemoryJournal() as memory:
        assert await stop_after(a_session, emulator, memory, 0, answers=True) == []
        assert sum((await memory.load_counts()).values()) == 0
    assert emulator.stats().submits == 0


async def test_nothing_is_sent_before_its_intent_is_written(a_session):
    emulator = LoopbackEmulator()
    async with MemoryJournal() as memory:
        await stop_after(a_session, emulator, memory, 1, answers=True)
    assert emulator.stats().submits == 0


class FullJournal(MemoryJournal):
    """Has no room left for some kinds of records."""

    def __init__(self, *full: str, is_kept: bool) -> None:
        super().__init__()
        self._full = full
        self._is_kept = is_kept

    def __getattribute__(self, name: str) -> object:
        if name.startswith(("record_", "plan")) and name in self._full:
            return self._refuse
        return super().__getattribute__(name)

    async def _refuse(self, *_: object, **__: object) -> None:
        raise falq.JournalError("the disk is full", is_kept=self._is_kept)


@pytest.mark.parametrize("full", ["plan", "record_sending"])
async def test_without_an_intent_nothing_is_sent(a_session, full):
    emulator = LoopbackEmulator()
    async with (
        FullJournal(full, is_kept=False) as journal,
        a_session(emulator, journal=journal) as session,
    ):
        outcomes = [one async for one in session.map("acme/echo", ({"n": n} for n in range(20)))]
    assert {type(one.error) for one in outcomes} == {falq.JournalError}
    assert emulator.stats().submits == 0


@pytest.mark.parametrize("is_kept", [True, False])
async def test_a_job_that_is_out_goes_on_without_its_records(a_session, is_kept, caplog):
    emulator = LoopbackEmulator()
    full = ["record_accepted", "record_result"]
    async with (
        FullJournal(*full, is_kept=is_kept) as journal,
        a_session(emulator, journal=journal) as session,
    ):
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
    assert "goes on without a record" in caplog.text


@pytest.mark.parametrize("stop", ["cancel", "timeout"])
@pytest.mark.parametrize("verb", ["plan", "record_sending"])
async def test_a_job_that_is_unwanted_while_it_is_written_down_is_not_sent(a_session, stop, verb):
    class SlowJournal(MemoryJournal):
        async def plan(self, jobs):
            if verb == "plan":
                await asyncio.sleep(2.0)
            return await super().plan(jobs)

        async def record_sending(self, number, **facts):
            if verb == "record_sending":
                await asyncio.sleep(2.0)
            await super().record_sending(number, **facts)

    emulator = LoopbackEmulator()
    async with SlowJournal() as journal, a_session(emulator, journal=journal) as session:
        if stop == "timeout":
            with pytest.raises(falq.JobTimeoutError) as caught:
                await session.submit("acme/echo", {}, client_timeout=1.0)
            assert caught.value.cancel_outcome == "not_submitted"
        else:
            submitting = asyncio.create_task(session.submit("acme/echo", {}))
            await asyncio.sleep(1.0)
            submitting.cancel()
            await asyncio.gather(submitting, return_exceptions=True)
        await asyncio.sleep(3.0)
        assert (await journal.load_counts())[RecordState.CANCELLED] == 1
    assert emulator.stats().submits == 0


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_interrupted_and_lost_submit_is_one_job_in_the_end(a_session, when):
    fault = Fault("reset", "submit", when=when, times=1)
    emulator = LoopbackEmulator(Scenario(run_s=1.0, faults=(fault,)))
    settings = {"delivery": "reconcile", "on_unknown": "resubmit", "settle_s": 30.0}
    async with MemoryJournal() as memory:
        await stop_after(a_session, emulator, memory, 2, answers=True)
        async with a_session(emulator, journal=memory, **settings) as session:
            (handle,) = await session.recover()
            assert await handle == {"n": 1}
    assert emulator.stats().jobs == 1
