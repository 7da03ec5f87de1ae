"""The official client, fal_client 1.0.3, on the emulator over TLS, and jobs handed to and fro."""

from __future__ import annotations

import json

import pytest

import falq
from falq.emulator import Emulator, Scenario

pytestmark = pytest.mark.slow

HEAD = """
import asyncio, json, sys
import fal_client

def facts(error):
    return {
        "kind": type(error).__name__,
        "code": getattr(error, "status_code", None),
        "request_id": getattr(error, "request_id", None),
    }
"""

SYNC = (
    HEAD
    + """
said = {}
handle = fal_client.submit("acme/echo/fast", {"n": 1})
said["submitted"] = handle.request_id
said["status"] = type(fal_client.status("acme/echo/fast", handle.request_id)).__name__
said["result"] = handle.get()
said["result_by_id"] = fal_client.result("acme/echo/fast", handle.request_id)
said["done"] = type(handle.status()).__name__

seen, logs, ids = [], [], []
def on_update(status):
    seen.append(type(status).__name__)
    logs.extend(getattr(status, "logs", None) or [])
said["subscribed"] = fal_client.subscribe(
    "fal-ai/flux/schnell", {"prompt": "a tiny cute cat"}, with_logs=True,
    on_queue_update=on_update, on_enqueue=ids.append,
)
said["seen"], said["logs"], said["ids"] = seen, logs, ids

slow = fal_client.submit("acme/echo", {"_emulator": {"run_s": 600}})
fal_client.cancel("acme/echo", slow.request_id)
for name, call in {
    "cancelled": slow.get,
    "refused": lambda: fal_client.subscribe("fal-ai/flux/schnell", {"num_images": 0}),
    "unknown": lambda: fal_client.status("acme/echo", "no-such-request"),
    "late": lambda: fal_client.subscribe(
        "acme/echo", {"_emulator": {"run_s": 600}}, client_timeout=1.5
    ),
}.items():
    try:
        call()
        said[name] = None
    except Exception as error:
        said[name] = facts(error)
print(json.dumps(said, default=str))
"""
)

ASYNC = (
    HEAD
    + """
async def main():
    client = fal_client.AsyncClient()
    results = await asyncio.gather(
        *(client.subscribe("acme/echo", {"n": n}) for n in range(20))
    )
    handle = await client.submit("acme/echo", {"_emulator": {"run_s": 600}})
    seen = []
    async for status in handle.iter_events(with_logs=True, interval=0.01):
        seen.append(type(status).__name__)
        if len(seen) == 1:
            await handle.cancel()
    try:
        await handle.get()
        ended = None
    except Exception as error:
        ended = facts(error)
    print(json.dumps({"results": results, "seen": sorted(set(seen)), "ended": ended}))

asyncio.run(main())
"""
)

GIVE = (
    HEAD
    + """
handle = fal_client.submit("acme/echo/fast", {"from": "fal_client"})
slow = fal_client.submit("acme/echo", {"_emulator": {"run_s": 600}})
print(json.dumps([handle.request_id, slow.request_id]))
"""
)

TAKE = (
    HEAD
    + """
quick, slow = sys.argv[1:3]
result = fal_client.result("acme/echo/fast", quick)
status = fal_client.status("acme/echo", slow, with_logs=True)
fal_client.cancel("acme/echo", slow)
print(json.dumps([result, type(status).__name__]))
"""
)


@pytest.fixture
async def emulator():
    async with Emulator(Scenario(speed=100), tls=True) as running:
        yield running


@pytest.fixture
def run_fal_client(run_script, emulator, tmp_path):
    """Run a script that uses fal_client against the emulator."""
    pem = tmp_path / "authority.pem"

    async def run(source, *arguments):
        pem.write_bytes(emulator.ca_pem())
        host = emulator.url.partition("://")[2]
        ran = await run_script(
            source,
            *arguments,
            FAL_KEY=emulator.key,
            FAL_RUN_HOST=host,
            FAL_QUEUE_RUN_HOST=host,
            SSL_CERT_FILE=str(pem),
        )
        assert ran.code == 0, ran.err
        return ran.said

    return run


def session_on(emulator, **settings):
    return falq.Session(
        emulator.gateway,
        ssl_context=emulator.ssl_context,
        poll=falq.PollSettings(initial_s=0.02),
        **settings,
    )


async def test_its_sync_functions_work_on_the_emulator(run_fal_client, emulator):
    said = await run_fal_client(SYNC)
    assert said["result"] == said["result_by_id"] == {"n": 1}
    assert said["status"] in {"Queued", "InProgress", "Completed"}
    assert said["done"] == "Completed"
    assert said["subscribed"]["images"][0]["content_type"].startswith("image/")
    assert said["seen"][-1] == "Completed"
    assert all(entry["message"] for entry in said["logs"])
    assert said["logs"]
    assert len(said["ids"]) == 1
    assert said["refused"]["kind"] == "FalClientHTTPError"
    assert said["refused"]["code"] == 422
    assert said["unknown"]["code"] == 404
    assert said["cancelled"]["code"] == 499
    assert said["late"]["kind"] == "FalClientTimeoutError"
    assert said["late"]["request_id"]
    assert emulator.stats().jobs_by_state["cancelled"] == 2


async def test_its_async_client_works_on_the_emulator(run_fal_client):
    said = await run_fal_client(ASYNC)
    assert [one["n"] for one in said["results"]] == list(range(20))
    assert "Completed" in said["seen"]
    assert said["ended"]["code"] == 499


async def test_falq_takes_over_jobs_that_fal_client_submitted(run_fal_client, emulator):
    quick, slow = await run_fal_client(GIVE)
    async with session_on(emulator) as session:
        assert await session.handle("acme/echo/fast", quick) == {"from": "fal_client"}
        assert isinstance(await session.status("acme/echo/fast", quick), falq.Completed)
        handle = session.handle("acme/echo", slow)
        assert isinstance(await handle.status(), falq.InProgress)
        assert await handle.cancel() == "requested"
        with pytest.raises(falq.JobCancelledError):
            await handle
        assert await session.cancel("acme/echo", slow) == "already_completed"


async def test_fal_client_takes_over_jobs_that_falq_submitted(run_fal_client, emulator):
    async with session_on(emulator) as session:
        quick = await session.submit("acme/echo/fast", {"from": "falq"})
        slow = await session.submit("acme/echo", {"_emulator": {"run_s": 600}})
        result, status = await run_fal_client(TAKE, quick.request_id, slow.request_id)
        assert result == {"from": "falq"}
        assert status == "InProgress"
        # What another client cancelled is told as cancelled, not as failed.
        with pytest.raises(falq.JobCancelledError):
            await slow
        assert await quick == {"from": "falq"}


async def test_both_tell_the_same_of_a_refused_input(run_fal_client, emulator):
    script = HEAD + (
        "try:\n"
        "    fal_client.subscribe('fal-ai/flux/schnell', {'num_images': 0})\n"
        "except fal_client.FalClientHTTPError as error:\n"
        "    print(json.dumps(error.response.json()))\n"
    )
    theirs = await run_fal_client(script)
    async with session_on(emulator) as session:
        with pytest.raises(falq.JobInputError) as caught:
            await session.subscribe("fal-ai/flux/schnell", {"num_images": 0})
    assert json.loads(json.dumps(caught.value.detail)) == theirs["detail"]
    assert caught.value.status_code == 422
    assert len(caught.value.problems) == len(theirs["detail"])
