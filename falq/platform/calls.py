"""Ask the Platform API: attempts, pages, and its own form of errors.

Owns how often a listing is asked for, how its pages are walked, and the reading
of `{"error": {…}}` (fal-wire 9 and 4.2, shape 6). It never opens a socket or
chooses a host: `send` does, from the gateway's own addresses. Its neighbors in
this room call it.

Rules:
    1. What may be asked twice is asked again after a broken connection, 408, 429,
       5xx or an answer that is no JSON: `ATTEMPTS` times in all. Listings and
       estimates change nothing; what changes something comes with an
       `Idempotency-Key`, or is not given to `fetch`.
    2. A list is whole or an error. Who counts its rows must not be given half.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeAlias
from urllib.parse import urlencode

from attrs import evolve, field, frozen

from falq._core import codec
from falq._core.answer import read_object
from falq._core.messages import Call, Origin, Reply, Verb
from falq._core.refusal import read_error, read_retry_after
from falq._core.retry import Failure, RetrySettings, decide_wait_s
from falq.errors import (
    ApiError,
    ArgumentError,
    FalqError,
    RateLimitError,
    ServerError,
    TransportError,
    WireError,
)
from falq.model import EndpointId, check_request_id

Send: TypeAlias = Callable[[Call], Awaitable[Reply]]
"""Carries one call, as `Transport.send` does."""

ATTEMPTS = 3

MOST_PAGES = 1000
"""Pages that are read of one list: a bound against a server that never ends it."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


@frozen(kw_only=True)
class Tries:
    """How calls are tried again, and what that needs from outside.

    Attributes:
        settings: The curve and the longest wait.
        draw: Returns a uniform draw from [0, 1).
        wall_clock: Aware UTC time, for a `Retry-After` that is a date.
    """

    settings: RetrySettings = field(factory=RetrySettings)
    draw: Callable[[], float] = random.random
    wall_clock: Callable[[], datetime] = _utc_now


USUAL_TRIES = Tries()


async def fetch_pages(
    send: Send,
    path: str,
    query: Sequence[tuple[str, str]],
    *,
    doing: str,
    endpoint: EndpointId | None,
    tries: Tries,
) -> AsyncIterator[codec.JsonObject]:
    """Yield every page of a list.

    Args:
        send: Carries a call.
        path: Below the Platform API's address.
        query: Without the cursor.
        doing: What the call does, for messages.
        endpoint: What it is about, if that is one.
        tries: How it is tried again.

    Raises:
        ApiError: The API says no.
        WireError: An answer is no page, or the list does not end.
        TransportError: There was no whole answer.
        UnsupportedError: The gateway does not reach the Platform API.
    """
    cursor: str | None = None
    seen: set[str] = set()
    for _ in range(MOST_PAGES):
        more = [] if cursor is None else [("cursor", cursor)]
        target = f"{path}?{urlencode([*query, *more])}"
        call = Call(Verb.PLATFORM, "GET", target, origin=Origin.PLATFORM)
        page = await fetch(send, call, doing=doing, endpoint=endpoint, tries=tries)
        yield page
        cursor = _read_cursor(page, doing)
        if cursor is None:
            return
        if cursor in seen:
            break
        seen.add(cursor)
    raise WireError(
        f"could not {doing}: the list does not end, {len(seen)} pages were read; ask for less"
    )


def _read_cursor(page: codec.JsonObject, doing: str) -> str | None:
    cursor, has_more = page.get("next_cursor"), page.get("has_more")
    if isinstance(cursor, str) and cursor and has_more is not False:
        return cursor
    if has_more is True:
        raise WireError(f"could not {doing}: a page says that more follow, and not which")
    return None


async def fetch(
    send: Send, call: Call, *, doing: str, endpoint: EndpointId | None, tries: Tries
) -> codec.JsonObject:
    """Return the object that answers a call which may be sent twice.

    Args:
        send: Carries a call.
        call: What to ask.
        doing: What the call does, for messages.
        endpoint: What it is about, if that is one.
        tries: How it is tried again.

    Raises:
        ApiError: The API says no.
        WireError: The answer is no object.
        TransportError: There was no whole answer.
        UnsupportedError: The gateway does not reach the Platform API.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            return _read_page(await send(call), doing=doing, endpoint=endpoint, tries=tries)
        except FalqError as error:
            wait_s = _decide_wait_s(error, attempt, tries)
            if wait_s is None:
                raise
        await asyncio.sleep(wait_s)


def _decide_wait_s(error: FalqError, attempt: int, tries: Tries) -> float | None:
    if attempt >= ATTEMPTS or not _may_repeat(error):
        return None
    is_throttled = isinstance(error, RateLimitError)
    return decide_wait_s(
        tries.settings,
        Failure.THROTTLED if is_throttled else Failure.BROKEN,
        attempt=attempt,
        draw=tries.draw(),
        retry_after_s=error.retry_after_s if isinstance(error, RateLimitError) else None,
    )


def _may_repeat(error: FalqError) -> bool:
    if isinstance(error, TransportError | RateLimitError | ServerError):
        return True
    if isinstance(error, ApiError):
        return error.status_code == 408
    # Its subclasses, a redirect and a body that is too large, come again alike.
    return type(error) is WireError


def _read_page(
    reply: Reply, *, doing: str, endpoint: EndpointId | None, tries: Tries
) -> codec.JsonObject:
    if not 200 <= reply.status_code < 300:
        raise _refusal(reply, doing=doing, endpoint=endpoint, tries=tries)
    if reply.fault is not None:
        raise reply.fault
    return read_object(reply, doing=doing, advice="check the gateway's api_url", endpoint=endpoint)


def _refusal(reply: Reply, *, doing: str, endpoint: EndpointId | None, tries: Tries) -> FalqError:
    plain, request_id = _in_the_queues_form(reply)
    error = read_error(plain, endpoint=endpoint, request_id=request_id, doing=doing)
    if isinstance(error, RateLimitError):
        error.retry_after_s = read_retry_after(reply, wall_now_s=tries.wall_clock().timestamp())
    return error


def _in_the_queues_form(reply: Reply) -> tuple[Reply, str | None]:
    """Return an answer that says no as the queue would write it, and its request's id."""
    try:
        body = codec.load_json(reply.body)
    except ValueError:
        return reply, None
    told = body.get("error") if isinstance(body, dict) else None
    if not isinstance(told, dict):
        return reply, None
    plain = {"detail": told.get("message"), "error_type": told.get("type")}
    try:
        request_id = check_request_id(told.get("request_id", ""))
    except ArgumentError:
        request_id = None
    return evolve(reply, body=json.dumps(plain).encode()), request_id
