"""What an answer to a result call means: the payload, an end, or another try.

Owns the telling apart of the model's own error from one of the way to it. A
result call replays what the model answered, also a 429 or a 5xx. Those of the
edge carry no request id; one that does and comes three times alike is the
model's own. One that was cut on its way is asked for again. It never waits and
never sends; `queue_client` does.
"""

from __future__ import annotations

import math
from typing import Any, NoReturn

from falq._core import protocol
from falq._core.codec import read_problems
from falq._core.messages import Reply
from falq._core.refusal import (
    BILLABLE_UNITS_HEADER,
    ERROR_TYPE_HEADER,
    REQUEST_ID_HEADER,
    TIMEOUT_TYPE_HEADER,
    describe_detail,
    is_gateways_own,
    read_detail,
)
from falq.errors import (
    FalqError,
    JobCancelledError,
    JobError,
    JobFailedError,
    JobInputError,
    JobLostError,
    TransportError,
    WireError,
)
from falq.model import Completed, Ticket

LATE_ID_GRACE_S = 30.0
"""How long a request may be unknown after its submit, in seconds."""

GONE_AFTER = 3
"""Answers of 404 in a row, over `LATE_ID_GRACE_S`, that make a request lost."""

RETRYABLE_TYPES = frozenset(
    {
        "request_timeout",
        "startup_timeout",
        "runner_scheduling_failure",
        "runner_connection_timeout",
        "runner_disconnected",
        "runner_connection_refused",
        "runner_connection_error",
        "runner_incomplete_response",
        "runner_server_error",
        "internal_error",
        "internal_server_error",
        "generation_timeout",
        "downstream_service_error",
        "downstream_service_unavailable",
    }
)
"""Kinds of error that a new submission may not meet (fal's pages on errors, 2026)."""


def read_billable_units(reply: Reply) -> float | None:
    """Return what the service says that it billed, in the endpoint's units; None if it does not."""
    try:
        units = float(reply.headers.get(BILLABLE_UNITS_HEADER, ""))
    except ValueError:
        return None
    return units if 0 <= units < math.inf else None


class NotReadyError(Exception):
    """The result was asked for too early. Never leaves the engine."""


def job_failure(
    ticket: Ticket,
    *,
    status_code: int | None,
    error_type: str | None,
    detail: Any,
    retryable: bool | None = None,
    is_free: bool = False,
) -> JobError:
    """Return the error of a job that ended without a result.

    Args:
        ticket: Whose.
        status_code: HTTP status that the result call replayed, if it was asked.
        error_type: The server's word, if it gave one.
        detail: What the server said.
        retryable: Whether a new submission may succeed, if the caller knows.
        is_free: Whether the server said that it bills nothing.
    """
    facts: dict[str, Any] = {"endpoint": str(ticket.endpoint), "request_id": ticket.request_id}
    reason = describe_detail(detail, status_code)
    if error_type == "client_cancelled" or (status_code == 499 and error_type is None):
        return JobCancelledError(f"the job was cancelled: {reason}", possibly_billed=True, **facts)
    if retryable is None:
        is_theirs = status_code is not None and status_code >= 500
        retryable = is_theirs or error_type in RETRYABLE_TYPES
    kind = JobInputError if status_code == 422 else JobFailedError
    hint = "correct the arguments" if status_code == 422 else "see detail for all of it"
    return kind(
        f"the job failed: {reason}; {hint}",
        status_code=status_code,
        error_type=error_type,
        detail=detail,
        problems=read_problems(detail),
        retryable=retryable,
        # fal bills no 5xx, and may bill a 422 (its FAQ).
        possibly_billed=not is_free and (status_code is None or status_code < 500),
        **facts,
    )


class ResultJudge:
    """Weighs the answers to one result's calls.

    Args:
        ticket: Whose result.
        completed: The status that said that it is there; None if nobody looked.

    Attributes:
        least_wait_s: Seconds to wait before the next call at least.
    """

    def __init__(self, ticket: Ticket, completed: Completed | None) -> None:
        self._ticket = ticket
        self._completed = completed
        self._last: tuple[int | bytes, ...] = ()
        self._alike = 0
        self._torn = 0
        self.least_wait_s = 0.0

    def accept(self, payload: Any) -> Any:
        """Return a payload, unless the status had said that the request failed."""
        done = self._completed
        if done is not None and (done.error is not None or done.error_type is not None):
            self._fail(status_code=None, error_type=done.error_type, detail=done.error or payload)
        return payload

    def may_repeat(self, error: WireError) -> bool:
        """Return whether an unreadable answer is worth another try."""
        self._alike += 1
        # One that is too large or redirects stays so, and was a WireError's child.
        return type(error) is WireError and self._alike < GONE_AFTER

    def weigh(self, reply: Reply, error: FalqError) -> FalqError:
        """Return the error to retry after, or raise what the job ended with."""
        code = reply.status_code
        if protocol.is_not_ready(reply):
            raise NotReadyError
        if 300 <= code < 400 or code in {401, 403}:
            raise error
        if self._is_torn(reply) or (code == 404 and self._is_missing(reply, error)):
            return error
        detail, error_type = read_detail(reply)
        if code < 500 and code not in {408, 429}:
            if is_gateways_own(reply):
                # It says nothing of the job, whose result is there when that has passed.
                raise error
            self._fail(
                status_code=code,
                error_type=error_type,
                detail=detail,
                is_free=reply.headers.get(BILLABLE_UNITS_HEADER) == "0",
            )
        if self._is_own(reply):
            user_limit = reply.headers.get(TIMEOUT_TYPE_HEADER) == "user"
            self._fail(
                status_code=code,
                error_type=error_type,
                detail=detail,
                retryable=False if user_limit else None,
            )
        return error

    def _is_torn(self, reply: Reply) -> bool:
        """Return whether a cut answer is worth another try.

        Half a "not found" or "in progress" would pass for the model's own words.
        """
        if not isinstance(reply.fault, TransportError) or self._torn >= GONE_AFTER - 1:
            return False
        self._torn += 1
        return True

    def _is_missing(self, reply: Reply, error: FalqError) -> bool:
        """Return whether a 404 is one for the request, and to be asked again; raise if it is lost.

        What the model answered has the request's id in its head. Without it the words
        decide, but not before the grace: fal's are not fixed (fal-wire 1.5), and a page
        of somebody on the way says nothing.
        """
        detail, _ = read_detail(reply)
        if detail != "NOT_FOUND" and REQUEST_ID_HEADER in reply.headers:
            return False
        if self._completed is None:
            raise error
        self.least_wait_s = LATE_ID_GRACE_S / (GONE_AFTER - 1)
        if self._count_alike(404, b"") < GONE_AFTER:
            return True
        if detail != "NOT_FOUND" and is_gateways_own(reply) is False:
            return False
        raise JobLostError(
            "the server no longer has the result; look for it in fal's request history",
            endpoint=str(self._ticket.endpoint),
            request_id=self._ticket.request_id,
        )

    def _is_own(self, reply: Reply) -> bool:
        if reply.headers.get(REQUEST_ID_HEADER) is None:
            return False
        was_told = self._completed is not None and self._completed.error_type is not None
        if was_told and reply.status_code != 429:
            return True
        if reply.status_code == 429 and reply.headers.get(ERROR_TYPE_HEADER) is None:
            return False
        return self._count_alike(reply.status_code, reply.body) >= GONE_AFTER

    def _count_alike(self, *answer: int | bytes) -> int:
        self._alike = self._alike + 1 if answer == self._last else 1
        self._last = answer
        return self._alike

    def _fail(
        self,
        *,
        status_code: int | None,
        error_type: str | None,
        detail: Any,
        retryable: bool | None = None,
        is_free: bool = False,
    ) -> NoReturn:
        raise job_failure(
            self._ticket,
            status_code=status_code,
            error_type=error_type or (self._completed.error_type if self._completed else None),
            detail=detail,
            retryable=retryable,
            is_free=is_free,
        )
