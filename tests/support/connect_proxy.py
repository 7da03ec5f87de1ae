"""A proxy that tunnels, and a world behind it in which names lead to this machine.

The world speaks TLS under the names that it was given and passes on what it reads to a
plain server, such as an emulator. No name is looked up: whoever does not go through the
proxy reaches nothing.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable

import trustme
from attrs import define, field

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


@define
class ConnectProxy:
    """What a proxy of a test was asked for, and how it behaves."""

    port: int = 0
    login: str | None = None
    refuses_with: int | None = None
    is_silent: bool = False
    asked: list[str] = field(factory=list)
    heads: list[bytes] = field(factory=list)
    passed: bytearray = field(factory=bytearray)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def a_world(
    names: list[str], target_port: int, proxy: ConnectProxy
) -> AsyncIterator[ssl.SSLContext]:
    """Run the proxy and the world behind it; yield a client's context that trusts the world."""
    authority = trustme.CA()
    trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(trusted)
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(own)

    async def be_world(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _join(reader, writer, *await asyncio.open_connection("127.0.0.1", target_port))

    async with _server(be_world, ssl=own) as world_port:

        async def be_proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            proxy.heads.append(head)
            proxy.asked.append(head.split()[1].decode())
            if proxy.is_silent:
                await reader.read()
                return
            status = _status_for(head, proxy)
            writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
            if status != 200:
                return
            far = await asyncio.open_connection("127.0.0.1", world_port)
            await _join(reader, writer, *far, proxy.passed)

        async with _server(be_proxy) as proxy.port:
            yield trusted


def _status_for(head: bytes, proxy: ConnectProxy) -> int:
    if not head.startswith(b"CONNECT "):
        return 405
    if proxy.login is not None:
        wanted = b"Proxy-Authorization: Basic " + base64.b64encode(proxy.login.encode())
        if wanted.lower() not in head.lower():
            return 407
    return proxy.refuses_with or 200


@contextlib.asynccontextmanager
async def _server(handler: Handler, **settings: object) -> AsyncIterator[int]:
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # The end of the server, which the stream's own callback would report.
            pass
        finally:
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, **settings)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A turn or two lets what was aborted close its sockets.
        for _ in range(3):
            await asyncio.sleep(0)


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    far_reader: asyncio.StreamReader,
    far_writer: asyncio.StreamWriter,
    passed: bytearray | None = None,
) -> None:
    """Pass on what either side says until one of them ends."""

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while piece := await source.read(65536):
            if passed is not None:
                passed.extend(piece)
            target.write(piece)
            await target.drain()

    copies = {
        asyncio.create_task(copy(reader, far_writer)),
        asyncio.create_task(copy(far_reader, writer)),
    }
    try:
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    finally:
        # First, for what follows may be cancelled.
        far_writer.transport.abort()
        for one in copies:
            one.cancel()
        await asyncio.gather(*copies, return_exceptions=True)
