"""The vocabulary: what falq's rooms say to each other and to the user.

Owns frozen values and the rules of endpoint and request ids. It never does
I/O, and reads no clock. Every room may import it.

Statuses are what the server says of a request; a *state* is where falq's own
handling of a job stands (`_core/lifecycle.py`).

Annotations here are evaluated on import: the classes are shown as falq's own
(`falq.Queued`), and a user's converter could not resolve texts there.
"""

import functools
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, TypeAlias

from attrs import field, frozen

from falq.errors import ArgumentError, FalqError
from falq.text import printable

NAMESPACES = frozenset({"workflows", "comfy"})
"""First path parts that stand before an owner (fal_client 1.0.3 and fal-js agree)."""

LONGEST_ID = 512

_PART = re.compile(r"[A-Za-z0-9._~-]+")
"""What RFC 3986 calls unreserved: the same quoted and unquoted, so nothing is quoted."""

Priority: TypeAlias = Literal["normal", "low"]
OnCancel: TypeAlias = Literal["detach", "cancel"]
Delivery: TypeAlias = Literal["at_most_once", "reconcile", "at_least_once"]
OnUnknown: TypeAlias = Literal["hold", "resubmit"]
Completion: TypeAlias = Literal["poll", "stream"]
CancelOutcome: TypeAlias = Literal[
    "requested", "already_completed", "not_found", "not_submitted", "unknown"
]


def check_path_part(part: str, *, what: str) -> str:
    """Return `part` if it may stand as one part of a URL path.

    Args:
        part: Text between two slashes.
        what: What the text is, for the message.

    Raises:
        ArgumentError: It is empty, `.` or `..`, or holds anything but letters,
            digits and `-._~`. Such an id could carry the key to another path.
    """
    if _PART.fullmatch(part) is None or part in {".", ".."}:
        raise ArgumentError(
            f"{what} {printable(repr(part), limit=80)} is empty or holds characters that "
            "would change the URL; give the bare id, of letters, digits and -._~",
            argument=what,
        )
    return part


def check_request_id(request_id: str) -> str:
    """Return `request_id` if it is one.

    Raises:
        ArgumentError: It is not one safe path part; see `check_path_part`.
    """
    if not isinstance(request_id, str) or "/" in request_id or len(request_id) > LONGEST_ID:
        raise ArgumentError(
            f"request_id {printable(repr(request_id), limit=80)} is not a request id; "
            "give the id that submit returned",
            argument="request_id",
        )
    return check_path_part(request_id, what="request_id")


@frozen
class EndpointId:
    """Where a submission goes: `[namespace/]owner/alias[/path]`.

    Attributes:
        owner: The account that owns it, such as `fal-ai`.
        alias: The app's name, such as `flux`.
        path: What follows, such as `schnell`, or the empty text.
        namespace: `workflows`, `comfy`, or the empty text.
        app: The part that status, result and cancel use.
        full: The part that submit uses: all of it.

    Raises:
        ArgumentError: A part may not stand in a URL; see `check_path_part`.
    """

    owner: str
    alias: str
    path: str = ""
    namespace: str = ""
    app: str = field(init=False, eq=False, repr=False)
    full: str = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        head = [self.namespace] if self.namespace else []
        head += [self.owner, self.alias]
        parts = [*head, *self.path.split("/")] if self.path else head
        for part in parts:
            check_path_part(part, what="endpoint")
        # Asked for with every call, so made once.
        object.__setattr__(self, "app", "/".join(head))
        object.__setattr__(self, "full", "/".join(parts))

    @staticmethod
    def parse(text: str) -> "EndpointId":
        """Read an endpoint id.

        Args:
            text: `owner/alias[/path]`, with `workflows/` or `comfy/` before it if
                it is one, or the legacy form `123-alias`. Outer slashes are dropped.

        Raises:
            ArgumentError: It is none of these; see `check_path_part`.

        Example:
            >>> EndpointId.parse("fal-ai/flux/schnell").app
            'fal-ai/flux'
            >>> EndpointId.parse("110602490-sd").full
            '110602490/sd'
        """
        if not isinstance(text, str):
            raise ArgumentError(
                f"endpoint must be text such as 'fal-ai/flux/schnell', got {type(text).__name__}",
                argument="endpoint",
            )
        return _parse_endpoint(text)

    def __str__(self) -> str:
        return self.full


@functools.lru_cache(maxsize=1024)
def _parse_endpoint(text: str) -> EndpointId:
    if len(text) > LONGEST_ID:
        raise ArgumentError(
            f"endpoint is longer than {LONGEST_ID} characters; give an id such as "
            "'fal-ai/flux/schnell'",
            argument="endpoint",
        )
    parts = text.strip("/").split("/")
    namespace = parts.pop(0) if parts[0] in NAMESPACES else ""
    if len(parts) == 1 and not namespace:
        number, dash, alias = parts[0].partition("-")
        if dash and alias and number.isdecimal():
            parts = [number, alias]
    if len(parts) < 2:
        raise ArgumentError(
            f"endpoint {printable(repr(text), limit=80)} lacks an owner or a name; "
            "give it as 'owner/name', such as 'fal-ai/flux/schnell'",
            argument="endpoint",
        )
    return EndpointId(owner=parts[0], alias=parts[1], path="/".join(parts[2:]), namespace=namespace)


@frozen(kw_only=True)
class LogEntry:
    """One line that a job printed.

    Attributes:
        message: The line, as sent; pass it through `falq.text.printable` to show it.
        level: Such as `INFO` or `STDERR`, if given.
        source: Such as `USER`, if given.
        timestamp: Text as sent, if given; without a zone it is UTC.
    """

    message: str
    level: str | None = None
    source: str | None = None
    timestamp: str | None = None


@frozen
class Status:
    """What the server last said of a request: `Queued`, `InProgress` or `Completed`.

    A word that falq does not know comes as a plain `Status` and means "not
    finished".

    Attributes:
        word: The server's word, such as `IN_QUEUE`.
        extra: Fields that falq has no name for, as sent.
    """

    word: str = ""
    extra: Mapping[str, Any] = field(factory=dict, kw_only=True, repr=False)


@frozen
class Queued(Status):
    """Waiting for a runner.

    Attributes:
        position: Requests ahead of it, 0 if it is next, None if not told. It can rise.
        logs: Lines of an earlier attempt, if they were asked for.
    """

    word: str = field(default="IN_QUEUE", kw_only=True)
    position: int | None = None
    logs: tuple[LogEntry, ...] = field(default=(), kw_only=True)


@frozen
class InProgress(Status):
    """On a runner. It can go back to the queue when the server retries.

    Attributes:
        logs: Lines, if they were asked for: a moving window in a bare status,
            only what is new in `Handle.events`.
    """

    word: str = field(default="IN_PROGRESS", kw_only=True)
    logs: tuple[LogEntry, ...] = ()


@frozen
class Completed(Status):
    """Finished, which is not yet success: the result call decides.

    Attributes:
        logs: Lines, if they were asked for.
        metrics: What the server measured, such as `inference_time` in seconds.
        error: The platform's reason, if it ended the request.
        error_type: The platform's word for that reason.
    """

    word: str = field(default="COMPLETED", kw_only=True)
    logs: tuple[LogEntry, ...] = ()
    metrics: Mapping[str, Any] = field(factory=dict)
    error: str | None = None
    error_type: str | None = None


@frozen(kw_only=True)
class ObjectLifecycle:
    """How long generated media live and who may read them (fal's common parameters).

    Attributes:
        expiration_s: Whole seconds until they are deleted; None leaves the
            account's setting.
        initial_acl: fal's `initial_acl` object, passed on as it is.
    """

    expiration_s: int | None = None
    initial_acl: Mapping[str, Any] | None = None


@frozen(kw_only=True)
class SubmitOptions:
    """What a submission asks of the queue beside its arguments.

    Attributes:
        start_timeout: Seconds within which the job must start, or the server
            ends it (`X-Fal-Request-Timeout`). Above 1.
        hint: Any text; equal hints prefer the same runner.
        priority: `"low"` goes behind every normal request of the endpoint.
        no_retry: Ask the server not to retry a failed attempt.
        store_io: False asks the server not to keep input and output. The
            result is then gone minutes after completion.
        tags: Usage tags, at most 10.
        webhook_url: Address, https or http, that fal calls when the job ends.
        max_queue_length: Refuse with 429 if the endpoint's queue is this long.
        disable_fallbacks: Ask the server not to route to another endpoint.
        lifecycle: Life of the generated media.
        headers: Further headers. Those that falq sets itself are refused.
    """

    start_timeout: float | None = None
    hint: str | None = None
    priority: Priority | None = None
    no_retry: bool = False
    store_io: bool = True
    tags: Mapping[str, str] = field(factory=dict)
    webhook_url: str | None = None
    max_queue_length: int | None = None
    disable_fallbacks: bool = False
    lifecycle: ObjectLifecycle | None = None
    headers: Mapping[str, str] = field(factory=dict)


@frozen(kw_only=True)
class Submission:
    """Endpoint, arguments and options, before any server has seen them.

    Attributes:
        endpoint: Where it goes.
        body: The arguments as JSON, as they will be sent.
        options: What is asked beside them.
        intent_id: 128 random bits in hex: falq's name for this submission.
        kinds: What its run time is learned under, the most special first.
    """

    endpoint: EndpointId
    body: bytes = field(repr=False)
    options: SubmitOptions
    intent_id: str
    kinds: tuple[str, ...] = ()


@frozen(kw_only=True)
class Ticket:
    """The server's receipt for a submission.

    Attributes:
        endpoint: Where it went.
        request_id: The server's id.
        app: The URL part that status, result and cancel use.
        position: Place in the queue when it was accepted, if told.
    """

    endpoint: EndpointId
    request_id: str
    app: str
    position: int | None = None


@frozen(kw_only=True)
class Timings:
    """Where a job's time went, in seconds; None where it did not get that far.

    Attributes:
        waited_s: In falq's line, until a slot was free.
        submit_s: From the slot to the server's receipt.
        finish_s: From the receipt until completion was seen.
        result_s: From then until the result was here.
        total_s: All of it.
        inference_s: Run time as the server measured it.
    """

    waited_s: float | None = None
    submit_s: float | None = None
    finish_s: float | None = None
    result_s: float | None = None
    total_s: float = 0.0
    inference_s: float | None = None


@frozen(kw_only=True)
class Outcome:
    """How one job of `Session.map` ended.

    Attributes:
        index: Place of the input, from 0.
        input: The input, as it was given.
        request_id: The server's id, None if it never came so far.
        result: The payload, None unless it succeeded.
        error: Why it did not, None if it succeeded.
        timings: Where its time went.
        journal_number: Number of its row in the journal, if there is one.
        billable_units: What the service said that it billed, in the endpoint's units;
            None if it did not say.
    """

    index: int
    input: Any
    request_id: str | None = None
    result: Any = field(default=None, repr=False)
    error: FalqError | None = None
    timings: Timings = field(factory=Timings, repr=False)
    journal_number: int | None = None
    billable_units: float | None = None

    @property
    def is_success(self) -> bool:
        """Whether there is a result."""
        return self.error is None


@frozen(kw_only=True)
class Unfinished:
    """A job that had not ended when its session closed.

    Attributes:
        endpoint: Where it went.
        request_id: The server's id; None if the answer to its submit was lost.
        intent_id: falq's id of the submission, None for an attached job.
        submitted_at: When it was sent, UTC, if this session sent it.
        cancel_outcome: What became of the cancel, if one was asked for.
        resume_token: What `Session.resume` goes on with; None without a request id.
    """

    endpoint: str
    request_id: str | None
    intent_id: str | None = None
    submitted_at: datetime | None = None
    cancel_outcome: CancelOutcome | None = None
    resume_token: str | None = None
