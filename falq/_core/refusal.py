"""Read what an answer that says no means.

Owns how fal's, Maton's and a proxy's ways of saying no become falq's errors,
and how long they ask to wait. It never decides whether to try again: `retry`
does.
"""

from __future__ import annotations

import json
import math
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from falq._core import codec
from falq._core.messages import Reply
from falq.errors import (
    ApiError,
    ArgumentError,
    AuthenticationError,
    FalqError,
    InvalidInputError,
    RateLimitError,
    RequestNotFoundError,
    ServerError,
    UnexpectedRedirectError,
)
from falq.model import EndpointId, check_request_id

REQUEST_ID_HEADER = "x-fal-request-id"
ERROR_TYPE_HEADER = "x-fal-error-type"
BILLABLE_UNITS_HEADER = "x-fal-billable-units"
TIMEOUT_TYPE_HEADER = "x-fal-request-timeout-type"


class Advise(Protocol):
    """What a gateway knows of answers that say no."""

    def __call__(self, status_code: int, /, *, is_own: bool | None) -> str | None:
        """Return what to do, or None for the usual advice; see `is_gateways_own`."""
        ...


def advise_nothing(_: int, /, *, is_own: bool | None) -> None:
    """Leave every answer to the usual advice."""
    del is_own


def read_error(
    reply: Reply,
    *,
    endpoint: EndpointId | None,
    request_id: str | None,
    doing: str,
    advise: Advise = advise_nothing,
) -> FalqError:
    """Return the error that an answer which says no means.

    Args:
        reply: Any answer that is not 2xx.
        endpoint: What the call was about.
        request_id: The request's id, if the caller knows it.
        doing: What the call did, for the message: "submit", "read the status".
        advise: What the gateway in use knows of its answers.
    """
    code = reply.status_code
    facts: dict[str, Any] = {
        "endpoint": None if endpoint is None else str(endpoint),
        "request_id": request_id or _header_id(reply),
    }
    if 300 <= code < 400:
        return UnexpectedRedirectError(
            f"could not {doing}: the server redirected ({code}) and falq does not follow, because "
            "the key would go along; check the gateway's address",
            status_code=code,
            **facts,
        )
    detail, error_type = read_detail(reply)
    facts |= {
        "status_code": code,
        "error_type": error_type,
        "detail": detail,
        "problems": codec.read_problems(detail),
    }
    kind, usual = _kind_and_hint(code, detail)
    hint = advise(code, is_own=is_gateways_own(reply)) or usual
    return kind(f"could not {doing}: {describe_detail(detail, code)}; {hint}", **facts)


_KINDS: dict[int, tuple[type[ApiError], str]] = {
    404: (RequestNotFoundError, "check the endpoint and the request id"),
    422: (InvalidInputError, "correct the arguments"),
    429: (RateLimitError, "wait and try again, or lower the limits"),
}


def _kind_and_hint(code: int, detail: Any) -> tuple[type[ApiError], str]:
    if code in {401, 403}:
        return AuthenticationError, _account_hint(code, detail)
    if code >= 500:
        return ServerError, "try again later"
    return _KINDS.get(code, (ApiError, "see detail for all of it"))


def _header_id(reply: Reply) -> str | None:
    text = reply.headers.get(REQUEST_ID_HEADER)
    try:
        return None if text is None else check_request_id(text)
    except ArgumentError:
        return None


def read_detail(reply: Reply) -> tuple[Any, str | None]:
    """Return what an answer that says no tells: its detail, and the kind of error.

    `detail` may be a string, a list, an object or missing. Gateways and the
    Platform API put it under `error` or `message`. The body's `error_type` wins
    over the header's.
    """
    header_type = reply.headers.get(ERROR_TYPE_HEADER)
    try:
        body = codec.load_json(reply.body)
    except ValueError:
        return excerpt_of(reply.body) or None, header_type
    if not isinstance(body, dict):
        return body, header_type
    detail = body
    for name in ("detail", "error", "message", "status"):
        if name in body:
            detail = body[name]
            break
    error_type = body.get("error_type") or body.get("type")
    if error_type is None:
        # A list of problems, or the object that the Platform API puts under `error`.
        first = detail[0] if isinstance(detail, list) and detail else detail
        error_type = first.get("type") if isinstance(first, dict) else None
    return detail, error_type if isinstance(error_type, str) else header_type


def is_gateways_own(reply: Reply) -> bool | None:
    """Return whether a gateway before fal wrote an answer that says no; None if unclear.

    fal's own bodies have `detail` or `status`; those of Maton have `error` or
    `message` (fal-wire 13.1: documented for neither, inferred).
    """
    try:
        body = codec.load_json(reply.body)
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    if "detail" in body or "status" in body or REQUEST_ID_HEADER in reply.headers:
        return False
    return True if "error" in body or "message" in body else None


def describe_detail(detail: Any, status_code: int | None) -> str:
    """Return one line for a person: the problems if there are any, else the text."""
    code = "" if status_code is None else f"HTTP {status_code}: "
    problems = codec.read_problems(detail)
    if problems:
        shown = "; ".join(f"{path}: {text}" if path else text for path, text in problems[:5])
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        return f"{code}{shown}{more}"
    if detail is None or detail == "":
        return f"{code}no reason given"
    return f"{code}{detail if isinstance(detail, str) else json.dumps(detail)[:1000]}"


def is_account_wide(error: FalqError) -> bool:
    """Return whether an error will meet every other submit of the account as well.

    401, and 403 "User is locked" (exhausted balance): permanent until a person
    acts. Another 403 at a submit concerns one endpoint.
    """
    return isinstance(error, AuthenticationError) and error.is_account_wide


def _account_hint(code: int, detail: Any) -> str:
    if code == 401:
        return "check the key (falq doctor does)"
    if "locked" in str(detail).lower():
        return "top up the account; falq does not retry"
    return "the key lacks the permission, or the endpoint is private"


def read_retry_after(reply: Reply, *, wall_now_s: float) -> float | None:
    """Return the seconds that `Retry-After` asks for; None without one that can be read.

    A date is one of the server's clock, which the answer's own `Date` shows: this
    machine's may be wrong by an hour.

    Args:
        reply: Any answer.
        wall_now_s: Unix time, for a date in an answer that has no `Date`.
    """
    text = reply.headers.get("retry-after")
    if text is None:
        return None
    try:
        wait_s = float(text)
    except ValueError:
        at_s = _read_date(text)
        if at_s is None:
            return None
        told_s = _read_date(reply.headers.get("date", ""))
        wait_s = at_s - (wall_now_s if told_s is None else told_s)
    return max(0.0, wait_s) if math.isfinite(wait_s) else None


def _read_date(text: str) -> float | None:
    try:
        at = parsedate_to_datetime(text)
        # "-0000" gives a time without a zone, which is UTC all the same.
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def excerpt_of(body: bytes) -> str:
    """Return the start of a body as text."""
    return body[:400].decode("utf-8", "replace").strip()
