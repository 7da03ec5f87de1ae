"""Which job a webhook is about, and whether webhooks can be relied on.

Owns the address that fal is given with each submit, the memory of deliveries
whose job is not known yet, and the trust in their coming. It never checks a
signature: `falq.webhooks` has done so, and calls `take` through the session. The
driver asks it what a job was told.

Rules (promises C24, D9):
    1. A delivery is a hint that the result is there, which is then fetched. It is
       the result itself if the journal knows the request and the payload is whole.
    2. The first delivery of a request counts; of later ones only the hint does.
    3. One that comes before its submit is answered is kept until the answer comes.
    4. Polling goes on, seldom. Where webhooks stay out, it goes on as usual.
"""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from collections.abc import Callable

from falq._core.delivery import RecentIds, WebhookDelivery, address_for, read_delivery
from falq._engine.job import Job
from falq._journal.base import Journal
from falq._journal.states import RecordState
from falq.errors import JournalError, WebhookError

logger = logging.getLogger("falq")

DOUBT_AFTER = 3
"""Ends in a row that a check found and no webhook had told, after which none is waited for."""

_MOST_EARLY = 10_000
"""Deliveries kept for submits that are not answered; beyond them polling finds the jobs."""


class Deliveries:
    """Brings deliveries to jobs.

    Args:
        base_url: Below which fal shall call; None if it shall not.
        journal: Where deliveries are written down, if there is one.
        on_intent: Hears of an intent and the request that a delivery names for it,
            if no job is known to have that request.
    """

    def __init__(
        self,
        *,
        base_url: str | None,
        journal: Journal | None,
        on_intent: Callable[[str, str], None],
    ) -> None:
        self._base_url = base_url
        self._journal = journal
        self._on_intent = on_intent
        # Several where a request was attached to beside its own job.
        self._jobs: dict[str, tuple[Job, ...]] = {}
        self._early: OrderedDict[str, str | None] = OrderedDict()
        self._by_intent: dict[str, str] = {}
        self._recent = RecentIds()
        self._missed = 0
        self.taken = 0

    @property
    def is_in_use(self) -> bool:
        """Whether fal is told to call this session."""
        return self._base_url is not None

    def address(self, job: Job) -> str | None:
        """Return what fal is to call when the job that is now submitted ends."""
        if self._base_url is None or job.intent_id is None:
            return None
        return address_for(self._base_url, job.intent_id)

    def expects(self, job: Job) -> bool:
        """Return whether the end of a job is left to a webhook for now."""
        return job.has_webhook and self._missed < DOUBT_AFTER and not job.has_readers

    def request_of(self, intent_id: str) -> str | None:
        """Return the request that an early delivery named for an intent."""
        return self._by_intent.get(intent_id)

    def note_accepted(self, job: Job) -> None:
        """Note that a job has its request id; a delivery may have been before it."""
        if job.request_id is None:
            return
        self._jobs[job.request_id] = (*self._jobs.get(job.request_id, ()), job)
        if job.request_id in self._early:
            self._drop_early(job.request_id)
            job.is_told = True

    def forget(self, job: Job) -> None:
        """Let go of a job that has ended."""
        if job.request_id is None:
            return
        others = tuple(one for one in self._jobs.get(job.request_id, ()) if one is not job)
        if others:
            self._jobs[job.request_id] = others
        else:
            self._jobs.pop(job.request_id, None)

    def note_missed(self, job: Job) -> None:
        """Note that a check found the end of a job; if it was left to a webhook, none came."""
        if not job.is_announced or job.is_told:
            return
        self._missed += 1
        if self._missed == DOUBT_AFTER:
            logger.warning(
                "%d jobs ended and no webhook came; jobs are polled as usual until one does "
                "(can fal reach webhook_base_url?)",
                DOUBT_AFTER,
            )

    async def take(self, delivery: WebhookDelivery) -> bool:
        """Keep a verified delivery, and wake the job that it is about.

        A cancelled call may have kept it.

        Returns:
            Whether it is the first of its request.

        Raises:
            JournalError: It could not be written; the sender must try again.
        """
        if self._journal is None:
            is_first = self._recent.note(delivery.request_id)
        else:
            is_first = await self._journal.record_webhook(
                delivery.request_id, intent_id=delivery.intent_id, body=delivery.body
            )
        self._missed = 0
        self.taken += is_first
        jobs = self._jobs.get(delivery.request_id, ())
        for job in jobs:
            self._tell(job, delivery, is_first=is_first)
        if is_first and not jobs:
            self._keep_early(delivery)
        return is_first

    def _tell(self, job: Job, delivery: WebhookDelivery, *, is_first: bool) -> None:
        if job.is_settled or job.is_told:
            return
        if is_first:
            self._supply(job, delivery)
        job.is_told = True
        job.give_turn()

    @staticmethod
    def _supply(job: Job, delivery: WebhookDelivery) -> None:
        if delivery.has_result and job.journal_number is not None:
            job.told_result = json.dumps(delivery.payload, separators=(",", ":")).encode()

    async def recall(self, job: Job) -> None:
        """Tell a job what a delivery in the journal says of it, if there is one.

        For those that were delivered before this session knew their request.
        """
        # A row that was found planned has a request of this session, and so of its submit.
        was_out = job.record is not None and job.record.state is not RecordState.PLANNED
        may_be_kept = job.is_told or was_out or job.is_reconciled
        if self._journal is None or job.journal_number is None or job.request_id is None:
            return
        if not may_be_kept:
            return
        try:
            kept = await self._journal.load_webhook(request_id=job.request_id)
            if kept is not None:
                self._supply(job, read_delivery(kept.body, request_id=job.request_id))
                job.is_told = True
        except (JournalError, WebhookError) as error:
            logger.warning("the webhook of job %s could not be read: %s", job.job_id, error)

    def _keep_early(self, delivery: WebhookDelivery) -> None:
        self._early[delivery.request_id] = delivery.intent_id
        if delivery.intent_id is not None:
            self._by_intent[delivery.intent_id] = delivery.request_id
            self._on_intent(delivery.intent_id, delivery.request_id)
        if len(self._early) > _MOST_EARLY:
            self._drop_early(next(iter(self._early)))

    def _drop_early(self, request_id: str) -> None:
        intent_id = self._early.pop(request_id)
        if intent_id is not None:
            self._by_intent.pop(intent_id, None)
