"""The errors that falq itself ends jobs with: time over, nobody waits, session left.

Owns their words, and what every error of a job carries so that the job is found
again. It never ends a job: `driver`, `engine` and `leaving` do.
"""

from __future__ import annotations

from typing import Any

from falq._core.recovery import decide_end
from falq._core.resumption import dump_token
from falq._engine.job import Job
from falq.errors import FalqError, JobCancelledError, JobTimeoutError, SessionClosedError
from falq.model import CancelOutcome


def timeout_error(job: Job, outcome: CancelOutcome) -> JobTimeoutError:
    """Return what a job whose time is over ends with."""
    limit = f"client_timeout of {job.timeout_s:g} s passed"
    if outcome == "not_submitted":
        text = f"{limit} before the job was submitted; nothing was spent"
    elif outcome == "already_completed":
        text = f"{limit}, and the job completed in that moment; read its result by its id"
    elif job.ticket is None:
        text = f"{limit} while the submit was on the way; falq cancels the job if it was made"
    else:
        text = f"{limit}; falq asked the server to cancel the job ({outcome})"
    return JobTimeoutError(
        text,
        timeout_s=job.timeout_s,
        cancel_outcome=outcome,
        possibly_billed=outcome != "not_submitted",
        **facts_of(job),
    )


def unsent_error(job: Job) -> SessionClosedError:
    """Return what a job that was never sent ends with when its session is closed."""
    return SessionClosedError(
        "the session was closed before the job was submitted; nothing was spent",
        endpoint=job.endpoint,
        request_id=job.request_id,
        intent_id=job.intent_id,
    )


def cancelled_error(job: Job, outcome: CancelOutcome) -> JobCancelledError:
    """Return what a job ends with that nobody waits for any more."""
    if outcome == "not_submitted":
        return JobCancelledError(
            "the job was cancelled before it was submitted; nothing was spent",
            **facts_of(job),
        )
    return JobCancelledError(
        f"nobody waits for the job any more; its cancel: {outcome}",
        possibly_billed=True,
        **facts_of(job),
    )


def facts_of(job: Job) -> dict[str, Any]:
    """Return what an error says of its job."""
    return {
        "endpoint": job.endpoint,
        "request_id": job.request_id,
        "intent_id": job.intent_id,
        "job_id": job.job_id,
    }


def tie_to_job(error: FalqError, job: Job) -> None:
    """Put onto an error what finds its job again."""
    error.intent_id = error.intent_id or job.intent_id
    outcome = getattr(error, "cancel_outcome", job.cancel_outcome)
    if job.ticket is not None and not job.is_restored:
        end = decide_end(error, is_sent=True, has_request=True, cancel_outcome=outcome)
        error.resume_token = dump_token(job.ticket) if end is None else None
