"""The counts of a session, at one moment.

Owns what is counted and what each count means. It counts nothing: the `engine`
reads the counts where they are kept.
"""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class SessionStatistics:
    """Counts of a session, at one moment.

    Attributes:
        waiting: Jobs in line for a slot.
        in_flight: Jobs that hold a slot.
        watched: Accepted jobs under watch.
        submitted: Jobs that the server accepted so far.
        succeeded: Jobs that ended with a result.
        failed: Jobs that ended with an error.
        cancelled: Jobs that were cancelled.
        timed_out: Jobs whose `client_timeout` passed.
        polls: Status checks answered by any word.
        calls: HTTP calls sent, by verb.
        retries: HTTP calls repeated, by verb.
        resends: Submits repeated after a lost answer (`at_least_once`, or
            `on_unknown="resubmit"`).
        reconciling: Lost submits that are looked for now (`reconcile` only).
        reconciled: Lost submits that were found.
        deliveries: Webhooks taken, one for each request at most.
        is_halted: Whether submits are refused now, because one was that says the same of
            all: a wrong key, an account without money.
    """

    waiting: int
    in_flight: int
    watched: int
    submitted: int
    succeeded: int
    failed: int
    cancelled: int
    timed_out: int
    polls: int
    calls: dict[str, int]
    retries: dict[str, int]
    resends: int
    reconciling: int = 0
    reconciled: int = 0
    deliveries: int = 0
    is_halted: bool = False
