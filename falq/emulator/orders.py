"""What a submit's headers, query and body ask the queue for.

Owns the reading of fal's submit options. It never refuses an input: fal checks
inputs when the job runs, so what cannot be read becomes an answer of the job.
"""

from __future__ import annotations

import json
from urllib.parse import parse_qs

from falq.emulator.addresses import Address
from falq.emulator.jobs import Order
from falq.emulator.messages import Request
from falq.emulator.models.base import Answer

_YES = frozenset({"1", "true", "yes"})
# fal.ai/docs common parameters, 2026: shorter deadlines are refused.
_SHORTEST_TIMEOUT_S = 0.1


class BadTimeoutError(ValueError):
    """`X-Fal-Request-Timeout` is no number above 0.1."""


def read_order(request: Request, address: Address) -> Order:
    """Read a submit.

    Raises:
        BadTimeoutError: The start deadline cannot be used.
    """
    headers = request.headers
    arguments, answer = _read_body(request.body)
    return Order(
        endpoint=address.endpoint,
        app=address.app,
        arguments=arguments,
        answer=answer,
        is_low=headers.get("x-fal-queue-priority", "").lower() == "low",
        no_retry=headers.get("x-fal-no-retry", "").lower() in _YES,
        start_timeout_s=_read_timeout_s(headers.get("x-fal-request-timeout")),
        stores_io=headers.get("x-fal-store-io") != "0",
        max_queue_length=_read_length(request.query),
        intent=headers.get("x-falq-intent"),
        webhook_url=_read_webhook(request.query),
    )


def _read_body(body: bytes) -> tuple[object, Answer | None]:
    if not body:
        return None, None
    try:
        return json.loads(body), None
    except (ValueError, RecursionError) as error:
        entry = {
            "type": "json_invalid",
            "loc": ["body", getattr(error, "pos", 0)],
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": getattr(error, "msg", "the body cannot be read")},
        }
        answer = Answer(body={"detail": [entry]}, status_code=422, billable_units=0)
        return body.decode("utf-8", "replace"), answer


def _read_timeout_s(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        timeout_s = float(text)
    except ValueError as error:
        raise BadTimeoutError(text) from error
    if not timeout_s > _SHORTEST_TIMEOUT_S:
        raise BadTimeoutError(text)
    return timeout_s


def _read_webhook(query: str) -> str | None:
    if "fal_webhook" not in query:
        return None
    return parse_qs(query).get("fal_webhook", [""])[-1] or None


def _read_length(query: str) -> int | None:
    if "fal_max_queue_length" not in query:
        return None
    text = parse_qs(query).get("fal_max_queue_length", [""])[-1]
    return int(text) if text.isascii() and text.isdigit() else None
