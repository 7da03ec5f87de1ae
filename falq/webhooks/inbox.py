"""Where a receiver leaves verified deliveries, and who remembers them.

Owns the boundary that a session fills, and the inbox of a process that receives
webhooks without a session. It never checks a signature: `receiver` has done so.
"""

from __future__ import annotations

from typing import Protocol

from falq._core.delivery import RecentIds, WebhookDelivery
from falq._journal.base import Journal


class Inbox(Protocol):
    """Takes deliveries, each once. `falq.Session` is one."""

    async def take_delivery(self, delivery: WebhookDelivery) -> bool:
        """Keep a verified delivery, durably where there is a journal.

        Returns:
            Whether it is the first of its request.

        Raises:
            FalqError: It could not be kept; the sender must try again.
        """
        ...


class LooseInbox:
    """An inbox without a session, for a process that only receives.

    Args:
        journal: An open journal that remembers every delivery; None remembers the
            latest 100,000 requests in memory.
    """

    def __init__(self, journal: Journal | None = None) -> None:
        self._journal = journal
        self._recent = RecentIds()

    async def take_delivery(self, delivery: WebhookDelivery) -> bool:
        """Keep a delivery; see `Inbox`.

        Raises:
            JournalError: It could not be written.
        """
        if self._journal is None:
            return self._recent.note(delivery.request_id)
        return await self._journal.record_webhook(
            delivery.request_id, intent_id=delivery.intent_id, body=delivery.body
        )
