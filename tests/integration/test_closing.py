"""Leaving a session leaves nothing behind: no task, descriptor, warning or lost id."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

import falq
from falq._core.messages import Call, Origin, Verb
from falq.emulator import Emulator, Fault, Scenario

LEAVE = """
import asyncio, json, os, ssl, sys
import falq

url, key, pem, count, on_exit, how = sys.argv[1:7]
# Time for a cancel of each job on a busy machine too.
grace_s = 25.0 if on_exit == "cancel" else 5.0

def open_files():
    return sorted(os.listdir("/proc/self/fd"), key=int)

async def main():
    context = ssl.create_default_context(cafile=pem) if pem else None
    loop = asyncio.get_running_loop()
    # Debug mode tells of slow steps of the loop, which a busy machine makes.
    loop.slow_callback_duration = 60
    # The loop's own descriptors, and those of imports, are there before.
    before = open_files()
    session = falq.Session(
        falq.Fal(key=key, queue_url=url),
        ssl_context=context,
        on_exit=on_exit,
        exit_grace_s=grace_s,
    )
    started = []
    ids = set()
    left_s = 0.0
    try:
        async with session:
            handles = await asyncio.gather(
                *(session.submit("acme/echo", {"n": n}) for n in range(int(count)))
            )
            ids = {handle.request_id for handle in handles}
            started = [asyncio.create_task(handle.result()) for handle in handles[::2]]
            readers = [asyncio.create_task(anext(handle.events())) for handle in handles[1::2]]
            started += readers
            await asyncio.sleep(0)
            left_s = loop.time()
            if how == "raise":
                raise KeyError("the body's own error")
    except KeyError:
        pass
    left_s = loop.time() - left_s
    ends = await asyncio.gather(*started, return_exceptions=True)
    kinds = {type(end).__name__ for end in ends}
    print(json.dumps({
        "files": len(open_files()) - len(before),
        "tasks": len(asyncio.all_tasks()) - 1,
        "left_s": left_s,
        "ids_kept": ids == {one.request_id for one in session.unfinished},
        "unfinished": len(session.unfinished),
        "kinds": sorted(kinds),
    }))

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["return", "raise"])
@pytest.mark.parametrize("tls", [False, True])
async def test_leaving_with_300_jobs_in_flight_leaves_nothing_behind(
    run_script, tmp_path, tls, how
):
    pem = tmp_path / "ca.pem"
    async with Emulator(Scenario(run_s=600, runners=1000), tls=tls) as emulator:
        pem.write_bytes(emulator.ca_pem() if tls else b"")
        ran = await run_script(
            LEAVE, emulator.url, emulator.key, str(pem) if tls else "", "300", "detach", how
        )
        assert ran.code == 0, ran.err
        assert emulator.stats().jobs == 300
        assert "cancel" not in emulator.stats().calls
    assert ran.err == ""
    said = ran.said
    assert said.pop("left_s") < 5.5
    # A reader may have had its first status before the end.
    assert "SessionClosedError" in said.pop("kinds")
    assert said == {"files": 0, "tasks": 0, "ids_kept": True, "unfinished": 300}


@pytest.mark.slow
async def test_leaving_with_cancel_asks_for_each_job(run_script):
    async with Emulator(Scenario(run_s=600, runners=1000)) as emulator:
        ran = await run_script(LEAVE, emulator.url, emulator.key, "", "300", "cancel", "return")
        counts = emulator.stats()
    assert ran.code == 0, ran.err
    assert ran.err == ""
    assert counts.calls["cancel"] == 300
    assert counts.jobs_by_state["cancelled"] == 300
    assert ran.said["files"] == ran.said["tasks"] == 0
    assert ran.said["left_s"] < 25.5


@pytest.mark.slow
async def test_leaving_is_bounded_when_the_server_answers_nothing_any_more():
    stall = [Fault("stall", verb) for verb in ("status", "cancel", "result")]
    async with Emulator(Scenario(run_s=600, faults=stall)) as emulator:
        loop = asyncio.get_running_loop()
        async with falq.Session(
            emulator.gateway,
            on_exit="cancel",
            exit_grace_s=0.5,
            poll=falq.PollSettings(initial_s=0.01),
        ) as session:
            for number in range(20):
                await session.submit("acme/echo", {"n": number})
            started = loop.time()
        assert loop.time() - started < 1.0
    assert len(session.unfinished) == 20
    assert all(one.request_id for one in session.unfinished)


async def test_a_submit_on_the_way_is_waited_for_when_the_session_closes(until):
    late = Fault("delay", "submit", delay_s=0.15)
    async with Emulator(Scenario(run_s=600, faults=[late])) as emulator:
        async with falq.Session(emulator.gateway) as session:
            submitting = asyncio.create_task(session.submit("acme/echo", {}))
            await until(lambda: emulator.stats().submits == 1)
        (only,) = session.unfinished
        assert only.request_id
        assert only.request_id in emulator._app.queue.jobs
        await asyncio.wait({submitting})
        if submitting.exception() is None:
            assert submitting.result().request_id == only.request_id


async def test_opening_and_closing_a_hundred_times_leaks_no_descriptor(until):
    async with Emulator(Scenario(run_s=0)) as emulator:
        files, before = None, asyncio.all_tasks()
        for turn in range(100):
            async with falq.Session(emulator.gateway) as session:
                await session.status("acme/echo", await _one(session))
            # The emulator sits in this process too: wait for its half to close.
            await until(lambda: not emulator._runner.server.connections)
            if turn == 10:
                files = _count_files()
        gc.collect()
        assert _count_files() <= files
        assert asyncio.all_tasks() == before


async def _one(session):
    return (await session.submit("acme/echo", {})).request_id


def _count_files():
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_closing_in_another_task_than_the_opening_one():
    async with Emulator(Scenario(run_s=0)) as emulator:
        session = falq.Session(emulator.gateway, poll=falq.PollSettings(initial_s=0.02))
        await asyncio.create_task(session.open())
        results = await asyncio.gather(
            *(asyncio.create_task(session.subscribe("acme/echo", {"n": n})) for n in range(30))
        )
        assert [one["n"] for one in results] == list(range(30))
        await asyncio.create_task(session.aclose())
        await asyncio.create_task(session.aclose())
        with pytest.raises(falq.SessionClosedError):
            await session.submit("acme/echo", {})


async def test_whoever_asks_after_the_end_is_told_that_the_session_is_closed():
    async with Emulator() as emulator:
        async with falq.Session(emulator.gateway) as session:
            client = session._opened.client
            call = Call(Verb.PLATFORM, "GET", "/models", origin=Origin.PLATFORM)
            assert (await client.ask(call)).status_code == 200
        with pytest.raises(falq.SessionClosedError):
            await client.ask(call)
        with pytest.raises(falq.SessionClosedError):
            await client.carrier.listen(call, idle_s=1.0)


INTERRUPTED = """
import asyncio, sys
import falq

async def main():
    gateway = falq.Fal(key=sys.argv[2], queue_url=sys.argv[1])
    async with falq.Session(gateway) as session, asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(
                session.subscribe(
                    "acme/echo", {"n": number}, on_enqueue=lambda _: print("in", flush=True)
                )
            )

asyncio.run(main())
"""


@pytest.mark.slow
async def test_ctrl_c_cancels_the_jobs_at_the_server_and_ends_the_script(start_script, until):
    loop = asyncio.get_running_loop()
    async with Emulator(Scenario(run_s=600, runners=20)) as emulator:
        running = await start_script(INTERRUPTED, emulator.url, emulator.key)
        await until(lambda: emulator.stats().jobs == 50)
        # A submit whose answer is on the way is accepted first and then cancelled.
        started = loop.time()
        running.interrupt(2)
        ran = await running.ended()
        assert loop.time() - started < 6
        assert ran.code in {-2, 130}
        assert emulator.stats().jobs_by_state["cancelled"] == 50
        assert emulator.stats().jobs == 50
    assert "KeyboardInterrupt" in ran.err
    assert "never retrieved" not in ran.err
    assert "Warning" not in ran.err
