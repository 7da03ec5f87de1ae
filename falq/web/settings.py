"""What an app may say of its session.

Owns the names of a `Session`'s arguments as a type, so that `AppSession` passes them
on without losing what they are. It never checks a value: the session does.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from typing import TypedDict

from falq._core.messages import CallLimits, CallTimeouts
from falq._core.pollsettings import PollSettings
from falq._core.retry import RetrySettings
from falq._journal.base import Journal
from falq._transport.base import Transport
from falq.events import Hook
from falq.gateways import Gateway
from falq.model import Completion, Delivery, OnCancel, OnUnknown
from falq.proxies import Proxy


class SessionKeywords(TypedDict, total=False):
    """The arguments of `falq.Session`, each of which may be left out."""

    gateway: Gateway | None
    timeout: float | None
    max_jobs: int | None
    per_endpoint: Mapping[str, int] | None
    max_calls: int
    calls_per_s: float | None
    poll: PollSettings | None
    completion: Completion
    max_streams: int
    retry: RetrySettings | None
    call_timeouts: CallTimeouts | None
    call_limits: CallLimits | None
    delivery: Delivery
    max_resends: int
    on_unknown: OnUnknown
    settle_s: float
    journal: str | os.PathLike[str] | Journal | None
    run_times: str | os.PathLike[str] | None
    webhook_base_url: str | None
    proxy: Proxy | str | None
    validate: bool
    on_event: Hook | None
    on_exit: OnCancel
    exit_grace_s: float
    ssl_context: ssl.SSLContext | None
    seed: int | None
    transport: Transport | None
