"""What becomes of the jobs when their session is left.

Owns the order in which jobs are let go: those that no server knows of at once,
then, within the grace that the `engine` gives, the wishes to cancel and the submits
on the way, then all the rest, which are noted for whoever looks for them later. It
never closes anything: the tasks and connections are the engine's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from falq._core.lifecycle import JobState
from falq._core.resumption import dump_token
from falq._engine.driver import Driver
from falq._engine.endings import unsent_error
from falq._engine.job import Job, Stop
from falq.errors import FalqError, SessionClosedError, SubmissionUnknownError
from falq.model import CancelOutcome, OnCancel, Unfinished

ENDED_AT_ONCE = 100
"""Jobs that a closing session ends before others get a turn: a few milliseconds.

All in one turn would hold the loop for seconds, and keep so much alive until its end
that Python's garbage collector walks all of it, which costs more than the work.
"""


class Leaving:
    """Lets go of the jobs of a session.

    Args:
        jobs: Those that are driven, as they come and go.
        driver: Ends them.
        cancel: Cancels a job at the server, once it has a request id.
        on_exit: Whether jobs that run are cancelled or left running.
        spawn: Starts a task that ends with the session.
    """

    def __init__(
        self,
        jobs: Collection[Job],
        *,
        driver: Driver,
        cancel: Callable[[Job], Coroutine[Any, Any, CancelOutcome]],
        on_exit: OnCancel,
        spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
    ) -> None:
        self._jobs = jobs
        self._driver = driver
        self._cancel = cancel
        self._on_exit = on_exit
        self._spawn = spawn

    async def drop_unsent(self) -> None:
        """End every job that no server knows of, some at a time."""
        unsent = [job for job in self._jobs if job.is_unsent]
        for job in unsent:
            if job.stop_cause is None:
                # Of all before the first turn of another: none is sent from here on.
                job.stop_cause = Stop.CLOSED
        for count, job in enumerate(unsent, start=1):
            if not job.is_settled:
                self._driver.settle_from_outside(job, self.error_of(job))
                if job.stop_cause is Stop.CLOSED:
                    job.interrupt()
            if count % ENDED_AT_ONCE == 0:
                await asyncio.sleep(0)

    def begin_to_wait(self) -> set[asyncio.Future[Any]]:
        """Return what is worth the grace: cancels, and submits on the way."""
        work: set[asyncio.Future[Any]] = set()
        for job in self._jobs:
            if job.stop_cause is not None and not job.is_reconciling:
                # Its driver cancels it at the server as soon as it has an id.
                if job.task is not None:
                    work.add(job.task)
            elif self._on_exit == "cancel" and not job.is_settled:
                work.add(self._spawn(self._cancel(job)))
            elif job.state is JobState.SUBMITTING and not job.is_reconciling:
                work.add(self._spawn(job.wait_until(_is_answered)))
        return work

    async def end_rest(self) -> tuple[Unfinished, ...]:
        """End every job that is left, some at a time, and return notes of them."""
        noted: list[Unfinished] = []
        for count, job in enumerate(list(self._jobs), start=1):
            if not job.is_settled or _is_lost(job):
                error = self.error_of(job)
                self._driver.settle_from_outside(job, error)
                noted.append(_note_of(job, error.resume_token))
            cancel_once(job.task)
            if count % ENDED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return tuple(noted)

    def error_of(self, job: Job) -> FalqError:
        """Return what a job ends with whose session is left before its end."""
        facts: dict[str, Any] = {
            "endpoint": job.endpoint,
            "request_id": job.request_id,
            "intent_id": job.intent_id,
        }
        if job.is_unsent:
            return unsent_error(job)
        if job.ticket is None:
            return SubmissionUnknownError(
                "the session was closed before the answer to a submit was known: there may be a "
                f"job, and a bill; look for it in fal's request history (intent {job.intent_id})",
                sent_at=job.submitted_at,
                reason="session closed",
                **facts,
            )
        return SessionClosedError(
            "the session was closed while the job ran; it runs on at the server, attach to it "
            "with session.handle(endpoint, request_id)",
            retryable=True,
            possibly_billed=True,
            **facts,
        )


def cancel_once(task: asyncio.Task[None] | None) -> None:
    """Cancel a task that is not being cancelled: twice would interrupt its cleaning up."""
    if task is not None and not task.cancelling():
        task.cancel()


def _note_of(job: Job, token: str | None) -> Unfinished:
    return Unfinished(
        endpoint=job.endpoint,
        request_id=job.request_id,
        intent_id=job.intent_id,
        submitted_at=job.submitted_at,
        cancel_outcome=job.cancel_outcome,
        # What its error has: to make each twice takes its time with 100,000 jobs.
        resume_token=dump_token(job.ticket) if token is None and job.ticket is not None else token,
    )


def _is_answered(job: Job) -> bool:
    return job.state is not JobState.SUBMITTING or job.is_reconciling


def _is_lost(job: Job) -> bool:
    """Return whether a job's time passed during a submit that was not answered since."""
    return job.stop_cause is Stop.TIMEOUT and job.is_sent and job.ticket is None
