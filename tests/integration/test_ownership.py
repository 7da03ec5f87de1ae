"""A session belongs to one process, one loop, one thread and one span of time."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

import falq
from falq.emulator import Emulator, Scenario

USES = {
    "submit": lambda session: session.submit("acme/echo", {}),
    "subscribe": lambda session: session.subscribe("acme/echo", {}),
    "map": lambda session: _drain(session.map("acme/echo", [{}])),
    "handle": lambda session: _now(session.handle, "acme/echo", "r-1"),
    "status": lambda session: session.status("acme/echo", "r-1"),
    "result": lambda session: session.result("acme/echo", "r-1"),
    "cancel": lambda session: session.cancel("acme/echo", "r-1"),
    "set_limits": lambda session: _now(session.set_limits, max_jobs=3),
}
HANDLE_USES = {
    "await": lambda handle: _await(handle),
    "result": lambda handle: handle.result(),
    "wait": lambda handle: handle.wait(1),
    "status": lambda handle: handle.status(),
    "cancel": lambda handle: handle.cancel(),
    "events": lambda handle: _drain(handle.events()),
}


async def _now(call, *arguments, **options):
    call(*arguments, **options)


async def _drain(stream):
    async for _ in stream:
        pass


async def _await(handle):
    await handle


async def refusals(session, handle):
    """Return by name what each use of a session and of a handle raises."""
    found = {}
    uses = [(f"session.{name}", use, session) for name, use in USES.items()]
    uses += [(f"handle.{name}", use, handle) for name, use in HANDLE_USES.items()]
    for name, use, what in uses:
        try:
            async with asyncio.timeout(2):
                await use(what)
        except (falq.FalqError, RuntimeError) as error:
            found[name] = type(error)
        else:
            found[name] = None
    return found


@pytest.fixture
async def emulator():
    async with Emulator(Scenario(run_s=60)) as running:
        yield running


async def test_a_closed_session_refuses_every_use(emulator):
    async with falq.Session(emulator.gateway) as session:
        handle = await session.submit("acme/echo", {})
    calls = dict(emulator.stats().calls)
    found = await refusals(session, handle)
    # A handle knows how its job ended; telling that takes no session.
    assert found.pop("handle.wait") is None
    assert set(found.values()) == {falq.SessionClosedError}, found
    assert emulator.stats().calls == calls


async def test_a_session_that_was_not_opened_refuses_every_use(emulator):
    async with falq.Session(emulator.gateway) as other:
        handle = await other.submit("acme/echo", {})
    found = await refusals(falq.Session(emulator.gateway), handle)
    # A handle knows how its job ended; telling that takes no session.
    assert found.pop("handle.wait") is None
    assert set(found.values()) == {falq.SessionClosedError}, found


async def test_another_loop_in_another_thread_is_refused(emulator):
    async with falq.Session(emulator.gateway) as session:
        handle = await session.submit("acme/echo", {})
        calls = dict(emulator.stats().calls)
        found = await asyncio.to_thread(lambda: asyncio.run(refusals(session, handle)))
        assert set(found.values()) == {falq.WrongLoopError}, found
        assert emulator.stats().calls == calls
        await handle.status()


async def test_a_thread_without_a_loop_is_refused(emulator):
    caught = []

    def use(session):
        for call in (
            lambda: session.handle("acme/echo", "r-1"),
            lambda: session.map("acme/echo", [{}]),
            lambda: session.set_limits(max_jobs=1),
        ):
            with contextlib.suppress(falq.WrongLoopError):
                call()
                continue
            caught.append(call)

    async with falq.Session(emulator.gateway) as session:
        thread = threading.Thread(target=use, args=(session,))
        thread.start()
        await asyncio.to_thread(thread.join)
    assert len(caught) == 3


async def test_closing_from_another_loop_is_refused_and_harms_nothing(emulator):
    async with falq.Session(emulator.gateway) as session:
        handle = await session.submit("acme/echo", {})
        with pytest.raises(falq.WrongLoopError):
            await asyncio.to_thread(lambda: asyncio.run(session.aclose()))
        await handle.status()
        assert await handle.cancel() == "requested"


LEFT_OPEN = """
import asyncio, json, sys
import falq

async def open_and_leave():
    session = await falq.Session(falq.Fal(key="id:secret", queue_url=sys.argv[1])).open()
    return session, session.handle("acme/echo", "r-1")

async def use(session, handle):
    found = []
    for call in (session.subscribe("acme/echo", {}), handle.status(), session.aclose()):
        try:
            await call
        except falq.FalqError as error:
            found.append(type(error).__name__)
    return found

session, handle = asyncio.run(open_and_leave())
print(json.dumps(asyncio.run(use(session, handle))))
"""


@pytest.mark.slow
async def test_a_second_run_of_asyncio_is_refused(emulator, run_script):
    ran = await run_script(LEFT_OPEN, emulator.url)
    assert ran.said == ["WrongLoopError"] * 3, ran.err
    assert emulator.stats().submits == 0


FORK = """
import asyncio, json, os, ssl, sys
import falq

url, key, pem = sys.argv[1:4]

async def try_all(session, handle):
    found = {}
    uses = {
        "submit": lambda: session.submit("acme/echo", {}),
        "subscribe": lambda: session.subscribe("acme/echo", {}),
        "status": lambda: session.status("acme/echo", "r-1"),
        "result": lambda: session.result("acme/echo", "r-1"),
        "cancel": lambda: session.cancel("acme/echo", "r-1"),
        "handle.result": handle.result,
        "handle.status": handle.status,
        "handle.cancel": handle.cancel,
    }
    for name, use in uses.items():
        try:
            await use()
        except Exception as error:
            found[name] = type(error).__name__
    now = {"map": lambda: session.map("acme/echo", [{}]), "events": handle.events}
    for name, use in now.items():
        try:
            use()
        except Exception as error:
            found[name] = type(error).__name__
    return found

def report(out, value):
    os.write(out, json.dumps(value).encode())

async def main():
    # Waiting for the child blocks the loop, and debug mode would tell of it.
    asyncio.get_running_loop().slow_callback_duration = 60
    context = ssl.create_default_context(cafile=pem) if pem else None
    rounds = []
    pids = []
    async with falq.Session(
        falq.Fal(key=key, queue_url=url), ssl_context=context,
        poll=falq.PollSettings(initial_s=0.01),
    ) as session:
        for turn in range(5):
            waiting = [
                asyncio.create_task(session.subscribe("acme/echo", {"n": [turn, n]}))
                for n in range(20)
            ]
            handle = await session.submit("acme/echo", {"_emulator": {"run_s": 60}})
            inlet, outlet = os.pipe()
            pid = os.fork()
            if pid == 0:
                try:
                    found = await try_all(session, handle)
                    try:
                        await session.aclose()
                        found["aclose"] = "quiet"
                    except BaseException as error:
                        found["aclose"] = type(error).__name__
                    report(outlet, found)
                finally:
                    os._exit(0)
            os.close(outlet)
            os.waitpid(pid, 0)
            with open(inlet, "rb") as pipe:
                rounds.append(json.loads(pipe.read() or b"{}"))
            results = await asyncio.gather(*waiting)
            assert [one["n"] for one in results] == [[turn, n] for n in range(20)], results
            await handle.status()
            await handle.cancel()
    print(json.dumps(rounds))

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True])
async def test_a_forked_child_is_refused_and_the_parent_goes_on(run_script, tmp_path, tls):
    async with Emulator(Scenario(run_s=0.05, runners=1000), tls=tls) as emulator:
        pem = tmp_path / "ca.pem"
        pem.write_bytes(emulator.ca_pem() if tls else b"")
        ran = await run_script(FORK, emulator.url, emulator.key, str(pem) if tls else "")
        assert ran.code == 0, ran.err
        assert emulator.stats().jobs == 5 * 21
    for found in ran.said:
        assert found.pop("aclose") == "quiet"
        assert len(found) == 10
        assert set(found.values()) == {"ForkedSessionError"}
    assert ran.err == ""
