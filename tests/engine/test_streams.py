"""`completion="stream"`: fewer calls than polling, the same outcomes, and polling behind it."""

from __future__ import annotations

import asyncio

import pytest

import falq
from falq._core.messages import Verb
from falq.emulator import Fault, Scenario
from falq.testing import LoopbackEmulator

SLOW = {"_emulator": {"run_s": 180}}


def quiet(**settings):
    return LoopbackEmulator(Scenario(**{"run_s": 180, **settings}))


async def test_a_job_costs_a_submit_a_stream_and_a_result_where_polling_costs_many(a_session):
    calls, statuses = {}, {}
    for completion in ("poll", "stream"):
        emulator = quiet(stream_ping_s=15)
        # No check beside the stream's: the safety net's pace is longer than the job.
        poll = falq.PollSettings(announced_s=200, longest_gap_s=200, cap_s=10)
        async with a_session(emulator, completion=completion, poll=poll) as session:
            assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
            calls[completion] = sum(session.statistics().calls.values())
            statuses[completion] = session.statistics().calls.get("status", 0)
    assert calls["stream"] == 3
    assert statuses["stream"] == 0
    assert calls["poll"] > 6


async def test_a_streamed_job_is_seen_to_end_when_it_ends(a_session):
    emulator = quiet()
    loop = asyncio.get_running_loop()
    async with a_session(emulator, completion="stream") as session:
        began = loop.time()
        await session.subscribe("acme/echo", {})
        assert 180 < loop.time() - began < 180.2


async def test_a_hundred_jobs_have_no_more_streams_than_the_setting(a_session):
    emulator = quiet(run_s=5, runners=20)
    async with a_session(emulator, completion="stream", max_streams=7) as session:
        jobs = [asyncio.create_task(session.subscribe("acme/echo", {"n": n})) for n in range(100)]
        most = 0
        while not all(job.done() for job in jobs):
            await asyncio.sleep(0.1)
            most = max(most, session._engine._watcher.streams.open)
        assert [job.result()["n"] for job in jobs] == list(range(100))
        assert most == 7
        assert session._engine._watcher.streams.open == 0
    assert emulator.stats().duplicates == 0


@pytest.mark.parametrize("end", ["missing", "early", "empty", "cut"])
async def test_a_stream_that_ends_without_the_job_leaves_it_to_polling(a_session, end):
    emulator = quiet(run_s=30, stream_end=end)
    loop = asyncio.get_running_loop()
    async with a_session(emulator, completion="stream") as session:
        began = loop.time()
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
        assert loop.time() - began < 45
        calls = session.statistics().calls
    assert calls["stream"] == 1
    assert calls["status"] >= 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault("reset", "status_stream"),
        Fault("fin", "status_stream"),
        Fault("nginx", "status_stream"),
        Fault("json_error", "status_stream", status_code=405),
        Fault("rate_limited", "status_stream", retry_after_s=2),
        Fault("redirect", "status_stream"),
        Fault("html", "status_stream"),
        Fault("stall", "status_stream"),
    ],
    ids=lambda fault: fault.kind,
)
async def test_a_stream_that_is_refused_or_breaks_leaves_its_job_to_polling(a_session, fault):
    emulator = quiet(run_s=3, faults=(fault,))
    async with a_session(emulator, completion="stream") as session:
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
    assert emulator.stats().submits == 1


async def test_a_gateway_that_refuses_streams_is_soon_asked_for_none(a_session):
    emulator = quiet(run_s=1, faults=(Fault("json_error", "status_stream", status_code=404),))
    async with a_session(emulator, completion="stream") as session:
        for n in range(8):
            await session.subscribe("acme/echo", {"n": n})
        assert session.statistics().calls["stream"] == 3


async def test_silence_longer_than_three_pings_ends_a_stream(a_session):
    emulator = quiet(run_s=100, stream_ping_s=1000)
    poll = falq.PollSettings(announced_s=60, longest_gap_s=60)
    async with a_session(emulator, completion="stream", poll=poll) as session:
        await session.subscribe("acme/echo", {})
        assert session.statistics().calls["status"] > 2


async def test_pings_keep_a_silent_stream_alive(a_session):
    emulator = quiet(run_s=3600, stream_ping_s=40)
    async with a_session(emulator, completion="stream") as session:
        await session.subscribe("acme/echo", {})
        assert session.statistics().calls["stream"] == 1
        # The safety net: about one check in three quarters of a minute.
        assert 60 < session.statistics().calls["status"] < 110


async def test_a_gateway_that_has_no_streams_is_polled(a_session):
    emulator = quiet(run_s=1)
    session = falq.Session(
        emulator.maton,
        transport=emulator.transport(emulator.maton),
        completion="stream",
        seed=1,
    )
    async with session:
        assert await session.subscribe("fal-ai/echo", {"n": 1}) == {"n": 1}
        assert "stream" not in session.statistics().calls


async def test_events_bring_each_log_line_once_and_need_no_check(a_session):
    emulator = quiet(run_s=10)
    async with a_session(emulator, completion="stream") as session:
        handle = await session.submit("fal-ai/flux/schnell", {"prompt": "a tiny cute cat"})
        seen = [status async for status in handle.events(logs=True)]
        await handle
        assert "status" not in session.statistics().calls
    lines = [entry.message for status in seen for entry in status.logs]
    assert len(lines) == len(set(lines)) == 5
    assert isinstance(seen[-1], falq.Completed)


async def test_a_reader_that_comes_late_gets_the_lines_that_were_before_it(a_session):
    emulator = quiet(run_s=10)
    async with a_session(emulator, completion="stream") as session:
        handle = await session.submit("fal-ai/flux/schnell", {"prompt": "a tiny cute cat"})
        await asyncio.sleep(5)
        first = [status async for status in handle.events(logs=True)]
        assert session.statistics().calls["status"] == 1
    lines = [entry.message for status in first for entry in status.logs]
    assert len(lines) == len(set(lines)) == 5


async def test_duplicate_lines_are_told_once(a_session):
    emulator = quiet(run_s=10, has_duplicate_logs=True)
    async with a_session(emulator, completion="stream") as session:
        handle = await session.submit("fal-ai/flux/schnell", {"prompt": "a tiny cute cat"})
        seen = [status async for status in handle.events(logs=True)]
    lines = [entry.message for status in seen for entry in status.logs]
    assert len(lines) == len(set(lines)) == 5


async def test_positions_come_as_the_line_moves(a_session):
    emulator = quiet(run_s=10, runners=1)
    async with a_session(emulator, completion="stream") as session:
        ahead = [await session.submit("acme/echo", {"n": n}) for n in range(3)]
        last = await session.submit("acme/echo", {"n": 3})
        seen = [status async for status in last.events()]
        await asyncio.gather(*(handle.result() for handle in ahead))
    assert [getattr(status, "position", None) for status in seen][:3] == [2, 1, 0]
    assert [type(status) for status in seen[-2:]] == [falq.InProgress, falq.Completed]


@pytest.mark.parametrize("newline", ["lf", "crlf", "cr"])
async def test_streams_are_read_in_every_form(a_session, newline):
    emulator = quiet(
        run_s=10, stream_newline=newline, stream_piece_bytes=1, has_multi_line_data=True
    )
    async with a_session(emulator, completion="stream") as session:
        assert await session.subscribe("acme/echo", {"n": "äöü😀"}) == {"n": "äöü😀"}
        assert "status" not in session.statistics().calls


async def test_a_failed_job_fails_as_it_does_with_polling(a_session):
    emulator = quiet(run_s=1)
    async with a_session(emulator, completion="stream") as session:
        with pytest.raises(falq.JobInputError):
            await session.subscribe("acme/echo", {"_emulator": {"fail": "image_too_large"}})
        with pytest.raises(falq.JobFailedError) as caught:
            await session.subscribe("acme/echo", {"_emulator": {"fail": "runner_disconnected"}})
    assert caught.value.error_type == "runner_disconnected"


async def test_a_cancelled_job_ends_and_so_does_its_stream(a_session):
    emulator = quiet()
    async with a_session(emulator, completion="stream") as session:
        handle = await session.submit("acme/echo", SLOW)
        await asyncio.sleep(1)
        assert await handle.cancel() == "requested"
        with pytest.raises(falq.JobCancelledError):
            await handle
        await asyncio.sleep(2)
        assert session._engine._watcher.streams.open == 0


async def test_a_client_timeout_ends_the_stream_as_well(a_session):
    emulator = quiet()
    async with a_session(emulator, completion="stream") as session:
        with pytest.raises(falq.JobTimeoutError):
            await session.subscribe("acme/echo", SLOW, client_timeout=5)
        await asyncio.sleep(2)
        assert session._engine._watcher.streams.open == 0


async def test_closing_while_streams_are_open_leaves_nothing(a_session):
    emulator = quiet()
    async with a_session(emulator, completion="stream") as session:
        for n in range(5):
            await session.submit("acme/echo", {"n": n})
        await asyncio.sleep(1)
    assert len(session.unfinished) == 5


async def test_an_attached_job_is_followed_too(a_session):
    emulator = quiet(run_s=10)
    async with a_session(emulator, completion="stream") as session:
        request_id = (await session.submit("acme/echo", {"n": 1})).request_id
    async with a_session(emulator, completion="stream") as session:
        assert await session.handle("acme/echo", request_id) == {"n": 1}
        assert session.statistics().calls == {"stream": 1, "result": 1}


@pytest.mark.parametrize("after_s", [0, 0.02, 0.03, 0.05, 0.07, 1, 9.99, 10.005, 10.01, 10.015])
async def test_a_job_that_is_cancelled_at_any_moment_leaves_no_stream(a_session, after_s):
    emulator = quiet(run_s=10)
    async with a_session(emulator, completion="stream") as session:
        task = asyncio.create_task(session.subscribe("acme/echo", {"n": 1}))
        await asyncio.sleep(after_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(2)
        assert session._engine._watcher.streams.open == 0
        assert session._engine._lanes.in_flight(Verb.STREAM) == 0
        assert session.statistics().in_flight == 0


async def test_asking_for_the_status_beside_a_stream_costs_that_call_alone(a_session):
    emulator = quiet(run_s=10)
    async with a_session(emulator, completion="stream") as session:
        handle = await session.submit("acme/echo", {})
        await asyncio.sleep(3)
        assert isinstance(await handle.status(), falq.InProgress)
        await handle
        assert session.statistics().calls["status"] == 1


async def test_a_server_that_is_overrun_is_asked_for_fewer_streams(a_session):
    faults = (Fault("rate_limited", "status_stream", times=5),)
    emulator = quiet(run_s=5, runners=50, faults=faults)
    loop = asyncio.get_running_loop()
    async with a_session(emulator, completion="stream", max_streams=20) as session:
        began = loop.time()
        await asyncio.gather(*(session.subscribe("acme/echo", {"n": n}) for n in range(40)))
        # Nobody waits for the safety net: who has no stream is polled as usual.
        assert loop.time() - began < 15


async def test_one_job_may_be_followed_by_a_stream_where_the_others_are_polled(a_session):
    emulator = quiet(run_s=30, runners=9)
    async with a_session(emulator) as session:
        await session.subscribe("acme/echo", {"n": 1}, completion="stream")
        assert session.statistics().calls == {"submit": 1, "stream": 1, "result": 1}
        await session.subscribe("acme/echo", {"n": 2}, completion="poll")
        inputs = [{"n": 3}, {"n": 4}]
        outcomes = [one async for one in session.map("acme/echo", inputs, completion="stream")]
        assert [one.error for one in outcomes] == [None, None]
        calls = session.statistics().calls
        assert calls["stream"] == 3
        assert 0 < calls["status"] < 12


async def test_one_job_may_be_polled_where_the_others_are_followed(a_session):
    emulator = quiet(run_s=30)
    async with a_session(emulator, completion="stream") as session:
        await session.subscribe("acme/echo", {"n": 1}, completion="poll")
        assert "stream" not in session.statistics().calls
        await session.subscribe("acme/echo", {"n": 2})
        assert session.statistics().calls["stream"] == 1


async def test_a_misspelt_completion_is_refused_before_anything_is_sent(a_session):
    emulator = quiet()
    async with a_session(emulator) as session:
        with pytest.raises(falq.ArgumentError, match="completion"):
            await session.submit("acme/echo", {}, completion="streams")
        with pytest.raises(falq.ArgumentError, match="completion"):
            session.map("acme/echo", [{}], completion="streams")
    assert emulator.stats().submits == 0


async def test_what_streams_tell_of_run_times_spares_polled_jobs_their_checks(a_session):
    emulator = quiet(run_s=30)
    async with a_session(emulator, completion="stream") as session:
        for n in range(12):
            await session.subscribe("acme/echo", {"n": n})
        assert session.statistics().polls == 0
        await session.subscribe("acme/echo", {"n": 12}, completion="poll")
        # Eight and more without what was learned.
        assert session.statistics().polls <= 4


def test_the_settings_are_checked(a_session):
    with pytest.raises(falq.ConfigError, match="completion"):
        a_session(quiet(), completion="sse")
    with pytest.raises(falq.ConfigError, match="max_streams"):
        a_session(quiet(), max_streams=0)


async def test_the_same_seed_gives_the_same_run(a_session):
    async def run():
        emulator = quiet(run_s=7, runners=3, seed=5)
        async with a_session(emulator, completion="stream", max_streams=4) as session:
            outcomes = [
                outcome async for outcome in session.map("acme/echo", [{"n": n} for n in range(20)])
            ]
            assert all(outcome.error is None for outcome in outcomes)
            return session.statistics().calls

    assert await run() == await run()
