"""`falq connections`: what it prints, what it masks, and how it ends."""

from __future__ import annotations

import asyncio
import os
import sys

import aiohttp
import pytest

from falq.emulator import Emulator, Scenario

pytestmark = pytest.mark.slow


@pytest.fixture
def scenario():
    return Scenario(maton_connection="NONE")


@pytest.fixture
def reach(emulator: Emulator) -> dict[str, str]:
    """Also with a fal key in the environment, connections are Maton's."""
    return {
        "FALQ_BASE_URL": f"{emulator.url}/_maton",
        "MATON_API_KEY": emulator.maton_key,
        "FAL_KEY": emulator.key,
    }


async def test_a_connection_is_made_shown_entered_and_deleted(run_falq, emulator):
    empty = await run_falq("connections", "list")
    assert (empty.code, empty.out) == (0, "")
    assert "falq connections create" in empty.err

    made = await run_falq("connections", "create", "--show-url")
    assert made.code == 0
    assert made.data["status"] == "PENDING"
    assert "the url is a secret" in made.err
    connection_id = made.data["connection_id"]

    pending = await run_falq("connections", "show", connection_id)
    assert pending.code == 1
    assert pending.data["url"].endswith("?<secret>")

    async with aiohttp.ClientSession() as browser:
        await browser.post(made.data["url"], data={"key": emulator.key})
    active = await run_falq("connections", "show", connection_id, "--wait")
    assert (active.code, active.data["status"]) == (0, "ACTIVE")
    assert "url" not in active.data
    listed = await run_falq("connections", "list", "--status", "ACTIVE")
    assert [one["connection_id"] for one in listed.lines] == [connection_id]

    gone = await run_falq("connections", "delete", connection_id)
    assert (gone.code, gone.data["deleted"]) == (0, True)
    absent = await run_falq("connections", "delete", connection_id, "--json")
    assert (absent.code, absent.data["error"]["kind"]) == (1, "RequestNotFoundError")


async def test_a_program_is_not_given_the_secret_address(run_falq):
    made = await run_falq("connections", "create", "--json")
    assert made.code == 0
    assert "session_token" not in made.out + made.err
    shown_by = f"falq connections show {made.data['connection_id']} --show-url"
    assert shown_by in made.err


@pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")
async def test_a_person_at_a_terminal_sees_the_address_and_that_it_is_a_secret(reach):
    terminal, end = os.openpty()
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "falq", "connections", "create"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=end,
            stderr=asyncio.subprocess.PIPE,
            env=kept | {"NO_COLOR": "1", "PYTHONUTF8": "1"} | reach,
        )
    finally:
        os.close(end)
    _, said = await process.communicate()
    seen = await asyncio.to_thread(os.read, terminal, 65536)
    os.close(terminal)
    assert b"/_maton/connect?session_token=" in seen
    assert b"the url is a secret" in said


async def test_the_wait_has_a_limit(run_falq):
    ended = await run_falq("connections", "create", "--wait", "--timeout", "0.3")
    assert ended.code == 1
    assert "is not ACTIVE after 0.3 s (status: PENDING)" in ended.err


@pytest.mark.parametrize(
    ("words", "variables", "code", "text"),
    [
        (["show"], {}, 2, "needs the id"),
        (["list", "some-id"], {}, 2, "takes no id"),
        (["delete", "a/b"], {}, 2, "connection_id"),
        (["list"], {"MATON_API_KEY": "wrong"}, 3, "MATON_API_KEY again"),
        (["list"], {"MATON_API_KEY": ""}, 3, "MATON_API_KEY"),
    ],
)
async def test_what_is_wrong_is_said_with_its_exit_code(run_falq, words, variables, code, text):
    ended = await run_falq("connections", *words, **variables)
    assert ended.code == code
    assert text in ended.err


async def test_ctrl_c_leaves_a_connection_that_is_waited_for(start_falq, reach):
    command = await start_falq("connections", "create", "--wait", **reach)
    await command.wait_says("waiting up to 600 s")
    command.interrupt()
    ended = await command.ended()
    assert ended.code == 130
    assert "was left as it is" in ended.err
