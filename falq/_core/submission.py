"""What became of a submit: one classifier, five outcomes.

Owns the one decision that can cost a user money twice. fal has no idempotency
key, so a submit is sent again only where it is certain that no job exists.

    | outcome       | evidence                                                  |
    |---------------|-----------------------------------------------------------|
    | NOT_SENT      | no byte of the request left                               |
    | REFUSED       | an answer that fal gives before it makes a job            |
    | ACCEPTED      | 2xx with an id in the body or in the header               |
    | ACCEPTED_LATE | another answer with an id in the header: look that id up  |
    | UNKNOWN       | everything else after the first byte: never sent again    |

It never sends and never waits; `submit_client` acts on the verdict.
"""

from __future__ import annotations

import enum

from attrs import frozen

from falq._core.messages import Reply
from falq._core.protocol import make_ticket, read_ticket
from falq._core.refusal import REQUEST_ID_HEADER, describe_detail, read_detail
from falq.errors import ArgumentError, TransportError
from falq.model import EndpointId, Ticket


class SubmitOutcome(enum.Enum):
    """The five ways in which a submit can end."""

    NOT_SENT = "not sent"
    REFUSED = "refused"
    ACCEPTED = "accepted"
    ACCEPTED_LATE = "accepted late"
    UNKNOWN = "unknown"


REFUSALS = frozenset({307, 308, 400, 401, 402, 403, 404, 405, 409, 413, 415, 422, 429})
"""Statuses that fal answers before it makes a job, and redirects that keep the body.

408 and every 5xx are missing on purpose: they were seen from proxies that had
passed the submit on.
"""


@frozen
class SubmitVerdict:
    """The outcome of one attempt, with what it brought.

    Attributes:
        outcome: Which of the five.
        ticket: The receipt, for the two accepted outcomes.
        reason: For a person: what came instead.
    """

    outcome: SubmitOutcome
    ticket: Ticket | None = None
    reason: str = ""


def classify_submit(endpoint: EndpointId, answer: Reply | TransportError) -> SubmitVerdict:
    """Return what an attempt to submit means.

    Args:
        endpoint: Where it went.
        answer: The reply, as far as it came, or why there is none.
    """
    if isinstance(answer, TransportError):
        outcome = SubmitOutcome.UNKNOWN if answer.request_sent else SubmitOutcome.NOT_SENT
        return SubmitVerdict(outcome, reason=str(answer))
    if answer.status_code in REFUSALS:
        return SubmitVerdict(SubmitOutcome.REFUSED, reason=_reason(answer))
    if 200 <= answer.status_code < 300:
        outcome, ticket = SubmitOutcome.ACCEPTED, read_ticket(endpoint, answer)
    else:
        outcome, ticket = SubmitOutcome.ACCEPTED_LATE, _late_ticket(endpoint, answer)
    if ticket is None:
        return SubmitVerdict(SubmitOutcome.UNKNOWN, reason=_reason(answer))
    is_late = outcome is SubmitOutcome.ACCEPTED_LATE
    return SubmitVerdict(outcome, ticket, _reason(answer) if is_late else "")


def _late_ticket(endpoint: EndpointId, answer: Reply) -> Ticket | None:
    try:
        return make_ticket(endpoint, answer.headers.get(REQUEST_ID_HEADER, ""))
    except ArgumentError:
        return None


def _reason(answer: Reply) -> str:
    if answer.fault is not None:
        return f"HTTP {answer.status_code}, then: {answer.fault}"
    if 200 <= answer.status_code < 300:
        return f"HTTP {answer.status_code} without a request id"
    detail, _ = read_detail(answer)
    return describe_detail(detail, answer.status_code)
