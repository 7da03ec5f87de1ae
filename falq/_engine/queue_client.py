"""One coroutine for each verb of a job that is there: check, cancel, fetch.

Owns the attempts of these calls. `protocol` builds and reads, `retry` decides,
`carrier` sends; `submit_client` submits. It knows no job, no poll schedule and no
handle.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Callable
from datetime import datetime
from typing import Any

from falq._core import protocol
from falq._core.messages import Call, Reply, Verb
from falq._core.refusal import Advise, advise_nothing
from falq._core.result import ResultJudge
from falq._core.retry import Failure, RetryBudget, RetrySettings, decide_wait_s
from falq._engine.carrier import Carrier
from falq._engine.lanes import Lanes
from falq._engine.oddities import Oddities
from falq._engine.submit_client import SubmitClient
from falq._transport.base import Transport
from falq.errors import FalqError, RateLimitError, TransportError, WireError
from falq.model import CancelOutcome, Completed, Delivery, Status, Ticket

EARLY_CANCEL_S = 1.0
"""How long a cancel waits for a server that does not know a new request yet, in seconds."""


class QueueClient:
    """Speaks the queue's verbs.

    Args:
        transport: What carries calls.
        lanes: Where they wait.
        retry: How they are tried again.
        delivery: Whether an unknown submit is sent again.
        max_resends: How often, with `at_least_once`.
        cancel_within_s: Seconds that all attempts of a cancel may take.
        clock: Loop time in seconds.
        wall_clock: Aware UTC time.
        draw: Returns a uniform draw from [0, 1).
        check_account: Raises while no submit may go: the account is known to refuse
            them, or the session takes no more.
        on_account_error: Hears of an error that meets every submit.
        on_account_good: Hears of each submit that the server accepted.
        advise: What the gateway knows of answers that say no.
        oddities: Told of what is odd in answers.

    Attributes:
        carrier: Carries every call, and counts them.
        submits: Who submits.
        oddities: Told of what is odd in answers.
    """

    def __init__(
        self,
        transport: Transport,
        lanes: Lanes,
        *,
        retry: RetrySettings,
        delivery: Delivery,
        max_resends: int,
        cancel_within_s: float,
        clock: Callable[[], float],
        wall_clock: Callable[[], datetime],
        draw: Callable[[], float],
        check_account: Callable[[], None],
        on_account_error: Callable[[FalqError], None],
        on_account_good: Callable[[], None],
        advise: Advise = advise_nothing,
        oddities: Oddities,
    ) -> None:
        self.carrier = Carrier(
            transport,
            lanes,
            budget=RetryBudget(retry.budget),
            clock=clock,
            wall_clock=wall_clock,
            draw=draw,
            advise=advise,
        )
        self._retry = retry
        self._cancel_within_s = cancel_within_s
        self.oddities = oddities
        self.submits = SubmitClient(
            self.carrier,
            check=functools.partial(self.check, logs=False),
            retry=retry,
            delivery=delivery,
            max_resends=max_resends,
            check_account=check_account,
            on_account_error=on_account_error,
            on_account_good=on_account_good,
            oddities=oddities,
        )

    async def check(self, ticket: Ticket, *, logs: bool) -> Status:
        """Ask for the status, once.

        Raises:
            ApiError: The server says no.
            WireError: The answer is no status.
            TransportError: There is no whole answer.
        """
        reply = await self.carrier.send(protocol.build_status(ticket, logs=logs), first=True)
        if reply.status_code >= 300:
            error = self.carrier.read_error(reply, endpoint=ticket, doing="read the status")
            if isinstance(error, RateLimitError):
                self.carrier.lanes.pause(
                    min(error.retry_after_s or 0.0, self._retry.longest_wait_s)
                )
            raise error
        status = protocol.read_status(reply, ticket)
        self.oddities.see_status(status)
        return status

    async def cancel(
        self,
        ticket: Ticket,
        *,
        on_retry: Callable[[int, float, FalqError], None],
        is_new: bool = False,
    ) -> CancelOutcome:
        """Ask to cancel; a few attempts within seconds, then `"unknown"`.

        The seconds count from the first place in the lane: of a thousand at once none
        is given up before it was sent.

        Args:
            ticket: Whose request.
            on_retry: Hears of each wait.
            is_new: Whether it was submitted a moment ago, so that a server that does
                not know it may know it in the next.
        """
        try:
            async with asyncio.timeout(None) as limit:
                return await self._cancel(ticket, on_retry, limit, is_new=is_new)
        except TimeoutError:
            return "unknown"

    async def _cancel(
        self,
        ticket: Ticket,
        on_retry: Callable[[int, float, FalqError], None],
        limit: asyncio.Timeout,
        *,
        is_new: bool,
    ) -> CancelOutcome:
        call = protocol.build_cancel(ticket)
        for attempt in itertools.count(1):
            wait_s: float | None = EARLY_CANCEL_S
            await self.carrier.lanes.enter(Verb.CANCEL)
            try:
                if attempt == 1:
                    limit.reschedule(self.carrier.clock() + self._cancel_within_s)
                reply = await self.carrier.carry(call, first=attempt == 1)
                outcome = protocol.read_cancel(reply)
                if outcome is not None and not (is_new and outcome == "not_found"):
                    return outcome
                error = self.carrier.read_error(reply, endpoint=ticket, doing="cancel")
                if outcome is None:
                    wait_s = self._wait_for_cancel(attempt, error)
            except TransportError as failure:
                error = failure
                wait_s = self._wait_for_cancel(attempt, error)
            finally:
                self.carrier.lanes.leave(Verb.CANCEL)
            if wait_s is None:
                break
            on_retry(attempt, wait_s, error)
            # Few and urgent: cancels do not ask the budget.
            await asyncio.sleep(wait_s)
            self.carrier.retries[Verb.CANCEL] += 1
        return "unknown"

    def _wait_for_cancel(self, attempt: int, error: FalqError) -> float | None:
        """Return the wait before the next attempt of a cancel, None for no other."""
        if attempt >= self._retry.cancel_attempts or not error.retryable:
            return None
        return decide_wait_s(
            self._retry,
            Failure.BROKEN,
            attempt=attempt,
            draw=self.carrier.draw(),
            retry_after_s=getattr(error, "retry_after_s", None),
        )

    async def fetch(
        self,
        ticket: Ticket,
        *,
        completed: Completed | None,
        on_retry: Callable[[int, float, FalqError], None],
        on_reply: Callable[[Reply], None] = lambda _: None,
    ) -> Any:
        """Return the result, asking again as long as it may still be there.

        Args:
            ticket: Whose.
            completed: The status that said so; None if nobody looked.
            on_retry: Hears of each wait.
            on_reply: Is given each reply; the last is the one that the end was read from.

        Raises:
            NotReadyError: The request is not finished.
            JobError: It ended without a result.
            AuthenticationError: The key is refused.
        """
        call = protocol.build_result(ticket)
        judge = ResultJudge(ticket, completed)
        started = self.carrier.clock()
        attempt = 0
        while True:
            attempt += 1
            failure, retry_after_s = Failure.BROKEN, None
            try:
                reply = await self.carrier.send(call, first=attempt == 1)
                on_reply(reply)
                if 200 <= reply.status_code < 300 and reply.status_code != 202:
                    return judge.accept(protocol.read_payload(reply, ticket))
                error = judge.weigh(
                    reply, self.carrier.read_error(reply, endpoint=ticket, doing="read the result")
                )
                if reply.status_code == 429:
                    failure = Failure.THROTTLED
                    retry_after_s = getattr(error, "retry_after_s", None)
            except (TransportError, WireError) as broken:
                error = broken
                error.request_id = ticket.request_id
                error.endpoint = str(ticket.endpoint)
                if not isinstance(broken, TransportError) and not judge.may_repeat(broken):
                    raise
            wait_s = decide_wait_s(
                self._retry,
                failure,
                attempt=attempt,
                draw=self.carrier.draw(),
                retry_after_s=retry_after_s,
            )
            if wait_s is None or self.carrier.clock() - started + wait_s > self._retry.result_for_s:
                raise error
            if failure is Failure.THROTTLED:
                self.carrier.lanes.pause(wait_s)
            on_retry(attempt, wait_s, error)
            await self.carrier.wait_to_retry(Verb.RESULT, max(wait_s, judge.least_wait_s))

    async def ask(self, call: Call) -> Reply:
        """Carry a call to another of the gateway's addresses, once, in its own lane.

        Raises:
            SessionClosedError: The session is closed. Nothing was sent.
            TransportError: There is no reply.
            UnsupportedError: The gateway does not reach it. Nothing was sent.
        """
        return await self.carrier.send(call, first=True)
