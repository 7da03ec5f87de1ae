"""Stopping to submit: what was never sent ends at once, what may be paid for goes on."""

from __future__ import annotations

import asyncio

import pytest

import falq
from falq._journal.memory import MemoryJournal
from falq._journal.states import RecordState
from falq.emulator import Fault, Scenario
from falq.testing import LoopbackEmulator
from falq.testing.loopback import LoopbackTransport


@pytest.fixture
async def journal():
    async with MemoryJournal() as journal:
        yield journal


async def rows_of(journal):
    return [row async for page in journal.load_jobs() for row in page]


def now():
    return asyncio.get_running_loop().time()


async def test_jobs_whose_connection_is_refused_stop_trying_at_once(a_session, journal):
    emulator = LoopbackEmulator()
    transport = emulator.transport()
    transport.refusals = 1_000_000
    async with a_session(emulator, transport=transport, journal=journal) as session:
        # So many that the budget of retries is long used up: most wait for a probe.
        work = [asyncio.ensure_future(session.submit("acme/echo", {"n": n})) for n in range(300)]
        await asyncio.sleep(2)
        before = now()
        session.stop_submitting()
        errors = await asyncio.gather(*work, return_exceptions=True)
        assert now() == before
        assert session.statistics().in_flight == session.statistics().waiting == 0
    assert {type(error) for error in errors} <= {falq.SessionClosedError, falq.ConnectError}
    assert sum(isinstance(error, falq.SessionClosedError) for error in errors) > 200
    assert not any(error.possibly_billed for error in errors)
    assert {row.state for row in await rows_of(journal)} == {RecordState.PLANNED}


async def test_an_attempt_on_the_way_is_the_last_one_if_it_was_not_sent(a_session, journal):
    emulator = LoopbackEmulator(Scenario(faults=(Fault("rate_limited", "submit"),)), latency_s=5.0)
    async with a_session(emulator, journal=journal) as session:
        work = asyncio.ensure_future(session.submit("acme/echo", {}))
        await asyncio.sleep(2)
        session.stop_submitting()
        with pytest.raises(falq.SessionClosedError):
            await work
        assert now() == pytest.approx(5.0)
    assert emulator.stats().submits == 1
    assert [row.state for row in await rows_of(journal)] == [RecordState.PLANNED]


async def test_what_the_server_may_have_goes_on(a_session, journal):
    emulator = LoopbackEmulator(Scenario(run_s=20.0, runners=10), latency_s=1.0)
    async with a_session(emulator, journal=journal) as session:
        accepted = await session.submit("acme/echo", {"n": 1})
        on_the_way = asyncio.ensure_future(session.subscribe("acme/echo", {"n": 2}))
        await asyncio.sleep(0.5)
        session.stop_submitting()
        assert await on_the_way == {"n": 2}
        assert await accepted == {"n": 1}
        with pytest.raises(falq.SessionClosedError, match="nothing was spent"):
            await session.submit("acme/echo", {"n": 3})
    assert emulator.stats().submits == 2


async def test_a_stopped_session_takes_up_jobs_that_run_and_submits_none(a_session, journal):
    emulator = LoopbackEmulator(Scenario(run_s=20.0))
    async with a_session(emulator, journal=journal) as session:
        await session.submit("acme/echo", {"n": 1})
    refusing = emulator.transport()
    refusing.refusals = 100
    async with a_session(emulator, transport=refusing, journal=journal) as session:
        with pytest.raises(falq.ConnectError):
            await session.submit("acme/echo", {"n": 2})
    running, planned = await rows_of(journal)
    async with a_session(emulator, journal=journal) as session:
        session.stop_submitting()
        assert await session.resume(running).result() == {"n": 1}
        with pytest.raises(falq.SessionClosedError):
            session.resume(planned)
    assert emulator.stats().submits == 1


async def test_a_lost_submit_that_is_sent_again_is_still_told_as_lost(a_session):
    emulator = LoopbackEmulator(Scenario(faults=(Fault("reset", "submit", when="after", nth=1),)))
    transport = emulator.transport()

    def refuse(event: falq.events.Event) -> None:
        if isinstance(event, falq.events.Resending):
            transport.refusals = 100

    async with a_session(
        emulator, transport=transport, delivery="at_least_once", on_event=refuse
    ) as session:
        with pytest.raises(falq.SubmissionUnknownError) as caught:
            await session.submit("acme/echo", {})
    assert caught.value.possibly_billed
    assert emulator.stats().jobs == 1


async def lose_submits(a_session, journal, count):
    """Leave the journal with submits whose answers were lost."""
    emulator = LoopbackEmulator(
        Scenario(run_s=1.0, faults=(Fault("reset", "submit", when="after"),))
    )
    async with a_session(emulator, journal=journal) as session:
        for n in range(count):
            with pytest.raises(falq.SubmissionUnknownError):
                await session.submit("acme/echo", {"n": n})
    return emulator


async def test_a_lost_submit_in_the_line_is_not_taken_for_one_that_was_never_sent(
    a_session, journal
):
    emulator = await lose_submits(a_session, journal, 2)
    transport = emulator.transport()
    async with a_session(
        emulator,
        transport=transport,
        journal=journal,
        max_jobs=1,
        delivery="reconcile",
        settle_s=900,
    ) as session:
        # Nothing can be asked, so the first holds the only slot.
        transport.refusals = 100_000
        first, second = await rows_of(journal)
        session.resume(first)
        handle = session.resume(second, client_timeout=30)
        with pytest.raises(falq.JobTimeoutError) as caught:
            await handle
        assert caught.value.possibly_billed
        assert caught.value.cancel_outcome == "unknown"
    assert [row.state for row in await rows_of(journal)] == [RecordState.UNKNOWN] * 2


async def test_a_job_taken_up_again_is_cancelled_at_the_server_from_the_first_moment(
    a_session, journal
):
    emulator = LoopbackEmulator(Scenario(run_s=60.0))
    async with a_session(emulator, journal=journal) as session:
        await session.submit("acme/echo", {"n": 1})
    (row,) = await rows_of(journal)
    async with a_session(emulator, journal=journal) as session:
        handle = session.resume(row)
        assert handle.request_id == row.request_id
        assert await handle.cancel() == "requested"
        with pytest.raises(falq.JobCancelledError):
            await handle
    assert emulator.stats().calls["cancel"] == 1


async def test_a_session_left_at_once_names_the_jobs_that_it_took_up(a_session, journal):
    emulator = LoopbackEmulator(Scenario(run_s=60.0))
    async with a_session(emulator, journal=journal) as session:
        await session.submit("acme/echo", {"n": 1})
    (row,) = await rows_of(journal)
    async with a_session(emulator, journal=journal) as session:
        handle = session.resume(row)
    with pytest.raises(falq.SessionClosedError) as caught:
        await handle
    assert caught.value.possibly_billed
    assert [one.request_id for one in session.unfinished] == [row.request_id]


class SlowRefusal(LoopbackTransport):
    """The way to an emulator that nobody reaches, and that takes its time to say so."""

    async def send(self, call):
        await asyncio.sleep(5.0)
        raise falq.ConnectError("the connection was refused; check the network")


async def test_a_job_whose_time_passed_while_it_could_not_be_sent_gives_back_its_slot(a_session):
    emulator = LoopbackEmulator()
    way = SlowRefusal(emulator.app, emulator.gateway)
    retry = falq.RetrySettings(base_s=1000.0, cap_s=1000.0)
    async with a_session(emulator, transport=way, retry=retry) as session:
        with pytest.raises(falq.JobTimeoutError):
            await session.submit("acme/echo", {}, client_timeout=3)
        await asyncio.sleep(3)
        assert session.statistics().in_flight == 0


async def test_a_cancel_of_a_submit_that_is_looked_for_does_not_wait_for_the_search(
    a_session, journal
):
    emulator = LoopbackEmulator(
        Scenario(
            run_s=60.0,
            history_delay_s=60.0,
            faults=(Fault("reset", "submit", when="after", nth=1),),
        )
    )
    async with a_session(emulator, journal=journal, delivery="reconcile") as session:
        work = asyncio.ensure_future(session.submit("acme/echo", {"n": 1}))
        await asyncio.sleep(1)
    with pytest.raises(falq.FalqError):
        await work
    async with a_session(emulator, journal=journal, delivery="reconcile") as session:
        (handle,) = await session.recover()
        before = now()
        assert await handle.cancel() == "unknown"
        assert now() - before <= 10.0
        # Its history lists a job when it has ended: too late for the wish, which was kept.
        assert await handle == {"n": 1}
    assert emulator.stats().calls["cancel"] == 1


async def test_a_cancel_of_a_submit_that_stays_lost_does_not_say_that_there_is_no_job(
    a_session, journal
):
    emulator = await lose_submits(a_session, journal, 1)
    async with a_session(emulator, journal=journal) as session:
        (handle,) = await session.recover()
        assert await handle.cancel() in {"unknown", "already_completed"}
        with pytest.raises(falq.SubmissionUnknownError):
            await handle
