"""The boundary between falq and whatever keeps its journal.

Owns the verbs and their contract. `sqlite` fills them with a file that survives
a crash; `memory` fills them with dicts, under the same laws, for tests in
virtual time. The engine and the batch runner call them.

Rules:
    1. A `record_*` that returned is durable, and so is everything before it.
    2. An illegal move raises `JournalError` and changes nothing; `states` has
       the table.
    3. A verb that is cancelled while it waits may still be written.
    4. After a failed commit the journal is broken: no intent is taken, so
       nothing may be submitted. What is told of jobs already out is kept in
       memory and written as soon as it can be; the error's `is_kept` says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Protocol

from falq._journal.records import (
    AttemptRecord,
    FileRecord,
    JobRecord,
    JournalStatistics,
    JournalTotals,
    JsonError,
    PlannedJob,
    RunRecord,
    WebhookRecord,
)
from falq._journal.states import RecordState


class Journal(Protocol):
    """Remembers runs, jobs, attempts, results, files and webhooks."""

    async def open(self) -> None:
        """Get ready; called once, on the loop that will use it.

        Raises:
            JournalLockedError: Another process has it.
            JournalVersionError: A newer falq wrote it.
            JournalError: It cannot be kept there, or is damaged.
        """
        ...

    async def aclose(self) -> None:
        """Write what is kept and close; safe to call twice.

        Raises:
            JournalError: Something could not be written; `unwritten` names it.
        """
        ...

    async def flush(self) -> None:
        """Try now to write everything that is kept.

        Raises:
            JournalError: It still cannot be written.
        """
        ...

    async def check_account(self, fingerprint_source: str, *, gateway: str = "") -> None:
        """Bind the journal to an account, or check that it is bound to this one.

        Only a salted hash is stored. The same text must be given each time.

        Args:
            fingerprint_source: Text that stands for the account, such as its key.
            gateway: The gateway's base URL.

        Raises:
            JournalError: It was made under another account or gateway.
        """
        ...

    async def begin_run(self, settings: Mapping[str, Any]) -> int:
        """Note that an invocation begins, and return its number.

        Args:
            settings: What it was started with, as JSON values, without secrets.
        """
        ...

    async def record_run_ended(self, run: int) -> None:
        """Note that an invocation ended in good order."""
        ...

    async def plan(self, jobs: Sequence[PlannedJob]) -> list[int]:
        """Note jobs before anything is sent for them, all or none.

        A key that is there already, with the same endpoint and input hash, is
        not planned again.

        Args:
            jobs: At most a few thousand at a time: they are one transaction.

        Returns:
            The number of each, in order.

        Raises:
            JournalConflictError: A key is there with other content; `keys` names it.
        """
        ...

    async def record_sending(
        self,
        number: int,
        *,
        intent_id: str,
        sent_at: float,
        sent_sha256: str | None = None,
        is_resend: bool = False,
    ) -> None:
        """Note the intent; nothing may be sent before this has returned.

        Args:
            number: The job; it must be planned.
            intent_id: falq's id of this attempt, never used before.
            sent_at: Now, Unix seconds.
            sent_sha256: Hash of the canonical input that is sent, by which the request
                is found again; None if it is that of the plan.
            is_resend: The job is unknown instead, and this attempt follows one that may
                have made a job. It is one record: nobody finds the job planned, as if
                nothing had been sent.
        """
        ...

    async def record_not_sent(self, number: int, reason: str) -> None:
        """Note that the attempt is proven not sent: the job is planned again."""
        ...

    async def record_unknown(self, number: int, reason: str) -> None:
        """Note that the answer to the submit was lost."""
        ...

    async def record_refused(self, number: int, error: JsonError) -> None:
        """Note that the submit was answered no, or stopped before it was sent."""
        ...

    async def record_accepted(
        self, number: int, request_id: str, *, at: float | None = None
    ) -> None:
        """Note the server's id, before anyone is given it.

        Args:
            number: The job.
            request_id: The id.
            at: When, Unix seconds; None is now.

        Raises:
            JournalError: Another attempt has that id.
        """
        ...

    def record_completed_nowait(self, number: int, *, at: float | None = None) -> None:
        """Note that the server said completed, with the next group. A hint: may be lost.

        Args:
            number: The job.
            at: When, Unix seconds; None is now.
        """
        ...

    async def record_result(
        self,
        number: int,
        body: bytes,
        *,
        completed_at: float | None = None,
        billable_units: float | None = None,
        inference_s: float | None = None,
        cost_usd: float | None = None,
    ) -> None:
        """Keep the result, as received.

        Args:
            number: The job.
            body: The result.
            completed_at: When the server said completed, Unix seconds, unless that
                was noted before; None is now.
            billable_units: What the server billed, in the endpoint's units.
            inference_s: Run time as the server measured it, in seconds.
            cost_usd: What that cost, in US dollars.
        """
        ...

    async def record_ended(self, number: int, state: RecordState, error: JsonError) -> None:
        """Note that the job ended without a result.

        Args:
            number: The job.
            state: Failed, cancelled, refused or gone.
            error: Why, as JSON values.
        """
        ...

    async def record_file(self, file: FileRecord) -> None:
        """Note where one file of a result stands; replaces what was noted of it."""
        ...

    async def record_delivered(self, number: int) -> None:
        """Note that the caller has the result and its files."""
        ...

    def record_delivered_nowait(self, number: int) -> None:
        """Note the same with the next group. A hint: without it a caller is told once more.

        Args:
            number: The job.

        Raises:
            JournalError: The journal is closed.
        """
        ...

    async def record_webhook(self, request_id: str, *, intent_id: str | None, body: bytes) -> bool:
        """Keep a delivery and return whether it is the first of its request.

        It is not kept in memory when it cannot be written: the sender must try
        again.
        """
        ...

    async def record_retry(self, numbers: Iterable[int], reason: str = "retry") -> None:
        """Plan jobs again, all or none: unknown ones and those that ended without a result.

        Their attempts stay.
        """
        ...

    async def mark_interrupted(self) -> int:
        """Make every sending job unknown, and return how many there were.

        Called once, before the first submit, after the journal was opened.
        """
        ...

    async def load_counts(self) -> dict[RecordState, int]:
        """Return how many jobs are in each state."""
        ...

    async def load_totals(self) -> JournalTotals:
        """Return what all results and their files come to; it reads every job once."""
        ...

    def load_jobs(
        self,
        *,
        states: Iterable[RecordState] | None = None,
        after_seq: int | None = None,
        page: int = 1000,
    ) -> AsyncIterator[list[JobRecord]]:
        """Yield jobs by `seq`, a page at a time.

        Jobs may be changed meanwhile: one that left `states` before its page was
        read is not in it.

        Args:
            states: Which; None is all.
            after_seq: Only those after it.
            page: Most jobs in a page; large inputs make it shorter.
        """
        ...

    async def load_job(
        self,
        *,
        number: int | None = None,
        key: str | None = None,
        request_id: str | None = None,
        intent_id: str | None = None,
    ) -> JobRecord | None:
        """Return one job by one of its names, also by those of an earlier attempt.

        Raises:
            ValueError: Not exactly one name was given.
        """
        ...

    async def load_attempts(self, number: int) -> list[AttemptRecord]:
        """Return every attempt of a job, the oldest first."""
        ...

    async def load_result(self, number: int) -> bytes | None:
        """Return a job's result, as received.

        Raises:
            JournalError: The stored bytes do not match their hash.
        """
        ...

    async def load_files(self, number: int) -> list[FileRecord]:
        """Return the files of a job's result, by `json_path`."""
        ...

    async def load_webhook(
        self, *, request_id: str | None = None, intent_id: str | None = None
    ) -> WebhookRecord | None:
        """Return a delivery by one of its ids.

        Raises:
            ValueError: Not exactly one id was given.
        """
        ...

    async def load_runs(self) -> list[RunRecord]:
        """Return every run, the oldest first."""
        ...

    async def load_claimed_request_ids(self, request_ids: Iterable[str]) -> set[str]:
        """Return those ids that an attempt in this journal already has."""
        ...

    def statistics(self) -> JournalStatistics:
        """Return what was done since it was opened."""
        ...


def only_one(**names: int | str | None) -> tuple[str, int | str]:
    """Return the one name that was given, and its value.

    Raises:
        ValueError: None was given, or several.
    """
    given = [(name, value) for name, value in names.items() if value is not None]
    if len(given) != 1:
        raise ValueError(f"give exactly one of {', '.join(names)}")
    return given[0]
