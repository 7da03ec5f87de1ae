"""What the emulated queue knows of one job.

Owns the record of a job and the order it came from. It never changes one:
`state` does, and it alone.
"""

from __future__ import annotations

from typing import Literal

from attrs import define, frozen

from falq.emulator.endings import Ending
from falq.emulator.models.base import Answer, Model
from falq.emulator.script import Script

JobState = Literal["queued", "running", "done"]


@frozen(kw_only=True)
class Order:
    """What a submit asks for.

    Attributes:
        endpoint: Full endpoint id.
        app: Namespace, owner and alias of it.
        arguments: The input, parsed; None for an empty body.
        answer: An answer that is certain already, for input that is no JSON.
        is_low: Goes behind every normal job.
        no_retry: The server does not retry a broken run.
        start_timeout_s: Seconds within which a run must begin.
        stores_io: Whether input and output are kept.
        max_queue_length: Refused if the line is at least this long.
        intent: The client's own id of the submission.
        webhook_url: What to call when the job ends.
    """

    endpoint: str
    app: str
    arguments: object
    answer: Answer | None = None
    is_low: bool = False
    no_retry: bool = False
    start_timeout_s: float | None = None
    stores_io: bool = True
    max_queue_length: int | None = None
    intent: str | None = None
    webhook_url: str | None = None


@define(eq=False, kw_only=True)
class Job:
    """One job. Changed by the queue only.

    Attributes:
        request_id: Its id on the wire.
        order: What was asked for.
        model: What runs it.
        script: What its input asks of the emulator.
        submitted: Instant of the submit.
        state: Where it stands.
        ticket: Its place in the line while it is queued.
        attempt: Runs begun.
        started: Instant at which the latest run began.
        run_s: Length of the latest run in seconds.
        ended: Instant of its end.
        ending: How it ended.
        expires: Instant from which the result is gone.
        is_gone: No call finds it any more.
        has_lost_payloads: What was stored of its input and output was deleted.
        polls: Status calls for it.
    """

    request_id: str
    order: Order
    model: Model
    script: Script
    submitted: float
    state: JobState = "queued"
    ticket: int = 0
    attempt: int = 0
    started: float = 0.0
    run_s: float = 0.0
    ended: float = 0.0
    ending: Ending | None = None
    expires: float = float("inf")
    is_gone: bool = False
    has_lost_payloads: bool = False
    polls: int = 0


@frozen
class LogLine:
    """A message that a run printed at an instant."""

    instant: float
    message: str
