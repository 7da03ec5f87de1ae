"""Talk to a realtime app: messages in, results out, over one socket after another.

Owns the connection that a user holds: when a socket is opened, what its frames
do, what the reader is told. It never frames (`sockets`), encodes
(`realtime_messages`) or fetches tokens (`tokens`). `Session.realtime` makes it.

Rules:
    1. A message is sent once. After a connection ended, it is not known what
       became of messages without an answer: the reader hears of it, and nothing
       is sent again.
    2. The server's TIMEOUT is no error. The socket is put away, and the next
       `send` opens another.
    3. A refused token is dropped; the next `send` gets a new one. Refused a
       second time without a result in between, it is an error for good.
    4. One task reads all sockets of a connection, one after another, and closes
       them. It ends with the session, and with it everyone who waits here.
    5. What waits for the reader is bounded. Beyond it the socket is not read, and
       the server waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from attrs import evolve, frozen

from falq._core.realtime import Note, Refusal, Result
from falq._engine.engine import Engine
from falq.errors import (
    ArgumentError,
    AuthenticationError,
    FalqError,
    RealtimeError,
    SessionClosedError,
    SocketClosedError,
)
from falq.live.realtime_inbox import Inbox
from falq.live.realtime_messages import make_codec
from falq.live.realtime_options import RealtimeKeywords, RealtimeOptions
from falq.live.sockets import Socket
from falq.live.sockets_opening import SocketOpener
from falq.model import EndpointId


@frozen(kw_only=True)
class RealtimeStatistics:
    """Counts of a connection, at one moment.

    Attributes:
        sent: Messages handed to a socket.
        received: Results that came.
        unread: Of these, results that wait for the reader.
        sockets: Sockets opened so far.
        tokens: Tokens fetched so far.
        is_open: Whether there is a socket now.
    """

    sent: int
    received: int
    unread: int
    sockets: int
    tokens: int
    is_open: bool


class RealtimeConnection:
    """A conversation with a realtime app.

    Made by `Session.realtime`; opened by `async with`. Iterating gives the
    results until the server closes in good order.

    Args:
        engine: The session's.
        endpoint: The app.
        keywords: See `RealtimeKeywords`.

    Raises:
        ArgumentError: An option is wrong.
        ConfigError: The package msgpack is needed and not installed.
        UnsupportedError: The gateway has no sockets.
    """

    def __init__(self, engine: Engine, endpoint: EndpointId, keywords: RealtimeKeywords) -> None:
        given: RealtimeKeywords = {"path": "/realtime"}
        given.update(keywords)
        options = RealtimeOptions(**given)
        self._engine = engine
        self._endpoint = endpoint
        self._options = options
        self._codec = make_codec(
            options.encoding, encode=options.encode_message, decode=options.decode_message
        )
        self._opener = SocketOpener(engine, endpoint, options)
        self._inbox = Inbox(options.max_unread)
        self._sending = asyncio.Lock()
        self._clock = asyncio.get_running_loop().time
        self._next_send = float("-inf")
        self._socket: Socket | None = None
        self._sockets: asyncio.Queue[Socket] = asyncio.Queue()
        self._reader: asyncio.Task[None] | None = None
        self._is_closed = False
        self._unanswered = 0
        self._was_refused = False
        self._counts = RealtimeStatistics(
            sent=0, received=0, unread=0, sockets=0, tokens=0, is_open=False
        )

    async def __aenter__(self) -> Self:
        """Open the first socket.

        If this is cancelled, no connection is left.

        Raises:
            AuthenticationError: Key or token were refused.
            ApiError: The server says no.
            TransportError: There was no answer.
            SessionClosedError: The session is closed.
        """
        if self._reader is not None:
            raise SocketClosedError(
                "a realtime connection is opened once; make a new one",
                request_sent=False,
                endpoint=str(self._endpoint),
            )
        socket = await self._open()
        try:
            self._reader = self._engine.spawn(self._read_all())
            # A task that is cancelled before its first step would close nothing.
            await asyncio.sleep(0)
        except BaseException:
            await self.aclose()
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

    async def send(self, arguments: Mapping[str, Any]) -> None:
        """Send one message, once.

        Opens a socket first if the server closed the last one as idle. Messages
        leave in the order of the calls; a call waits while the server takes none.

        Args:
            arguments: The app's input; bytes are allowed with msgpack.

        A cancelled call has sent all of it or nothing.

        Raises:
            ArgumentError: It cannot be encoded, or is too large; nothing was sent.
            SocketClosedError: The connection has ended; `request_sent` says whether
                this message may have left.
            FalqError: No socket could be opened; nothing was sent.
        """
        frame = self._codec.write(arguments)
        async with self._sending:
            await self._keep_pace()
            socket = self._socket
            if socket is None:
                socket = await self._reopen()
            # Before it leaves: its answer may come while the rest of it is on the way.
            self._unanswered += 1
            self._next_send = self._clock() + self._options.throttle_s
            await socket.send(frame)
            self._counts = evolve(self._counts, sent=self._counts.sent + 1)

    async def recv(self) -> dict[str, Any] | None:
        """Return the next result; None once the connection was closed in good order.

        After the server has closed an idle socket it waits on: for the results of
        what `send` sends next. A cancelled call loses nothing.

        Raises:
            RealtimeError: The app or the server says no. Unless the connection has
                ended, it may be used on.
            WireError: A result cannot be decoded, or is too large.
            AuthenticationError: A new token was refused as well.
            SocketClosedError: The connection broke, or was closed with an error.
            SessionClosedError: The session was closed.
        """
        if self._reader is None:
            raise ArgumentError("the connection is not open; use 'async with'", argument="live")
        return await self._inbox.get()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        message = await self.recv()
        if message is None:
            raise StopAsyncIteration
        return message

    async def aclose(self) -> None:
        """Close it, within a second; closing twice is harmless. Results not read are kept."""
        self._is_closed = True
        self._inbox.end(None)
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait({self._reader})

    def statistics(self) -> RealtimeStatistics:
        """Return the counts of this moment."""
        tokens = self._opener.tokens
        return evolve(
            self._counts,
            unread=len(self._inbox),
            tokens=0 if tokens is None else tokens.fetched,
            is_open=self._socket is not None and self._socket.is_open,
        )

    def __repr__(self) -> str:
        now = self.statistics()
        state = "open" if now.is_open else "closed" if self._inbox.has_ended else "idle"
        return (
            f"<falq.RealtimeConnection {self._endpoint} {state} sent={now.sent} "
            f"received={now.received} unread={now.unread}>"
        )

    # Sending.

    async def _keep_pace(self) -> None:
        wait_s = self._next_send - self._clock()
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    async def _reopen(self) -> Socket:
        self._check_open()
        return await self._open()

    async def _open(self) -> Socket:
        socket = await self._opener.open()
        if self._inbox.has_ended:
            await socket.aclose()
            self._check_open()
        self._socket = socket
        self._unanswered = 0
        self._counts = evolve(self._counts, sockets=self._counts.sockets + 1)
        self._sockets.put_nowait(socket)
        return socket

    def _check_open(self) -> None:
        self._engine.check_use()
        if self._reader is None or self._inbox.has_ended:
            self._inbox.check()
            raise SocketClosedError(
                "the realtime connection is closed; nothing was sent, open a new one",
                request_sent=False,
                endpoint=str(self._endpoint),
            )

    # Reading.

    async def _read_all(self) -> None:
        """Read one socket after another until the conversation ends."""
        try:
            while not self._inbox.has_ended:
                socket = await self._sockets.get()
                try:
                    # The end is noted before the socket is closed: until then a
                    # message would open another.
                    await self._read(socket)
                except FalqError as error:
                    self._inbox.end(error)
                finally:
                    if self._socket is socket:
                        self._socket = None
                    await socket.aclose()
        finally:
            self._inbox.end(SessionClosedError("the session was closed; open a new one"))
            while not self._sockets.empty():
                await self._sockets.get_nowait().aclose()

    async def _read(self, socket: Socket) -> None:
        """Read a socket until it is put away, or the conversation ends in good order."""
        while True:
            frame = await socket.receive()
            if frame is None:
                self._inbox.end(None)
                return
            try:
                meaning = self._codec.read(frame)
            except FalqError as error:
                self._unanswered = 0
                await self._inbox.put(error, len(frame))
                continue
            if isinstance(meaning, Note):
                continue
            if isinstance(meaning, Result):
                self._unanswered = 0
                self._was_refused = False
                self._counts = evolve(self._counts, received=self._counts.received + 1)
                await self._inbox.put(meaning.message, len(frame))
            elif meaning.is_idle or meaning.is_unauthorized:
                await self._put_away(socket, meaning)
                return
            else:
                self._unanswered = 0
                await self._inbox.put(self._error(meaning), len(frame))

    async def _put_away(self, socket: Socket, refusal: Refusal) -> None:
        """Give up a socket that the server wants no more; the next message opens another."""
        # Before anything is awaited: no message may go to it from now on.
        if self._socket is socket:
            self._socket = None
        if refusal.is_unauthorized:
            self._drop_token(refusal)
        if self._unanswered:
            error = self._error(
                refusal,
                advice="what was sent before has no answer and was not sent again; look before "
                "you send it again",
                is_lost=True,
            )
            await self._inbox.put(error, 0)

    def _drop_token(self, refusal: Refusal) -> None:
        tokens = self._opener.tokens
        if tokens is None or self._was_refused:
            raise AuthenticationError(
                f"the realtime app refuses {'the key' if tokens is None else 'a new token'} "
                f"({refusal.error}); check that the key may use {self._endpoint}",
                status_code=401,
                error_type=refusal.error,
                detail=refusal.reason or refusal.error,
                endpoint=str(self._endpoint),
            )
        tokens.drop()
        self._was_refused = True

    def _error(
        self,
        refusal: Refusal,
        *,
        advice: str = "see error and reason; the connection may be used on",
        is_lost: bool = False,
    ) -> RealtimeError:
        said = f"{refusal.error}: {refusal.reason}" if refusal.reason else refusal.error
        return RealtimeError(
            f"the realtime app says {said}; {advice}",
            error=refusal.error,
            reason=refusal.reason,
            endpoint=str(self._endpoint),
            retryable=is_lost,
            possibly_billed=is_lost,
        )
