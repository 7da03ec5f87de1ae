"""What goes into a journal and what comes out, as frozen values.

Owns their fields. Instants are Unix seconds in UTC as floats, which is how a
journal stores them: they are compared and exported, and never shown as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from attrs import field, frozen, validators

from falq._journal.states import RecordState

FileState: TypeAlias = Literal["pending", "saved", "failed"]
JsonError: TypeAlias = Mapping[str, Any]


@frozen(kw_only=True)
class PlannedJob:
    """A job before anything was sent for it.

    Attributes:
        endpoint: Where it will go.
        input_sha256: What tells its input from others under the same key: the hash
            of its canonical input, see `canonical.input_sha256`, or of whatever
            stands for it before it is known.
        input: Its arguments as JSON; None keeps only the hash.
        key: The caller's own name for it, unique in the journal. None plans a
            new job each time.
        seq: Its place in the caller's order, from 0; None takes its number.
        options: What is asked of the queue beside the arguments, as JSON values.
        extra: What the caller wants back with it, as JSON values.
        run: The run that plans it, see `Journal.begin_run`.
    """

    endpoint: str
    input_sha256: str
    input: bytes | None = field(default=None, repr=False)
    key: str | None = None
    seq: int | None = field(default=None, validator=validators.optional(validators.ge(0)))
    options: Mapping[str, Any] = field(factory=dict, repr=False)
    extra: Mapping[str, Any] = field(factory=dict, repr=False)
    run: int | None = None


@frozen(kw_only=True)
class JobRecord:
    """A job as the journal knows it.

    Attributes:
        number: Its number in this journal, from 1.
        run: The run that planned it.
        key: The caller's own name for it.
        seq: Its place in the caller's order.
        endpoint: Where it goes.
        input: Its arguments as JSON; None if only the hash was kept.
        input_sha256: What tells its input from others, as it was planned.
        options: What is asked of the queue beside the arguments.
        extra: What the caller wants back with it.
        state: Where it stands.
        sent_sha256: Hash of the canonical input that was last sent; None if that is
            `input_sha256`.
        request_id: The server's id of the last attempt, if it has one.
        intent_id: falq's id of the last attempt.
        attempts: How many intents were written for it.
        planned_at: When it was planned.
        sent_at: When its last attempt was sent.
        accepted_at: When its id was written.
        completed_at: When it was seen completed.
        ended_at: When it was delivered, or ended without a result.
        inference_s: Run time as the server measured it, in seconds.
        billable_units: What the server billed, in the endpoint's units.
        cost_usd: What that cost, in US dollars.
        reason: Why its last attempt was not sent, or is unknown.
        error: Why it ended without a result, as JSON values.
    """

    number: int
    run: int | None
    key: str | None
    seq: int
    endpoint: str
    input: bytes | None = field(repr=False)
    input_sha256: str
    options: Mapping[str, Any] = field(repr=False)
    extra: Mapping[str, Any] = field(repr=False)
    state: RecordState
    sent_sha256: str | None = None
    request_id: str | None = None
    intent_id: str | None = None
    attempts: int = 0
    planned_at: float = 0.0
    sent_at: float | None = None
    accepted_at: float | None = None
    completed_at: float | None = None
    ended_at: float | None = None
    inference_s: float | None = None
    billable_units: float | None = None
    cost_usd: float | None = None
    reason: str | None = None
    error: JsonError | None = None


@frozen(kw_only=True)
class AttemptRecord:
    """One intent of a job and what became of it.

    Attributes:
        job: Number of the job.
        n: Its place among the job's attempts, from 1.
        intent_id: falq's id of the attempt.
        sent_at: When it was sent.
        sent_mono: The same on the machine's monotonic clock, in seconds.
        boot_id: Which boot of the machine that clock counts from, if known.
        request_id: The server's id, if it has one.
        outcome: The state it led to; None while it is on the way.
        reason: Why, if a reason was given.
    """

    job: int
    n: int
    intent_id: str
    sent_at: float
    sent_mono: float
    boot_id: str | None = None
    request_id: str | None = None
    outcome: RecordState | None = None
    reason: str | None = None


@frozen(kw_only=True)
class FileRecord:
    """One media file of a job's result.

    Attributes:
        job: Number of the job.
        json_path: Where its URL stands in the result, such as `images[0].url`.
        url: Its URL.
        state: Whether it is on disk.
        name: Its path below the output folder, once it has one.
        size_bytes: Its size, once it is saved.
        sha256: Hash of its bytes, once it is saved.
        content_type: Its media type, if told.
    """

    job: int
    json_path: str
    url: str = field(repr=False)
    state: FileState = "pending"
    name: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    content_type: str | None = None


@frozen(kw_only=True)
class RunRecord:
    """One invocation that used the journal.

    Attributes:
        number: Its number, from 1.
        started_at: When it began.
        settings: What it was started with, as JSON values.
        ended_at: When it ended in good order; None if it did not.
    """

    number: int
    started_at: float
    settings: Mapping[str, Any] = field(repr=False)
    ended_at: float | None = None


@frozen(kw_only=True)
class WebhookRecord:
    """The first delivery of a webhook for a request.

    Attributes:
        request_id: The server's id.
        intent_id: falq's id of the submission, if the webhook's URL carried one.
        received_at: When it came.
        body: Its body, as received.
    """

    request_id: str
    intent_id: str | None
    received_at: float
    body: bytes = field(repr=False)


@frozen(kw_only=True)
class EndpointUsage:
    """What the results of one endpoint were billed for.

    Attributes:
        endpoint: Its full id.
        results: Jobs with a result.
        billable_units: Units that the server named for them.
        unmeasured: Those for which it named none.
    """

    endpoint: str
    results: int
    billable_units: float
    unmeasured: int


@frozen(kw_only=True)
class JournalTotals:
    """What the results in a journal come to.

    Attributes:
        usage: By endpoint.
        files: Media files that were saved.
        file_bytes: Their size.
        failed_files: Media files that could not be fetched.
    """

    usage: tuple[EndpointUsage, ...] = ()
    files: int = 0
    file_bytes: int = 0
    failed_files: int = 0


@frozen(kw_only=True)
class JournalStatistics:
    """What a journal has done since it was opened.

    Attributes:
        records: Records that are committed.
        commits: Commits they took.
        largest_group: Most records in one commit.
        kept: Records that could not be written yet.
        kept_bytes: Their size in memory.
        lost: Kept records that could never be written.
        is_broken: Whether the last commit failed, so that nothing may be submitted.
    """

    records: int = 0
    commits: int = 0
    largest_group: int = 0
    kept: int = 0
    kept_bytes: int = 0
    lost: int = 0
    is_broken: bool = False
