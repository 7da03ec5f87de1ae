"""Everything falq can raise, in one tree.

    FalqError
    ├── ConfigError (ValueError)            a bad setting; names the setting and its source
    │   └── UnsupportedError                the gateway cannot do this
    ├── ArgumentError (ValueError)          a call was given something that cannot be sent
    ├── TransportError                      no complete reply
    │   ├── ConnectError                    nothing was sent
    │   ├── SocketClosedError               a websocket broke or was closed; `.code`, `.reason`
    │   └── TransportTimeoutError (TimeoutError)
    ├── ApiError                            a reply that says no
    │   ├── AuthenticationError             401, 403
    │   ├── InvalidInputError               422; `.problems`
    │   ├── RequestNotFoundError            404
    │   ├── RateLimitError                  429; `.retry_after_s`
    │   │   └── ConcurrencyLimitError       … of direct runs; `.limit`
    │   └── ServerError                     5xx
    ├── WireError                           a reply that cannot be read
    │   ├── ResponseTooLargeError           a body above its limit
    │   └── UnexpectedRedirectError         a redirect, which falq never follows with a key
    ├── RealtimeError                       a realtime app said no; `.error`, `.reason`
    ├── SubmissionUnknownError              the submit may or may not have made a job
    ├── JobError                            the call worked, the job did not
    │   ├── JobFailedError                  the model or the platform ended it with an error
    │   │   └── JobInputError               … 422: also an InvalidInputError
    │   ├── JobCancelledError               it was cancelled on the server
    │   ├── JobLostError                    the server no longer knows it
    │   └── JobTimeoutError (TimeoutError)  `client_timeout` passed
    ├── JournalError                        the journal cannot be used or written
    │   ├── JournalVersionError             a newer falq wrote it
    │   ├── JournalLockedError              another process has it; `.pid`, `.host`
    │   └── JournalConflictError            a key is there with other content; `.keys`
    ├── WebhookError                        a delivery that cannot be taken
    │   ├── SignatureError                  its signature is missing, malformed or wrong
    │   └── StaleDeliveryError              it was signed too long ago, or in the future
    └── SessionError (RuntimeError)         the session cannot be used like this
        ├── SessionClosedError              it is closed, or closed meanwhile
        ├── WrongLoopError                  another event loop or thread
        └── ForkedSessionError              a child made by fork()

Owns the classes and their attributes, and never decides when one is raised.
Rules: callers branch on type and attributes, never on text. Every error says
what to do next in one line, has `request_id`, `retryable` and
`possibly_billed`, survives pickling, and holds no secret.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from falq.text import printable


class FalqError(Exception):
    """The root of every error that falq raises.

    Attributes:
        endpoint: The endpoint id that it is about, if any.
        request_id: The server's id of the request, if one is known.
        intent_id: falq's id of the submission, if there is one.
        retryable: Whether the same call may succeed later.
        possibly_billed: Whether money may have been spent for nothing.
        resume_token: What `Session.resume` goes on with, in this process or another:
            the server has the job, and the error is not its end. None of any other,
            and of a lost submit, which only a journal or the history can find.
    """

    retryable: bool = False
    possibly_billed: bool = False
    resume_token: str | None = None

    def __init__(
        self,
        message: str,
        *,
        endpoint: str | None = None,
        request_id: str | None = None,
        intent_id: str | None = None,
        retryable: bool | None = None,
        possibly_billed: bool | None = None,
    ) -> None:
        super().__init__(printable(message))
        self.endpoint = endpoint
        self.request_id = request_id
        self.intent_id = intent_id
        if retryable is not None:
            self.retryable = retryable
        if possibly_billed is not None:
            self.possibly_billed = possibly_billed

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        text = super().__str__()
        if self.request_id is not None and self.request_id not in text:
            return f"{text} (request {printable(self.request_id, limit=80)})"
        return text

    @classmethod
    def _bare(cls, args: tuple[Any, ...], attributes: dict[str, Any]) -> Self:
        error = cls.__new__(cls, *args)
        error.args = args
        error.__dict__.update(attributes)
        return error


def _rebuild(kind: type[FalqError], args: tuple[Any, ...], attributes: dict[str, Any]) -> FalqError:
    return kind._bare(args, attributes)  # noqa: SLF001  the class's own half of unpickling


class ConfigError(FalqError, ValueError):
    """A setting is missing or wrong. The message names it and where it came from.

    Attributes:
        setting: Name of the setting.
    """

    def __init__(self, message: str, *, setting: str | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.setting = setting


class UnsupportedError(ConfigError):
    """The gateway in use cannot do this. Raised before anything is sent."""


class ArgumentError(FalqError, ValueError):
    """A call was given something that cannot be sent. Raised before anything is sent.

    Attributes:
        argument: Name of the argument.
        problems: `(path, message)` for each of a model's arguments that was refused.
    """

    def __init__(
        self,
        message: str,
        *,
        argument: str | None = None,
        problems: tuple[tuple[str, str], ...] = (),
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.argument = argument
        self.problems = problems


class TransportError(FalqError):
    """A call ended without a complete reply.

    Attributes:
        request_sent: False if it is certain that no byte of the request left.
    """

    retryable = True

    def __init__(self, message: str, *, request_sent: bool = True, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.request_sent = request_sent


class ConnectError(TransportError):
    """No connection could be made: DNS, refused, TLS. Nothing was sent."""

    def __init__(self, message: str, *, request_sent: bool = False, **facts: Any) -> None:
        super().__init__(message, request_sent=request_sent, **facts)


class SocketClosedError(TransportError):
    """A websocket broke, or was closed with an error or before it was used.

    Attributes:
        code: Code of the close frame; None if there was none.
        reason: What the server said about it, made printable.
    """

    def __init__(
        self, message: str, *, code: int | None = None, reason: str = "", **facts: Any
    ) -> None:
        super().__init__(message, **facts)
        self.code = code
        self.reason = printable(reason, limit=200)


class TransportTimeoutError(TransportError, TimeoutError):
    """A call's connect, read or total time-out passed."""


class ApiError(FalqError):
    """The server answered no.

    Attributes:
        status_code: The HTTP status.
        error_type: The server's word for the kind of error, if it gave one.
        detail: What the server said, whole: a string, a list, an object or None.
        problems: `(path, message)` for each entry of a `detail` list.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int,
        error_type: str | None = None,
        detail: Any = None,
        problems: tuple[tuple[str, str], ...] = (),
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.status_code = status_code
        self.error_type = error_type
        self.detail = detail
        self.problems = problems


class AuthenticationError(ApiError):
    """401 or 403: the key is wrong, lacks a permission, or the account is locked.

    If `request_id` is known, the job was accepted and runs on at the server: attach
    to it with a key that is good.

    Attributes:
        is_account_wide: Whether it meets every job of the account, so that a session
            stops submitting: 401, a locked account, or a job that the same key
            submitted and may not look at.
    """

    def __init__(self, message: str, *, is_account_wide: bool | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        if is_account_wide is None:
            is_account_wide = self.status_code == 401 or "locked" in str(self.detail).lower()
        self.is_account_wide = is_account_wide


class InvalidInputError(ApiError):
    """422: the model refused its input. `problems` says where and why."""


class RequestNotFoundError(ApiError):
    """404: no such request, or it is no longer kept."""


class RateLimitError(ApiError):
    """429: too much at once.

    Attributes:
        retry_after_s: How long the server asks to wait, in seconds, if it said.
    """

    retryable = True

    def __init__(self, message: str, *, retry_after_s: float | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.retry_after_s = retry_after_s


class ConcurrencyLimitError(RateLimitError):
    """The account runs as many requests as it may, and only the queue lets others wait.

    Attributes:
        limit: How many that is, if the server said.
    """

    def __init__(self, message: str, *, limit: int | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.limit = limit


class ServerError(ApiError):
    """5xx: the server or what stands before it failed."""

    retryable = True


class WireError(FalqError):
    """A reply came that cannot be read.

    Attributes:
        status_code: The HTTP status, if there was one.
        excerpt: The start of the body, made printable.
    """

    def __init__(
        self, message: str, *, status_code: int | None = None, excerpt: str = "", **facts: Any
    ) -> None:
        super().__init__(message, **facts)
        self.status_code = status_code
        self.excerpt = printable(excerpt, limit=200)


class ResponseTooLargeError(WireError):
    """A body, or what it unpacks to, is above its limit; see `CallLimits`."""


class UnexpectedRedirectError(WireError):
    """The server redirected. falq does not follow: the key would go with it."""


class RealtimeError(FalqError):
    """A realtime app, or the server before it, said no on an open socket.

    Attributes:
        error: The server's word, such as `INTERNAL_ERROR`.
        reason: What it said about it, made printable.
    """

    def __init__(self, message: str, *, error: str = "", reason: str = "", **facts: Any) -> None:
        super().__init__(message, **facts)
        self.error = printable(error, limit=200)
        self.reason = printable(reason)


class SubmissionUnknownError(FalqError):
    """A submit was sent and its answer was lost: there may be a job, and a bill.

    falq did not send it again. Look for it in the dashboard or the request
    history around `sent_at` before you do.

    Attributes:
        sent_at: When the last attempt was sent, UTC.
        attempts: How often it was sent.
        reason: What became of the answer.
    """

    possibly_billed = True

    def __init__(
        self,
        message: str,
        *,
        sent_at: datetime | None = None,
        attempts: int = 1,
        reason: str = "",
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.sent_at = sent_at
        self.attempts = attempts
        self.reason = printable(reason, limit=200)


class JobError(FalqError):
    """The calls worked, the job did not.

    Attributes:
        job_id: falq's number of the job within its session.
    """

    def __init__(self, message: str, *, job_id: int | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.job_id = job_id


class JobFailedError(JobError):
    """The model or the platform ended the job with an error.

    Attributes:
        status_code: HTTP status of the result, None if only the status told.
        error_type: The server's word for the kind of error, if it gave one.
        detail: What the server said, whole: a string, a list, an object or None.
        problems: `(path, message)` for each entry of a `detail` list.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        error_type: str | None = None,
        detail: Any = None,
        problems: tuple[tuple[str, str], ...] = (),
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.status_code = status_code
        self.error_type = error_type
        self.detail = detail
        self.problems = problems


class JobInputError(JobFailedError, InvalidInputError):
    """The model refused the job's input. fal tells so at the result, not at the submit."""

    status_code: int

    def __init__(self, message: str, *, status_code: int | None = 422, **facts: Any) -> None:
        own = {name: facts.pop(name, None) for name in ("error_type", "detail", "job_id")}
        self.problems = facts.pop("problems", ())
        FalqError.__init__(self, message, **facts)
        self.status_code = 422 if status_code is None else status_code
        self.error_type = own["error_type"]
        self.detail = own["detail"]
        self.job_id = own["job_id"]


class JobCancelledError(JobError):
    """The job was cancelled on the server, or before it was submitted."""


class JobLostError(JobError):
    """The server no longer knows the job, or no longer keeps its result."""

    possibly_billed = True


class JobTimeoutError(JobError, TimeoutError):
    """`client_timeout` passed; falq asked the server to cancel the job.

    Attributes:
        timeout_s: The limit that passed, in seconds.
        cancel_outcome: What became of the cancel: `"requested"`,
            `"already_completed"`, `"not_found"`, `"unknown"`, or
            `"not_submitted"` if there was nothing to cancel.
    """

    possibly_billed = True

    def __init__(
        self,
        message: str,
        *,
        timeout_s: float | None = None,
        cancel_outcome: str = "unknown",
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.timeout_s = timeout_s
        self.cancel_outcome = cancel_outcome


class JournalError(FalqError):
    """The journal cannot be used, or something could not be written to it.

    Attributes:
        is_kept: Whether the record is kept in memory and written as soon as it
            can be. Never true of an intent: without it nothing may be sent.
        unwritten: What was still kept when the journal was closed.
    """

    def __init__(
        self,
        message: str,
        *,
        is_kept: bool = False,
        unwritten: tuple[str, ...] = (),
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.is_kept = is_kept
        self.unwritten = unwritten


class JournalVersionError(JournalError):
    """A newer falq wrote the journal. It was not touched.

    Attributes:
        found_version: The schema version of the file.
        known_version: The newest that this falq reads.
    """

    def __init__(
        self, message: str, *, found_version: int = 0, known_version: int = 0, **facts: Any
    ) -> None:
        super().__init__(message, **facts)
        self.found_version = found_version
        self.known_version = known_version


class JournalLockedError(JournalError):
    """Another process has the journal.

    Attributes:
        pid: Its process id, if it could be read.
        host: Its host name, if it could be read.
        started_at: When it opened the journal, UTC, if it could be read.
    """

    retryable = True

    def __init__(
        self,
        message: str,
        *,
        pid: int | None = None,
        host: str | None = None,
        started_at: datetime | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.pid = pid
        self.host = host
        self.started_at = started_at


class JournalConflictError(JournalError):
    """A key is in the journal already, with another endpoint or input.

    Attributes:
        keys: The keys.
    """

    def __init__(self, message: str, *, keys: tuple[str, ...] = (), **facts: Any) -> None:
        super().__init__(message, **facts)
        self.keys = keys


class WebhookError(FalqError):
    """A webhook's delivery cannot be taken.

    `retryable` says whether the sender may be asked to try again: where the keys
    to check it with could not be fetched, it is True.
    """


class SignatureError(WebhookError):
    """The signature of a delivery is missing, malformed or no known key's."""


class StaleDeliveryError(WebhookError):
    """A delivery was signed too long ago, or by a clock that is ahead.

    Attributes:
        age_s: Seconds since it was signed; negative if that is in the future.
    """

    def __init__(self, message: str, *, age_s: float = 0.0, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.age_s = age_s


class SessionError(FalqError, RuntimeError):
    """The session cannot be used like this."""


class SessionClosedError(SessionError):
    """The session is closed, or was closed before the job ended."""


class WrongLoopError(SessionError):
    """The session belongs to another event loop or thread."""


class ForkedSessionError(SessionError):
    """The process was forked after the session was opened; open one in the child."""
