"""Submits: sent once, found again where that is possible, never doubled."""

from __future__ import annotations

import asyncio

import pytest

import falq
from falq.emulator import Fault, Scenario
from falq.events import Resending, Retrying
from falq.testing import LoopbackEmulator

UNKNOWN = [
    Fault("reset", "submit", when="after"),
    Fault("fin", "submit", when="after"),
    Fault("stall", "submit"),
    Fault("nginx", "submit", when="after", has_request_id=False),
    Fault("nginx", "submit", when="after", status_code=503, has_request_id=False),
    Fault("nginx", "submit", when="after", status_code=504, has_request_id=False),
    Fault("json_error", "submit", when="after", has_request_id=False),
    Fault("json_error", "submit", when="after", status_code=408, has_request_id=False),
    Fault("html", "submit", has_request_id=False),
    Fault("empty_body", "submit", has_request_id=False),
    Fault("replace_body", "submit", body="null", has_request_id=False),
]
WITH_ID = [
    Fault("cut", "submit"),
    Fault("truncated_json", "submit"),
    Fault("html", "submit"),
    Fault("list_body", "submit"),
    Fault("empty_body", "submit"),
    Fault("truncated_json", "submit", has_request_id=False),
    Fault("list_body", "submit", has_request_id=False),
    Fault("id_only", "submit", has_request_id=False),
    Fault("json_error", "submit", when="after"),
    Fault("json_error", "submit", when="after", status_code=503),
    Fault("json_error", "submit", when="after", status_code=408),
]


def name(fault: Fault) -> str:
    return f"{fault.kind}-{fault.answer_code}-{fault.has_request_id}"


@pytest.mark.parametrize("fault", UNKNOWN, ids=name)
async def test_a_submit_whose_answer_was_lost_is_never_sent_again(a_session, fault):
    emulator = LoopbackEmulator(Scenario(run_s=1.0, faults=(fault,)))
    async with a_session(emulator) as session:
        with pytest.raises(falq.SubmissionUnknownError) as caught:
            await session.subscribe("acme/echo", {})
        assert session.statistics().in_flight == 0
    error = caught.value
    assert (emulator.stats().submits, emulator.stats().jobs) == (1, 1)
    assert error.intent_id
    assert error.sent_at is not None
    assert error.possibly_billed
    assert error.attempts == 1
    assert error.reason


@pytest.mark.parametrize("fault", WITH_ID, ids=name)
async def test_a_job_whose_id_came_in_any_form_is_adopted(a_session, fault):
    emulator = LoopbackEmulator(Scenario(run_s=1.0, faults=(fault,)))
    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {"n": 1})
        assert handle.request_id in emulator.app.queue.jobs
        assert await handle == {"n": 1}
    assert emulator.stats().submits == 1


async def test_a_late_id_that_stays_unknown_for_thirty_seconds_made_no_job(a_session):
    fault = Fault("json_error", "submit", when="before")
    emulator = LoopbackEmulator(Scenario(faults=(fault,)))
    async with a_session(emulator) as session:
        with pytest.raises(falq.ServerError):
            await session.submit("acme/echo", {})
        assert 30.0 <= asyncio.get_running_loop().time() <= 45.0
    assert (emulator.stats().submits, emulator.stats().jobs) == (1, 0)
    assert emulator.stats().calls["status"] <= 12


async def test_a_late_id_that_is_hidden_at_first_is_adopted(a_session):
    faults = (
        Fault("json_error", "submit", when="after"),
        Fault("not_found", "status", lasting_s=20.0),
    )
    emulator = LoopbackEmulator(Scenario(run_s=1.0, faults=faults))
    async with a_session(emulator) as session:
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
    assert emulator.stats().submits == 1


async def test_a_late_id_during_an_outage_of_the_read_side_is_taken_to_exist(a_session):
    faults = (
        Fault("json_error", "submit", when="after"),
        Fault("nginx", "status", nth=tuple(range(1, 9))),
    )
    emulator = LoopbackEmulator(Scenario(run_s=1.0, faults=faults))
    async with a_session(emulator) as session:
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
    assert emulator.stats().submits == 1


@pytest.mark.parametrize("max_resends", [0, 1, 3])
async def test_at_least_once_sends_again_up_to_its_limit(a_session, max_resends):
    heard: list[falq.events.Event] = []
    fault = Fault("reset", "submit", when="after")
    emulator = LoopbackEmulator(Scenario(faults=(fault,)))
    async with a_session(
        emulator, delivery="at_least_once", max_resends=max_resends, on_event=heard.append
    ) as session:
        with pytest.raises(falq.SubmissionUnknownError) as caught:
            await session.submit("acme/echo", {})
        assert session.statistics().resends == max_resends
    assert emulator.stats().submits == 1 + max_resends
    assert caught.value.attempts == 1 + max_resends
    assert sum(isinstance(event, Resending) for event in heard) == max_resends


async def test_at_least_once_stops_sending_when_nobody_waits(a_session):
    fault = Fault("stall", "submit")
    emulator = LoopbackEmulator(Scenario(faults=(fault,)))
    async with a_session(emulator, delivery="at_least_once", max_resends=5) as session:
        with pytest.raises(falq.JobTimeoutError) as caught:
            await session.submit("acme/echo", {}, client_timeout=30)
        assert caught.value.possibly_billed
        await asyncio.sleep(1000)
        assert session.statistics().in_flight == 0
    assert emulator.stats().submits == 1


async def test_a_submit_that_was_not_sent_is_tried_three_times(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=1.0))
    transport = emulator.transport()
    async with a_session(emulator, transport=transport) as session:
        transport.refusals = 2
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
        transport.refusals = 100
        with pytest.raises(falq.ConnectError) as caught:
            await session.subscribe("acme/echo", {"n": 2})
        assert transport.refusals == 97
        assert asyncio.get_running_loop().time() < 20.0
    assert not caught.value.possibly_billed
    assert caught.value.intent_id
    assert emulator.stats().submits == 1


@pytest.mark.slow
async def test_ten_thousand_faults_make_no_job_twice(a_session):
    faults = (
        Fault("reset", "submit", when="after", probability=0.2),
        Fault("reset", "submit", when="before", probability=0.1),
        Fault("fin", "submit", when="after", probability=0.2),
        Fault("nginx", "submit", when="after", probability=0.2),
        Fault("json_error", "submit", when="after", probability=0.2),
        Fault("truncated_json", "submit", probability=0.3),
        Fault("cut", "submit", probability=0.5),
        Fault("html", "submit", has_request_id=False),
    )
    emulator = LoopbackEmulator(Scenario(runners=5000, run_s=1.0, faults=faults))
    count = 10_000
    async with a_session(emulator) as session:
        inputs = ({"n": n} for n in range(count))
        found = [outcome async for outcome in session.map("acme/echo", inputs)]
        assert session.statistics().in_flight == 0
    stats = emulator.stats()
    assert stats.submits == count
    assert sum(stats.faults.values()) == count
    assert (stats.duplicates, stats.repeated_intents) == (0, 0)
    unknown = [o.error for o in found if isinstance(o.error, falq.SubmissionUnknownError)]
    assert len({error.intent_id for error in unknown}) == len(unknown)
    assert all(o.is_success for o in found if not isinstance(o.error, falq.SubmissionUnknownError))
    assert count / 4 < len(unknown) < count * 3 / 4


async def test_a_429_waits_at_least_as_told_and_at_most_a_fifth_longer(a_session):
    waits: list[float] = []

    def note(event: falq.events.Event) -> None:
        if isinstance(event, Retrying):
            waits.append(event.delay_s)

    fault = Fault("rate_limited", "submit", nth=1, retry_after_s=20.0)
    emulator = LoopbackEmulator(Scenario(run_s=1.0, faults=(fault,)))
    async with a_session(emulator, on_event=note) as session:
        handle = await session.submit("acme/echo", {})
        assert 20.0 <= asyncio.get_running_loop().time() <= 24.1
        await handle
    assert 20.0 <= waits[0] <= 24.0


async def test_a_429_without_a_time_is_tried_again_three_times(a_session):
    emulator = LoopbackEmulator(Scenario(faults=(Fault("rate_limited", "submit"),)))
    async with a_session(emulator) as session:
        with pytest.raises(falq.RateLimitError):
            await session.submit("acme/echo", {})
    assert emulator.stats().submits == 3


async def test_nonsense_in_retry_after_counts_as_none(a_session):
    fault = Fault("rate_limited", "submit", nth=1, retry_after_s=1.0, retry_after_form="nonsense")
    emulator = LoopbackEmulator(Scenario(run_s=0.1, faults=(fault,)))
    async with a_session(emulator) as session:
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
        assert asyncio.get_running_loop().time() < 5.0


@pytest.mark.parametrize("retry_after_s", [301.0, 1e9])
async def test_a_429_above_five_minutes_is_raised_at_once(a_session, retry_after_s):
    fault = Fault("rate_limited", "submit", retry_after_s=retry_after_s)
    emulator = LoopbackEmulator(Scenario(faults=(fault,)))
    async with a_session(emulator) as session:
        with pytest.raises(falq.RateLimitError) as caught:
            await session.submit("acme/echo", {})
        assert asyncio.get_running_loop().time() < 1.0
    assert caught.value.retry_after_s == retry_after_s
    assert emulator.stats().submits == 1


@pytest.mark.slow
async def test_one_429_makes_all_other_jobs_wait_as_well(a_session):
    fault = Fault("rate_limited", "submit", nth=1, retry_after_s=30.0)
    emulator = LoopbackEmulator(Scenario(runners=1000, run_s=1.0, faults=(fault,)))
    async with a_session(emulator) as session:
        work = [asyncio.create_task(session.subscribe("acme/echo", {})) for _ in range(500)]
        await asyncio.sleep(29)
        # One lane was on the way when the refusal came.
        assert emulator.stats().submits <= 33
        await asyncio.gather(*work)
    assert emulator.stats().submits == 501


async def test_whoever_sets_a_longest_queue_is_refused_at_once(a_session):
    emulator = LoopbackEmulator(Scenario(runners=0))
    async with a_session(emulator) as session:
        await session.submit("acme/echo", {}, max_queue_length=1)
        with pytest.raises(falq.RateLimitError):
            await session.submit("acme/echo", {}, max_queue_length=1)
        assert asyncio.get_running_loop().time() < 1.0
    assert emulator.stats().submits == 2


@pytest.mark.parametrize("is_locked", [True, False])
async def test_an_account_that_refuses_burns_one_lane_of_submits_and_no_more(a_session, is_locked):
    keys = ("other:key",) if not is_locked else Scenario().keys
    emulator = LoopbackEmulator(Scenario(is_locked=is_locked))
    emulator_with_key = LoopbackEmulator(Scenario(is_locked=is_locked, keys=keys))
    transport = emulator_with_key.transport(emulator.gateway)
    async with a_session(emulator, transport=transport, max_jobs=200) as session:
        work = [session.submit("acme/echo", {}) for _ in range(1000)]
        errors = await asyncio.gather(*work, return_exceptions=True)
        assert asyncio.get_running_loop().time() < 1.0
        assert session.statistics().in_flight == 0
    assert all(isinstance(error, falq.AuthenticationError) for error in errors)
    assert len({error.intent_id for error in errors}) == 1000
    assert emulator_with_key.stats().submits <= 32


async def test_after_thirty_seconds_one_probe_finds_out_that_the_account_is_good_again(a_session):
    refusal = Fault("json_error", "submit", status_code=401, nth=1)
    emulator = LoopbackEmulator(Scenario(runners=100, run_s=0.1, faults=(refusal,)))
    async with a_session(emulator) as session:
        with pytest.raises(falq.AuthenticationError):
            await session.submit("acme/echo", {})
        for _ in range(5):
            await asyncio.sleep(5)
            with pytest.raises(falq.AuthenticationError):
                await session.submit("acme/echo", {})
        assert emulator.stats().submits == 1
        await asyncio.sleep(6)
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
        # And from then on everything goes.
        await asyncio.gather(*(session.subscribe("acme/echo", {}) for _ in range(50)))
    assert emulator.stats().submits == 52


async def test_an_account_that_still_refuses_is_probed_once_in_thirty_seconds(a_session):
    emulator = LoopbackEmulator(Scenario(is_locked=True))
    async with a_session(emulator) as session:
        for _ in range(100):
            with pytest.raises(falq.AuthenticationError):
                await session.submit("acme/echo", {})
            await asyncio.sleep(1)
    assert emulator.stats().submits <= 4


async def test_a_refused_endpoint_does_not_stop_the_others(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=0.1, absent_apps=("acme/gone",)))
    async with a_session(emulator) as session:
        with pytest.raises(falq.RequestNotFoundError):
            await session.subscribe("acme/gone", {})
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
    assert emulator.stats().submits == 2


async def test_a_lost_submit_is_not_sent_again_for_a_job_whose_time_passed_in_a_pause(a_session):
    faults = [
        Fault("rate_limited", "submit", nth=1, retry_after_s=30.0),
        Fault("reset", "submit", when="after", nth=2),
    ]
    emulator = LoopbackEmulator(Scenario(run_s=1.0, faults=faults))
    async with a_session(emulator, delivery="at_least_once") as session:
        refused = asyncio.create_task(session.subscribe("acme/echo", {"n": 1}))
        await asyncio.sleep(0.01)
        with pytest.raises(falq.JobTimeoutError):
            await session.submit("acme/echo", {"n": 2}, client_timeout=10.0)
        assert await refused == {"n": 1}
        await asyncio.sleep(30)
    stats = emulator.stats()
    assert (stats.submits, stats.jobs) == (3, 2)


async def test_a_long_pause_of_submits_keeps_no_paid_result_from_being_fetched(a_session):
    faults = [Fault("rate_limited", "submit", nth=2, retry_after_s=250.0)]
    emulator = LoopbackEmulator(Scenario(run_s=5.0, faults=faults))
    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {"n": 1})
        refused = asyncio.create_task(session.subscribe("acme/echo", {"n": 2}))
        assert await handle == {"n": 1}
        assert asyncio.get_running_loop().time() < 25.0
        assert await refused == {"n": 2}
        assert asyncio.get_running_loop().time() > 250.0
