"""Direct runs: one call to fal's address for runs, answered when the model is done.

Owns the attempts of such a call, and what an error of it may have cost. `_core.direct`
builds and reads; `session` and `output` call it.

A run that may have been received is never sent again: nothing on the server tells
two of them apart, and each is billed. Only one of which no byte left is tried again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any, TypedDict

from falq._core.direct import read_output
from falq._core.messages import Call
from falq._core.options import check_options
from falq._core.retry import Failure, RetrySettings, decide_wait_s
from falq._engine.listening import HeldStream
from falq._engine.queue_client import QueueClient
from falq.errors import ArgumentError, TransportError, TransportTimeoutError
from falq.model import EndpointId, ObjectLifecycle, SubmitOptions

ATTEMPTS = 3
"""Tries of a run of which it is certain that no byte left (promises D4)."""


class RunKeywords(TypedDict, total=False):
    """What `run` and `stream` take beside the arguments.

    The queue's other options have no meaning here: a direct run has no place in a
    line, is not retried by the server, and calls no webhook.

    Attributes:
        start_timeout: Seconds within which the run must start, above 1.
        hint: Any text; equal hints prefer the same runner.
        store_io: False asks the server not to keep input and output.
        tags: Usage tags, at most 10.
        disable_fallbacks: Ask the server not to route to another endpoint.
        lifecycle: Life of the generated media.
        headers: Further headers.
    """

    start_timeout: float | None
    hint: str | None
    store_io: bool
    tags: dict[str, str]
    disable_fallbacks: bool
    lifecycle: ObjectLifecycle | None
    headers: dict[str, str] | None


def run_options(keywords: RunKeywords) -> SubmitOptions:
    """Return the options of a direct run, checked.

    Raises:
        ArgumentError: There is no such option, or a value cannot be sent.
    """
    known = RunKeywords.__annotations__.keys()
    unknown = keywords.keys() - known
    if unknown:
        name = min(unknown)
        raise ArgumentError(
            f"a direct run has no option {name!r}; its options are {', '.join(sorted(known))}",
            argument=name,
        )
    given: dict[str, Any] = dict(keywords)
    for name in ("tags", "headers"):
        if given.get(name) is None:
            given.pop(name, None)
    options = SubmitOptions(**given)
    check_options(options)
    return options


def check_timeout(timeout: float | None) -> None:
    """Raise `ArgumentError` unless `timeout` is a number of seconds above 0, or None."""
    if timeout is None:
        return
    is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not (is_number and 0 < timeout < math.inf):
        raise ArgumentError(
            "timeout is a number of seconds above 0, or None; nothing was sent",
            argument="timeout",
        )


def check_method(method: object) -> str:
    """Return an HTTP method in upper case.

    Raises:
        ArgumentError: It is none that an app takes.
    """
    name = method.upper() if isinstance(method, str) else ""
    if name not in {"GET", "POST", "PUT", "PATCH", "DELETE"}:
        raise ArgumentError(
            "method is GET, POST, PUT, PATCH or DELETE; nothing was sent", argument="method"
        )
    return name


class DirectRuns:
    """Carries direct runs.

    Args:
        client: Who sends.
        retry: How long to wait before a run that was not sent is tried again.
        draw: Returns a uniform draw from [0, 1).
    """

    def __init__(
        self, client: QueueClient, *, retry: RetrySettings, draw: Callable[[], float]
    ) -> None:
        self._client = client
        self._retry = retry
        self._draw = draw

    async def run(self, call: Call, endpoint: EndpointId) -> Any:
        """Run once and return the output: a JSON value, or bytes of another type.

        Raises:
            ConcurrencyLimitError: The account runs as much as it may.
            ApiError: The model or the platform said no.
            WireError: The answer cannot be read.
            TransportError: There is no whole answer; `possibly_billed` says whether
                it may run all the same.

        If it is cancelled, the connection is dropped: fal may stop the run, or finish
        and bill it.
        """
        attempt = 1
        while True:
            try:
                reply = await self._client.ask(call)
            except TransportError as error:
                await self._wait_or_raise(error, endpoint, attempt)
                attempt += 1
            else:
                return read_output(reply, endpoint)

    async def open(self, call: Call, endpoint: EndpointId, *, idle_s: float) -> HeldStream:
        """Open an output stream; return its reply, whatever its status.

        Raises:
            TransportError: There is no reply.
        """
        attempt = 1
        while True:
            try:
                return await self._client.carrier.listen(call, idle_s=idle_s)
            except TransportError as error:
                await self._wait_or_raise(error, endpoint, attempt)
                attempt += 1

    async def _wait_or_raise(
        self, error: TransportError, endpoint: EndpointId, attempt: int
    ) -> None:
        if error.request_sent:
            raise lost_run(error, endpoint, None) from None
        wait_s = decide_wait_s(self._retry, Failure.NOT_SENT, attempt=attempt, draw=self._draw())
        if attempt >= ATTEMPTS or wait_s is None:
            error.endpoint = str(endpoint)
            raise error
        await asyncio.sleep(wait_s)


def lost_run(error: TransportError, endpoint: EndpointId, request_id: str | None) -> TransportError:
    """Return the error of a run whose answer was lost on the way."""
    kind = TransportTimeoutError if isinstance(error, TransportTimeoutError) else TransportError
    return kind(
        f"{error.args[0]}; the run may go on at fal and be billed, and falq does not repeat it",
        request_sent=True,
        possibly_billed=True,
        endpoint=str(endpoint),
        request_id=request_id,
    )
