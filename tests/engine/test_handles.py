"""What callers hold and hear: handles, status streams, callbacks and the event hook."""

from __future__ import annotations

import asyncio
import logging
import traceback

import pytest

import falq
from falq import events
from falq.emulator import Scenario
from falq.testing import LoopbackEmulator


def now() -> float:
    return asyncio.get_running_loop().time()


async def words(handle: falq.Handle, **options: bool) -> list[str]:
    return [status.word async for status in handle.events(**options)]


async def test_events_tell_queue_run_and_end_in_order(a_session):
    emulator = LoopbackEmulator(Scenario(runners=1, run_s=20.0))
    async with a_session(emulator) as session:
        first = await session.submit("acme/echo", {})
        handle = await session.submit("acme/echo", {})
        seen = await words(handle)
        await first
    assert seen[0] == "IN_QUEUE"
    assert seen[-2:] == ["IN_PROGRESS", "COMPLETED"]


async def test_positions_in_events_fall_as_the_queue_moves(a_session):
    emulator = LoopbackEmulator(Scenario(runners=1, run_s=10.0))
    async with a_session(emulator) as session:
        handles = [await session.submit("acme/echo", {}) for _ in range(8)]
        positions = [
            status.position
            async for status in handles[-1].events()
            if isinstance(status, falq.Queued)
        ]
        for handle in handles:
            await handle
    assert positions == sorted(positions, reverse=True)
    assert len(set(positions)) == len(positions) >= 3


async def test_each_log_line_comes_once_though_the_window_moves(a_session):
    scenario = Scenario(run_s=60.0, log_window=3, has_duplicate_logs=True)
    emulator = LoopbackEmulator(scenario)
    seen: list[str] = []
    async with a_session(emulator) as session:
        handle = await session.submit("fal-ai/flux/dev", {"prompt": "a tiny cute cat"})
        async for status in handle.events(logs=True):
            seen += [entry.message for entry in status.logs]
        await handle
    assert seen
    assert len(seen) == len(set(seen))


async def test_without_logs_none_are_asked_for(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=10.0))
    transport = emulator.transport()
    async with a_session(emulator, transport=transport) as session:
        handle = await session.submit("acme/echo", {})
        async for status in handle.events():
            assert not status.logs
    assert not any("logs" in call.target for call in transport.calls)


async def test_several_readers_each_get_the_whole_story(a_session):
    emulator = LoopbackEmulator(Scenario(runners=1, run_s=20.0))
    async with a_session(emulator) as session:
        await session.submit("acme/echo", {})
        handle = await session.submit("acme/echo", {})
        stories = await asyncio.gather(*(words(handle, logs=n % 2 == 0) for n in range(6)))
    assert all(story[0] == "IN_QUEUE" for story in stories)
    assert all(story[-2:] == ["IN_PROGRESS", "COMPLETED"] for story in stories)


async def test_a_late_reader_gets_the_last_status_and_the_end(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=1.0))
    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {})
        await handle
        assert await words(handle) == ["COMPLETED"]


async def test_a_reader_of_a_job_without_an_end_gets_its_error(a_session):
    emulator = LoopbackEmulator(Scenario(runners=0))
    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {}, client_timeout=20, start_timeout=99)
        statuses = handle.events()
        assert (await anext(statuses)).word == "IN_QUEUE"
        with pytest.raises(falq.JobTimeoutError):
            await anext(statuses)


async def test_a_closed_stream_ends_and_the_job_runs_on(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=20.0))
    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {"n": 1})
        async with handle.events(logs=True) as statuses:
            await anext(statuses)
        with pytest.raises(StopAsyncIteration):
            await anext(statuses)
        assert await handle == {"n": 1}


async def test_a_cancelled_reader_can_go_on_and_misses_nothing(a_session):
    emulator = LoopbackEmulator(Scenario(runners=1, run_s=10.0))
    async with a_session(emulator) as session:
        first = await session.submit("acme/echo", {})
        handle = await session.submit("acme/echo", {})
        seen = []
        statuses = handle.events()
        while True:
            try:
                async with asyncio.timeout(0.37):
                    seen.append((await anext(statuses)).word)
            except TimeoutError:
                continue
            except StopAsyncIteration:
                break
        await first
    assert seen[-2:] == ["IN_PROGRESS", "COMPLETED"]


async def test_one_stream_has_one_reader(a_session):
    emulator = LoopbackEmulator(Scenario(runners=0))
    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {})
        statuses = handle.events()
        reading = asyncio.create_task(anext(statuses))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(anext(statuses))
        await asyncio.sleep(0.1)
        reading_again = asyncio.create_task(anext(statuses))
        done, _ = await asyncio.wait({second, reading_again}, timeout=0.1)
        assert done
        assert all(isinstance(task.exception(), falq.ArgumentError) for task in done)
        for task in (reading, second, reading_again):
            task.cancel()
        await asyncio.gather(reading, second, reading_again, return_exceptions=True)


@pytest.mark.parametrize("is_async", [False, True])
async def test_callbacks_hear_the_id_and_each_status(a_session, is_async):
    heard: list[object] = []

    def note(value: object) -> None:
        heard.append(value)

    async def note_later(value: object) -> None:
        await asyncio.sleep(0.01)
        heard.append(value)

    emulator = LoopbackEmulator(Scenario(run_s=10.0))
    async with a_session(emulator) as session:
        callback = note_later if is_async else note
        result = await session.subscribe(
            "acme/echo", {"n": 1}, on_enqueue=callback, on_queue_update=callback, with_logs=True
        )
    assert result == {"n": 1}
    assert heard[0] in emulator.app.queue.jobs
    assert [status.word for status in heard[1:]][-1] == "COMPLETED"
    messages = [entry.message for status in heard[1:] for entry in status.logs]
    assert messages == ["echoing the input"]


@pytest.mark.parametrize("name", ["on_enqueue", "on_queue_update"])
async def test_what_a_callback_raises_ends_the_call_and_cancels_the_job(a_session, name):
    def refuse(_: object) -> None:
        raise LookupError("no room for this")

    emulator = LoopbackEmulator(Scenario(run_s=50.0))
    async with a_session(emulator) as session:
        with pytest.raises(LookupError):
            await session.subscribe("acme/echo", {}, **{name: refuse})
        await asyncio.sleep(1)
        assert session.statistics().in_flight == 0
    assert emulator.stats().jobs_by_state["cancelled"] == 1


async def test_fifty_tasks_await_one_handle_and_some_are_cancelled(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=10.0))

    async def wait(handle: falq.Handle) -> object:
        return await handle

    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {"n": 1})
        waiters = [asyncio.create_task(wait(handle)) for _ in range(50)]
        await asyncio.sleep(3)
        for waiter in waiters[::3]:
            waiter.cancel()
        endings = await asyncio.gather(*waiters, return_exceptions=True)
        assert handle.is_done()
    kept = [ending for n, ending in enumerate(endings) if n % 3]
    assert kept == [{"n": 1}] * len(kept)
    assert all(isinstance(ending, asyncio.CancelledError) for ending in endings[::3])
    assert emulator.stats().calls["result"] == 1
    assert "cancel" not in emulator.stats().calls


async def test_many_waiters_get_the_same_failure(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=5.0))
    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {"_emulator": {"fail": 500}})
        waiters = [asyncio.ensure_future(handle.result()) for _ in range(5)]
        endings = await asyncio.gather(*waiters, return_exceptions=True)
        assert await handle.wait() is True
    assert all(isinstance(ending, falq.JobFailedError) for ending in endings)


async def test_wait_ends_at_its_limit_and_leaves_the_job_running(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=30.0))
    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {"n": 1})
        started = now()
        assert await handle.wait(5.0) is False
        assert now() - started == pytest.approx(5.0)
        assert await handle.wait() is True
        assert await handle == {"n": 1}


async def test_a_handle_by_id_sends_nothing_until_it_is_used(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=5.0))
    async with a_session(emulator) as session:
        made = await session.submit("acme/echo/deep/path", {"n": 1})
        again = session.handle("acme/echo/deep/path", made.request_id)
        third = session.handle("acme/echo", made.request_id)
        assert (again.intent_id, again.is_done(), again.last_status) == (None, False, None)
        assert await again == await third == await made == {"n": 1}
        assert repr(again).startswith("<falq.Handle job=")


async def test_the_hook_hears_one_jobs_life_in_order(a_session):
    heard: list[events.Event] = []
    emulator = LoopbackEmulator(Scenario(run_s=3.0))
    async with a_session(emulator, on_event=heard.append) as session:
        await session.subscribe("acme/echo", {})
    kinds = [type(event) for event in heard]
    assert kinds[:2] == [events.Admitted, events.Accepted]
    assert kinds[-1] is events.Settled
    assert kinds.count(events.Polled) == heard[-1].polls
    changes = [event.status.word for event in heard if isinstance(event, events.StatusChanged)]
    assert changes == ["IN_PROGRESS", "COMPLETED"]
    assert [event.now for event in heard] == sorted(event.now for event in heard)
    assert heard[-1].error is None
    assert heard[-1].total_s == pytest.approx(heard[-1].now)
    assert {event.request_id for event in heard[1:]} == set(emulator.app.queue.jobs)


async def test_a_hook_that_raises_changes_nothing(a_session, caplog):
    def refuse(event: events.Event) -> None:
        raise LookupError(type(event).__name__)

    caplog.set_level(logging.CRITICAL, logger="falq")
    emulator = LoopbackEmulator(Scenario(runners=10, run_s=3.0))
    async with a_session(emulator, on_event=refuse) as session:
        results = await asyncio.gather(
            *(session.subscribe("acme/echo", {"n": n}) for n in range(20))
        )
        assert session.statistics().succeeded == 20
    assert [result["n"] for result in results] == list(range(20))


async def test_a_cancel_before_the_wait_and_during_it_are_both_told(a_session):
    heard: list[events.Event] = []
    emulator = LoopbackEmulator(Scenario(run_s=30.0))
    async with a_session(emulator, on_event=heard.append) as session:
        handle = await session.submit("acme/echo", {})
        assert await handle.cancel() == "requested"
        with pytest.raises(falq.JobCancelledError):
            await handle
        assert await handle.cancel() == "already_completed"
        assert now() < 3.0
    told = [e.cancel_outcome for e in heard if isinstance(e, events.CancelRequested)]
    assert told == ["requested"]


async def test_an_error_that_is_raised_again_does_not_grow_by_the_frames_of_those_before(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=1.0))
    depths = []
    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {}, client_timeout=0.5)
        for _ in range(3):
            with pytest.raises(falq.JobTimeoutError) as caught:
                await handle
            depths.append(len(list(traceback.walk_tb(caught.value.__traceback__))))
    assert len(set(depths)) == 1
