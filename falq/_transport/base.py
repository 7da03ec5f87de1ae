"""The boundary between falq and whatever carries its calls.

Owns the three verbs and their contract, and which address of its gateway a call
goes below. `aio` fills the verbs with aiohttp; `falq.testing` fills them with an
emulator in memory.
"""

from __future__ import annotations

from typing import Protocol

from falq._core.messages import Call, Origin, Reply
from falq.errors import UnsupportedError
from falq.gateways import PLATFORM, Fal, Gateway


def root_of(gateway: Gateway, origin: Origin) -> str:
    """Return the address that a call to `origin` goes below.

    Raises:
        UnsupportedError: The gateway has no such address. Nothing was sent.
    """
    if origin is Origin.QUEUE:
        return gateway.queue_root
    gateway.require(PLATFORM)
    if isinstance(gateway, Fal):
        return gateway.api_url
    raise UnsupportedError(
        f"the {gateway.name} gateway names no address of the Platform API; use falq.Fal",
        setting="gateway",
    )


class Transport(Protocol):
    """Carries calls to one gateway."""

    async def open(self) -> None:
        """Get ready; called once, on the loop that will send."""
        ...

    async def send(self, call: Call) -> Reply:
        """Carry one call and return the reply, at least its head.

        Never follows a redirect and never sends a call twice, except that a GET
        or PUT may be repeated on a kept-alive connection that broke.

        Raises:
            UnsupportedError: The gateway does not reach the call's origin.
            TransportError: No head of a reply came. `request_sent` is False only
                if it is certain that no byte of the request left.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection; safe to call twice."""
        ...
