"""What an observer of a session may hear.

Owns the event values and the hook's type. Events tell; they decide nothing,
and a session without a hook builds none. The engine's rooms are the callers.

A hook is a plain function that returns at once. What it raises is logged and
dropped: an observer cannot fail a job.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from attrs import frozen

from falq.errors import FalqError
from falq.model import Status


@frozen(kw_only=True)
class Event:
    """Something that happened to one job.

    Attributes:
        job_id: falq's number of the job within its session.
        endpoint: Where it goes.
        request_id: The server's id, None before the job was accepted.
        now: Loop time in seconds.
    """

    job_id: int
    endpoint: str
    request_id: str | None
    now: float


@frozen(kw_only=True)
class Admitted(Event):
    """A slot was free; the submit is sent next."""


@frozen(kw_only=True)
class Accepted(Event):
    """The server has the job."""


@frozen(kw_only=True)
class StatusChanged(Event):
    """A check or the receipt brought something new."""

    status: Status


@frozen(kw_only=True)
class Polled(Event):
    """A check was answered.

    Attributes:
        polls: Checks of this job so far.
        next_in_s: Seconds until the next one; None if it was the last.
    """

    polls: int
    next_in_s: float | None


@frozen(kw_only=True)
class PollFailed(Event):
    """A check failed. The next one is the retry."""

    error: FalqError
    next_in_s: float


@frozen(kw_only=True)
class Retrying(Event):
    """A call is repeated after a wait.

    Attributes:
        verb: `submit`, `result` or `cancel`.
        attempt: The attempt that failed, from 1.
        delay_s: Seconds until the next one.
        error: What went wrong.
    """

    verb: str
    attempt: int
    delay_s: float
    error: FalqError


@frozen(kw_only=True)
class SubmitLost(Event):
    """The answer to a submit was lost, and its job is looked for in the request history.

    It happens with `delivery="reconcile"`. `Accepted` follows when the job is found,
    `Resending` or `Settled` when it is not, after the session's `settle_s` at most.

    Attributes:
        error: How the answer was lost.
    """

    error: FalqError


@frozen(kw_only=True)
class Resending(Event):
    """A submit whose answer was lost is sent again; it may cost twice.

    It happens with `delivery="at_least_once"`, and with `"reconcile"` under
    `on_unknown="resubmit"` when the request history had no trace of the first one.

    Attributes:
        resends: How often this submit was sent again, this time included.
        error: How the answer before was lost.
    """

    resends: int
    error: FalqError


@frozen(kw_only=True)
class CancelRequested(Event):
    """The server was asked to cancel the job.

    Attributes:
        cancel_outcome: What it said.
    """

    cancel_outcome: str


@frozen(kw_only=True)
class Settled(Event):
    """The job reached its outcome.

    Attributes:
        error: None if there is a result.
        total_s: Seconds since it was given to the session.
        polls: Checks that it took.
        billable_units: What the service said that it billed, in the endpoint's units, such
            as megapixels. None if it did not say, as in a webhook, and for a job whose
            end comes from the journal: it was billed to an earlier session.
        cost_usd: What these units cost in US dollars, by the price that
            `session.models` was asked for before. None if it was not, if the price is
            in another currency, or if the units are unknown.
    """

    error: FalqError | None
    total_s: float
    polls: int
    billable_units: float | None = None
    cost_usd: float | None = None


Hook: TypeAlias = Callable[[Event], None]
