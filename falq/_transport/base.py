"""The boundary between falq and whatever carries its calls.

Owns the four verbs and their contract, and which address of its gateway a call
goes below. `aio` fills the verbs with aiohttp; `falq.testing` fills them with an
emulator in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from falq._core.messages import Call, Origin, Reply
from falq.errors import UnsupportedError
from falq.gateways import PLATFORM, REALTIME, RUN, UPLOAD, Fal, Gateway

# What a gateway must be able to do, one of them, for a call to go there. Tokens of
# realtime sockets come from `REST` as those of uploads do.
_ABILITIES_OF = {
    Origin.PLATFORM: (PLATFORM,),
    Origin.RUN: (RUN,),
    Origin.REST: (UPLOAD, REALTIME),
    Origin.CDN: (UPLOAD,),
}


def root_of(gateway: Gateway, origin: Origin) -> str:
    """Return the address that a call to `origin` goes below.

    Raises:
        UnsupportedError: The gateway has no such address. Nothing was sent.
    """
    if origin is Origin.QUEUE:
        return gateway.queue_root
    abilities = _ABILITIES_OF[origin]
    if gateway.abilities.isdisjoint(abilities):
        gateway.require(abilities[0])
    if isinstance(gateway, Fal):
        return {
            Origin.PLATFORM: gateway.api_url,
            Origin.RUN: gateway.run_url,
            Origin.REST: gateway.rest_url,
            Origin.CDN: gateway.cdn_url,
        }[origin]
    raise UnsupportedError(
        f"the {gateway.name} gateway names no address for {abilities[0]}; use falq.Fal",
        setting="gateway",
    )


class ReplyStream(Protocol):
    """A reply whose body is read as it comes. Whoever has it closes it."""

    @property
    def status_code(self) -> int:
        """HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """By case-insensitive name."""
        ...

    async def read(self) -> bytes:
        """Return the next bytes, unpacked; empty at a good end.

        A cancelled call loses none.

        Raises:
            TransportError: The connection broke, or was silent for too long.
        """
        ...

    async def read_rest(self) -> Reply:
        """Return what is left as a whole reply, bounded as one that `send` gives."""
        ...

    def close(self) -> None:
        """Drop the connection; safe to call twice."""
        ...


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

    async def listen(self, call: Call, *, idle_s: float) -> ReplyStream:
        """Carry one call and return its reply as soon as its head is there.

        Never follows a redirect and never sends a call twice.

        Args:
            call: What to send.
            idle_s: Seconds that may pass without a byte, before the head and after.

        Raises:
            UnsupportedError: The gateway does not reach the call's origin.
            TransportError: No head of a reply came; see `send`.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection; safe to call twice."""
        ...
