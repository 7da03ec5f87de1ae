"""A session that writes its jobs down: what the journal has after each way to end."""

from __future__ import annotations

import asyncio

import pytest

import falq
from falq._core.canonical import input_sha256
from falq._journal.memory import MemoryJournal
from falq._journal.records import PlannedJob
from falq._journal.states import RecordState
from falq.emulator import Fault, Scenario
from falq.testing import LoopbackEmulator


@pytest.fixture
async def journal():
    async with MemoryJournal() as journal:
        yield journal


async def states_of(journal):
    return [row.state for row in await rows_of(journal)]


async def rows_of(journal):
    return [row async for page in journal.load_jobs() for row in page]


async def test_a_job_is_fetched_when_it_settles_and_delivered_when_that_is_said(a_session, journal):
    async with a_session(LoopbackEmulator(), journal=journal) as session:
        handle = await session.submit("acme/echo", {"n": 1})
        assert await states_of(journal) == [RecordState.ACCEPTED]
        assert await handle == {"n": 1}
        (row,) = await rows_of(journal)
        assert row.state is RecordState.FETCHED
        assert row.request_id == handle.request_id
        assert row.number == handle.journal_number
        assert row.key == row.intent_id == handle.intent_id
        await session.acknowledge(handle)
        await session.acknowledge(handle)
        assert await states_of(journal) == [RecordState.DELIVERED]


async def test_the_outcomes_of_a_map_name_their_rows(a_session, journal):
    async with a_session(LoopbackEmulator(), journal=journal) as session:
        outcomes = [one async for one in session.map("acme/echo", ({"n": n} for n in range(5)))]
        for outcome in outcomes:
            await session.acknowledge(outcome)
    assert sorted(one.journal_number for one in outcomes) == [1, 2, 3, 4, 5]
    assert set(await states_of(journal)) == {RecordState.DELIVERED}


async def test_without_a_journal_a_handle_has_no_number_and_nothing_is_recovered(a_session):
    async with a_session(LoopbackEmulator()) as session:
        handle = await session.submit("acme/echo", {})
        assert handle.journal_number is None
        with pytest.raises(falq.ConfigError, match="journal"):
            await session.recover()
        with pytest.raises(falq.ConfigError, match="journal"):
            await session.acknowledge(handle)


async def test_a_refused_submit_is_refused_in_the_journal_and_again_by_its_key(a_session, journal):
    emulator = LoopbackEmulator(Scenario(absent_apps=("acme/echo",)))
    async with a_session(emulator, journal=journal) as session:
        for _ in range(2):
            with pytest.raises(falq.RequestNotFoundError):
                await session.submit("acme/echo", {}, key="one")
    assert await states_of(journal) == [RecordState.REFUSED]
    assert emulator.stats().replies["404"] == 1


async def test_a_job_that_failed_fails_again_by_its_key_without_a_call(a_session, journal):
    emulator = LoopbackEmulator()
    async with a_session(emulator, journal=journal) as session:
        errors = []
        for _ in range(2):
            with pytest.raises(falq.JobInputError) as caught:
                await session.subscribe("fal-ai/flux/schnell", {}, key="one")
            errors.append(caught.value)
    assert emulator.stats().submits == 1
    assert await states_of(journal) == [RecordState.FAILED]
    assert errors[0].problems == errors[1].problems != ()
    assert errors[0].request_id == errors[1].request_id


async def test_a_settled_key_gives_its_result_without_a_call(a_session, journal):
    emulator = LoopbackEmulator()
    async with a_session(emulator, journal=journal) as session:
        assert await session.subscribe("acme/echo", {"n": 1}, key="one") == {"n": 1}
        sent = sum(emulator.stats().replies.values())
        assert await session.subscribe("acme/echo", {"n": 1.0}, key="one") == {"n": 1}
        assert sum(emulator.stats().replies.values()) == sent


async def test_one_key_given_twice_at_once_is_one_job(a_session, journal):
    emulator = LoopbackEmulator()
    async with a_session(emulator, journal=journal) as session:
        results = await asyncio.gather(
            *(session.subscribe("acme/echo", {"n": 1}, key="one") for _ in range(3))
        )
    assert results == [{"n": 1}] * 3
    assert emulator.stats().submits == 1
    assert await states_of(journal) == [RecordState.FETCHED]


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_known_key_with_other_content_is_a_conflict(a_session, journal, at_once):
    emulator = LoopbackEmulator()
    async with a_session(emulator, journal=journal) as session:
        first = await session.submit("acme/echo", {"n": 1}, key="one")
        if not at_once:
            await first
        with pytest.raises(falq.JournalConflictError) as caught:
            await session.submit("acme/echo", {"n": 2}, key="one")
        assert caught.value.keys == ("one",)
        assert await first == {"n": 1}
    assert emulator.stats().submits == 1


async def test_a_key_is_for_one_job_and_is_text(a_session, journal):
    async with a_session(LoopbackEmulator(), journal=journal) as session:
        with pytest.raises(falq.ArgumentError):
            session.map("acme/echo", [{}], key="one")
        with pytest.raises(falq.ArgumentError):
            await session.submit("acme/echo", {}, key="")


async def test_a_submit_that_was_never_sent_leaves_a_planned_job(a_session, journal):
    emulator = LoopbackEmulator()
    transport = emulator.transport()
    transport.refusals = 100
    async with a_session(emulator, transport=transport, journal=journal) as session:
        with pytest.raises(falq.ConnectError):
            await session.submit("acme/echo", {}, key="one")
        (row,) = await rows_of(journal)
        assert row.state is RecordState.PLANNED
        assert row.attempts == 3
        assert len({one.intent_id for one in await journal.load_attempts(1)}) == 3
        transport.refusals = 0
        await session.subscribe("acme/echo", {}, key="one")
    assert await states_of(journal) == [RecordState.FETCHED]


async def test_an_account_without_money_leaves_its_jobs_planned(a_session, journal):
    emulator = LoopbackEmulator(Scenario(is_locked=True))
    async with a_session(emulator, journal=journal) as session:
        outcomes = [one async for one in session.map("acme/echo", ({"n": n} for n in range(50)))]
    assert all(isinstance(one.error, falq.AuthenticationError) for one in outcomes)
    assert set(await states_of(journal)) == {RecordState.PLANNED}


async def test_a_throttled_submit_writes_an_intent_for_each_attempt(a_session, journal):
    emulator = LoopbackEmulator(Scenario(faults=(Fault("rate_limited", "submit", times=2),)))
    async with a_session(emulator, journal=journal) as session:
        await session.subscribe("acme/echo", {})
    outcomes = [one.outcome for one in await journal.load_attempts(1)]
    assert outcomes == [RecordState.PLANNED, RecordState.PLANNED, RecordState.ACCEPTED]


async def test_a_resent_submit_is_two_attempts_in_the_journal(a_session, journal):
    fault = Fault("reset", "submit", when="after", times=1)
    emulator = LoopbackEmulator(Scenario(faults=(fault,)))
    async with a_session(emulator, journal=journal, delivery="at_least_once") as session:
        await session.subscribe("acme/echo", {})
    outcomes = [one.outcome for one in await journal.load_attempts(1)]
    assert outcomes == [RecordState.UNKNOWN, RecordState.ACCEPTED]
    assert emulator.stats().submits == 2


async def test_a_lost_submit_is_unknown_in_the_journal_and_by_its_key(a_session, journal):
    fault = Fault("reset", "submit", when="after", times=1)
    emulator = LoopbackEmulator(Scenario(faults=(fault,)))
    async with a_session(emulator, journal=journal) as session:
        for _ in range(2):
            with pytest.raises(falq.SubmissionUnknownError) as caught:
                await session.submit("acme/echo", {}, key="one")
            assert caught.value.sent_at is not None
    assert await states_of(journal) == [RecordState.UNKNOWN]
    assert emulator.stats().submits == 1


async def test_a_job_in_line_that_is_dropped_is_cancelled_in_the_journal(a_session, journal):
    emulator = LoopbackEmulator(Scenario(run_s=5.0))
    async with a_session(emulator, journal=journal, max_jobs=1) as session:
        first = await session.submit("acme/echo", {"n": 1})
        waiting = asyncio.create_task(session.submit("acme/echo", {"n": 2}))
        await asyncio.sleep(1.0)
        waiting.cancel()
        await asyncio.wait({waiting})
        await first
        await asyncio.sleep(0.1)
    assert await states_of(journal) == [RecordState.FETCHED, RecordState.CANCELLED]
    assert emulator.stats().submits == 1


async def test_a_job_whose_time_passed_is_cancelled_in_the_journal(a_session, journal):
    emulator = LoopbackEmulator(Scenario(run_s=500.0))
    async with a_session(emulator, journal=journal) as session:
        with pytest.raises(falq.JobTimeoutError):
            await session.subscribe("acme/echo", {}, client_timeout=3.0)
    assert await states_of(journal) == [RecordState.CANCELLED]


async def test_a_closed_session_leaves_its_jobs_to_the_next_one(a_session, journal):
    emulator = LoopbackEmulator(Scenario(run_s=5.0))
    async with a_session(emulator, journal=journal) as session:
        gone = [await session.submit("acme/echo", {"n": n}) for n in range(3)]
    assert set(await states_of(journal)) == {RecordState.ACCEPTED}
    async with a_session(emulator, journal=journal) as session:
        handles = await session.recover()
        ids = [one.request_id for one in gone]
        assert [one.request_id for one in await session.recover()] == ids
        assert [await one for one in handles] == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert [one.request_id for one in handles] == [one.request_id for one in gone]
        assert [await one for one in await session.recover()] == [{"n": 0}, {"n": 1}, {"n": 2}]
        for one in handles:
            await session.acknowledge(one)
        assert await session.recover() == []
    assert emulator.stats().submits == 3


async def test_planned_jobs_are_submitted_again_only_on_request(a_session, journal):
    emulator = LoopbackEmulator(Scenario(run_s=5.0))
    async with a_session(emulator, journal=journal, max_jobs=1) as session:
        tasks = [asyncio.create_task(session.submit("acme/echo", {"n": n})) for n in range(3)]
        await asyncio.sleep(1.0)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert sorted(await states_of(journal)) == ["accepted", "planned", "planned"]
    async with a_session(emulator, journal=journal) as session:
        assert [await one for one in await session.recover()] == [{"n": 0}]
    async with a_session(emulator, journal=journal) as session:
        handles = await session.recover(resume_planned=True)
        assert [await one for one in handles] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert emulator.stats().submits == 3


async def test_options_survive_a_restart(a_session, journal):
    emulator = LoopbackEmulator(Scenario(run_s=5.0))
    async with a_session(emulator, journal=journal, max_jobs=1) as session:
        options = {"priority": "low", "tags": {"team": "a"}, "store_io": False}
        tasks = [
            asyncio.create_task(session.submit("acme/echo", {"n": n}, **options)) for n in range(2)
        ]
        await asyncio.sleep(1.0)
    await asyncio.gather(*tasks, return_exceptions=True)
    transport = emulator.transport()
    async with a_session(emulator, transport=transport, journal=journal) as session:
        for handle in await session.recover(resume_planned=True):
            await handle
    (submit,) = [call for call in transport.calls if call.verb == "submit"]
    headers = {name.lower(): value for name, value in submit.headers.items()}
    assert headers["x-fal-store-io"] == "0"
    assert headers["x-fal-queue-priority"] == "low"


async def test_another_account_is_refused_before_anything_is_sent(a_session, journal):
    emulator = LoopbackEmulator()
    transport = emulator.transport()
    async with a_session(emulator, journal=journal):
        pass
    other = falq.Fal(key="other:key", queue_url=emulator.gateway.queue_url)
    with pytest.raises(falq.JournalError, match="account"):
        async with falq.Session(other, transport=transport, journal=journal):
            pass
    key_id = emulator.gateway.key.reveal().partition(":")[0]
    rotated = falq.Fal(key=f"{key_id}:new", queue_url=emulator.gateway.queue_url)
    async with falq.Session(rotated, transport=transport, journal=journal):
        pass
    assert transport.calls == []


async def test_a_single_record_is_taken_up_once_however_often_it_is_given(a_session, journal):
    emulator = LoopbackEmulator(Scenario(run_s=5.0))
    planned = PlannedJob(
        endpoint="acme/echo",
        input_sha256=input_sha256("acme/echo", {"n": 1}),
        input=b'{"n":1}',
        key="row",
    )
    (number,) = await journal.plan([planned])
    record = await journal.load_job(number=number)
    async with a_session(emulator, journal=journal) as session:
        handles = [session.resume(record) for _ in range(2)]
        handles.append(await session.submit("acme/echo", {"n": 1}, key="row"))
        assert isinstance(await handles[0].status(), falq.InProgress)
        assert [await one for one in handles] == [{"n": 1}] * 3
        assert {one.journal_number for one in handles} == {number}
    assert emulator.stats().submits == 1


async def test_a_job_whose_input_was_not_kept_is_not_submitted(a_session, journal):
    emulator = LoopbackEmulator()
    planned = PlannedJob(
        endpoint="acme/echo", input_sha256=input_sha256("acme/echo", {}), key="row"
    )
    (number,) = await journal.plan([planned])
    async with a_session(emulator, journal=journal) as session:
        assert await session.recover(resume_planned=True) == []
        with pytest.raises(falq.ArgumentError, match="kept no input"):
            await session.resume(await journal.load_job(number=number))
        assert emulator.stats().submits == 0
        assert await session.subscribe("acme/echo", {}, key="row") == {}


async def test_leaving_one_of_two_that_share_a_key_cancels_nothing(a_session, journal):
    emulator = LoopbackEmulator(Scenario(run_s=5.0))
    async with a_session(emulator, journal=journal) as session:
        first = await session.submit("acme/echo", {"n": 1}, key="one")
        with pytest.raises(falq.JobTimeoutError):
            await session.subscribe("acme/echo", {"n": 1}, key="one", client_timeout=1.0)
        assert await first == {"n": 1}
    assert emulator.stats().calls.get("cancel", 0) == 0
    assert await states_of(journal) == [RecordState.FETCHED]


async def test_a_resumed_job_is_given_up_so_long_after_it_was_resumed(a_session, journal):
    emulator = LoopbackEmulator(Scenario(run_s=3600))
    async with a_session(emulator, journal=journal) as session:
        await session.submit("acme/echo", {"n": 1})
    async with a_session(emulator, journal=journal) as session:
        (row,) = await rows_of(journal)
        begun = asyncio.get_running_loop().time()
        with pytest.raises(falq.JobTimeoutError) as caught:
            await session.resume(row, client_timeout=30).result()
        assert asyncio.get_running_loop().time() - begun == pytest.approx(30, abs=1)
    assert caught.value.timeout_s == 30
    assert caught.value.cancel_outcome == "requested"
    assert await states_of(journal) == [RecordState.CANCELLED]


async def test_a_resumed_job_without_a_limit_takes_that_of_the_session(a_session, journal):
    emulator = LoopbackEmulator(Scenario(run_s=3600))
    async with a_session(emulator, journal=journal) as session:
        await session.submit("acme/echo", {"n": 1})
    async with a_session(emulator, journal=journal, timeout=20) as session:
        (row,) = await rows_of(journal)
        with pytest.raises(falq.JobTimeoutError) as caught:
            await session.resume(row)
    assert caught.value.timeout_s == 20


async def test_a_limit_that_is_none_resumes_nothing(a_session, journal):
    async with a_session(LoopbackEmulator(), journal=journal) as session:
        await session.submit("acme/echo", {"n": 1})
        (row,) = await rows_of(journal)
        with pytest.raises(falq.ArgumentError, match="client_timeout"):
            session.resume(row, client_timeout=0)


@pytest.mark.parametrize("is_slow", [True, False])
async def test_a_handle_knows_the_record_that_the_journal_has(a_session, journal, is_slow):
    plan = PlannedJob(
        endpoint="acme/echo",
        input=b'{"n":1}',
        input_sha256=input_sha256("acme/echo", {"n": 1}),
        key="one",
    )
    (number,) = await journal.plan([plan])
    faults = (Fault("nginx", "result", nth=1),) if is_slow else ()
    emulator = LoopbackEmulator(Scenario(run_s=2.0, faults=faults))
    async with a_session(emulator, journal=journal) as session:
        handle = session.resume(await journal.load_job(number=number))
        assert handle.journal_record is None
        assert await handle == {"n": 1}
        assert handle.journal_record == await journal.load_job(number=number)


async def test_a_handle_knows_no_record_of_an_end_before_its_session(a_session, journal):
    emulator = LoopbackEmulator()
    async with a_session(emulator, journal=journal) as session:
        assert await session.subscribe("acme/echo", {"n": 1}, key="one") == {"n": 1}
        handle = await session.submit("acme/echo", {"n": 1}, key="one")
        assert await handle == {"n": 1}
        assert handle.journal_record is None


async def test_a_handle_knows_no_record_that_could_not_be_written(a_session):
    class Full(MemoryJournal):
        async def record_result(self, *_, **__):
            raise falq.JournalError("the disk is full", is_kept=True)

    async with Full() as journal, a_session(LoopbackEmulator(), journal=journal) as session:
        sha256 = input_sha256("acme/echo", {"n": 1})
        plan = PlannedJob(endpoint="acme/echo", input=b'{"n":1}', input_sha256=sha256)
        (number,) = await journal.plan([plan])
        handle = session.resume(await journal.load_job(number=number))
        assert await handle == {"n": 1}
        assert handle.journal_record is None


async def test_a_job_counts_as_completed_from_when_the_server_said_so(a_session, journal):
    late = Scenario(run_s=1.0, faults=(Fault("delay", "result", delay_s=5.0),))
    async with a_session(LoopbackEmulator(late), journal=journal) as session:
        handle = await session.submit("acme/echo", {"n": 1})
        await handle
        finish_s = handle._job.completed - handle._job.accepted
        (row,) = await rows_of(journal)
    assert row.completed_at - row.accepted_at == pytest.approx(finish_s, abs=0.1)


@pytest.mark.parametrize("end", ["refused", "withdrawn", "held back"])
async def test_a_lost_submit_stays_unknown_though_its_resend_is_proven_not_sent(
    a_session, journal, end
):
    fault = Fault("reset", "submit", when="after", times=1)
    emulator = LoopbackEmulator(Scenario(faults=(fault,)))
    transport = emulator.transport()

    def refuse(event):
        if isinstance(event, falq.events.Resending):
            transport.refusals = 100
            has_resent.set()

    has_resent = asyncio.Event()
    settings = {"journal": journal, "delivery": "at_least_once", "on_event": refuse}
    async with a_session(emulator, transport=transport, **settings) as session:
        submit = asyncio.create_task(session.submit("acme/echo", {}, key="one"))
        await has_resent.wait()
        # Within the wait before the resend is tried again.
        await asyncio.sleep(0.05)
        if end == "withdrawn":
            submit.cancel()
        elif end == "held back":
            session.stop_submitting()
        await asyncio.wait({submit})
        if end != "withdrawn":
            assert isinstance(submit.exception(), falq.SubmissionUnknownError)
        await asyncio.sleep(60.0)
        assert await states_of(journal) == [RecordState.UNKNOWN]
        transport.refusals = 0
    async with a_session(emulator, **settings) as session:
        with pytest.raises(falq.SubmissionUnknownError):
            await session.submit("acme/echo", {}, key="one")
    assert emulator.stats().submits == 1


class SlowJournal(MemoryJournal):
    """Takes a second for each intent."""

    async def record_sending(self, *args, **facts):
        await asyncio.sleep(1.0)
        await super().record_sending(*args, **facts)


@pytest.mark.parametrize("end", ["time passes", "nobody waits", "held back", "locked"])
async def test_a_job_that_waits_for_its_place_with_its_intent_written_is_not_sent(a_session, end):
    delay = Fault("delay", "submit", delay_s=10.0, times=1)
    emulator = LoopbackEmulator(Scenario(faults=(delay,), is_locked=end == "locked"))
    async with (
        SlowJournal() as journal,
        # One place for submits: the first to come lends it to the second, which has it
        # while the first waits with its intent written.
        a_session(emulator, journal=journal, max_calls=8) as session,
    ):
        limit_s = 3.0 if end == "time passes" else None
        submit = session.submit("acme/echo", {"n": 1}, client_timeout=limit_s)
        first = asyncio.create_task(submit)
        await asyncio.sleep(0.1)
        second = asyncio.create_task(session.submit("acme/echo", {"n": 2}))
        await asyncio.sleep(1.5)
        assert await states_of(journal) == [RecordState.SENDING] * 2
        if end == "nobody waits":
            first.cancel()
        elif end == "held back":
            session.stop_submitting()
        outcomes = await asyncio.gather(first, second, return_exceptions=True)
        assert isinstance(outcomes[0], BaseException)
        if end != "locked":
            assert await outcomes[1] == {"n": 2}
        await asyncio.sleep(10.0)
        found = await states_of(journal)
    ends = {
        "time passes": [RecordState.CANCELLED, RecordState.FETCHED],
        "nobody waits": [RecordState.CANCELLED, RecordState.FETCHED],
        "held back": [RecordState.PLANNED, RecordState.FETCHED],
        "locked": [RecordState.PLANNED, RecordState.PLANNED],
    }
    assert found == ends[end]
    assert emulator.stats().submits == 1
