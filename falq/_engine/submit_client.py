"""Submit: every attempt, and when it is certain that another makes no second job.

Owns the attempts of a submit. `submission` says what an answer means, `retry` how
long to wait, `carrier` sends. It knows no job: `submitter` calls it, and hears of each
step.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

from falq._core import protocol
from falq._core.messages import Reply, Verb
from falq._core.refusal import is_account_wide
from falq._core.result import LATE_ID_GRACE_S
from falq._core.retry import Failure, RetrySettings, decide_wait_s
from falq._core.submission import SubmitOutcome, SubmitVerdict, classify_submit
from falq._engine.carrier import Carrier
from falq._engine.oddities import Oddities
from falq.errors import FalqError, RateLimitError, SubmissionUnknownError, TransportError
from falq.model import Delivery, Status, Submission, Ticket


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


class SubmitClient:
    """Submits.

    Args:
        carrier: Who sends.
        check: Asks for the status of a request, once.
        retry: How a submit is tried again.
        delivery: Whether an unknown one is sent again.
        max_resends: How often, with `at_least_once`.
        check_account: Raises while no submit may go: the account is known to refuse
            them, or the session takes no more.
        on_account_error: Hears of an error that meets every submit.
        on_account_good: Hears of each submit that the server accepted.
        oddities: Told of what is odd in answers.

    Attributes:
        resends: Submits sent again though there may have been a job.
    """

    def __init__(
        self,
        carrier: Carrier,
        *,
        check: Callable[[Ticket], Awaitable[Status]],
        retry: RetrySettings,
        delivery: Delivery,
        max_resends: int,
        check_account: Callable[[], None],
        on_account_error: Callable[[FalqError], None],
        on_account_good: Callable[[], None],
        oddities: Oddities,
    ) -> None:
        self._carrier = carrier
        self._check = check
        self._retry = retry
        self._max_resends = max_resends if delivery == "at_least_once" else 0
        self._check_account = check_account
        self._on_account_error = on_account_error
        self._on_account_good = on_account_good
        self._oddities = oddities
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
            if resends >= self._max_resends:
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
            await self._carrier.wait_to_retry(Verb.SUBMIT, wait_s)

    async def _attempt_submit(
        self,
        submission: Submission,
        webhook_url: Callable[[], str | None],
        on_sending: Callable[[datetime], None],
        notes: SubmitNotes | None,
        *,
        first: bool,
    ) -> Reply | TransportError:
        await self._carrier.lanes.enter(Verb.SUBMIT)
        try:
            # Asked at the last moment: what waited in the lane while the account
            # turned out to be locked is not sent.
            self._check_account()
            if notes is not None:
                await self._note_intent(notes)
            on_sending(self._carrier.wall_clock())
            # Not before the intent is written: the address carries its id.
            call = protocol.build_submit(submission, webhook_url=webhook_url())
            began = self._carrier.clock()
            try:
                answer = await self._carrier.carry(call, first=first)
            finally:
                self._carrier.lanes.record_call(Verb.SUBMIT, self._carrier.clock() - began)
        except TransportError as error:
            return error
        finally:
            self._carrier.lanes.leave(Verb.SUBMIT)
        self._oddities.see_receipt(answer)
        return answer

    async def _note_intent(self, notes: SubmitNotes) -> None:
        """Return when the intent is written and the submit may go.

        Whoever waits for its place again is withdrawn like all that are not sent, when
        the account turns out to be locked.
        """
        try:
            async with self._carrier.lanes.lent(Verb.SUBMIT):
                await notes.before_sending(self._carrier.wall_clock())
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
            draw=self._carrier.draw(),
            retry_after_s=retry_after_s,
        )
        if wait_s is None:
            raise error
        if failure is Failure.THROTTLED:
            self._carrier.lanes.pause(wait_s)
        return wait_s, error

    def _refusal(self, submission: Submission, answer: Reply | TransportError) -> FalqError:
        if isinstance(answer, TransportError):
            return answer
        error = self._carrier.read_error(answer, endpoint=submission, doing="submit")
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
        started = self._carrier.clock()
        was_seen_missing_only = True
        wait_s = 1.0
        while True:
            try:
                await self._check(ticket)
            except FalqError as error:
                was_seen_missing_only &= getattr(error, "status_code", None) == 404
                if self._carrier.clock() - started >= LATE_ID_GRACE_S:
                    return not was_seen_missing_only
            else:
                return True
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, 8.0)


async def _note_resend(notes: SubmitNotes | None, error: SubmissionUnknownError) -> None:
    if notes is not None:
        await notes.before_resend(error)


async def _note_no_job(notes: SubmitNotes | None, reason: FalqError) -> None:
    if notes is not None:
        await notes.after_no_job(str(reason))
