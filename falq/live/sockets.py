"""One websocket on aiohttp: frames in and out, their limits, and the pings.

Owns the life of an open socket. It never opens one (`sockets_opening` does) or
reads a frame's meaning (`realtime` does). aiohttp's exceptions end here: they
carry the address with its token, or the Authorization header, so they are neither
raised on nor chained.

Rules:
    1. A socket ends in good order only by the server's close frame with code
       1000 or 1001. An end without one is a broken connection.
    2. Frames are read one at a time, when asked for: who reads slowly slows the
       sender down, and holds no more than `max_message_bytes` here.
    3. A frame that was handed to the connection is never sent again.
"""

from __future__ import annotations

import asyncio

import aiohttp

from falq._transport.bodies import FAILURES
from falq.errors import ArgumentError, ResponseTooLargeError, SocketClosedError
from falq.live.sockets_options import SocketOptions
from falq.model import EndpointId

_NORMAL = frozenset({aiohttp.WSCloseCode.OK, aiohttp.WSCloseCode.GOING_AWAY})
_TOO_BIG = aiohttp.WSCloseCode.MESSAGE_TOO_BIG


class Socket:
    """One open websocket. One task reads it, any number send."""

    def __init__(
        self,
        client: aiohttp.ClientSession,
        frames: aiohttp.ClientWebSocketResponse,
        *,
        endpoint: EndpointId,
        options: SocketOptions,
    ) -> None:
        self._client = client
        self._frames = frames
        self._endpoint = endpoint
        self._max_message_bytes = options.max_message_bytes
        self._ping_s = options.ping_s
        self._is_done = False

    @property
    def is_open(self) -> bool:
        """Whether nothing has told of an end yet."""
        return not self._frames.closed

    async def send(self, data: str | bytes) -> None:
        """Hand one frame to the connection; waits while the peer takes none.

        A cancelled call may have sent it.

        Raises:
            ArgumentError: It is too large; nothing was sent.
            SocketClosedError: The connection is closed. `request_sent` is False
                only if it is certain that nothing of the frame left.
        """
        size = len(data.encode()) if isinstance(data, str) else len(data)
        if size > self._max_message_bytes:
            raise ArgumentError(
                f"the message has {size} bytes, above max_message_bytes={self._max_message_bytes}; "
                "nothing was sent",
                argument="arguments",
            )
        if not self.is_open:
            raise self._ended(self._frames.close_code, "", request_sent=False)
        failure: BaseException
        try:
            if isinstance(data, str):
                await self._frames.send_str(data)
            else:
                await self._frames.send_bytes(data)
        except (*FAILURES, RuntimeError) as error:
            failure = error
        else:
            return
        raise self._ended(self._frames.close_code, type(failure).__name__, request_sent=True)

    async def receive(self) -> str | bytes | None:
        """Return the next frame; None once either side has closed in good order.

        A cancelled call loses no frame.

        Raises:
            ResponseTooLargeError: A frame is above the limit; the socket is closed.
            SocketClosedError: The connection broke, or was closed with an error.
        """
        was_asked = False
        while not self._is_done:
            try:
                async with asyncio.timeout(self._ping_s):
                    message = await self._frames.receive()
            except TimeoutError:
                if was_asked:
                    raise self._ended(None, "no answer to a ping", request_sent=True) from None
                was_asked = True
                await self._ping()
                continue
            was_asked = False
            if message.type is aiohttp.WSMsgType.PING:
                await self._ping(message.data, is_answer=True)
            elif message.type is not aiohttp.WSMsgType.PONG:
                return self._read(message)
        return None

    async def _ping(self, data: bytes = b"", *, is_answer: bool = False) -> None:
        try:
            await (self._frames.pong(data) if is_answer else self._frames.ping())
        except (*FAILURES, RuntimeError):
            # The next read tells how the connection ended.
            return

    def _read(self, message: aiohttp.WSMessage) -> str | bytes | None:
        kind = message.type
        if kind in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
            data: str | bytes = message.data
            return data
        if self._is_done or (kind is aiohttp.WSMsgType.CLOSE and message.data in _NORMAL):
            self._is_done = True
            return None
        if kind is aiohttp.WSMsgType.CLOSE:
            raise self._ended(message.data, message.extra or "", request_sent=True)
        if getattr(message.data, "code", None) == _TOO_BIG:
            raise ResponseTooLargeError(
                f"a message is larger than {self._max_message_bytes} bytes; raise "
                "max_message_bytes if that is right",
                endpoint=str(self._endpoint),
            )
        raise self._ended(None, "", request_sent=True)

    def _ended(self, code: int | None, reason: str, *, request_sent: bool) -> SocketClosedError:
        shown = "the connection broke" if code is None else f"the socket was closed ({code})"
        more = f": {reason}" if reason else ""
        return SocketClosedError(
            f"{shown}{more}; open a new one, and look before you send what was not answered again",
            code=code,
            reason=reason,
            request_sent=request_sent,
            possibly_billed=request_sent,
            endpoint=str(self._endpoint),
        )

    async def aclose(self) -> None:
        """Close in good order, within a second; closing twice is harmless."""
        self._is_done = True
        try:
            await self._frames.close()
        finally:
            await self._client.close()
