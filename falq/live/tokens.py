"""Tokens that open sockets in place of the key.

Owns one token of one socket: asking for it, keeping it while it is good, asking
anew in time. It never puts it into an address and never opens a connection:
`send` carries the calls, with the key, to the gateway's own address for tokens
and nowhere else. `sockets_opening` asks it.

Rules:
    1. A token is given out for nine tenths of its life, counted from before it
       was asked for: a handshake takes time, and clocks differ.
    2. A token costs nothing, so the call is repeated after a broken connection,
       408, 429 and 5xx: `ATTEMPTS` times in all.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from falq._core.messages import Call, Reply
from falq._core.realtime import TokenForm, build_token, read_token
from falq._core.refusal import read_error, read_retry_after
from falq._core.retry import Failure, RetrySettings, decide_wait_s
from falq.errors import ApiError, FalqError, RateLimitError, ServerError, TransportError
from falq.gateways import Secret
from falq.model import EndpointId

ATTEMPTS = 3

USED_SHARE = 0.9
"""Share of its life for which a token is given out."""

_ABSENT = frozenset({404, 405})


class TokenKeeper:
    """Has a good token whenever one is needed.

    Args:
        send: Carries one call, as `Transport.send` does.
        endpoint: What the tokens are for.
        life_s: How long each shall be good, in seconds.
        retry: How calls are tried again.
        clock: Loop time in seconds.
        draw: Returns a uniform draw from [0, 1).
    """

    def __init__(
        self,
        send: Callable[[Call], Awaitable[Reply]],
        endpoint: EndpointId,
        *,
        life_s: int,
        retry: RetrySettings,
        clock: Callable[[], float],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._send = send
        self._endpoint = endpoint
        self._life_s = life_s
        self._retry = retry
        self._clock = clock
        self._draw = draw
        self._form = TokenForm.CLASSIC
        self._token: Secret | None = None
        self._good_until = float("-inf")
        self._asking = asyncio.Lock()
        self.fetched = 0

    async def get(self) -> Secret:
        """Return a token that is good for a while, asking for one if needed.

        A cancelled call leaves nothing behind.

        Raises:
            AuthenticationError: The key may not have one.
            ApiError: The server says no.
            WireError: The answer holds no token.
            TransportError: There was no answer.
        """
        async with self._asking:
            if self._token is None or self._clock() >= self._good_until:
                asked = self._clock()
                self._token = await self._ask()
                self._good_until = asked + USED_SHARE * self._life_s
            return self._token

    def drop(self) -> None:
        """Forget the token: the server refused it."""
        self._token = None

    async def _ask(self) -> Secret:
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._ask_once()
            except FalqError as error:
                wait_s = self._wait_s(error, attempt)
                if wait_s is None:
                    raise
            await asyncio.sleep(wait_s)

    async def _ask_once(self) -> Secret:
        reply = await self._send(self._call())
        if reply.status_code in _ABSENT and self._form is TokenForm.CLASSIC:
            self._form = TokenForm.REALTIME
            reply = await self._send(self._call())
        if not 200 <= reply.status_code < 300:
            error = read_error(reply, endpoint=self._endpoint, request_id=None, doing="get a token")
            if isinstance(error, RateLimitError):
                # Seconds only: a date would need a wall clock for a wait of moments.
                error.retry_after_s = read_retry_after(reply, wall_now_s=float("inf"))
            raise error
        if reply.fault is not None:
            raise reply.fault
        self.fetched += 1
        return Secret(read_token(reply))

    def _call(self) -> Call:
        return build_token(self._endpoint, life_s=self._life_s, form=self._form)

    def _wait_s(self, error: FalqError, attempt: int) -> float | None:
        is_passing = isinstance(error, TransportError | RateLimitError | ServerError) or (
            isinstance(error, ApiError) and error.status_code == 408
        )
        if attempt >= ATTEMPTS or not is_passing:
            return None
        is_throttled = isinstance(error, RateLimitError)
        return decide_wait_s(
            self._retry,
            Failure.THROTTLED if is_throttled else Failure.BROKEN,
            attempt=attempt,
            draw=self._draw(),
            retry_after_s=error.retry_after_s if isinstance(error, RateLimitError) else None,
        )
