"""What the emulator tells bit by bit: status streams, output streams, runs that take time.

Owns the writing of server-sent events and when each is due. It is pure like
`routes`: a feed is asked what there is to say at an instant, by whoever carries
the bytes, and names the instant at which to ask again. It shares nothing with the
client's reading of events.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from falq.emulator.endings import Ending
from falq.emulator.jobs import Job, LogLine
from falq.emulator.messages import Reply, Step
from falq.emulator.scenario import Scenario
from falq.emulator.state import Queue
from falq.emulator.wire import StatusWriter, json_reply

EVENT_STREAM = ("content-type", "text/event-stream; charset=utf-8")

_NEWLINES = {"lf": "\n", "crlf": "\r\n", "cr": "\r"}


def _sleep_on() -> None:
    """Stand in for a waker that nobody set."""


class EventWriter:
    """Writes events in the form that the scenario wants."""

    def __init__(self, scenario: Scenario) -> None:
        self._newline = _NEWLINES[scenario.stream_newline]
        self._has_many_lines = scenario.has_multi_line_data
        self._piece_bytes = scenario.stream_piece_bytes

    def event(self, body: bytes) -> tuple[bytes, ...]:
        """Return a JSON body as one event, in pieces."""
        # Not escaped, as FastAPI's encoder writes it: characters of many bytes occur.
        value = json.loads(body)
        if self._has_many_lines:
            text = json.dumps(value, ensure_ascii=False, indent=1)
        else:
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        lines = [f"data: {line}" for line in text.split("\n")]
        return self._cut(lines)

    def ping(self) -> tuple[bytes, ...]:
        """Return a comment that keeps the connection alive."""
        return self._cut([": ping"])

    def _cut(self, lines: list[str]) -> tuple[bytes, ...]:
        data = "".join(f"{line}{self._newline}" for line in [*lines, ""]).encode()
        size = self._piece_bytes or len(data)
        return tuple(data[start : start + size] for start in range(0, len(data), size))


class StatusFeed:
    """The status stream of one job.

    Args:
        job: Whose.
        queue: Where it is.
        writer: Writes the bodies.
        scenario: Its behavior.
        base: Base of the URLs in bodies.
        has_logs: Whether log lines were asked for.
    """

    def __init__(
        self,
        job: Job,
        *,
        queue: Queue,
        writer: StatusWriter,
        scenario: Scenario,
        base: str,
        has_logs: bool,
    ) -> None:
        self.wake: Callable[[], None] = _sleep_on
        self._job = job
        self._queue = queue
        self._writer = writer
        self._scenario = scenario
        self._events = EventWriter(scenario)
        self._base = base
        self._has_logs = has_logs
        self._told: tuple[Any, ...] | None = None
        self._told_lines = 0
        self._ping_at = float("-inf")

    def take(self, now: float) -> Step:
        """Return what there is to say; see `Feed.take`."""
        self._queue.advance(now)
        end = self._scenario.stream_end
        if end == "empty" or self._job.is_gone:
            return Step(is_over=True)
        pieces = self._news(now)
        is_done = self._job.state == "done"
        if is_done or (pieces and end in {"early", "cut"}):
            is_silent = is_done and end == "missing"
            return Step(pieces=() if is_silent else pieces, is_over=True, is_cut=end == "cut")
        if pieces or now >= self._ping_at:
            is_first = self._ping_at == float("-inf")
            pieces = pieces or (() if is_first else self._events.ping())
            self._ping_at = now + self._scenario.stream_ping_s
        return Step(pieces=pieces, due=self._next_at(now))

    def close(self, _: float) -> None:
        """Nothing depends on it."""

    def _news(self, now: float) -> tuple[bytes, ...]:
        job, queue = self._job, self._queue
        place = queue.position(job) if job.state == "queued" else 0
        known = (job.state, job.attempt, place)
        lines = queue.logs(job, now) if self._has_logs else []
        if self._told is None or self._told[1] != job.attempt:
            self._told_lines = 0
        new_lines = lines[self._told_lines :]
        if known == self._told and not new_lines:
            return ()
        self._told, self._told_lines = known, len(lines)
        return self._events.event(self._body(place, new_lines if self._has_logs else None))

    def _body(self, place: int, lines: list[LogLine] | None) -> bytes:
        if self._job.state == "done":
            return self._writer.completed(self._job, self._base, lines)
        if self._job.state == "queued":
            return self._writer.queued(self._job, self._base, place)
        return self._writer.running(self._job, self._base, lines)

    def _next_at(self, now: float) -> float:
        instants = [self._ping_at, _next_event_at(self._queue)]
        if self._has_logs and self._job.state == "running":
            lines = self._queue.logs(self._job, float("inf"))
            instants += [line.instant for line in lines if line.instant > now][:1]
        return min(instants)


class RunFeed:
    """A direct run: the whole reply, once the run is over.

    Args:
        job: The run.
        queue: Where it is.
        scenario: Its behavior.
        on_drop: Hears that a runner got free because the caller went away.
    """

    def __init__(
        self, job: Job, *, queue: Queue, scenario: Scenario, on_drop: Callable[[], None]
    ) -> None:
        self.wake: Callable[[], None] = _sleep_on
        self._job = job
        self._queue = queue
        self._on_drop = on_drop
        self._is_dropped_with_caller = scenario.dropped_run == "cancelled"

    def take(self, now: float) -> Step:
        """Return the reply, if it is there; see `Feed.take`."""
        self._queue.advance(now)
        ending = self._job.ending
        if ending is None:
            return Step(due=_next_event_at(self._queue))
        return Step(is_over=True, reply=reply_of(self._job, ending))

    def close(self, now: float) -> None:
        """Cancel the run if its caller went away and the scenario has it so."""
        if self._is_dropped_with_caller and self._job.ending is None:
            self._queue.cancel(self._job, now)
            self._on_drop()


class OutputFeed(RunFeed):
    """A direct run whose output comes in parts, the whole of it last."""

    def __init__(
        self, job: Job, *, queue: Queue, scenario: Scenario, on_drop: Callable[[], None]
    ) -> None:
        super().__init__(job, queue=queue, scenario=scenario, on_drop=on_drop)
        self._events = EventWriter(scenario)
        self._error_form = scenario.stream_error
        # Equal shares of the run; the whole output takes the place of the last.
        self._parts = 0 if scenario.stream_error == "head" else scenario.stream_parts
        self._told = 0

    def take(self, now: float) -> Step:
        """Return what there is to say; see `Feed.take`."""
        self._queue.advance(now)
        job, ending = self._job, self._job.ending
        until = now if ending is None else job.ended
        pieces: tuple[bytes, ...] = ()
        while self._told < self._parts and self._part_at() <= until:
            self._told += 1
            part = {"partial": True, "part": self._told, "of": self._parts}
            pieces += self._events.event(json.dumps(part).encode())
        if ending is None:
            following = self._part_at() if self._told < self._parts else float("inf")
            return Step(pieces=pieces, due=min(following, _next_event_at(self._queue)))
        if ending.status_code < 400:
            return Step(pieces=pieces + self._events.event(ending.body), is_over=True)
        if self._error_form == "head":
            return Step(is_over=True, reply=reply_of(job, ending))
        if self._error_form == "cut":
            return Step(pieces=pieces, is_over=True, is_cut=True)
        return Step(pieces=pieces + self._events.event(ending.body), is_over=True)

    def _part_at(self) -> float:
        job = self._job
        return job.started + job.run_s * (self._told + 1) / (self._parts + 1)


def _next_event_at(queue: Queue) -> float:
    instant = queue.next_event()
    return float("inf") if instant is None else instant


def reply_of(job: Job, ending: Ending) -> Reply:
    """Return a run's own reply."""
    head = ("x-fal-request-id", job.request_id)
    return json_reply(ending.status_code, ending.body, head, *ending.headers)
