"""Real web servers on loopback for applications of falq's, one of each kind."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import AsyncIterator

import uvicorn
from aiohttp import web

LOWEST_PORT, PORTS = 20_000, 12_000
"""Below those that a system gives to whoever asks for any, such as a test in another process."""

# Processes that run tests at the same moment begin at different ones.
_numbers = itertools.count(os.getpid() * 101)


def free_port() -> int:
    """Return a port that nobody listens on, and that nobody is given by chance."""
    while True:
        port = LOWEST_PORT + next(_numbers) % PORTS
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextlib.asynccontextmanager
async def aiohttp_server(handle, path: str, port: int) -> AsyncIterator[None]:
    """Serve one handler below `path` with aiohttp."""
    app = web.Application()
    app.router.add_route("*", path, handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def asgi_server(app, port: int, *, until) -> AsyncIterator[None]:
    """Serve an ASGI application with uvicorn, its start and end included."""
    settings = uvicorn.Config(
        app, port=port, log_config=None, ws="none", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(settings)
    server.install_signal_handlers = lambda: None
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    try:
        yield
    finally:
        server.should_exit = True
        await task
