"""Carry calls to the transport, count them, and hold back retries that are too many.

Owns what every attempt of every verb has in common: its lane, the counts, the budget
that retries share, and the end of a session, after which nothing is sent. It decides
on no attempt; `queue_client` and `submit_client` do, and are its only callers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from falq._core.messages import Call, Reply, Verb
from falq._core.refusal import Advise, read_error, read_retry_after
from falq._core.retry import RetryBudget
from falq._engine.lanes import Lanes
from falq._engine.listening import HeldStream
from falq._transport.base import Transport
from falq.errors import FalqError, RateLimitError, SessionClosedError
from falq.model import Submission, Ticket

BUDGET_PAUSE_S = 5.0
"""How long a retry waits before it asks an empty budget again, in seconds."""


class Carrier:
    """Carries calls.

    Args:
        transport: What takes them to the server.
        lanes: Where they wait.
        budget: What retries may add to first attempts.
        clock: Loop time in seconds.
        wall_clock: Aware UTC time.
        draw: Returns a uniform draw from [0, 1).
        advise: What the gateway knows of answers that say no.

    Attributes:
        lanes: Where they wait.
        clock: Loop time in seconds.
        wall_clock: Aware UTC time.
        draw: Returns a uniform draw from [0, 1).
        calls: Calls that went, by verb.
        retries: Of these, those that were not the first of their kind.
    """

    def __init__(
        self,
        transport: Transport,
        lanes: Lanes,
        *,
        budget: RetryBudget,
        clock: Callable[[], float],
        wall_clock: Callable[[], datetime],
        draw: Callable[[], float],
        advise: Advise,
    ) -> None:
        self._transport = transport
        self._budget = budget
        self._advise = advise
        self._end = asyncio.Event()
        self.lanes = lanes
        self.clock = clock
        self.wall_clock = wall_clock
        self.draw = draw
        self.calls: Counter[Verb] = Counter()
        self.retries: Counter[Verb] = Counter()

    def close(self) -> None:
        """Send nothing any more, and end every wait for a retry."""
        self._end.set()

    def _check_open(self) -> None:
        if self._end.is_set():
            raise SessionClosedError("the session is closed; open a new one")

    async def send(self, call: Call, *, first: bool) -> Reply:
        """Send one call in its lane; see `carry`."""
        await self.lanes.enter(call.verb)
        try:
            return await self.carry(call, first=first)
        finally:
            self.lanes.leave(call.verb)

    async def carry(self, call: Call, *, first: bool) -> Reply:
        """Send one call in a lane that was entered, and count how it went.

        Args:
            call: What to send.
            first: Whether it is no retry.

        Raises:
            SessionClosedError: The session is closed. Nothing was sent.
            TransportError: There is no reply.
            UnsupportedError: The gateway does not reach it. Nothing was sent.
        """
        self._check_open()
        verb = call.verb
        self.calls[verb] += 1
        if first and verb is not Verb.STATUS:
            # Checks are never retried, so they earn no retries for other calls.
            self._budget.record_first_attempt()
        try:
            reply = await self._transport.send(call)
        except TimeoutError:
            self.lanes.record_trouble(verb)
            raise
        if reply.status_code in {429, 503}:
            self.lanes.record_trouble(verb)
        else:
            self.lanes.record_success(verb)
            if not first:
                self._budget.record_success()
        return reply

    async def wait_to_retry(self, verb: Verb, wait_s: float) -> None:
        """Wait so many seconds, and until the budget has a retry."""
        await self._rest(wait_s)
        may_go = self._budget.take(self.clock())
        while not may_go:
            await self._rest(BUDGET_PAUSE_S * (0.5 + 0.5 * self.draw()))
            may_go = self._budget.take(self.clock())
        self.retries[verb] += 1

    async def _rest(self, wait_s: float) -> None:
        """Wait, unless the session ends before: then whoever waits is told at once."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._end.wait()
        self._check_open()

    async def listen(self, call: Call, *, idle_s: float) -> HeldStream:
        """Carry a call once, whose reply is read as it comes.

        It holds its place in its lane until it is closed.

        Args:
            call: What to send.
            idle_s: Seconds that may pass without a byte.

        Raises:
            SessionClosedError: The session is closed. Nothing was sent.
            TransportError: There is no reply.
            UnsupportedError: The gateway does not reach it. Nothing was sent.
        """
        verb = call.verb
        await self.lanes.enter(verb)
        try:
            self._check_open()
            self.calls[verb] += 1
            stream = await self._transport.listen(call, idle_s=idle_s)
        except BaseException as error:
            if isinstance(error, TimeoutError):
                self.lanes.record_trouble(verb)
            self.lanes.leave(verb)
            raise
        if stream.status_code in {429, 503}:
            self.lanes.record_trouble(verb)
        else:
            self.lanes.record_success(verb)
        return HeldStream(stream, lambda: self.lanes.leave(verb))

    def read_error(self, reply: Reply, *, endpoint: Submission | Ticket, doing: str) -> FalqError:
        """Return the error that a reply which says no stands for.

        Args:
            reply: The reply.
            endpoint: What was sent, or whose request it is about.
            doing: What was tried, as in "could not submit".
        """
        error = read_error(
            reply,
            endpoint=endpoint.endpoint,
            request_id=endpoint.request_id if isinstance(endpoint, Ticket) else None,
            doing=doing,
            advise=self._advise,
        )
        if isinstance(error, RateLimitError):
            error.retry_after_s = read_retry_after(reply, wall_now_s=self.wall_clock().timestamp())
        return error
