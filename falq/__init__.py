"""Run generative-AI jobs on the fal.ai queue from asyncio.

The folders, from the face down:

    session        what a user opens
    keywords       the options of a submission
    preparation    local files inside arguments, uploaded before a submit
    media          media that results point to, and files that go up
    live           status streams, direct runs, realtime and raw sockets
    models         typed inputs and outputs
    platform       fal's Platform API: models, schemas, prices, history
    connections    connections of a Maton account
    _engine        the async machinery behind it
    _transport     what carries HTTP calls
    journal        where jobs are written down; `_journal` is behind it
    config         settings and environment variables
    proxies        the way out through a company's proxy
    gateways       fal itself, or Maton
    events         what an observer may hear
    _core          decisions as plain functions
    model, errors  the vocabulary
    text           text from outside, made printable

and beside them `emulator` (a fal queue on this machine), `testing`, `batch`,
`webhooks`, `web` (a proxy for browsers), `telemetry` (OpenTelemetry), `actions`
(for agents) and `cli`, which are imported by name.

The session and what belongs to it are loaded at their first use, because
aiohttp comes with them: `falq --help` and the emulator's models need neither.
"""

import importlib
import logging
from typing import TYPE_CHECKING, Any

from falq._core.messages import CallLimits as CallLimits
from falq._core.messages import CallTimeouts as CallTimeouts
from falq._core.pollsettings import PollSettings as PollSettings
from falq._core.retry import RetrySettings as RetrySettings
from falq._version import __version__ as __version__
from falq.errors import ApiError as ApiError
from falq.errors import ArgumentError as ArgumentError
from falq.errors import AuthenticationError as AuthenticationError
from falq.errors import ConcurrencyLimitError as ConcurrencyLimitError
from falq.errors import ConfigError as ConfigError
from falq.errors import ConnectError as ConnectError
from falq.errors import FalqError as FalqError
from falq.errors import ForkedSessionError as ForkedSessionError
from falq.errors import InvalidInputError as InvalidInputError
from falq.errors import JobCancelledError as JobCancelledError
from falq.errors import JobError as JobError
from falq.errors import JobFailedError as JobFailedError
from falq.errors import JobInputError as JobInputError
from falq.errors import JobLostError as JobLostError
from falq.errors import JobTimeoutError as JobTimeoutError
from falq.errors import JournalConflictError as JournalConflictError
from falq.errors import JournalError as JournalError
from falq.errors import JournalLockedError as JournalLockedError
from falq.errors import JournalVersionError as JournalVersionError
from falq.errors import RateLimitError as RateLimitError
from falq.errors import RealtimeError as RealtimeError
from falq.errors import RequestNotFoundError as RequestNotFoundError
from falq.errors import ResponseTooLargeError as ResponseTooLargeError
from falq.errors import ServerError as ServerError
from falq.errors import SessionClosedError as SessionClosedError
from falq.errors import SessionError as SessionError
from falq.errors import SignatureError as SignatureError
from falq.errors import SocketClosedError as SocketClosedError
from falq.errors import StaleDeliveryError as StaleDeliveryError
from falq.errors import SubmissionUnknownError as SubmissionUnknownError
from falq.errors import TransportError as TransportError
from falq.errors import TransportTimeoutError as TransportTimeoutError
from falq.errors import UnexpectedRedirectError as UnexpectedRedirectError
from falq.errors import UnsupportedError as UnsupportedError
from falq.errors import WebhookError as WebhookError
from falq.errors import WireError as WireError
from falq.errors import WrongLoopError as WrongLoopError
from falq.gateways import Fal as Fal
from falq.gateways import Gateway as Gateway
from falq.gateways import Maton as Maton
from falq.model import Completed as Completed
from falq.model import EndpointId as EndpointId
from falq.model import InProgress as InProgress
from falq.model import LogEntry as LogEntry
from falq.model import ObjectLifecycle as ObjectLifecycle
from falq.model import Outcome as Outcome
from falq.model import Queued as Queued
from falq.model import Status as Status
from falq.model import SubmitOptions as SubmitOptions
from falq.model import Timings as Timings
from falq.model import Unfinished as Unfinished
from falq.proxies import Proxy as Proxy

if TYPE_CHECKING:
    from falq._engine.handle import Handle as Handle
    from falq._engine.handle import StatusStream as StatusStream
    from falq._engine.mapping import OutcomeStream as OutcomeStream
    from falq._engine.session_statistics import SessionStatistics as SessionStatistics
    from falq.live.output import OutputStream as OutputStream
    from falq.live.realtime import RealtimeConnection as RealtimeConnection
    from falq.live.sockets_raw import RunnerSocket as RunnerSocket
    from falq.media.upload_source import Upload as Upload
    from falq.session import Session as Session

_LATE = {
    "Handle": "falq._engine.handle",
    "OutcomeStream": "falq._engine.mapping",
    "OutputStream": "falq.live.output",
    "RealtimeConnection": "falq.live.realtime",
    "RunnerSocket": "falq.live.sockets_raw",
    "Session": "falq.session",
    "SessionStatistics": "falq._engine.session_statistics",
    "StatusStream": "falq._engine.handle",
    "Upload": "falq.media.upload_source",
}

__all__ = sorted(
    {name for name, value in globals().items() if getattr(value, "__module__", "")[:5] == "falq."}
    | _LATE.keys()
)

# Without a handler of the user's, a library's warnings would go to stderr.
logging.getLogger("falq").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'falq' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LATE[name]), name)
    globals()[name] = _as_own(value)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})


def _as_own(value: Any) -> Any:
    """Make tracebacks, reprs and the documentation name what a user can import."""
    value.__module__ = "falq"
    return value


for _name in __all__:
    if _name not in _LATE:
        _as_own(globals()[_name])
del _name
