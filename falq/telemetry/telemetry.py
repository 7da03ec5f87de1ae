"""The hook that turns a session's events into spans and metrics.

Owns what is known of each job between its first event and its outcome. It never
exports, sets a provider or sees a body. A session calls it, on its loop. Rules:

    1. A span is made when its job settles, and dated back to its submission: no
       event tells that the submission was made, and the outcome says when.
    2. Instants are the loop's, laid on the wall clock once per job: a clock that
       is set meanwhile bends no span.
    3. Whatever goes wrong in here, the application's own hook still hears.
"""

from __future__ import annotations

import math
import time
from collections import deque

from attrs import define, field
from opentelemetry import metrics, trace
from opentelemetry.context import Context, get_current
from opentelemetry.trace import SpanKind, StatusCode

from falq._version import __version__
from falq.errors import SessionError
from falq.events import (
    Accepted,
    Admitted,
    CancelRequested,
    Event,
    Hook,
    Polled,
    PollFailed,
    Resending,
    Retrying,
    Settled,
    StatusChanged,
)
from falq.model import Completed, InProgress, Status
from falq.telemetry.instruments import Instruments
from falq.telemetry.wording import Attributes, describe, describe_error, identify, name_outcome

MOST_EVENTS = 128
"""Events that a span keeps, the latest ones; OpenTelemetry's SDK keeps as many."""

MOST_BILLED = 10_000
"""Requests kept in mind whose bill was counted: a handle attached to one is told it again."""

_NS = 1_000_000_000
_BENIGN = frozenset({"succeeded", "cancelled", "detached"})
"""Outcomes that are no errors: the application wanted them."""


@define
class _Trail:
    """What is known of one job until it settles.

    Attributes:
        offset_ns: What turns a loop instant into wall time.
        context: Where its span belongs.
        happened: Events of its span: name, attributes, loop instant.
        status_word: The server's last word, to tell a change from a new position.
        admitted: Loop instants, None until then; also of the next three.
        run_s: Run time in seconds as the server measured it, None if it did not say.
        retries: Calls repeated.
    """

    offset_ns: int
    context: Context
    happened: deque[tuple[str, Attributes, float]] = field(
        factory=lambda: deque(maxlen=MOST_EVENTS)
    )
    status_word: str | None = None
    admitted: float | None = None
    accepted: float | None = None
    started: float | None = None
    completed: float | None = None
    run_s: float | None = None
    retries: int = 0

    def at_ns(self, now: float) -> int:
        return self.offset_ns + int(now * _NS)

    def note(self, event: Event) -> None:
        described = describe(event)
        if described is not None:
            self.happened.append((*described, event.now))

    def hear(self, status: Status, now: float) -> None:
        self.status_word = status.word
        if isinstance(status, InProgress):
            self.started = now
        elif isinstance(status, Completed):
            self.completed = now
            self.run_s = _as_seconds(status.metrics.get("inference_time"))

    def ran_s(self) -> float | None:
        if self.run_s is not None:
            return self.run_s
        if self.started is None or self.completed is None:
            return None
        return max(0.0, self.completed - self.started)


class Telemetry:
    """A hook that makes one span per job, and metrics of all of them.

    Give each session one of its own: job ids are counted per session. A job's span
    is a child of the one that was current where the job was submitted. It is made
    when the job settles, and reaches back to its submission. Prompts, results, keys
    and error texts are in none.

    Args:
        on_event: Your own hook; it hears every event after this one. What it raises
            is the session's to log.
        tracer_provider: Whose tracer makes the spans; default is the global one.
        meter_provider: Whose meter makes the metrics; default is the global one.

    Example:
        >>> import falq
        >>> from falq.telemetry import Telemetry
        >>> session = falq.Session(falq.Fal(key="id:secret"), on_event=Telemetry())
    """

    def __init__(
        self,
        *,
        on_event: Hook | None = None,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._on_event = on_event
        self._tracer = trace.get_tracer("falq", __version__, tracer_provider)
        self._instruments = Instruments(metrics.get_meter("falq", __version__, meter_provider))
        self._trails: dict[int, _Trail] = {}
        # In the order in which they came; a set has none.
        self._billed: dict[str, None] = {}

    def __repr__(self) -> str:
        return f"<Telemetry unsettled={len(self._trails)}>"

    def __call__(self, event: Event) -> None:
        """Take in an event; a session calls it."""
        try:
            self._take(event)
        finally:
            if self._on_event is not None:
                self._on_event(event)

    def _take(self, event: Event) -> None:
        self._count(event)
        trail = self._trails.get(event.job_id)
        if trail is None:
            if isinstance(event, CancelRequested | Retrying):
                # A job that has settled may still be cancelled: its span is closed.
                return
            trail = _Trail(time.time_ns() - int(event.now * _NS), _parent_of(event))
            self._trails[event.job_id] = trail
        self._follow(trail, event)

    def _count(self, event: Event) -> None:
        use = self._instruments
        where: Attributes = {"falq.endpoint": event.endpoint}
        if isinstance(event, Polled | PollFailed):
            use.polls.add(1, {**where, "falq.answered": isinstance(event, Polled)})
        elif isinstance(event, Retrying):
            use.retries.add(1, {**where, "falq.verb": event.verb})
        elif isinstance(event, Resending):
            use.resends.add(1, where)

    def _follow(self, trail: _Trail, event: Event) -> None:
        if isinstance(event, Admitted):
            trail.admitted = event.now
            self._instruments.in_flight.add(1, {"falq.endpoint": event.endpoint})
        elif isinstance(event, Accepted):
            trail.accepted = event.now
        elif isinstance(event, Retrying):
            trail.retries += 1
        elif isinstance(event, StatusChanged):
            is_new = event.status.word != trail.status_word
            trail.hear(event.status, event.now)
            if not is_new:
                # Only its place in the queue moved; a long queue has thousands.
                return
        trail.note(event)
        if isinstance(event, Settled):
            del self._trails[event.job_id]
            self._measure(trail, event)
            self._make_span(trail, event)

    def _measure(self, trail: _Trail, event: Settled) -> None:
        use = self._instruments
        where: Attributes = {"falq.endpoint": event.endpoint}
        if trail.admitted is not None:
            use.in_flight.add(-1, where)
            use.slot_wait.record(max(0.0, trail.admitted - event.now + event.total_s), where)
        if trail.accepted is not None and trail.started is not None:
            use.queue_wait.record(max(0.0, trail.started - trail.accepted), where)
        ran_s = trail.ran_s()
        if ran_s is not None:
            use.run_time.record(ran_s, where)
        how = {**where, "falq.outcome": name_outcome(event.error)}
        use.duration.record(event.total_s, how)
        if event.billable_units is None or not self._is_first_bill(event.request_id):
            return
        use.billable_units.add(event.billable_units, how)
        if event.cost_usd is not None:
            use.spend.add(event.cost_usd, how)

    def _is_first_bill(self, request_id: str | None) -> bool:
        """Return whether no other job of the session was told the bill of this request."""
        if request_id is None or request_id in self._billed:
            return False
        self._billed[request_id] = None
        if len(self._billed) > MOST_BILLED:
            del self._billed[next(iter(self._billed))]
        return True

    def _make_span(self, trail: _Trail, event: Settled) -> None:
        outcome = name_outcome(event.error)
        facts = identify(event) | {
            "falq.outcome": outcome,
            "falq.polls": event.polls,
            "falq.retries": trail.retries,
        }
        if event.billable_units is not None:
            facts["falq.billable_units"] = event.billable_units
        if event.cost_usd is not None:
            facts["falq.cost_usd"] = event.cost_usd
        if event.error is not None:
            facts |= describe_error(event.error)
            facts["falq.possibly_billed"] = event.error.possibly_billed
        span = self._tracer.start_span(
            f"falq {event.endpoint}",
            context=trail.context,
            kind=SpanKind.CLIENT,
            attributes=facts,
            start_time=trail.at_ns(event.now - event.total_s),
        )
        for name, attributes, now in trail.happened:
            span.add_event(name, attributes, timestamp=trail.at_ns(now))
        if outcome not in _BENIGN:
            span.set_status(StatusCode.ERROR, type(event.error).__name__)
        span.end(trail.at_ns(event.now))


def _as_seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < math.inf else None


def _parent_of(event: Event) -> Context:
    """Return where the span of a job belongs whose first event this is."""
    # A job's own task tells that it was admitted, and has the context of its submission.
    is_told_by_job = isinstance(event, Admitted | Accepted)
    if isinstance(event, Settled):
        # Whoever closes the session ends what still waits: no parent of it.
        is_told_by_job = not isinstance(event.error, SessionError)
    return get_current() if is_told_by_job else Context()
