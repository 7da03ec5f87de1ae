"""Ask the Platform API before a batch has a session.

Owns the one connection that this takes. Prices and schemas are asked for through
it: a dry run never opens a session, and a batch knows both before it does.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator

from falq._core.messages import CallLimits, CallTimeouts
from falq._transport.aio import AioTransport
from falq.config import resolve_proxy
from falq.gateways import Gateway
from falq.platform import Send
from falq.proxies import Proxy
from falq.secrets import Secret


@contextlib.asynccontextmanager
async def open_asking(
    gateway: Gateway,
    *,
    ssl_context: ssl.SSLContext | None = None,
    proxy: Proxy | Secret | None = None,
) -> AsyncIterator[Send]:
    """Yield what carries calls, while it is open; entering it sends nothing.

    Args:
        gateway: With its key.
        ssl_context: Whom to trust.
        proxy: Through whom to go, as for `Session`.
    """
    transport = AioTransport(
        gateway,
        timeouts=CallTimeouts(),
        limits=CallLimits(),
        ssl_context=ssl_context,
        proxy=resolve_proxy(proxy),
    )
    await transport.open()
    try:
        yield transport.send
    finally:
        await transport.aclose()
