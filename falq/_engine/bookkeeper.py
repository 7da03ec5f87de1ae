"""What the journal is told of a session's jobs, and what it knows of them.

Owns the order of records around a job (promises D5), and which live job has
which row. It never sends and decides nothing: `recovery` reads the states. The
driver calls it at each step; a session without a journal has none.

Rules:
    1. `plan` and `note_sending` raise, because nothing may be sent without them.
       Every other record is told to the log when it fails: the job goes on, its
       result shall not be lost for the lack of a line about it.
    2. While a record is written its job is not interrupted (`Job.is_noting`): a
       cancelled write may be in the file, and nobody would know.
    3. That a job is completed is written together with its result, and apart only if
       the result does not come at the first time of asking.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from falq._core import codec
from falq._core.canonical import input_sha256
from falq._core.messages import Reply
from falq._core.recorded import dump_error, dump_options, load_error, load_result
from falq._core.recovery import STEPS, Step, decide_end
from falq._core.result import read_billable_units
from falq._engine.job import Job, Noted
from falq._journal.base import Journal
from falq._journal.records import JobRecord, PlannedJob
from falq._journal.states import RecordState
from falq.errors import FalqError, JournalConflictError, JournalError
from falq.model import Completed, Submission

logger = logging.getLogger("falq")


def planned_hash_of(job: Job) -> str:
    """Return what the journal knows the job's input by.

    That is `hash_of` unless something stood for the input before it was known, as for
    files whose URLs are made when they are uploaded.
    """
    return hash_of(job) if job.planned_sha256 is None else job.planned_sha256


def hash_of(job: Job) -> str:
    """Return the hash of the job's canonical input, kept once it was asked for.

    Raises:
        ValueError: The job has no submission any more and was never asked.
    """
    if job.input_sha256 is None:
        if job.submission is None:
            raise ValueError("the input of a job that was accepted is not kept")
        job.input_sha256 = hash_of_submission(job.submission)
    return job.input_sha256


def hash_of_submission(submission: Submission) -> str:
    """Return the hash of a submission's canonical input."""
    return input_sha256(submission.endpoint.full, codec.load_json(submission.body))


class Bookkeeper:
    """Keeps the journal in step with the jobs.

    Args:
        journal: It must be open.
        wall_clock: Aware UTC time.
    """

    def __init__(self, journal: Journal, *, wall_clock: Callable[[], datetime]) -> None:
        self.journal = journal
        self._wall_clock = wall_clock
        self._by_number: dict[int, Job] = {}
        self._by_key: dict[str, Job] = {}

    def find_live(self, job: Job) -> Job | None:
        """Return the other job of this session that has the same row, if there is one.

        Raises:
            JournalConflictError: It has the same key and other content.
        """
        if job.record is not None:
            return self._other(self._by_number.get(job.record.number), job)
        if job.key is None:
            return None
        other = self._other(self._by_key.setdefault(job.key, job), job)
        if other is not None and _content_of(other) != _content_of(job):
            raise JournalConflictError(
                f"another job of this session has the key {job.key!r} and other content; give "
                "each job a key of its own",
                keys=(job.key,),
            )
        return other

    @staticmethod
    def _other(known: Job | None, job: Job) -> Job | None:
        return None if known is job else known

    def find_number(self, number: int) -> Job | None:
        """Return the job of this session that has a row, if one has."""
        return self._by_number.get(number)

    def keep(self, job: Job, record: JobRecord) -> None:
        """Note which row a job has."""
        job.record = record
        job.planned_sha256 = record.input_sha256
        job.input_sha256 = record.sent_sha256 or record.input_sha256
        job.journal_number = record.number
        self._by_number[record.number] = job
        if job.key is None and record.key is not None:
            job.key = record.key
        if job.key is not None:
            self._by_key.setdefault(job.key, job)

    def forget(self, job: Job) -> None:
        """Let go of a job that has ended."""
        number = job.journal_number
        if number is not None and self._by_number.get(number) is job:
            del self._by_number[number]
        if job.key is not None and self._by_key.get(job.key) is job:
            del self._by_key[job.key]

    async def plan(self, job: Job, submission: Submission | None) -> Step:
        """Give a job its row, and return what its state asks for.

        Raises:
            JournalConflictError: Its key is there with other content.
            JournalError: It cannot be written; nothing may be sent.
        """
        if job.record is not None:
            self.keep(job, job.record)
            return STEPS[job.record.state]
        if submission is None:
            raise ValueError("a job without a record needs a submission")
        with _Noting(job):
            sha256 = planned_hash_of(job)
            if job.key is not None:
                record = await self.journal.load_job(key=job.key)
                if record is not None:
                    self._check_same(record, job)
                    self.keep(job, record)
                    return STEPS[record.state]
            planned = PlannedJob(
                endpoint=job.endpoint,
                input_sha256=sha256,
                input=submission.body,
                key=job.key or job.intent_id,
                options=dump_options(submission.options),
                extra={} if job.planned_sha256 is None else {"has_uploads": True},
            )
            (number,) = await self.journal.plan([planned])
            job.journal_number = number
            self._by_number[number] = job
        return Step.SUBMIT

    @staticmethod
    def _check_same(record: JobRecord, job: Job) -> None:
        if (record.endpoint, record.input_sha256) != _content_of(job):
            raise JournalConflictError(
                f"the journal has the key {job.key!r} already, with another endpoint or input; "
                "nothing was sent, choose another key or another journal",
                keys=(str(job.key),),
            )

    async def load_outcome(self, record: JobRecord) -> Any:
        """Return the result of a job that has ended, or raise what it ended with.

        Raises:
            JournalError: The result in the journal is damaged or not there.
            FalqError: What the job ended with.
        """
        if STEPS[record.state] is Step.RAISE:
            error = load_error(record.error or {})
            error.request_id = error.request_id or record.request_id
            error.endpoint = error.endpoint or record.endpoint
            raise error
        body = await self.journal.load_result(record.number)
        if body is None:
            raise JournalError(
                f"the journal says that job {record.number} has a result, and has none; fetch it "
                f"by its request id {record.request_id}",
                request_id=record.request_id,
                endpoint=record.endpoint,
            )
        return load_result(body)

    async def note_sending(self, job: Job, at: datetime, *, is_resend: bool = False) -> None:
        """Write the intent of an attempt.

        Args:
            job: The job.
            at: When.
            is_resend: Whether it follows one whose answer was lost.

        Raises:
            JournalError: It is not written; nothing may be sent.
        """
        earlier = job.record is not None and job.record.intent_id is not None
        if earlier or job.attempts_noted or job.intent_id is None:
            # Each attempt has an id of its own, so that a webhook tells which it was.
            job.intent_id = secrets.token_hex(16)
        sent_sha256 = hash_of(job)
        noted = Noted(
            sent_at=at.timestamp(),
            sent_sha256=None if sent_sha256 == planned_hash_of(job) else sent_sha256,
        )
        with _Noting(job):
            await self.journal.record_sending(
                _number(job),
                intent_id=job.intent_id,
                sent_at=at.timestamp(),
                sent_sha256=noted.sent_sha256,
                is_resend=is_resend,
            )
        job.noted = noted
        job.attempts_noted += 1

    async def note_not_sent(self, job: Job, reason: str) -> None:
        """Write that the attempt is proven not sent, or made no job."""
        await self._tell(job, self.journal.record_not_sent(_number(job), reason))

    async def note_unknown(self, job: Job, reason: str) -> None:
        """Write that the answer to a submit was lost."""
        _noted(job).reason = reason
        await self._tell(job, self.journal.record_unknown(_number(job), reason))

    async def note_accepted(self, job: Job, request_id: str) -> None:
        """Write the server's id."""
        at = _noted(job).accepted_at = self._now()
        await self._tell(job, self.journal.record_accepted(_number(job), request_id, at=at))

    def see_completed(self, job: Job) -> None:
        """Keep in mind when the server said completed."""
        noted = _noted(job)
        if noted.completed_at is None:
            noted.completed_at = self._now()

    def note_completed(self, job: Job) -> None:
        """Write, with the next group, that the server said completed."""
        with contextlib.suppress(JournalError):
            # A hint: without it the job is asked for once more.
            self.journal.record_completed_nowait(_number(job), at=_noted(job).completed_at)

    async def note_result(self, job: Job, reply: Reply) -> None:
        """Keep a result, as received."""
        metrics = job.status.metrics if isinstance(job.status, Completed) else {}
        noted = _noted(job)
        noted.billable_units = read_billable_units(reply)
        noted.inference_s = _number_or_none(metrics.get("inference_time"))
        noted.has_result = await self._tell(
            job,
            self.journal.record_result(
                _number(job),
                reply.body,
                completed_at=noted.completed_at,
                billable_units=noted.billable_units,
                inference_s=noted.inference_s,
            ),
        )

    async def note_end(
        self, job: Job, error: FalqError, *, cancel_outcome: str | None = None
    ) -> None:
        """Write how a job ended, if that is an end."""
        if job.journal_number is None or job.leader is not None or job.is_restored:
            return
        state = decide_end(
            error,
            is_sent=job.is_sent,
            has_request=job.ticket is not None,
            cancel_outcome=cancel_outcome,
        )
        if state is not None:
            writing = self.journal.record_ended(
                job.journal_number, RecordState(state), dump_error(error)
            )
            await self._tell(job, writing)

    def _now(self) -> float:
        return self._wall_clock().timestamp()

    async def _tell(self, job: Job, writing: Awaitable[None]) -> bool:
        """Return whether it is written."""
        try:
            with _Noting(job):
                await writing
        except JournalError as error:
            kept = "it is kept in memory" if error.is_kept else "it is lost"
            logger.warning("job %s goes on without a record, %s: %s", job.job_id, kept, error)
            return False
        return True


class _Noting:
    """A record of a job is being written: see rule 2."""

    __slots__ = ("_job",)

    def __init__(self, job: Job) -> None:
        self._job = job

    def __enter__(self) -> None:
        self._job.is_noting = True

    def __exit__(self, *_: object) -> None:
        self._job.is_noting = False


def _content_of(job: Job) -> tuple[str, str]:
    return job.endpoint, planned_hash_of(job)


def _noted(job: Job) -> Noted:
    if job.noted is None:
        job.noted = Noted()
    return job.noted


def _number(job: Job) -> int:
    if job.journal_number is None:
        raise ValueError("a job without a row cannot be noted")
    return job.journal_number


def _number_or_none(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, str | int | float) else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < float("inf") else None
