"""Commands as processes: arguments in; stdout, stderr and exit code out."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from falq.emulator import Emulator, Scenario

GUARD_S = 40.0


@pytest.fixture
def anyio_backend() -> str:
    """Processes and sockets are real here: a virtual clock would run ahead of them."""
    return "asyncio"


class Transcript:
    """What a command said."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        # No command, however it ends, shows a traceback.
        assert "Traceback" not in err, err

    def __repr__(self) -> str:
        return f"<exit {self.code}>\n--- stdout\n{self.out}--- stderr\n{self.err}"

    @property
    def lines(self) -> list[Any]:
        """Each line of stdout as the JSON that it holds."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def data(self) -> Any:
        """The one line of stdout."""
        assert len(self.lines) == 1, self
        return self.lines[0]


class Command:
    """A command at work."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._heard = ""

    async def wait_says(self, text: str, *, stream: str = "stderr") -> str:
        """Wait until a line with `text` comes out; return that line."""
        reader = self.process.stderr if stream == "stderr" else self.process.stdout
        assert reader is not None
        async with asyncio.timeout(GUARD_S):
            while line := (await reader.readline()).decode():
                self._heard += line
                if text in line:
                    return line
        raise AssertionError(f"it never said {text!r}, but:\n{self._heard}")

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    async def ended(self, stdin: str | None = None) -> Transcript:
        """Wait for the end."""
        async with asyncio.timeout(GUARD_S):
            out, err = await self.process.communicate(None if stdin is None else stdin.encode())
        return Transcript(self.process.returncode or 0, out.decode(), self._heard + err.decode())


Start = Callable[..., Awaitable[Command]]


@pytest.fixture
async def start_falq(tmp_path: Path) -> AsyncIterator[Start]:
    """Start `falq` with words and with nothing but the given variables of falq's."""
    started: list[asyncio.subprocess.Process] = []
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}

    async def start(*words: str, **variables: str) -> Command:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "falq", *words),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=kept | {"NO_COLOR": "1", "PYTHONUTF8": "1"} | variables,
            cwd=tmp_path,
        )
        started.append(process)
        return Command(process)

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
        # Also closes the pipes, which would warn otherwise.
        await process.communicate()


@pytest.fixture
def scenario() -> Scenario:
    """How the emulator behaves; tests override it."""
    return Scenario(speed=1000.0)


@pytest.fixture
async def emulator(scenario: Scenario) -> AsyncIterator[Emulator]:
    async with Emulator(scenario) as emulator:
        yield emulator


@pytest.fixture
def reach(emulator: Emulator) -> dict[str, str]:
    """The variables that point a command to the emulator."""
    return {"FALQ_BASE_URL": emulator.url, "FAL_KEY": emulator.key}


@pytest.fixture
def run_falq(start_falq: Start, reach: dict[str, str]) -> Callable[..., Awaitable[Transcript]]:
    """Run `falq` against the emulator and wait for its end."""

    async def run(*words: str, stdin: str | None = None, **variables: str) -> Transcript:
        return await (await start_falq(*words, **(reach | variables))).ended(stdin)

    return run
