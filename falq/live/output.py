"""The partial outputs of one run, as they come.

Owns the connection of one output stream, from its opening to its end. It never
repeats anything: a stream that breaks is an error, because the run was billed.

Rules:
    1. Nothing is sent before the first part is asked for, or `async with` is entered.
    2. The connection is dropped as soon as nobody wants more: at the end of
       `async with`, by `aclose`, or when a stream that was left by `break` is let
       go of. fal may then stop the run.
    3. A reply that is no event stream brings its bytes as they come; a JSON value is
       one part. An error in either form is raised.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from falq._core.direct import (
    is_event_stream,
    read_output,
    read_part,
    refusal_of,
    request_id_of,
)
from falq._core.messages import Call
from falq._core.sse import EventReader
from falq._engine.listening import HeldStream
from falq.errors import ArgumentError, FalqError, TransportError
from falq.live.direct import DirectRuns, lost_run
from falq.model import EndpointId


class OutputStream:
    """Partial outputs of a run; see `Session.stream`. Read by one task."""

    def __init__(
        self,
        runs: DirectRuns,
        endpoint: EndpointId,
        build: Callable[[], Awaitable[Call]],
        *,
        idle_s: float,
        limit_bytes: int,
    ) -> None:
        self._runs = runs
        self._endpoint = endpoint
        self._build = build
        self._idle_s = idle_s
        self._events = EventReader(limit_bytes=limit_bytes)
        self._reply: HeldStream | None = None
        self._parts: deque[Any] = deque()
        self._failure: FalqError | None = None
        self._last: Any = None
        self._is_read = False
        self._is_over = False
        self._request_id: str | None = None

    @property
    def request_id(self) -> str | None:
        """The server's id of the run, once it is open, if it gave one."""
        return self._request_id

    def __repr__(self) -> str:
        where = "over" if self._is_over else "open" if self._reply else "not open"
        return f"<falq.OutputStream {self._endpoint} {where}>"

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def __anext__(self) -> Any:
        """Return the next part. A cancelled call loses none once the stream is open.

        Raises:
            JobFailedError: The run ended with an error; `JobInputError` if the input
                was refused.
            ConcurrencyLimitError: The account runs as much as it may.
            ApiError: The server said no before anything ran.
            TransportError: The connection broke, or was silent for too long.
            WireError: A part cannot be read.
        """
        if self._is_read:
            raise ArgumentError("an output stream is read by one task", argument="stream")
        self._is_read = True
        try:
            await self._open()
            while not self._parts:
                if self._failure is not None:
                    failure, self._failure = self._failure, None
                    raise failure
                if self._is_over:
                    raise StopAsyncIteration
                await self._read()
        finally:
            self._is_read = False
        self._last = self._parts.popleft()
        return self._last

    async def done(self) -> Any:
        """Read the stream to its end and return the last part, which is the whole output.

        Raises:
            FalqError: What reading it raises.
        """
        async for _ in self:
            pass
        return self._last

    async def aclose(self) -> None:
        """Drop the connection; safe to call twice. Parts that came already are dropped."""
        self._parts.clear()
        self._failure = None
        self._end()

    def __del__(self) -> None:
        # Left by `break`: nobody can ask for more. Closing does no I/O.
        if getattr(self, "_reply", None) is not None:
            with contextlib.suppress(RuntimeError):
                # The loop may be closed by then.
                self._end()

    def _end(self) -> None:
        self._is_over = True
        reply, self._reply = self._reply, None
        if reply is not None:
            reply.close()

    async def _open(self) -> None:
        if self._reply is not None or self._is_over:
            return
        call = await self._build()
        reply = await self._runs.open(call, self._endpoint, idle_s=self._idle_s)
        self._reply = reply
        self._request_id = request_id_of(reply.headers)
        is_good = 200 <= reply.status_code < 300
        content_type = reply.headers.get("content-type", "").lower()
        if is_good and (is_event_stream(reply.headers) or "json" not in content_type):
            return
        try:
            whole = await reply.read_rest()
            if not is_good:
                raise refusal_of(whole, self._endpoint)
            self._parts.append(read_output(whole, self._endpoint))
        finally:
            self._end()

    async def _read(self) -> None:
        reply = self._reply
        if reply is None:
            self._is_over = True
            return
        try:
            piece = await reply.read()
            if is_event_stream(reply.headers):
                self._take_events(piece)
            elif piece:
                self._parts.append(piece)
        except TransportError as error:
            self._failure = lost_run(error, self._endpoint, self._request_id)
        except FalqError as error:
            error.endpoint, error.possibly_billed = str(self._endpoint), True
            self._failure = error
        else:
            if piece:
                return
        self._end()

    def _take_events(self, piece: bytes) -> None:
        events = self._events.feed(piece)
        if not piece:
            last = self._events.finish()
            events = [] if last is None else [last]
        for event in events:
            # What came before an error is told before it.
            self._parts.append(read_part(event, self._endpoint, self._request_id))
