"""Raw servers on loopback, scripts in processes of their own, and a record of who was contacted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

GUARD_S = 30.0

_armed: list[list[str]] = []


def _note_contact(event: str, arguments: tuple[Any, ...]) -> None:
    if not _armed:
        return
    if event == "socket.connect":
        _armed[-1].append(str(arguments[1][0]))
    elif event == "socket.getaddrinfo":
        _armed[-1].append(str(arguments[0]))


# An audit hook sees every connection and look-up of the process, whoever makes
# it. It cannot be removed, so it listens only while a test is armed.
sys.addaudithook(_note_contact)


@pytest.fixture
def anyio_backend() -> str:
    """Sockets are real here: a virtual clock would run ahead of them."""
    return "asyncio"


@pytest.fixture
def contacted_hosts() -> Iterator[list[str]]:
    """Every host that this process connects to or looks up during the test."""
    hosts: list[str] = []
    _armed.append(hosts)
    yield hosts
    _armed.remove(hosts)


class Connection:
    """One connection that a raw server accepted."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        self.reader, self.writer, self.number = reader, writer, number
        self.heard = b""

    async def read_request(self) -> bytes:
        """Return one whole request, head and body; empty at the end of the connection."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        self.heard += head
        lines = head.decode("latin-1").lower().split("\r\n")
        length = next((line[15:] for line in lines if line.startswith("content-length:")), "0")
        body = await self.reader.readexactly(int(length))
        self.heard += body
        return head + body

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def answer(
        self, body: Any = None, *, code: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"content-type": "application/json", "content-length": str(len(data))}
        fields |= headers or {}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.send(f"HTTP/1.1 {code} Whatever\r\n{head}\r\n".encode() + data)

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def wait_gone(self) -> None:
        """Wait until the other side has closed."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


async def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that nothing tells of: what another process has done."""
    async with asyncio.timeout(GUARD_S):
        while True:
            if condition():
                return
            await asyncio.sleep(0.002)


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    return wait_until


Script = Callable[[Connection], Awaitable[None]]


class RawServer:
    """Accepts connections and lets `script` do with each what it likes."""

    def __init__(
        self, script: Script, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self._script = script
        self._host = host
        self._tls = tls
        self._tasks: set[asyncio.Task[Any]] = set()
        self.connections: list[Connection] = []
        self.url = ""

    async def __aenter__(self) -> RawServer:
        self._server = await asyncio.start_server(self._accept, self._host, 0, ssl=self._tls)
        scheme = "http" if self._tls is None else "https"
        self.url = f"{scheme}://{self._host}:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self.connections:
            connection.writer.transport.abort()
        # One turn lets the aborted transports close their sockets.
        await asyncio.sleep(0)

    @property
    def heard(self) -> bytes:
        """Everything that came in, of all connections."""
        return b"".join(connection.heard for connection in self.connections)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer, len(self.connections))
        self.connections.append(connection)
        task = asyncio.create_task(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: Connection) -> None:
        try:
            # A peer that goes away is what many of these scripts are about.
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._script(connection)
        finally:
            connection.writer.close()


@pytest.fixture
def raw_server() -> type[RawServer]:
    return RawServer


@pytest.fixture
async def spy() -> AsyncIterator[RawServer]:
    """Another host: whatever reaches it was sent where it must not go."""

    async def answer_everything(connection: Connection) -> None:
        while await connection.read_request():
            connection.answer({"status": "COMPLETED", "request_id": "spied"})

    async with RawServer(answer_everything, host="127.0.0.2") as server:
        yield server


class Ran:
    """What a script in a process of its own left behind."""

    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code, self.out, self.err = code, out.decode(), err.decode()

    @property
    def said(self) -> Any:
        """The JSON value on the last line of its output."""
        assert self.out.strip(), self.err
        return json.loads(self.out.strip().splitlines()[-1])


class Running:
    """A script at work in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def interrupt(self, signal_number: int) -> None:
        self._process.send_signal(signal_number)

    async def ended(self) -> Ran:
        async with asyncio.timeout(GUARD_S):
            out, err = await self._process.communicate()
        return Ran(self._process.returncode or 0, out, err)


@pytest.fixture
async def start_script(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Running]]]:
    """Start `source` as a script under `python -X dev`, with arguments and variables."""
    started: list[asyncio.subprocess.Process] = []

    async def start(source: str, *arguments: str, **variables: str) -> Running:
        path = tmp_path / f"script_{len(started)}.py"
        path.write_text(source, encoding="utf-8")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-X", "dev", str(path), *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **variables},
            cwd=tmp_path,
        )
        started.append(process)
        return Running(process)

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
def run_script(start_script: Callable[..., Awaitable[Running]]) -> Callable[..., Awaitable[Ran]]:
    """The same, and wait for its end."""

    async def run(source: str, *arguments: str, **variables: str) -> Ran:
        return await (await start_script(source, *arguments, **variables)).ended()

    return run
