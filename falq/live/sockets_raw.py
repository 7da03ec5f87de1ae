"""The raw socket of an app, whose frames are its own business (fal-wire 7.4).

Owns the socket that a user holds, from `async with` to the end of the session at
the latest. It never reads a frame's meaning and never reconnects.
`Session.ws_connect` makes it.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from falq._engine.engine import Engine
from falq.errors import ArgumentError
from falq.live.sockets import Socket
from falq.live.sockets_opening import SocketOpener
from falq.live.sockets_options import SocketOptions
from falq.model import EndpointId


class RunnerSocket:
    """A plain websocket to an app: its frames are the app's own business.

    Made by `Session.ws_connect`; opened by `async with`. Not reconnected: what a
    new connection means is the app's business as well. It ends with the session.

    Args:
        engine: The session's.
        endpoint: Whose socket it is.
        options: How it is opened.

    Raises:
        UnsupportedError: The gateway has no sockets.
    """

    def __init__(self, engine: Engine, endpoint: EndpointId, options: SocketOptions) -> None:
        self._engine = engine
        self._opener = SocketOpener(engine, endpoint, options)
        self._socket: Socket | None = None
        self._guard: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Open it; see `SocketOpener.open` for what it raises."""
        socket = await self._opener.open()
        self._socket = socket
        try:
            self._guard = self._engine.spawn(_close_at_the_end(socket))
            # A task that is cancelled before its first step would close nothing.
            await asyncio.sleep(0)
        except BaseException:
            await socket.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def send(self, data: str | bytes) -> None:
        """Send text or bytes as one frame, once.

        Args:
            data: The frame.

        A cancelled call may have sent it.

        Raises:
            ArgumentError: It is too large.
            SocketClosedError: The connection is closed.
        """
        await self._opened().send(data)

    async def recv(self) -> str | bytes | None:
        """Return the next frame; None once the server has closed in good order.

        A cancelled call loses nothing. One task at a time.

        Raises:
            ResponseTooLargeError: A frame is above `max_message_bytes`.
            SocketClosedError: The connection broke or was closed with an error.
        """
        return await self._opened().receive()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | bytes:
        frame = await self.recv()
        if frame is None:
            raise StopAsyncIteration
        return frame

    async def aclose(self) -> None:
        """Close it; closing twice is harmless."""
        if self._guard is not None:
            self._guard.cancel()
            await asyncio.wait({self._guard})

    def _opened(self) -> Socket:
        if self._socket is None:
            raise ArgumentError("the socket is not open; use 'async with'", argument="socket")
        return self._socket

    def __repr__(self) -> str:
        is_open = self._socket is not None and self._socket.is_open
        return f"<falq.RunnerSocket {self._opener.endpoint} {'open' if is_open else 'not open'}>"


async def _close_at_the_end(socket: Socket) -> None:
    """Wait until the user or the session ends this, then close."""
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await socket.aclose()
