"""Commands that read what a person types: Ctrl-C ends them without one more line."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

pty = pytest.importorskip("pty", reason="needs pseudo-terminals")

pytestmark = pytest.mark.slow

GUARD_S = 30.0


@pytest.mark.parametrize(
    ("words", "ready"),
    [
        (("mcp",), b"serving"),
        (("batch", "-", "--endpoint", "acme/echo"), b"rows are read"),
        (("batch", "-", "--endpoint", "acme/echo", "--dry-run"), b"rows are read"),
    ],
)
async def test_one_ctrl_c_ends_a_command_that_waits_for_a_terminal(reach, words, ready):
    terminal, end = pty.openpty()
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "falq", *words),
        stdin=end,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=kept | {"PYTHONUTF8": "1"} | reach,
    )
    try:
        async with asyncio.timeout(GUARD_S):
            assert ready in await process.stderr.readline()
            process.send_signal(signal.SIGINT)
            said = await process.stderr.read()
            assert await process.wait() == 130
        assert b"Traceback" not in said
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(terminal)
        os.close(end)


async def test_rows_that_are_typed_are_run(reach, tmp_path):
    terminal, end = pty.openpty()
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "falq", "batch", "-", "--endpoint", "acme/echo", "--json"),
        stdin=end,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=kept | {"PYTHONUTF8": "1"} | reach,
        cwd=tmp_path,
    )
    try:
        # The last byte is Ctrl-D.
        os.write(terminal, b"a cat\na dog\n\x04")
        async with asyncio.timeout(GUARD_S):
            said, _ = await process.communicate()
        assert (process.returncode, said.count(b'"succeeded"')) == (0, 2)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(terminal)
        os.close(end)
