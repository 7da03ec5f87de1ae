"""The boundary between falq and whatever carries its calls.

Owns the three verbs and their contract. `aio` fills them with aiohttp;
`falq.testing` fills them with an emulator in memory.
"""

from __future__ import annotations

from typing import Protocol

from falq._core.messages import Call, Reply


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
            TransportError: No head of a reply came. `request_sent` is False only
                if it is certain that no byte of the request left.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection; safe to call twice."""
        ...
