"""The order in which a proxy answers: who asks, what for, how much, and then fal.

Owns the counts and the connections to the gateway. `proxy` says what may pass and
`allowance` how much of it; `asgi` and `aio` bring the calls and write the answers.

A call is sent once. Nothing is sent for somebody whom the app does not know.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from attrs import field, frozen

from falq._transport.base import ReplyStream, Transport
from falq.errors import FalqError
from falq.web.allowance import Allowance
from falq.web.proxy import (
    METHODS,
    TARGET_HEADER,
    Answer,
    Route,
    Rules,
    answer_of,
    head_of,
    refuse,
    unanswered,
)

LIMIT_BYTES = 10 * 1024 * 1024
READ_S = 30.0
SILENCE_S = 300.0


@frozen
class ProxyRequest:
    """A request of a browser, as authentication sees it.

    Attributes:
        method: HTTP method.
        headers: By lower-case name; of several with one name the last.
        raw: aiohttp's request, or the scope of the ASGI call.
    """

    method: str
    headers: Mapping[str, str] = field(repr=False)
    raw: Any = field(default=None, repr=False)


@frozen(kw_only=True)
class ProxyStatistics:
    """Counts of a proxy.

    Attributes:
        passed: Calls that were sent to fal.
        refused: Calls that the proxy answered by itself, none of them sent.
        in_flight: Calls that hold a place now.
        users: Users that are remembered.
    """

    passed: int
    refused: int
    in_flight: int
    users: int


Authenticate: TypeAlias = Callable[[ProxyRequest], str | Awaitable[str | None] | None]
ReadBody: TypeAlias = Callable[[int], Awaitable[bytes | None]]


@frozen
class Told:
    """An answer, and the stream that its body is, if it is one."""

    answer: Answer
    stream: ReplyStream | None = None


class Relay:
    """Answers the calls of browsers.

    Args:
        rules: What may pass.
        allowance: How much of it.
        authenticate: Returns the user's id, or None for somebody unknown.
        transport: What carries calls; opened at the first one.
        limit_bytes: Largest body.
        clock: Returns seconds that never go back.
    """

    def __init__(
        self,
        rules: Rules,
        allowance: Allowance,
        *,
        authenticate: Authenticate,
        transport: Transport,
        limit_bytes: int,
        clock: Callable[[], float],
    ) -> None:
        self._rules = rules
        self._allowance = allowance
        self._authenticate = authenticate
        self._transport = transport
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._opening = asyncio.Lock()
        self._is_open = self._is_closed = False
        self._passed = self._refused = 0

    @contextlib.asynccontextmanager
    async def serve(
        self, request: ProxyRequest, targets: list[str], read: ReadBody
    ) -> AsyncIterator[Told]:
        """Answer one call; its place is held until the answer was written.

        Args:
            request: Who asks, and how.
            targets: The values of `x-fal-target-url`.
            read: Returns the body, or None if it is larger than it is told.
        """
        admitted = await self._admit(request, targets)
        if isinstance(admitted, Answer):
            yield self._refuse(admitted)
            return
        user, route = admitted
        wait_s = self._allowance.take(user, is_job=route.is_costly, now=self._clock())
        if wait_s is not None:
            yield self._refuse(refuse(429, "too many calls; wait", retry_after=str(wait_s)))
            return
        try:
            told = await self._pass_on(route, request, read)
            try:
                yield told
            finally:
                if told.stream is not None:
                    told.stream.close()
        finally:
            self._allowance.give_back(user)

    async def aclose(self) -> None:
        """Close every connection; safe to call twice."""
        self._is_closed = True
        await self._transport.aclose()

    def statistics(self) -> ProxyStatistics:
        """Return the counts of this moment."""
        return ProxyStatistics(
            passed=self._passed,
            refused=self._refused,
            in_flight=self._allowance.in_flight,
            users=self._allowance.known,
        )

    async def _admit(self, request: ProxyRequest, targets: list[str]) -> tuple[str, Route] | Answer:
        if request.method not in METHODS:
            return refuse(405, "Method not allowed", allow=", ".join(METHODS))
        found = self._authenticate(request)
        user = await found if inspect.isawaitable(found) else found
        # Only a text names a user: a True of a careless check would be everybody.
        if not isinstance(user, str) or not user:
            return refuse(401, "Unauthorized")
        route = self._rules.read(request.method, targets[0]) if len(targets) == 1 else None
        return refuse(400, "Invalid request") if route is None else (user, route)

    def _refuse(self, answer: Answer) -> Told:
        self._refused += 1
        return Told(answer)

    async def _pass_on(self, route: Route, request: ProxyRequest, read: ReadBody) -> Told:
        body = None
        if route.method == "POST":
            try:
                async with asyncio.timeout(READ_S):
                    body = await read(self._limit_bytes)
            except TimeoutError:
                return self._refuse(refuse(408, "the body took too long"))
            if body is None:
                return self._refuse(refuse(413, "the body is too large"))
        if self._is_closed:
            return self._refuse(refuse(503, "the server ends; nothing was sent"))
        async with self._opening:
            if not self._is_open:
                await self._transport.open()
                self._is_open = True
        self._passed += 1
        try:
            return await self._forward(route, request, body)
        except FalqError as error:
            return Told(unanswered(route, error))

    async def _forward(self, route: Route, request: ProxyRequest, body: bytes | None) -> Told:
        call = route.call(request.headers, body)
        if not route.is_streamed:
            return Told(answer_of(route, await self._transport.send(call)))
        stream = await self._transport.listen(call, idle_s=SILENCE_S)
        if 200 <= stream.status_code < 300:
            return Told(head_of(stream.status_code, stream.headers), stream)
        try:
            return Told(answer_of(route, await stream.read_rest()))
        finally:
            stream.close()


def split_headers(pairs: list[tuple[str, str]]) -> tuple[dict[str, str], list[str]]:
    """Return headers by lower-case name, and every address that they name."""
    lower = [(name.lower(), value) for name, value in pairs]
    return dict(lower), [value for name, value in lower if name == TARGET_HEADER]
