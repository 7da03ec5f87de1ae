"""Ask the Platform API what endpoints cost.

Owns when it may be asked at all, and the one connection that this takes. It
keeps no prices and no budget. The runner and `falq batch --dry-run` call it.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable

from falq._core.messages import CallLimits, CallTimeouts
from falq._transport.aio import AioTransport
from falq.gateways import PLATFORM, Gateway
from falq.model import EndpointId
from falq.platform import Price, load_prices


def can_ask_prices(gateway: Gateway) -> bool:
    """Return whether the Platform API may be asked with the gateway's key."""
    return PLATFORM in gateway.abilities


async def load_known_prices(
    gateway: Gateway, endpoints: Iterable[str], *, ssl_context: ssl.SSLContext | None = None
) -> dict[str, Price]:
    """Return the prices that are known, by full endpoint id; none if it may not be asked.

    Args:
        gateway: With its key.
        endpoints: Full ids.
        ssl_context: Whom to trust.

    Raises:
        ApiError: The API says no.
        WireError: An answer is no list of prices.
        TransportError: There was no whole answer.
    """
    wanted = [EndpointId.parse(endpoint) for endpoint in endpoints]
    if not wanted or not can_ask_prices(gateway):
        return {}
    transport = AioTransport(
        gateway, timeouts=CallTimeouts(), limits=CallLimits(), ssl_context=ssl_context
    )
    await transport.open()
    try:
        return await load_prices(transport.send, wanted)
    finally:
        await transport.aclose()
