"""The proxy as users make it: one object for both kinds of web server.

Owns the defaults and nothing else: `relay` does the work, `asgi` and `aio` bring
the calls.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable

from aiohttp import web

from falq._asgi import Message, Receive, Send
from falq._core.messages import CallLimits, CallTimeouts
from falq._transport.aio import AioTransport
from falq._transport.base import Transport
from falq.config import build_config, resolve_proxy
from falq.errors import ConfigError
from falq.gateways import Gateway
from falq.web import aio, asgi
from falq.web.allowance import Allowance, ProxyLimits
from falq.web.proxy import Rules
from falq.web.relay import LIMIT_BYTES, Authenticate, ProxyStatistics, Relay


class FalProxy:
    """Lets `@fal-ai/client` in a browser use fal: an ASGI application and an aiohttp handler.

    The browser names what it wants in `x-fal-target-url`; the proxy asks the app who
    it is, looks whether that may pass, puts the key on and passes the answer back,
    streams as they come. The browser never has the key.

    Nothing passes by default: the caller must be known, the endpoint allowed, the
    address one of the gateway's own. Methods, queries and headers that have no use
    here do not pass, redirects are not followed, and a call is sent once. A submit
    whose answer is lost is answered with 500, on which `@fal-ai/client` does not
    send it again.

    Make it on the event loop of the server. It has connections of its own and no
    journal: what browsers submit, no `Session` knows of.

    Args:
        gateway: As of a `Session`; None chooses by the environment.
        authenticate: Returns the id of the user who asks, or None for somebody
            unknown, who gets 401; may be async. What it raises is the server's to
            answer, and nothing is sent.
        endpoints: Endpoint ids that may be used, such as `fal-ai/flux/schnell`;
            `fal-ai/flux/*` stands for all below it.
        limits: What each user may do.
        allow_uploads: Whether files may be uploaded, at the account's cost. The bytes go
            from the browser to fal's storage, so that nothing here limits their number.
        limit_bytes: Largest body that is taken, in bytes.
        timeouts: How long a call may take.
        ssl_context: Whom to trust, instead of the system's authorities.
        clock: Returns seconds that never go back, for tests.
        transport: What carries calls, for tests; see `falq.testing`.

    Raises:
        ConfigError: There is no key, no endpoint, or no authentication.
        UnsupportedError: The gateway cannot do what is allowed here.

    Example:
        proxy = FalProxy(authenticate=user_of, endpoints=["fal-ai/flux/schnell"])
        app.router.add_route("*", "/api/fal/proxy", proxy.handle)  # aiohttp
        app.mount("/api/fal/proxy", proxy)  # FastAPI, Starlette
    """

    def __init__(
        self,
        gateway: Gateway | None = None,
        *,
        authenticate: Authenticate,
        endpoints: Iterable[str],
        limits: ProxyLimits | None = None,
        allow_uploads: bool = False,
        limit_bytes: int = LIMIT_BYTES,
        timeouts: CallTimeouts | None = None,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
        transport: Transport | None = None,
    ) -> None:
        if not callable(authenticate):
            raise ConfigError(
                "authenticate is a function that returns the user's id, or None for somebody "
                "unknown; without one everybody would spend your money",
                setting="authenticate",
            )
        chosen = build_config(gateway=gateway).gateway
        self._relay = Relay(
            Rules(chosen, endpoints, allow_uploads=allow_uploads),
            Allowance(limits or ProxyLimits()),
            authenticate=authenticate,
            transport=transport
            or AioTransport(
                chosen,
                timeouts=timeouts or CallTimeouts(),
                limits=CallLimits(),
                ssl_context=ssl_context,
                proxy=resolve_proxy(None),
            ),
            limit_bytes=limit_bytes,
            clock=clock,
        )

    def __repr__(self) -> str:
        now = self.statistics()
        return (
            f"<falq.web.FalProxy passed={now.passed} refused={now.refused} "
            f"in_flight={now.in_flight}>"
        )

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one ASGI call.

        If it is cancelled, a submit that is under way may make a job all the same.
        """
        await asgi.serve(self._relay, scope, receive, send)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request of aiohttp's web server.

        If it is cancelled, a submit that is under way may make a job all the same.
        """
        return await aio.handle(self._relay, request)

    async def aclose(self) -> None:
        """Close every connection to fal; what is under way breaks. Safe to call twice."""
        await self._relay.aclose()

    def statistics(self) -> ProxyStatistics:
        """Return the counts of this moment."""
        return self._relay.statistics()
