"""`falq mcp` as a process, asked by the package's own client and by raw lines."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from falq.emulator import Emulator, Scenario

mcp = pytest.importorskip("mcp", reason="pip install 'falq[mcp]'")

GUARD_S = 40.0
FOUR = ["add_request_to_queue", "cancel_request", "get_request_response", "get_request_status"]
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@pytest.fixture
def anyio_backend() -> str:
    """Processes and sockets are real here: a virtual clock would run ahead of them."""
    return "asyncio"


@pytest.fixture
def scenario() -> Scenario:
    return Scenario(run_s=0.2)


@pytest.fixture
async def emulator(scenario):
    async with Emulator(scenario) as emulator:
        yield emulator


def environment(emulator):
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {
        "NO_COLOR": "1",
        "PYTHONUTF8": "1",
        "FALQ_LOG": "debug",
        "FALQ_BASE_URL": emulator.url,
        "FAL_KEY": emulator.key,
    }


@asynccontextmanager
async def an_agent(emulator, folder, *words):
    """A client of `falq mcp`; what the server says on stderr ends in `folder/stderr`."""
    parameters = mcp.StdioServerParameters(
        command=sys.executable,
        args=["-m", "falq", "mcp", *words],
        env=environment(emulator),
        cwd=str(folder),
    )
    with (folder / "stderr").open("a", encoding="utf-8") as stderr:
        transport = mcp.stdio_client(parameters, errlog=stderr)
        async with asyncio.timeout(GUARD_S), mcp.Client(transport) as client:
            yield client


async def ask(client, name, **arguments):
    return (await client.call_tool(name, arguments)).structured_content


def said(folder):
    return (folder / "stderr").read_text(encoding="utf-8")


@pytest.mark.slow
async def test_an_agent_runs_a_model_and_hears_how_it_stands(emulator, tmp_path):
    news = []

    async def hear(_progress, _total, message):
        news.append(message)

    async with an_agent(emulator, tmp_path) as client:
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == [*FOUR, "subscribe"]
        given = {"app_id": "acme/echo", "data": {"say": "hello"}}
        answer = await client.call_tool("subscribe", given, progress_callback=hear)
    assert answer.structured_content["data"] == {"say": "hello"}
    assert json.loads(answer.content[0].text) == answer.structured_content
    assert not answer.is_error
    assert news[-1] == "COMPLETED"
    assert emulator.key not in said(tmp_path)
    assert emulator.key.partition(":")[2] not in said(tmp_path)


@pytest.mark.slow
async def test_an_agent_uses_the_four_actions_within_its_limits(emulator, tmp_path):
    limits = ("--allow", "acme/echo", "--max-jobs", "2")
    limits += ("--budget-usd", "0.025", "--price", "acme/echo=0.01")
    async with an_agent(emulator, tmp_path, *limits) as client:
        told = await ask(client, "add_request_to_queue", app_id="acme/echo", data={"n": 1})
        request = {"app_id": "acme/echo", "request_id": told["request_id"]}
        status = await ask(client, "get_request_status", **request, logs=True)
        while status["status"] != "COMPLETED":
            status = await ask(client, "get_request_status", **request)
        assert (await ask(client, "get_request_response", **request))["data"] == {"n": 1}
        assert "already completed" in (await ask(client, "cancel_request", **request))["error"]

        refused = await client.call_tool("subscribe", {"app_id": "lora", "data": {}})
        assert refused.is_error
        assert "not among the allowed endpoints" in refused.structured_content["error"]
        assert (await ask(client, "subscribe", app_id="acme/echo", data={}))["success"]
        told = await ask(client, "subscribe", app_id="acme/echo", data={})
        assert "the budget does not allow it" in told["error"]
        assert (await client.call_tool("delete", {})).is_error
        wrong = await client.call_tool("subscribe", {"app_id": "acme/echo"})
        assert "data is required" in wrong.content[0].text
    assert emulator.stats().submits == 2
    assert "spent 0.0200 of 0.0250 USD" in said(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [Scenario(run_s=60.0)])
async def test_a_cancelled_call_cancels_its_job_and_the_next_is_answered(emulator, tmp_path):
    has_begun = asyncio.Event()

    async def hear(_progress, _total, _message):
        has_begun.set()

    async def run(client, scope):
        with scope:
            given = {"app_id": "acme/echo", "data": {}}
            await client.call_tool("subscribe", given, progress_callback=hear)

    async with an_agent(emulator, tmp_path, "--max-jobs", "1") as client:
        scope = anyio.CancelScope()
        async with anyio.create_task_group() as group:
            group.start_soon(run, client, scope)
            await has_begun.wait()
            refused = await ask(client, "add_request_to_queue", app_id="acme/echo", data={})
            assert "1 jobs are on the way" in refused["error"]
            scope.cancel()
        assert (await ask(client, "cancel_request", app_id="lora", request_id="x"))["error"]
    # The server waits for its cancels before it ends.
    assert emulator.stats().jobs_by_state["cancelled"] == 1
    assert "Traceback" not in said(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [Scenario(run_s=60.0)])
async def test_a_client_that_leaves_leaves_no_subscribed_job_behind(emulator, tmp_path):
    has_begun = asyncio.Event()

    async def hear(_progress, _total, _message):
        has_begun.set()

    async with an_agent(emulator, tmp_path) as client:
        added = await ask(client, "add_request_to_queue", app_id="acme/echo", data={})
        given = {"app_id": "acme/echo", "data": {}}
        call = asyncio.create_task(client.call_tool("subscribe", given, progress_callback=hear))
        await has_begun.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    states = emulator.stats().jobs_by_state
    assert (states["running"], states["cancelled"]) == (1, 1)
    assert f"left at the server: acme/echo {added['request_id']}" in said(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [Scenario(run_s=60.0)])
async def test_a_restarted_server_counts_the_jobs_and_the_money_of_the_one_before(
    emulator, tmp_path
):
    words = ("--journal", "jobs.sqlite", "--max-jobs", "2")
    words += ("--budget-usd", "0.015", "--price", "acme/echo=0.01")
    async with an_agent(emulator, tmp_path, *words) as client:
        added = await ask(client, "add_request_to_queue", app_id="acme/echo", data={})
    async with an_agent(emulator, tmp_path, *words) as client:
        told = await ask(client, "add_request_to_queue", app_id="acme/echo", data={})
        assert "the budget does not allow it" in told["error"]
        request = {"app_id": "acme/echo", "request_id": added["request_id"]}
        assert (await ask(client, "get_request_status", **request))["status"] == "IN_PROGRESS"
    assert "on the way from an earlier server: 1 job" in said(tmp_path)
    assert "0.0100 held for jobs that were not seen to end" in said(tmp_path)
    assert emulator.stats().submits == 1


@pytest.mark.slow
async def test_a_file_of_the_named_folder_is_uploaded_and_no_other(emulator, tmp_path):
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed" / "cat.txt").write_bytes(b"a cat")
    async with an_agent(emulator, tmp_path, "--upload-from", "allowed") as client:
        told = await ask(client, "upload", path="cat.txt")
        refused = await ask(client, "upload", path="../stderr")
    assert told["url"].startswith(emulator.url)
    assert "no file below the folder" in refused["error"]


async def start(emulator, folder: Path, *words):
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "falq", "mcp", *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(emulator),
        cwd=folder,
    )


async def answer_to(process, message):
    process.stdin.write(json.dumps(message).encode() + b"\n")
    await process.stdin.drain()
    while True:
        line = await asyncio.wait_for(process.stdout.readline(), GUARD_S)
        told = json.loads(line)
        if told.get("id") == message["id"]:
            return told


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
async def test_nonsense_does_not_end_the_server_and_a_signal_does(emulator, tmp_path, name):
    process = await start(emulator, tmp_path)
    process.stdin.write(b"nonsense\n\xff\xfe\n\n[]\n")
    told = await answer_to(process, HELLO)
    assert told["result"]["serverInfo"]["name"] == "falq"
    process.send_signal(signal.Signals[name])
    out, err = await asyncio.wait_for(process.communicate(), GUARD_S)
    assert process.returncode == 130
    assert b"Traceback" not in err
    # Nothing but messages is on stdout.
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in out.splitlines())


@pytest.mark.slow
async def test_a_folder_that_is_none_ends_it_before_it_serves(emulator, tmp_path):
    process = await start(emulator, tmp_path, "--upload-from", "absent")
    out, err = await asyncio.wait_for(process.communicate(), GUARD_S)
    assert (process.returncode, out) == (3, b"")
    assert "is no folder" in err.decode()


@pytest.mark.slow
async def test_without_the_package_it_names_the_command_that_brings_it(emulator):
    program = (
        "import sys; sys.modules['mcp'] = None; from falq.cli import main; sys.exit(main(['mcp']))"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        stderr=asyncio.subprocess.PIPE,
        env=environment(emulator),
    )
    _, err = await asyncio.wait_for(process.communicate(), GUARD_S)
    assert process.returncode == 3
    assert "pip install 'falq[mcp]'" in err.decode()
