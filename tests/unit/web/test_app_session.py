"""One session for an app: its start, its end, and whether there is room."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import signal
import threading

import pytest

import falq
from falq.emulator import Scenario
from falq.journal import MemoryJournal
from falq.testing import LoopbackEmulator, VirtualTimeLoop
from falq.web import AppSession
from falq.web.settings import SessionKeywords


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio", {"loop_factory": VirtualTimeLoop}


@pytest.fixture(autouse=True)
async def no_task_is_left(anyio_backend):
    yield
    left = {str(task.get_coro()) for task in asyncio.all_tasks()}
    assert not {coroutine for coroutine in left if "TestRunner" not in coroutine}


def app_session(emulator, *, keeper=None, **settings):
    """Return an app's session at an emulator in memory, with seeded jitter."""

    def make():
        return falq.Session(emulator.gateway, transport=emulator.transport(), seed=1, **settings)

    return AppSession(make, **(keeper or {}))


def test_an_app_may_say_what_a_session_may_be_told():
    parameters = inspect.signature(falq.Session).parameters
    assert set(parameters) == set(SessionKeywords.__annotations__)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_waiting": 0}, "max_waiting"),
        ({"retry_after_s": 0.0}, "retry_after_s"),
        ({"journal": "a.sqlite", "journal_folder": "folder"}, "journal_folder"),
        ({"make": falq.Session, "max_jobs": 1}, "make"),
        ({"make": falq.Session, "journal_folder": "folder"}, "make"),
    ],
)
def test_settings_that_contradict_are_refused_by_name(settings, named):
    with pytest.raises(falq.ConfigError) as caught:
        AppSession(**settings)
    assert caught.value.setting == named


def test_before_the_start_there_is_no_session():
    fal = app_session(LoopbackEmulator())
    with pytest.raises(falq.SessionClosedError, match="lifespan"):
        _ = fal.session
    assert (fal.why_not_ready(), fal.statistics(), fal.opened_at) == ("closed", None, None)


async def test_it_runs_jobs_between_start_and_end_and_can_start_again():
    fal = app_session(LoopbackEmulator())
    for n in range(2):
        async with fal as session:
            assert fal.session is session
            assert fal.why_not_ready() is None
            assert session.journal is None
            assert await session.subscribe("acme/echo", {"n": n}) == {"n": n}
        assert fal.why_not_ready() == "closed"
    await fal.aclose()


async def test_it_is_open_once_at_a_time():
    fal = app_session(LoopbackEmulator())
    async with fal:
        with pytest.raises(falq.SessionClosedError):
            await fal.open()
        assert fal.why_not_ready() is None


async def test_the_end_leaves_jobs_running_and_says_how_many(caplog):
    emulator = LoopbackEmulator(Scenario(runners=1))
    fal = app_session(emulator)
    with caplog.at_level(logging.INFO, "falq"):
        async with fal as session:
            await session.submit("acme/echo", {"n": 1})
            await session.submit("acme/echo", {"n": 2})
    assert "2 jobs run on at fal" in caplog.text
    calls = emulator.stats().calls
    assert (calls["submit"], calls.get("cancel", 0)) == (2, 0)


async def test_what_an_earlier_process_left_is_taken_up_and_not_submitted_again():
    emulator, journal = LoopbackEmulator(), MemoryJournal()
    await journal.open()
    got, has_come = [], asyncio.Event()

    async def keep(session, handle):
        got.append(await handle)
        await session.acknowledge(handle)
        has_come.set()

    fal = app_session(emulator, keeper={"recover": keep}, journal=journal)
    async with fal as session:
        await session.submit("acme/echo", {"n": 1}, key="one")
        assert session.journal is journal
    assert got == []
    async with fal:
        await has_come.wait()
    async with fal as session:
        assert await session.recover() == []
    assert got == [{"n": 1}]
    assert emulator.stats().submits == 1


async def test_a_recovery_that_cannot_be_read_leaves_nothing_open():
    async def keep(session, handle):
        raise AssertionError

    fal = app_session(LoopbackEmulator(), keeper={"recover": keep})
    with pytest.raises(falq.ConfigError, match="journal"):
        await fal.open()
    assert fal.why_not_ready() == "closed"


async def test_a_full_line_turns_people_away_and_an_empty_one_does_not():
    emulator = LoopbackEmulator(Scenario(runners=1))
    keeper = {"max_waiting": 2, "retry_after_s": 7.0}
    fal = app_session(emulator, keeper=keeper, max_jobs=1)
    async with fal as session:
        jobs = []
        for _ in range(3):
            assert fal.refusal() is None
            jobs.append(asyncio.ensure_future(session.subscribe("acme/echo", {})))
            await asyncio.sleep(0.001)
        refusal = fal.refusal()
        assert (refusal.status_code, refusal.headers["retry-after"]) == (503, "7")
        assert fal.why_not_ready() == "full"
        await asyncio.gather(*jobs)
        assert fal.refusal() is None


async def test_an_account_that_is_refused_makes_an_app_unready_until_it_may_be_asked_again():
    fal = app_session(LoopbackEmulator(Scenario(is_locked=True)))
    async with fal as session:
        assert not session.statistics().is_halted
        with pytest.raises(falq.AuthenticationError):
            await session.submit("acme/echo", {})
        assert session.statistics().is_halted
        assert fal.why_not_ready() == "halted"
        assert fal.refusal().status_code == 503
        assert "falq_halted 1\n" in fal.monitor.answer("GET", "/metrics").body.decode()
        await asyncio.sleep(30.0)
        assert fal.why_not_ready() is None


async def test_draining_takes_no_more_jobs_and_lets_those_finish_that_run():
    fal = app_session(LoopbackEmulator())
    async with fal as session:
        handle = await session.submit("acme/echo", {"n": 1})
        fal.drain()
        assert fal.why_not_ready() == "draining"
        assert fal.refusal().status_code == 503
        assert await handle == {"n": 1}


async def test_a_follower_hears_every_status_and_the_end():
    fal = app_session(LoopbackEmulator())
    async with fal as session:
        handle = await session.submit("acme/echo", {"n": 1})
        seen = [type(status) async for status in fal.follow(handle)]
        assert seen[-1] is falq.Completed
        assert await handle == {"n": 1}


async def test_a_follower_gets_a_sign_of_life_in_silence():
    fal = app_session(LoopbackEmulator(Scenario(speed=0.01)))
    async with fal as session:
        handle = await session.submit("acme/echo", {"n": 1})
        async with contextlib.aclosing(fal.follow(handle, heartbeat_s=0.001)) as statuses:
            silent = 0
            async for status in statuses:
                silent += status is None
                if silent == 3:
                    break
        assert not handle.is_done()
        assert session.statistics().watched == 1


async def test_a_follower_is_let_go_when_the_app_drains():
    fal = app_session(LoopbackEmulator(Scenario(speed=0.01)))
    async with fal as session:
        handle = await session.submit("acme/echo", {"n": 1})

        async def follow():
            return [status async for status in fal.follow(handle)]

        following = asyncio.ensure_future(follow())
        await asyncio.sleep(1.0)
        fal.drain()
        await following
        assert not handle.is_done()


async def test_a_follower_hears_why_a_job_ended_without_a_result():
    fal = app_session(LoopbackEmulator(Scenario(speed=0.01)))
    async with fal as session:
        handle = await session.submit("acme/echo", {"n": 1}, client_timeout=1.0)
        with pytest.raises(falq.JobTimeoutError):
            async for _ in fal.follow(handle):
                pass


def test_an_app_of_a_test_client_runs_in_a_thread_and_heeds_no_signals():
    before = signal.getsignal(signal.SIGUSR1)
    fal = app_session(LoopbackEmulator(), keeper={"drain_on": {signal.SIGUSR1}})
    told = []

    async def run():
        async with fal as session:
            assert signal.getsignal(signal.SIGUSR1) is before
            told.append(await session.subscribe("acme/echo", {"n": 1}))

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        thread = threading.Thread(target=runner.run, args=(run(),))
        thread.start()
        thread.join()
    assert told == [{"n": 1}]


async def test_a_task_of_the_app_ends_with_it_and_an_error_of_one_is_told(caplog):
    fal = app_session(LoopbackEmulator())
    ended = []

    async def wait_for_ever():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("waiting")

    async def fail():
        raise ValueError("a bug of the app")

    async with fal:
        fal.spawn(wait_for_ever())
        failed = fal.spawn(fail())
        await asyncio.wait({failed})
        assert ended == []
    assert ended == ["waiting"]
    assert "a bug of the app" in caplog.text
    with pytest.raises(falq.SessionClosedError):
        fal.spawn(wait_for_ever())


async def test_a_signal_drains_before_the_server_hears_of_it_and_is_given_back():
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda *_: heard.append("server"))
    try:
        own = signal.getsignal(signal.SIGUSR1)
        fal = app_session(LoopbackEmulator(), keeper={"drain_on": {signal.SIGUSR1}})
        async with fal:
            signal.raise_signal(signal.SIGUSR1)
            await asyncio.sleep(0)
            assert fal.why_not_ready() == "draining"
            assert heard == ["server"]
        assert signal.getsignal(signal.SIGUSR1) is own
    finally:
        signal.signal(signal.SIGUSR1, before)
