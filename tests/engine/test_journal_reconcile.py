"""Lost submits found again: by webhook or history, with and without a journal."""

from __future__ import annotations

import asyncio

import pytest

import falq
from falq._journal.memory import MemoryJournal
from falq._journal.records import PlannedJob
from falq._journal.states import RecordState
from falq.emulator import Fault, Scenario
from falq.events import Accepted, Admitted, Event, SubmitLost
from falq.testing import LoopbackEmulator

LOST = [
    Fault("reset", "submit", when="after", times=1),
    Fault("fin", "submit", when="after", times=1),
    Fault("nginx", "submit", when="after", has_request_id=False, times=1),
    Fault("empty_body", "submit", has_request_id=False, times=1),
]
NEVER_MADE = Fault("reset", "submit", when="before", times=1)


def name(fault):
    return fault.kind


@pytest.fixture
def reconciling(a_session):
    """Return what makes a session that looks for lost submits, in the emulator's own time."""

    def make(emulator, *, transport=None, **settings):
        chosen = transport or emulator.transport()
        return a_session(emulator, transport=chosen, delivery="reconcile", **settings)

    return make


@pytest.mark.parametrize("fault", LOST, ids=name)
@pytest.mark.parametrize("has_journal", [True, False])
async def test_a_lost_submit_is_found_in_the_history_and_gone_on_with(
    reconciling, fault, has_journal
):
    emulator = LoopbackEmulator(Scenario(run_s=3.0, history_delay_s=5.0, faults=(fault,)))
    async with MemoryJournal() as journal:
        settings = {"journal": journal} if has_journal else {}
        heard: list[type[Event]] = []
        settings["on_event"] = lambda event: heard.append(type(event))
        async with reconciling(emulator, **settings) as session:
            handle = await session.submit("acme/echo", {"n": 1})
            assert await handle == {"n": 1}
            assert heard[:3] == [Admitted, SubmitLost, Accepted]
            assert session.statistics().reconciled == 1
            assert session.statistics().reconciling == 0
    assert (emulator.stats().submits, emulator.stats().jobs) == (1, 1)


async def test_a_submit_that_made_no_job_is_held_once_it_could_be_listed(reconciling):
    emulator = LoopbackEmulator(Scenario(faults=(NEVER_MADE,)))
    loop = asyncio.get_running_loop()
    async with MemoryJournal() as journal, reconciling(emulator, journal=journal) as session:
        began = loop.time()
        with pytest.raises(falq.SubmissionUnknownError, match="did not list it within 900 s"):
            await session.submit("acme/echo", {})
        assert 900.0 <= loop.time() - began < 905.0
        assert (await journal.load_counts())[RecordState.UNKNOWN] == 1
        assert session.statistics().calls["platform"] < 30
    assert emulator.stats().jobs == 0


async def test_a_submit_that_made_no_job_is_sent_again_if_that_is_wanted(reconciling, caplog):
    emulator = LoopbackEmulator(Scenario(faults=(NEVER_MADE,)))
    async with (
        MemoryJournal() as journal,
        reconciling(emulator, journal=journal, on_unknown="resubmit", settle_s=60.0) as session,
    ):
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
        assert session.statistics().resends == 1
        attempts = await journal.load_attempts(1)
    assert [one.outcome for one in attempts] == [RecordState.UNKNOWN, RecordState.ACCEPTED]
    assert emulator.stats().jobs == 1
    assert "may cost twice" in caplog.text


async def test_nothing_is_sent_again_while_the_history_cannot_be_read(reconciling):
    faults = (NEVER_MADE, Fault("json_error", "history"))
    emulator = LoopbackEmulator(Scenario(faults=faults))
    async with reconciling(emulator, on_unknown="resubmit", settle_s=60.0) as session:
        with pytest.raises(falq.SubmissionUnknownError, match="could not be read"):
            await session.submit("acme/echo", {})
    assert emulator.stats().submits == 1


async def test_a_history_that_refuses_the_key_ends_the_search_at_once(reconciling):
    faults = (NEVER_MADE, Fault("json_error", "history", status_code=403))
    emulator = LoopbackEmulator(Scenario(faults=faults))
    loop = asyncio.get_running_loop()
    async with reconciling(emulator) as session:
        with pytest.raises(falq.SubmissionUnknownError, match="could not be read"):
            await session.submit("acme/echo", {})
        assert loop.time() < 60.0


async def test_equal_inputs_are_told_apart_by_their_number(reconciling):
    fault = Fault("reset", "submit", when="after", nth=(2, 4, 5))
    emulator = LoopbackEmulator(Scenario(run_s=2.0, history_delay_s=3.0, faults=(fault,)))
    async with MemoryJournal() as journal, reconciling(emulator, journal=journal) as session:
        outcomes = [one async for one in session.map("acme/echo", [{"n": 1}] * 6)]
        rows = [row async for page in journal.load_jobs() for row in page]
    assert [one.result for one in outcomes] == [{"n": 1}] * 6
    assert len({row.request_id for row in rows}) == 6
    assert emulator.stats().jobs == 6


async def test_one_of_two_equal_lost_submits_that_made_no_job_takes_no_job_away(reconciling):
    faults = (
        Fault("reset", "submit", when="after", nth=1),
        Fault("reset", "submit", when="before", nth=2),
    )
    emulator = LoopbackEmulator(Scenario(faults=faults))
    async with reconciling(emulator, on_unknown="resubmit", settle_s=60.0) as session:
        outcomes = [one async for one in session.map("acme/echo", [{"n": 1}] * 2)]
    assert all(isinstance(one.error, falq.SubmissionUnknownError) for one in outcomes)
    assert "not as many" in str(outcomes[0].error)
    assert emulator.stats().submits == 2


async def test_one_listing_serves_all_that_are_lost_at_an_endpoint(reconciling):
    fault = Fault("reset", "submit", when="after")
    emulator = LoopbackEmulator(Scenario(run_s=1.0, runners=100, faults=(fault,)))
    async with reconciling(emulator) as session:
        outcomes = [one async for one in session.map("acme/echo", ({"n": n} for n in range(40)))]
        assert session.statistics().calls["platform"] <= 3
    assert all(one.is_success for one in outcomes)
    assert emulator.stats().jobs == 40


async def test_a_webhook_in_the_journal_names_the_job(reconciling):
    fault = Fault("reset", "submit", when="after", times=1)
    emulator = LoopbackEmulator(Scenario(history_stores_payloads=False, faults=(fault,)))
    async with MemoryJournal() as journal, reconciling(emulator, journal=journal) as session:
        waiting = asyncio.create_task(session.submit("acme/echo", {"n": 1}))
        await asyncio.sleep(10.0)
        (row,) = [row async for page in journal.load_jobs() for row in page]
        (request_id,) = emulator.app.queue.jobs
        await journal.record_webhook(request_id, intent_id=row.intent_id, body=b"{}")
        handle = await waiting
        assert handle.request_id == request_id
        assert await handle == {"n": 1}


async def test_maton_reaches_no_history_and_says_so(a_session):
    fault = Fault("reset", "submit", when="after", times=1)
    emulator = LoopbackEmulator(Scenario(faults=(fault,)))
    transport = emulator.transport(emulator.maton)
    async with falq.Session(
        emulator.maton, transport=transport, delivery="reconcile", on_unknown="resubmit"
    ) as session:
        with pytest.raises(falq.SubmissionUnknownError, match="does not reach"):
            await session.submit("fal-ai/flux/schnell", {"prompt": "a cat"})
    assert emulator.stats().submits == 1


async def test_a_session_is_left_in_time_while_it_looks_for_a_submit(reconciling):
    emulator = LoopbackEmulator(Scenario(faults=(NEVER_MADE,)))
    loop = asyncio.get_running_loop()
    async with MemoryJournal() as journal:
        async with reconciling(emulator, journal=journal) as session:
            waiting = asyncio.create_task(session.submit("acme/echo", {}))
            await asyncio.sleep(10.0)
            began = loop.time()
        assert loop.time() - began < 1.0
        with pytest.raises(falq.SubmissionUnknownError):
            await waiting
        assert (await journal.load_counts())[RecordState.UNKNOWN] == 1


async def test_a_job_that_is_found_after_its_time_passed_is_cancelled(reconciling):
    fault = Fault("reset", "submit", when="after", times=1)
    emulator = LoopbackEmulator(
        Scenario(run_s=500.0, history_lists_queued=True, history_delay_s=10.0, faults=(fault,))
    )
    async with MemoryJournal() as journal, reconciling(emulator, journal=journal) as session:
        with pytest.raises(falq.JobTimeoutError):
            await session.submit("acme/echo", {}, client_timeout=5.0)
        await asyncio.sleep(20.0)
        (row,) = [row async for page in journal.load_jobs() for row in page]
        assert row.state is RecordState.CANCELLED
    assert emulator.stats().calls["cancel"] == 1


async def test_a_restart_finds_what_the_session_before_it_lost(reconciling):
    fault = Fault("reset", "submit", when="after", nth=(1, 2))
    emulator = LoopbackEmulator(Scenario(history_delay_s=30.0, faults=(fault,)))
    async with MemoryJournal() as journal:
        async with reconciling(emulator, journal=journal) as session:
            tasks = [asyncio.create_task(session.submit("acme/echo", {"n": n})) for n in range(2)]
            await asyncio.sleep(5.0)
        await asyncio.gather(*tasks, return_exceptions=True)
        async with reconciling(emulator, journal=journal) as session:
            handles = await session.recover()
            assert [await one for one in handles] == [{"n": 0}, {"n": 1}]
    assert emulator.stats().submits == 2


async def test_what_an_earlier_session_lost_holds_up_nobody(reconciling):
    emulator = LoopbackEmulator(Scenario(run_s=1.0))
    loop = asyncio.get_running_loop()
    async with MemoryJournal() as journal:
        planned = PlannedJob(endpoint="acme/echo", input_sha256="0" * 64, input=b"{}", key="lost")
        (number,) = await journal.plan([planned])
        await journal.record_sending(number, intent_id="1" * 32, sent_at=0.0)
        await journal.mark_interrupted()
        began = loop.time()
        async with reconciling(emulator, journal=journal, max_jobs=1, settle_s=600.0) as session:
            (lost,) = await session.recover()
            assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
            assert loop.time() - began < 30.0
            assert session.statistics().in_flight <= 1
            with pytest.raises(falq.SubmissionUnknownError):
                await lost


async def test_what_this_session_lost_keeps_its_slot(reconciling):
    emulator = LoopbackEmulator(Scenario(faults=(Fault("reset", "submit", when="before"),)))
    async with reconciling(emulator, max_jobs=3, settle_s=600.0) as session:
        async for outcome in session.map("acme/echo", [{"n": n} for n in range(9)]):
            assert isinstance(outcome.error, falq.SubmissionUnknownError)
            assert emulator.stats().submits <= outcome.index // 3 * 3 + 6


async def test_the_status_of_a_recovered_job_without_an_id_is_told_within_seconds(reconciling):
    fault = Fault("reset", "submit", when="before", times=1)
    emulator = LoopbackEmulator(Scenario(faults=(fault,), run_s=120.0))
    loop = asyncio.get_running_loop()
    async with MemoryJournal() as journal:
        async with reconciling(emulator, journal=journal) as session:
            lost = asyncio.create_task(session.submit("acme/echo", {"n": 1}))
            await asyncio.sleep(5.0)
        await asyncio.gather(lost, return_exceptions=True)
        await journal.plan(
            [
                PlannedJob(endpoint="acme/echo", input_sha256="0" * 64, input=b"{}", key=key)
                for key in ("two", "three")
            ]
        )
        async with reconciling(emulator, journal=journal, max_jobs=1) as session:
            looked_for, _, in_line = await session.recover(resume_planned=True)
            for handle, error in (
                (looked_for, falq.SubmissionUnknownError),
                (in_line, falq.JobError),
            ):
                began = loop.time()
                with pytest.raises(error) as caught:
                    await handle.status()
                assert loop.time() - began <= 10.0
                assert caught.value.retryable
                assert not handle.is_done()


@pytest.mark.slow
async def test_a_session_that_always_looks_for_something_remembers_no_more_and_more(a_session):
    # Each tenth, so that the search for one begins before that for the last one ends.
    fault = Fault("reset", "submit", when="before", nth=tuple(range(10, 400, 10)))
    emulator = LoopbackEmulator(Scenario(runners=100, run_s=1.0, faults=(fault,)))
    async with a_session(emulator, delivery="reconcile", settle_s=600) as session:
        held, sizes = [], []
        for n in range(400):
            held.append(asyncio.ensure_future(session.submit("acme/echo", {"n": n})))
            await asyncio.sleep(30)
            sizes.append(len(session._engine._reconciler._claims))
            assert n < 10 or session.statistics().reconciling > 0
        assert max(sizes[200:]) < 1.5 * max(sizes[:150])
        await asyncio.gather(*held, return_exceptions=True)
