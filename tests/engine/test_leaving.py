"""Leaving a session: bounded, complete in what it tells, and with nothing left."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

import falq
from falq.emulator import Fault, Scenario
from falq.testing import LoopbackEmulator

GRACE_S = 5.0


class LeavingError(Exception):
    """What a test raises inside a session."""


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("way", ["normal", "exception", "cancel"])
async def test_every_accepted_job_is_named_however_the_session_is_left(a_session, way):
    emulator = LoopbackEmulator(Scenario(runners=50, run_s=1000.0))
    session = a_session(emulator, max_jobs=200)
    callers: list[asyncio.Task[object]] = []

    async def live() -> None:
        async with session:
            callers.extend(
                asyncio.create_task(session.subscribe("acme/echo", {"n": n})) for n in range(1000)
            )
            await asyncio.sleep(30)
            if way == "exception":
                raise LeavingError
            if way == "cancel":
                await asyncio.sleep(1000)

    life = asyncio.create_task(live())
    await asyncio.wait({life}, timeout=40)
    assert life.done() == (way != "cancel")
    life.cancel()
    await asyncio.wait({life})
    assert now() <= 40 + GRACE_S
    endings = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(ending, falq.SessionClosedError) for ending in endings)
    named = {one.request_id for one in session.unfinished}
    assert named == set(emulator.app.queue.jobs)
    assert len(named) == 200
    assert named == {ending.request_id for ending in endings if ending.request_id}
    assert "cancel" not in emulator.stats().calls
    if way == "exception":
        assert isinstance(life.exception(), LeavingError)
    elif way == "cancel":
        assert life.cancelled()


@pytest.mark.slow
async def test_others_get_a_turn_while_a_thousand_jobs_are_ended(a_session):
    emulator = LoopbackEmulator(Scenario(runners=1000, run_s=1000.0))
    session = a_session(emulator, max_jobs=1000)
    left: list[int] = []

    async def watch() -> None:
        while True:
            now = session.statistics()
            left.append(now.watched + now.waiting)
            await asyncio.sleep(0)

    async with session:
        callers = [asyncio.create_task(session.submit("acme/echo", {})) for _ in range(2000)]
        await asyncio.sleep(30)
        watching = asyncio.create_task(watch())
    watching.cancel()
    assert (left[0], left[-1]) == (2000, 0)
    assert max(before - after for before, after in pairwise(left)) <= 200
    assert len(session.unfinished) == 1000
    await asyncio.gather(*callers, return_exceptions=True)


async def test_no_job_in_line_is_sent_while_a_closing_session_ends_others(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=1000.0))
    session = a_session(emulator, max_jobs=300)
    async with session:
        callers = [asyncio.create_task(session.submit("acme/echo", {})) for _ in range(1000)]
        await asyncio.sleep(30)
    endings = await asyncio.gather(*callers, return_exceptions=True)
    assert len(emulator.app.queue.jobs) == 300
    assert emulator.stats().calls == {"submit": 300, "status": emulator.stats().calls["status"]}
    unsent = [ending for ending in endings if isinstance(ending, falq.SessionClosedError)]
    assert len(unsent) == 700
    assert not any(error.possibly_billed or error.request_id for error in unsent)


async def test_nothing_waits_when_nothing_is_in_flight(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=1.0))
    async with a_session(emulator) as session:
        await session.subscribe("acme/echo", {})
        left = now()
    assert now() == left
    assert session.unfinished == ()


async def test_detaching_does_not_wait_for_polls_or_results(a_session):
    faults = (Fault("stall", "status"), Fault("stall", "result"))
    emulator = LoopbackEmulator(Scenario(runners=100, run_s=10.0, faults=faults))
    async with a_session(emulator) as session:
        for _ in range(20):
            await session.submit("acme/echo", {})
        await asyncio.sleep(10)
        left = now()
    assert now() - left < 0.1
    assert {one.request_id for one in session.unfinished} == set(emulator.app.queue.jobs)


async def test_leaving_waits_for_a_submit_on_the_way(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=100.0), latency_s=3.0)
    session = a_session(emulator)
    async with session:
        caller = asyncio.create_task(session.submit("acme/echo", {}))
        await asyncio.sleep(1)
    assert now() == pytest.approx(3.0)
    assert (await caller).request_id in emulator.app.queue.jobs
    assert [one.request_id for one in session.unfinished] == list(emulator.app.queue.jobs)


async def test_leaving_starts_no_job_that_waits(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=0.1), latency_s=1.0)
    session = a_session(emulator, max_calls=8, max_jobs=5)
    async with session:
        callers = [asyncio.create_task(session.subscribe("acme/echo", {})) for _ in range(20)]
        await asyncio.sleep(3.5)
        sent = emulator.stats().submits
    endings = await asyncio.gather(*callers, return_exceptions=True)
    assert emulator.stats().submits == sent
    unsent = [ending for ending in endings if not getattr(ending, "request_id", "a result")]
    assert len(unsent) == 20 - sent
    assert not any(ending.possibly_billed for ending in unsent)


async def test_a_stalled_submit_is_named_by_its_intent_and_ends_as_unknown(a_session):
    emulator = LoopbackEmulator(Scenario(faults=(Fault("stall", "submit"),)))
    session = a_session(emulator)
    async with session:
        caller = asyncio.create_task(session.submit("acme/echo", {}))
        await asyncio.sleep(1)
    assert now() <= 1 + GRACE_S
    with pytest.raises(falq.SubmissionUnknownError) as caught:
        await caller
    [one] = session.unfinished
    assert one.intent_id == caught.value.intent_id
    assert one.request_id is None
    assert caught.value.sent_at == one.submitted_at


async def test_on_exit_cancel_cancels_every_job_once(a_session):
    emulator = LoopbackEmulator(Scenario(runners=30, run_s=1000.0))
    async with a_session(emulator, on_exit="cancel", max_jobs=100) as session:
        callers = [asyncio.create_task(session.subscribe("acme/echo", {})) for _ in range(150)]
        await asyncio.sleep(20)
        left = now()
    assert now() - left <= GRACE_S
    await asyncio.gather(*callers, return_exceptions=True)
    assert emulator.stats().jobs_by_state["cancelled"] == 100
    assert emulator.stats().calls["cancel"] == 100
    assert all(one.cancel_outcome == "requested" for one in session.unfinished)


@pytest.mark.parametrize("on_exit", ["detach", "cancel"])
@pytest.mark.parametrize("grace_s", [0.0, 1.0, 5.0])
async def test_leaving_is_bounded_even_if_every_call_stalls(a_session, on_exit, grace_s):
    scenario = Scenario(
        runners=50, run_s=1000.0, faults=(Fault("stall", nth=tuple(range(41, 999))),)
    )
    emulator = LoopbackEmulator(scenario)
    session = a_session(emulator, on_exit=on_exit, exit_grace_s=grace_s)
    async with session:
        callers = [asyncio.create_task(session.subscribe("acme/echo", {})) for _ in range(60)]
        await asyncio.sleep(3)
        left = now()
    assert now() - left <= grace_s + 0.01
    endings = await asyncio.gather(*callers, return_exceptions=True)
    told = {(ending.request_id, ending.intent_id) for ending in endings}
    assert told == {(one.request_id, one.intent_id) for one in session.unfinished}
    assert {one.request_id for one in session.unfinished} >= {None}


async def test_a_cancelled_subscribe_is_cancelled_at_the_server_before_the_session_is_gone(
    a_session,
):
    emulator = LoopbackEmulator(Scenario(run_s=1000.0), latency_s=0.5)
    async with a_session(emulator) as session:
        callers = [asyncio.create_task(session.subscribe("acme/echo", {})) for _ in range(3)]
        await asyncio.sleep(5)
        callers.append(asyncio.create_task(session.subscribe("acme/echo", {})))
        await asyncio.sleep(0.2)
        for caller in callers:
            caller.cancel()
    await asyncio.wait(callers)
    assert all(caller.cancelled() for caller in callers)
    assert emulator.stats().jobs_by_state["cancelled"] == 4


async def test_closing_twice_and_from_two_tasks_is_harmless(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=1000.0), latency_s=1.0)
    session = a_session(emulator)
    await session.open()
    caller = asyncio.create_task(session.submit("acme/echo", {}))
    await asyncio.sleep(0.5)
    await asyncio.gather(session.aclose(), session.aclose())
    await session.aclose()
    assert [one.request_id for one in session.unfinished] == [(await caller).request_id]


async def test_a_session_opened_in_one_task_is_closed_in_another(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=1.0))
    session = a_session(emulator)
    await asyncio.create_task(session.open())
    assert await asyncio.create_task(session.subscribe("acme/echo", {"n": 1})) == {"n": 1}
    await asyncio.create_task(session.aclose())


async def test_after_the_end_every_use_is_refused(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=1.0))
    session = a_session(emulator)
    async with session:
        handle = await session.submit("acme/echo", {"n": 1})
        assert await handle == {"n": 1}
    calls = emulator.stats().calls
    with pytest.raises(falq.SessionClosedError):
        await session.subscribe("acme/echo", {})
    with pytest.raises(falq.SessionClosedError):
        session.map("acme/echo", [])
    with pytest.raises(falq.SessionClosedError):
        await session.status("acme/echo", handle.request_id)
    with pytest.raises(falq.SessionClosedError):
        await handle.cancel()
    assert emulator.stats().calls == calls
    assert session.statistics().succeeded == 1


async def test_those_who_await_a_handle_learn_its_id_when_the_session_closes(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=1000.0))
    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {})
        waiters = [asyncio.ensure_future(handle.result()) for _ in range(10)]
        waiters.append(asyncio.ensure_future(handle.wait()))
        await asyncio.sleep(5)
    endings = await asyncio.gather(*waiters, return_exceptions=True)
    assert [ending.request_id for ending in endings[:10]] == [handle.request_id] * 10
    assert all(ending.retryable for ending in endings[:10])
    assert endings[10] is True


@pytest.mark.parametrize("ask", ["status", "result", "cancel"])
async def test_those_who_wait_for_the_accounts_rate_are_told_that_the_session_closed(
    a_session, ask
):
    emulator = LoopbackEmulator(Scenario())
    async with a_session(emulator, calls_per_s=0.1) as session:
        asked = [
            asyncio.create_task(getattr(session, ask)("acme/echo", f"r-{n}")) for n in range(5)
        ]
        await asyncio.sleep(0.5)
    done, left = await asyncio.wait(asked, timeout=1)
    assert not left
    ends = [task.exception() or task.result() for task in done]
    assert sum(isinstance(end, falq.SessionClosedError) or end == "unknown" for end in ends) == 4


async def test_who_waits_to_ask_again_for_a_result_is_told_at_once_that_the_session_closed(
    a_session,
):
    emulator = LoopbackEmulator(Scenario(run_s=0, faults=[Fault("nginx", "result")]))
    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {})
        asked = asyncio.create_task(session.result("acme/echo", handle.request_id))
        await asyncio.sleep(60)
    closed_at = now()
    with pytest.raises(falq.SessionClosedError):
        await asked
    assert now() == closed_at


async def test_a_session_whose_tasks_were_all_cancelled_by_others_says_that_it_is_closed(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=60.0))
    own = asyncio.all_tasks()
    session = await a_session(emulator).open()
    handle = await session.submit("acme/echo", {})
    for task in asyncio.all_tasks() - own:
        task.cancel()
    with pytest.raises(falq.SessionClosedError) as caught:
        await handle
    assert caught.value.resume_token
    with pytest.raises(falq.SessionClosedError):
        await session.subscribe("acme/echo", {})
    await session.aclose()
