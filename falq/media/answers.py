"""What a storage host's answer means for the bytes that are there already.

Owns the reading of status, `Content-Range`, lengths and validators (RFC 9110,
sections 8.8, 13 and 14). It never sends and never touches a file: `downloader`
carries out what it says.

| asked for | answer | meaning |
|---|---|---|
| all | 200 | take it from the start |
| the rest | 206 that fits what is there | go on |
| the rest | 200 | the host cannot, or the file changed: take it from the start |
| the rest | 206 that does not fit, 416 | what is there is worth nothing: ask again for all |
| either | anything else | an error |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from attrs import frozen

from falq.errors import ApiError, WireError

LONGEST_WAIT_S = 60.0
"""What a host's `Retry-After` can make a download wait at most, in seconds."""

_SPAN = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_PASSING = frozenset({408, 425, 429})
# Longer ones are no validators anybody sends, and a note has to hold them.
_LONGEST_VALIDATOR = 1024


@frozen(kw_only=True)
class Answer:
    """A body that can be taken.

    Attributes:
        start: Offset in the file of the body's first byte.
        total_bytes: Size of the whole file; None if the host did not say.
        validator: What names this version of the file for `If-Range`, if anything.
    """

    start: int
    total_bytes: int | None
    validator: str | None = None


@frozen(kw_only=True)
class Held:
    """What is there of a file.

    Attributes:
        size_bytes: How much.
        total_bytes: How much it will be, if the host said so.
        validator: Of which version it is.
    """

    size_bytes: int = 0
    total_bytes: int | None = None
    validator: str | None = None


def range_headers(held: Held) -> dict[str, str]:
    """Return the headers that ask for what is missing; none if that is all."""
    if not held.size_bytes or held.validator is None:
        return {}
    return {"Range": f"bytes={held.size_bytes}-", "If-Range": held.validator}


def read_answer(
    status: int, headers: Mapping[str, str], *, held: Held, shown: str
) -> Answer | None:
    """Return what to do with a body, None to drop what is there and ask again.

    Args:
        status: The HTTP status.
        headers: Looked up in any case.
        held: What was there when `range_headers` asked.
        shown: The URL as errors may show it.

    Raises:
        ApiError: The host said no.
        WireError: The end of the body could not be told from a broken connection.
    """
    is_partial = bool(range_headers(held))
    if status == 200:
        return _read_whole(headers, shown)
    if status == 206 and is_partial:
        return _read_rest(headers, held)
    if status == 416 and is_partial:
        return None
    raise ApiError(
        f"{shown} answered {status}; media are kept for a while only, so it may be gone",
        status_code=status,
        retryable=status >= 500 or status in _PASSING,
    )


def read_wait_s(headers: Mapping[str, str]) -> float:
    """Return how long a host asks to wait, in seconds; 0 if it does not say so in digits."""
    text = headers.get("Retry-After", "")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        return 0.0
    return min(float(text), LONGEST_WAIT_S)


def _read_whole(headers: Mapping[str, str], shown: str) -> Answer:
    total_bytes = _read_length(headers)
    if total_bytes is None and "chunked" not in headers.get("Transfer-Encoding", "").lower():
        raise WireError(f"{shown} does not say how long it is, so a cut would go unseen")
    return Answer(start=0, total_bytes=total_bytes, validator=_read_validator(headers))


def _read_rest(headers: Mapping[str, str], held: Held) -> Answer | None:
    span = _SPAN.fullmatch(headers.get("Content-Range", "").strip())
    if span is None or not _is_same_version(headers, held.validator):
        return None
    first, last = int(span[1]), int(span[2])
    total_bytes = held.total_bytes if span[3] == "*" else int(span[3])
    if total_bytes is None:
        # All that is left was asked for.
        total_bytes = last + 1
    is_fitting = (
        first == held.size_bytes
        and first <= last < total_bytes
        and held.total_bytes in {None, total_bytes}
        and _read_length(headers) in {None, last - first + 1}
    )
    if not is_fitting:
        return None
    return Answer(start=first, total_bytes=total_bytes, validator=held.validator)


def _read_length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _read_validator(headers: Mapping[str, str]) -> str | None:
    """Return a strong validator: a weak one may stand for two files of different bytes."""
    tag = headers.get("ETag", "").strip()
    if tag:
        return tag if tag[0] == tag[-1] == '"' and 2 < len(tag) <= _LONGEST_VALIDATOR else None
    changed = headers.get("Last-Modified", "").strip()
    changed_at, told_at = _read_date(changed), _read_date(headers.get("Date", ""))
    if changed_at is None or told_at is None:
        return None
    # A file that changed twice in this second would have the same date.
    return changed if told_at - changed_at >= timedelta(seconds=1) else None


def _is_same_version(headers: Mapping[str, str], validator: str | None) -> bool:
    name = "ETag" if validator is not None and validator.startswith('"') else "Last-Modified"
    return headers.get(name, validator) == validator


def _read_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo is not None else None
