"""The receiver as users make it: one object for both kinds of web server.

Owns the defaults and nothing else: `receiver` does the work, `asgi` and `aio`
bring the calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from aiohttp import web

from falq._asgi import Message, Receive, Send
from falq.webhooks import aio, asgi
from falq.webhooks.inbox import Inbox
from falq.webhooks.keyhost import KeyHost, keys_url_of
from falq.webhooks.keys import KeyCache
from falq.webhooks.receiver import (
    HELD_BYTES,
    LIMIT_BYTES,
    READ_S,
    OnDelivery,
    ReceiverStatistics,
    Reception,
)


class WebhookReceiver:
    """Receives fal's webhooks for a session: an ASGI application and an aiohttp handler.

    Every delivery is verified on its raw bytes, remembered, and answered with 2xx
    only after that. With a session the job that waits for it is woken, or gets
    its result. The first delivery of a request counts; others are answered with
    200 and change nothing. What cannot be kept is answered with 503, so that fal
    tries again.

    Make it on the event loop of the session. Mount it at any path; requests to
    every path below are its own.

    Args:
        inbox: The session, which must be open when deliveries come; or a
            `LooseInbox`. None remembers in memory and only calls `on_delivery`.
        keys: Where the public keys come from; None asks the key host of the
            session's gateway.
        on_delivery: Called with each request's first delivery after it was kept;
            may be async, and should be quick: fal waits 15 seconds. If it raises,
            500 is answered and the next attempt calls it again. A crash between
            keeping and calling loses the call, not the delivery.
        user_ids: Accounts whose deliveries are taken. None named takes every
            account's: what is signed and about no request of yours is kept and
            wakes nobody.
        limit_bytes: Largest body that is taken, in bytes.
        held_bytes: Largest sum of the bodies that are held at once, in bytes; 503 is
            answered to what comes beyond it. At least `limit_bytes`.
        read_s: Seconds that a body may take to arrive.
        wall_clock: Returns Unix seconds, for tests.

    Raises:
        ConfigError: The package cryptography is not installed.

    Example:
        receiver = WebhookReceiver(session)
        app.router.add_post("/fal/{intent}", receiver.handle)  # aiohttp
        app.mount("/fal", receiver)  # FastAPI, Starlette
    """

    def __init__(
        self,
        inbox: Inbox | None = None,
        *,
        keys: KeyCache | None = None,
        on_delivery: OnDelivery | None = None,
        user_ids: Collection[str] = (),
        limit_bytes: int = LIMIT_BYTES,
        held_bytes: int = HELD_BYTES,
        read_s: float = READ_S,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._reception = Reception(
            inbox,
            keys=keys or KeyCache(KeyHost(keys_url_of(getattr(inbox, "gateway", None))).fetch),
            on_delivery=on_delivery,
            user_ids=user_ids,
            limit_bytes=limit_bytes,
            held_bytes=max(held_bytes, limit_bytes),
            read_s=read_s,
            wall_clock=wall_clock,
        )

    def __repr__(self) -> str:
        now = self.statistics()
        return (
            f"<falq.webhooks.WebhookReceiver accepted={now.accepted} repeated={now.repeated} "
            f"refused={now.refused}>"
        )

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one ASGI call.

        A delivery that is being kept is kept although the call is cancelled.
        """
        await asgi.serve(self._reception, scope, receive, send)

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request of aiohttp's web server.

        A delivery that is being kept is kept although the call is cancelled.
        """
        return await aio.handle(self._reception, request)

    async def aclose(self) -> None:
        """Wait for deliveries that are being kept; close it before its session.

        An `on_delivery` that takes more than 15 seconds from here is cancelled, and
        503 answered. Safe to call twice. A cancelled wait leaves them to go on.
        """
        await self._reception.aclose()

    def statistics(self) -> ReceiverStatistics:
        """Return the counts of this moment."""
        return self._reception.statistics()
