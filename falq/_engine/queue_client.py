"""One coroutine per queue verb: send, read, and carry out retry decisions.

Owns the attempts of a call. `protocol` builds and reads, `submission` and
`retry` decide, `lanes` make it wait its turn, the transport carries it. It
knows no job, no poll schedule and no handle.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from falq._core import protocol
from falq._core.messages import Call, Reply, Verb
from falq._core.refusal import (
    Advise,
    advise_nothing,
    is_account_wide,
    read_error,
    read_retry_after,
)
from falq._core.result import LATE_ID_GRACE_S, ResultJudge
from falq._core.retry import Failure, RetryBudget, RetrySettings, decide_wait_s
from falq._core.submission import SubmitOutcome, SubmitVerdict, classify_submit
from falq._engine.lanes import Lanes
from falq._engine.listening import HeldStream
from falq._engine.oddities import Oddities
from falq._transport.base import Transport
from falq.errors import (
    FalqError,
    RateLimitError,
    SessionClosedError,
    SubmissionUnknownError,
    TransportError,
    WireError,
)
from falq.model import CancelOutcome, Completed, Delivery, Status, Submission, Ticket

BUDGET_PAUSE_S = 5.0
"""How long a retry waits before it asks an empty budget again, in seconds."""

EARLY_CANCEL_S = 1.0
"""How long a cancel waits for a server that does not know a new request yet, in seconds."""


class SubmitNotes(Protocol):
    """Who writes down what happens to a submit, while the submit waits for it."""

    async def before_sending(self, at: datetime) -> None:
        """Write the intent; what it raises keeps the attempt from being sent."""
        ...

    async def after_no_job(self, reason: str) -> None:
        """Write that the attempt made no job and is repeated."""
        ...

    async def before_resend(self, error: SubmissionUnknownError) -> None:
        """Write that a submit was lost, before it is sent again; what it raises prevents that."""
        ...


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
        self._transport = transport
        self._lanes = lanes
        self._retry = retry
        self._cancel_within_s = cancel_within_s
        self._resends = max_resends if delivery == "at_least_once" else 0
        self._clock = clock
        self._wall_clock = wall_clock
        self._draw = draw
        self._check_account = check_account
        self._on_account_error = on_account_error
        self._on_account_good = on_account_good
        self._advise = advise
        self.oddities = oddities
        self._budget = RetryBudget(retry.budget)
        self._end = asyncio.Event()
        self.calls: Counter[Verb] = Counter()
        self.retries: Counter[Verb] = Counter()
        self.resends = 0

    async def submit(
        self,
        submission: Submission,
        *,
        on_sending: Callable[[datetime], None],
        on_retry: Callable[[int, float, FalqError], None],
        on_resend: Callable[[int, FalqError], None],
        notes: SubmitNotes | None = None,
        webhook_url: Callable[[], str | None] = lambda: None,
    ) -> Ticket:
        """Submit once, and again only where it is certain that no job exists.

        Args:
            submission: What to submit.
            on_sending: Hears the time before each attempt.
            on_retry: Hears of each wait: attempt, seconds, reason.
            on_resend: Hears of each repetition that may cost twice.
            notes: Writes each step down, if there is a journal.
            webhook_url: Returns what fal is to call when the job of the attempt that
                is now sent ends.

        Raises:
            SubmissionUnknownError: There may be a job.
            ApiError: The server refused it.
            TransportError: It could not be sent.
        """
        send = functools.partial(
            self._submit_once, submission, on_sending, on_retry, notes, webhook_url
        )
        lost: SubmissionUnknownError | None = None
        resends = 0
        while True:
            try:
                return await send(attempts=resends + 1)
            except SubmissionUnknownError as error:
                lost = error
            except FalqError as error:
                if lost is None:
                    raise
                # What became of this sending says nothing of the one before it.
                raise lost from error
            if resends >= self._resends:
                raise lost
            resends += 1
            self.resends += 1
            on_resend(resends, lost)
            await _note_resend(notes, lost)

    async def _submit_once(
        self,
        submission: Submission,
        on_sending: Callable[[datetime], None],
        on_retry: Callable[[int, float, FalqError], None],
        notes: SubmitNotes | None,
        webhook_url: Callable[[], str | None],
        *,
        attempts: int,
    ) -> Ticket:
        """Try until the submit was received, or may have been, or it is given up."""
        sent_at: datetime | None = None

        def note_sending(at: datetime) -> None:
            nonlocal sent_at
            on_sending(at)
            sent_at = at

        attempt = 0
        while True:
            attempt += 1
            answer = await self._attempt_submit(
                submission, webhook_url, note_sending, notes, first=attempt == 1
            )
            verdict = classify_submit(submission.endpoint, answer)
            if verdict.outcome is SubmitOutcome.ACCEPTED and verdict.ticket is not None:
                self._on_account_good()
                return verdict.ticket
            if verdict.outcome is SubmitOutcome.ACCEPTED_LATE and verdict.ticket is not None:
                if await self._exists(verdict.ticket):
                    return verdict.ticket
                raise self._refusal(submission, answer)
            if verdict.outcome is SubmitOutcome.UNKNOWN:
                raise self._unknown(submission, verdict, sent_at=sent_at, attempts=attempts)
            wait_s, reason = self._wait_for_submit(submission, answer, attempt)
            await _note_no_job(notes, reason)
            on_retry(attempt, wait_s, reason)
            # Not only before the next attempt: the wait for it may be long.
            self._check_account()
            await self._wait_to_retry(Verb.SUBMIT, wait_s)

    async def _attempt_submit(
        self,
        submission: Submission,
        webhook_url: Callable[[], str | None],
        on_sending: Callable[[datetime], None],
        notes: SubmitNotes | None,
        *,
        first: bool,
    ) -> Reply | TransportError:
        await self._lanes.enter(Verb.SUBMIT)
        try:
            # Asked at the last moment: what waited in the lane while the account
            # turned out to be locked is not sent.
            self._check_account()
            if notes is not None:
                await self._note_intent(notes)
            on_sending(self._wall_clock())
            # Not before the intent is written: the address carries its id.
            call = protocol.build_submit(submission, webhook_url=webhook_url())
            began = self._clock()
            try:
                answer = await self._carry(call, first=first)
            finally:
                self._lanes.record_call(Verb.SUBMIT, self._clock() - began)
        except TransportError as error:
            return error
        finally:
            self._lanes.leave(Verb.SUBMIT)
        self.oddities.see_receipt(answer)
        return answer

    async def _note_intent(self, notes: SubmitNotes) -> None:
        """Return when the intent is written and the submit may go.

        Whoever waits for its place again is withdrawn like all that are not sent, when
        the account turns out to be locked.
        """
        try:
            async with self._lanes.lent(Verb.SUBMIT):
                await notes.before_sending(self._wall_clock())
        except asyncio.CancelledError:
            # If it is written: `notes` knows.
            await notes.after_no_job("it was not wanted any more")
            raise

    def _wait_for_submit(
        self, submission: Submission, answer: Reply | TransportError, attempt: int
    ) -> tuple[float, FalqError]:
        """Return the wait before the next attempt of a submit that made no job, or raise."""
        retry_after_s = None
        if isinstance(answer, TransportError):
            error: FalqError = answer
            error.endpoint, error.intent_id = str(submission.endpoint), submission.intent_id
            failure = Failure.NOT_SENT
        else:
            error = self._refusal(submission, answer)
            # Who sets a longest queue asked to be refused, not to wait.
            if answer.status_code != 429 or submission.options.max_queue_length is not None:
                raise error
            failure = Failure.THROTTLED
            retry_after_s = error.retry_after_s if isinstance(error, RateLimitError) else None
        if attempt >= self._retry.submit_attempts:
            raise error
        wait_s = decide_wait_s(
            self._retry,
            failure,
            attempt=attempt,
            draw=self._draw(),
            retry_after_s=retry_after_s,
        )
        if wait_s is None:
            raise error
        if failure is Failure.THROTTLED:
            self._lanes.pause(wait_s)
        return wait_s, error

    def _refusal(self, submission: Submission, answer: Reply | TransportError) -> FalqError:
        if isinstance(answer, TransportError):
            return answer
        error = self._error(answer, endpoint=submission, doing="submit")
        error.intent_id = submission.intent_id
        if is_account_wide(error):
            self._on_account_error(error)
        return error

    def _unknown(
        self,
        submission: Submission,
        verdict: SubmitVerdict,
        *,
        sent_at: datetime | None,
        attempts: int,
    ) -> SubmissionUnknownError:
        return SubmissionUnknownError(
            f"the answer to a submit to {submission.endpoint} was lost ({verdict.reason}): there "
            "may be a job, and a bill; falq did not send it again, look for it in fal's request "
            f"history before you do (intent {submission.intent_id})",
            endpoint=str(submission.endpoint),
            intent_id=submission.intent_id,
            sent_at=sent_at,
            attempts=attempts,
            reason=verdict.reason,
        )

    async def _exists(self, ticket: Ticket) -> bool:
        """Return whether a request exists whose id came with an answer that said no.

        An outage does not make it absent: only 404 for the whole grace does.
        """
        started = self._clock()
        was_seen_missing_only = True
        wait_s = 1.0
        while True:
            try:
                await self.check(ticket, logs=False)
            except FalqError as error:
                was_seen_missing_only &= getattr(error, "status_code", None) == 404
                if self._clock() - started >= LATE_ID_GRACE_S:
                    return not was_seen_missing_only
            else:
                return True
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, 8.0)

    async def check(self, ticket: Ticket, *, logs: bool) -> Status:
        """Ask for the status, once.

        Raises:
            ApiError: The server says no.
            WireError: The answer is no status.
            TransportError: There is no whole answer.
        """
        reply = await self._send(protocol.build_status(ticket, logs=logs), first=True)
        if reply.status_code >= 300:
            error = self._error(reply, endpoint=ticket, doing="read the status")
            if isinstance(error, RateLimitError):
                self._lanes.pause(min(error.retry_after_s or 0.0, self._retry.longest_wait_s))
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
            await self._lanes.enter(Verb.CANCEL)
            try:
                if attempt == 1:
                    limit.reschedule(self._clock() + self._cancel_within_s)
                reply = await self._carry(call, first=attempt == 1)
                outcome = protocol.read_cancel(reply)
                if outcome is not None and not (is_new and outcome == "not_found"):
                    return outcome
                error = self._error(reply, endpoint=ticket, doing="cancel")
                if outcome is None:
                    wait_s = self._wait_for_cancel(attempt, error)
            except TransportError as failure:
                error = failure
                wait_s = self._wait_for_cancel(attempt, error)
            finally:
                self._lanes.leave(Verb.CANCEL)
            if wait_s is None:
                break
            on_retry(attempt, wait_s, error)
            # Few and urgent: cancels do not ask the budget.
            await asyncio.sleep(wait_s)
            self.retries[Verb.CANCEL] += 1
        return "unknown"

    def _wait_for_cancel(self, attempt: int, error: FalqError) -> float | None:
        """Return the wait before the next attempt of a cancel, None for no other."""
        if attempt >= self._retry.cancel_attempts or not error.retryable:
            return None
        return decide_wait_s(
            self._retry,
            Failure.BROKEN,
            attempt=attempt,
            draw=self._draw(),
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
        started = self._clock()
        attempt = 0
        while True:
            attempt += 1
            failure, retry_after_s = Failure.BROKEN, None
            try:
                reply = await self._send(call, first=attempt == 1)
                on_reply(reply)
                if 200 <= reply.status_code < 300 and reply.status_code != 202:
                    return judge.accept(protocol.read_payload(reply, ticket))
                error = judge.weigh(
                    reply, self._error(reply, endpoint=ticket, doing="read the result")
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
                draw=self._draw(),
                retry_after_s=retry_after_s,
            )
            if wait_s is None or self._clock() - started + wait_s > self._retry.result_for_s:
                raise error
            if failure is Failure.THROTTLED:
                self._lanes.pause(wait_s)
            on_retry(attempt, wait_s, error)
            await self._wait_to_retry(Verb.RESULT, max(wait_s, judge.least_wait_s))

    def close(self) -> None:
        """Send nothing any more."""
        self._end.set()

    def _check_open(self) -> None:
        if self._end.is_set():
            raise SessionClosedError("the session is closed; open a new one")

    async def ask(self, call: Call) -> Reply:
        """Carry a call to another of the gateway's addresses, once, in its own lane.

        Raises:
            SessionClosedError: The session is closed. Nothing was sent.
            TransportError: There is no reply.
            UnsupportedError: The gateway does not reach it. Nothing was sent.
        """
        return await self._send(call, first=True)

    async def listen(self, call: Call, *, idle_s: float) -> HeldStream:
        """Carry a call once, whose reply is read as it comes.

        It holds its place in its lane until it is closed.

        Args:
            call: What to send.
            idle_s: Seconds that may pass without a byte.

        Raises:
            SessionClosedError: The session is closed. Nothing was sent.
            TransportError: There is no reply.
            UnsupportedError: The gateway does not reach it. Nothing was sent.
        """
        verb = call.verb
        await self._lanes.enter(verb)
        try:
            self._check_open()
            self.calls[verb] += 1
            stream = await self._transport.listen(call, idle_s=idle_s)
        except BaseException as error:
            if isinstance(error, TimeoutError):
                self._lanes.record_trouble(verb)
            self._lanes.leave(verb)
            raise
        if stream.status_code in {429, 503}:
            self._lanes.record_trouble(verb)
        else:
            self._lanes.record_success(verb)
        return HeldStream(stream, lambda: self._lanes.leave(verb))

    async def _send(self, call: Call, *, first: bool) -> Reply:
        await self._lanes.enter(call.verb)
        try:
            return await self._carry(call, first=first)
        finally:
            self._lanes.leave(call.verb)

    async def _carry(self, call: Call, *, first: bool) -> Reply:
        """Send one call in a lane that was entered, and count how it went."""
        self._check_open()
        verb = call.verb
        self.calls[verb] += 1
        if first and verb is not Verb.STATUS:
            # Checks are never retried, so they earn no retries for other calls.
            self._budget.record_first_attempt()
        try:
            reply = await self._transport.send(call)
        except TimeoutError:
            self._lanes.record_trouble(verb)
            raise
        if reply.status_code in {429, 503}:
            self._lanes.record_trouble(verb)
        else:
            self._lanes.record_success(verb)
            if not first:
                self._budget.record_success()
        return reply

    async def _wait_to_retry(self, verb: Verb, wait_s: float) -> None:
        await self._rest(wait_s)
        may_go = self._budget.take(self._clock())
        while not may_go:
            await self._rest(BUDGET_PAUSE_S * (0.5 + 0.5 * self._draw()))
            may_go = self._budget.take(self._clock())
        self.retries[verb] += 1

    async def _rest(self, wait_s: float) -> None:
        """Wait, unless the session ends before: then whoever waits is told at once."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._end.wait()
        self._check_open()

    def _error(self, reply: Reply, *, endpoint: Submission | Ticket, doing: str) -> FalqError:
        error = read_error(
            reply,
            endpoint=endpoint.endpoint,
            request_id=endpoint.request_id if isinstance(endpoint, Ticket) else None,
            doing=doing,
            advise=self._advise,
        )
        if isinstance(error, RateLimitError):
            error.retry_after_s = read_retry_after(reply, wall_now_s=self._wall_clock().timestamp())
        return error


async def _note_resend(notes: SubmitNotes | None, error: SubmissionUnknownError) -> None:
    if notes is not None:
        await notes.before_resend(error)


async def _note_no_job(notes: SubmitNotes | None, reason: FalqError) -> None:
    if notes is not None:
        await notes.after_no_job(str(reason))
