"""The emulated queue: one account's jobs, from submit to their end.

Owns every job, the two lines they wait in, and the events that move them. It
is pure: no clock, sockets or loop. Each method takes `now` in seconds, of any
origin, and chance comes from the scenario's seed, so the same calls give the
same run on a real server and in virtual time. `routes` calls it and writes its
jobs as HTTP.

Rules:

1. Whatever falls due happens at its own instant, not when somebody asks: a
   runner that got free at 3.0 starts the next job at 3.0, even if the next
   call comes at 9.0.
2. An event that no longer applies (a run that was cancelled) is ignored when it
   comes up; nothing searches the heap.
3. Every job ends exactly once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Literal

from attrs import define

from falq.emulator.endings import (
    Ending,
    end_as_scripted,
    end_cancelled,
    end_timed_out,
    end_with_answer,
    end_with_request_error,
)
from falq.emulator.jobs import Job, LogLine, Order
from falq.emulator.line import Line
from falq.emulator.models.base import Answer, FileShelf, Model
from falq.emulator.scenario import Scenario
from falq.emulator.script import read_script
from falq.emulator.statistics import InputLedger

CancelAnswer = Literal["requested", "removed", "already_completed"]

# 2026-01-01T00:00:00Z, so that ids and log times of a virtual run repeat.
DEFAULT_WALL_OFFSET_S = 1767225600.0

# Life of a result (fal.ai/docs/inference-api/queue/result, 2026).
_LIFE_STORED_S = 30 * 86400.0
_LIFE_SMALL_S = 3600.0
_LIFE_BIG_S = 360.0
_BIG_BYTES = 10_000


class QueueFullError(Exception):
    """The line is as long as it may get."""


class NoRunnerError(Exception):
    """Every runner is taken, and only the queue lets others wait."""


EventKind = Literal["run_over", "start_deadline"]


@define
class Peaks:
    """The highest counts so far."""

    in_progress: int = 0
    queued: int = 0
    runs: int = 0


class Queue:
    """The jobs of one account.

    Args:
        scenario: Its behavior.
        files: Where models leave media.
        find_model: Gives the model of an endpoint id.
        wall_offset_s: Unix time of instant 0, for ids and log times.
        on_end: Hears of each job that ended.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        files: FileShelf,
        find_model: Callable[[str], Model],
        wall_offset_s: float = DEFAULT_WALL_OFFSET_S,
        on_end: Callable[[Job], None] = lambda _: None,
    ) -> None:
        self._scenario = scenario
        self._files = files
        self._on_end = on_end
        self._find_model = find_model
        self._wall_offset_s = wall_offset_s
        # Ids and runs draw from their own generators: one more poll or job must
        # not change the length of the runs that others get.
        self._ids = Random(f"{scenario.seed}/ids")  # noqa: S311  chance for tests, not secrets
        self._chance = Random(f"{scenario.seed}/runs")  # noqa: S311  as above
        self._jobs: dict[str, Job] = {}
        self._normal: Line[Job] = Line()
        self._low: Line[Job] = Line()
        self._events: list[tuple[float, int, EventKind, Job, int]] = []
        self._event_count = 0
        self._in_progress = 0
        self._latest = float("-inf")
        self.peaks = Peaks()
        self.ledger = InputLedger()

    @property
    def jobs(self) -> dict[str, Job]:
        """Every job by its request id, in order of submission."""
        return self._jobs

    @property
    def in_progress(self) -> int:
        """Runners at work."""
        return self._in_progress

    def __len__(self) -> int:
        """Return how many jobs wait in both lines."""
        return len(self._normal) + len(self._low)

    def submit(self, order: Order, now: float) -> tuple[Job, int]:
        """Take a job in.

        Returns:
            The job, and its position before any runner takes it.

        Raises:
            QueueFullError: The line is as long as the caller or the scenario allows.
        """
        self.advance(now)
        now = self._latest
        limits = [self._scenario.max_queue_length, order.max_queue_length]
        if any(limit is not None and len(self) >= limit for limit in limits):
            raise QueueFullError
        job = Job(
            request_id=self._make_id(now),
            order=order,
            model=self._find_model(order.endpoint),
            script=read_script(order.arguments),
            submitted=now,
        )
        self._jobs[job.request_id] = job
        self.ledger.record(order.endpoint, order.arguments, order.intent)
        self._enqueue(job)
        position = self.position(job)
        if order.start_timeout_s is not None:
            self._plan(now + order.start_timeout_s, "start_deadline", job)
        self._start_waiting(now)
        self.peaks.queued = max(self.peaks.queued, len(self))
        return job, position

    def find(self, request_id: str, app: str) -> Job | None:
        """Return the job with this id under this app, if there is one."""
        job = self._jobs.get(request_id)
        return None if job is None or job.is_gone or job.order.app != app else job

    def run_directly(self, order: Order, now: float) -> Job:
        """Run an order at once, past the lines.

        Raises:
            NoRunnerError: Every runner is taken.
        """
        self.advance(now)
        if self._in_progress >= self._scenario.runners:
            raise NoRunnerError
        job = Job(
            request_id=self._make_id(self._latest),
            order=order,
            model=self._find_model(order.endpoint),
            script=read_script(order.arguments),
            submitted=self._latest,
        )
        self._jobs[job.request_id] = job
        self.ledger.record(order.endpoint, order.arguments, order.intent)
        self._begin_run(job, self._latest)
        return job

    def position(self, job: Job) -> int:
        """Return how many jobs stand before a queued one. 0 is next."""
        if job.order.is_low:
            return len(self._normal) + self._low.position(job.ticket)
        return self._normal.position(job.ticket)

    def cancel(self, job: Job, now: float) -> CancelAnswer:
        """Carry out a cancel as far as the scenario and the job allow."""
        self.advance(now)
        now = self._latest
        if job.state == "done":
            return "already_completed"
        if job.state == "queued":
            self._line_of(job).discard(job.ticket)
            job.is_gone = self._scenario.after_cancel == "gone"
            self._end(job, end_cancelled(), now)
            return "removed" if self._scenario.cancel_queued == "ok" else "requested"
        if self._scenario.cancel_running == "handled" and not job.script.ignore_cancel:
            self._in_progress -= 1
            job.run_s = now - job.started
            self._end(job, end_cancelled(), now)
            self._start_waiting(now)
        return "requested"

    def delete_payloads(self, job: Job, now: float) -> bool:
        """Forget the input and output of a job that ended; False if it has not."""
        self.advance(now)
        if job.state != "done":
            return False
        job.has_lost_payloads = True
        job.expires = min(job.expires, self._latest)
        return True

    def logs(self, job: Job, now: float) -> list[LogLine]:
        """Return what the latest run has printed until `now`, oldest first."""
        if job.attempt == 0:
            return []
        messages = job.model.logs(job.order.arguments)
        step_s = job.run_s / (len(messages) + 1)
        end = job.ended if job.state == "done" else now
        lines = (
            LogLine(job.started + step_s * number, message)
            for number, message in enumerate(messages, 1)
        )
        return [line for line in lines if line.instant <= end]

    def advance(self, now: float) -> None:
        """Let everything happen that falls due until `now`."""
        events = self._events
        while events and events[0][0] <= now:
            due, _, kind, job, attempt = heappop(events)
            self._latest = max(self._latest, due)
            if kind == "run_over":
                self._finish_run(job, attempt, due)
            elif job.state == "queued":
                self._line_of(job).discard(job.ticket)
                self._end(job, end_timed_out(self._scenario.timeout_type), due)
        self._latest = max(self._latest, now)

    def next_event(self) -> float | None:
        """Return the next instant at which something may happen by itself; None if never."""
        return self._events[0][0] if self._events else None

    def wall_s(self, instant: float) -> float:
        """Return the Unix time of an instant, in seconds."""
        return self._wall_offset_s + instant

    def count_states(self) -> dict[str, int]:
        """Return how many jobs stand where."""
        names = ("queued", "running", "succeeded", "failed", "cancelled", "timed_out")
        counts = dict.fromkeys(names, 0)
        counts.update(
            Counter(job.ending.state if job.ending else job.state for job in self._jobs.values())
        )
        return counts

    def _line_of(self, job: Job) -> Line[Job]:
        return self._low if job.order.is_low else self._normal

    def _enqueue(self, job: Job) -> None:
        job.state = "queued"
        job.ticket = self._line_of(job).append(job)

    def _plan(self, due: float, kind: EventKind, job: Job) -> None:
        self._event_count += 1
        heappush(self._events, (due, self._event_count, kind, job, job.attempt))

    def _start_waiting(self, now: float) -> None:
        while self._in_progress < self._scenario.runners and len(self):
            job = (self._normal if len(self._normal) else self._low).pop_first()
            self._begin_run(job, now)

    def _begin_run(self, job: Job, now: float) -> None:
        job.state = "running"
        job.attempt += 1
        job.started = now
        job.run_s = self._draw_run_s(job)
        self._in_progress += 1
        self._plan(now + job.run_s, "run_over", job)
        self.peaks.runs += 1
        self.peaks.in_progress = max(self.peaks.in_progress, self._in_progress)

    def _draw_run_s(self, job: Job) -> float:
        draw = self._chance.random()
        fixed_s = self._scenario.run_s if job.script.run_s is None else job.script.run_s
        run_s = job.model.run_time_s(job.order.arguments, draw=draw) if fixed_s is None else fixed_s
        return run_s / self._scenario.speed

    def _finish_run(self, job: Job, attempt: int, due: float) -> None:
        if job.state != "running" or job.attempt != attempt:
            return
        self._in_progress -= 1
        is_broken = self._is_run_broken(job)
        if not is_broken:
            self._end(job, self._run_model(job), due)
        elif job.order.no_retry or job.attempt >= self._scenario.max_attempts:
            self._end(job, end_with_request_error("runner_disconnected"), due)
        elif self._is_start_overdue(job, due):
            self._end(job, end_timed_out(self._scenario.timeout_type), due)
        else:
            self._enqueue(job)
        self._start_waiting(due)

    def _is_run_broken(self, job: Job) -> bool:
        if job.attempt <= job.script.retries:
            return True
        chance = self._scenario.server_retry_probability
        return chance > 0 and self._chance.random() < chance

    def _is_start_overdue(self, job: Job, now: float) -> bool:
        timeout_s = job.order.start_timeout_s
        return timeout_s is not None and now >= job.submitted + timeout_s

    def _run_model(self, job: Job) -> Ending:
        order, script = job.order, job.script
        if order.answer is not None:
            return end_with_answer(order.answer)
        if script.problem is not None:
            return end_with_answer(
                Answer(body={"detail": script.problem}, status_code=422, billable_units=0)
            )
        if script.fail is not None:
            return end_as_scripted(script.fail)
        seed = self._chance.getrandbits(31)
        return end_with_answer(job.model.run(order.arguments, seed=seed, files=self._files))

    def _end(self, job: Job, ending: Ending, now: float) -> None:
        job.state = "done"
        job.ending = ending
        job.ended = now
        job.expires = now + self._life_s(job, ending)
        self._on_end(job)

    def _life_s(self, job: Job, ending: Ending) -> float:
        if self._scenario.result_life_s is not None:
            return self._scenario.result_life_s
        if self._scenario.stores_io and job.order.stores_io:
            return _LIFE_STORED_S
        return _LIFE_BIG_S if len(ending.body) >= _BIG_BYTES else _LIFE_SMALL_S

    def _make_id(self, now: float) -> str:
        """Return an id in the form of a UUID version 7, as recent ids have."""
        milliseconds = int(self.wall_s(now) * 1000) & 0xFFFF_FFFF_FFFF
        chance = self._ids.getrandbits(74)
        time = f"{milliseconds:012x}"
        variant = 0x8000 | (chance >> 60 & 0x3FFF)
        node = chance & 0xFFFF_FFFF_FFFF
        return f"{time[:8]}-{time[8:]}-7{chance >> 48 & 0xFFF:03x}-{variant:04x}-{node:012x}"
