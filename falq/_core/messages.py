"""HTTP calls and replies as plain values, with their limits.

Owns what passes between the protocol and a transport. It never sends; a
transport never reads meaning into what it carries.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from attrs import field, frozen, validators

from falq.errors import FalqError


class Verb(enum.StrEnum):
    """What a call asks for; each has a lane of its own."""

    SUBMIT = "submit"
    STATUS = "status"
    RESULT = "result"
    CANCEL = "cancel"
    PLATFORM = "platform"
    RUN = "run"
    STORAGE = "storage"
    STREAM = "stream"


class Origin(enum.Enum):
    """Which of a gateway's own addresses a call goes below.

    A name and not a URL: where the key may go is the gateway's list, and no
    caller can add to it.
    """

    QUEUE = "queue"
    PLATFORM = "platform"
    RUN = "run"
    REST = "rest"
    CDN = "cdn"


@frozen
class Call:
    """One HTTP request below one of a gateway's addresses.

    Attributes:
        verb: What it asks.
        method: HTTP method.
        target: Quoted path and query, from the first slash.
        body: JSON bytes, or None.
        headers: Beside those that every call has; never the key.
        origin: Which address it goes below.
        timeout_s: Seconds that it may take altogether, if not what its verb may.
    """

    verb: Verb
    method: str
    target: str
    body: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(factory=dict)
    origin: Origin = Origin.QUEUE
    timeout_s: float | None = None


@frozen
class Reply:
    """What came back, at least its head.

    Attributes:
        status_code: HTTP status.
        headers: By case-insensitive name.
        body: The body, or what came of it.
        fault: Why the body is not whole; None if it is.
    """

    status_code: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    fault: FalqError | None = None


@frozen(kw_only=True)
class CallTimeouts:
    """How long one HTTP call may take, in seconds. A job has `client_timeout` instead.

    Attributes:
        connect_s: To make a connection, TLS included.
        read_s: Between two pieces of an answer.
        total_s: For a whole call, and a result's body.
        submit_s: For a whole submit; long, because an answer given up on is
            an unknown job.
        cancel_s: For one attempt of a cancel; all attempts together get twice that.
        run_s: For a whole direct run, whose answer comes when the model is done.
    """

    connect_s: float = field(default=10.0, validator=validators.gt(0))
    read_s: float = field(default=30.0, validator=validators.gt(0))
    total_s: float = field(default=60.0, validator=validators.gt(0))
    submit_s: float = field(default=120.0, validator=validators.gt(0))
    cancel_s: float = field(default=2.5, validator=validators.gt(0))
    run_s: float = field(default=600.0, validator=validators.gt(0))

    def for_verb(self, verb: Verb) -> float:
        """Return the whole time that a call of `verb` may take, in seconds."""
        own = {Verb.SUBMIT: self.submit_s, Verb.CANCEL: self.cancel_s, Verb.RUN: self.run_s}
        return own.get(verb, self.total_s)


MIB = 1024 * 1024


@frozen(kw_only=True)
class CallLimits:
    """The largest bodies read, after unpacking, in bytes.

    Attributes:
        status_bytes: Of a status, a receipt or a cancel.
        result_bytes: Of a result, of a direct run, or of a page of the Platform API.
        error_bytes: Of an answer that says no.
    """

    status_bytes: int = field(default=8 * MIB, validator=validators.gt(0))
    result_bytes: int = field(default=64 * MIB, validator=validators.gt(0))
    error_bytes: int = field(default=MIB, validator=validators.gt(0))

    def for_reply(self, verb: Verb, status_code: int) -> int:
        """Return the limit for a body in bytes."""
        if status_code >= 400:
            return self.error_bytes
        is_large = verb in {Verb.RESULT, Verb.PLATFORM, Verb.RUN}
        return self.result_bytes if is_large else self.status_bytes
