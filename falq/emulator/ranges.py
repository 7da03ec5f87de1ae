"""Serving a file, whole or in part.

Owns the reading of `Range` and `If-Range` for one span of bytes. It never knows
where a file comes from.
"""

from __future__ import annotations

from hashlib import blake2b

from falq.emulator.messages import Reply, Request
from falq.emulator.models.base import StoredFile


def serve_range(
    file: StoredFile, request: Request, *, version: int = 0, has_ranges: bool = True
) -> Reply:
    """Return the reply to a GET of `file`: 200, 206 or 416.

    Args:
        file: What is served.
        request: The GET.
        version: Changes the file's `ETag` and nothing else.
        has_ranges: Whether `Range` is heeded at all.
    """
    data = file.data
    etag = f'"{blake2b(data, digest_size=8, salt=version.to_bytes(8)).hexdigest()}"'
    headers = (
        ("content-type", file.content_type),
        ("accept-ranges", "bytes"),
        ("etag", etag),
    )
    wanted = request.headers.get("range")
    if wanted is None or not has_ranges or request.headers.get("if-range", etag) != etag:
        return Reply(status_code=200, headers=headers, body=data)
    span = _read_span(wanted, len(data))
    if span is None:
        return Reply(status_code=200, headers=headers, body=data)
    first, last = span
    if first > last:
        outside = (*headers, ("content-range", f"bytes */{len(data)}"))
        return Reply(status_code=416, headers=outside)
    part = (*headers, ("content-range", f"bytes {first}-{last}/{len(data)}"))
    return Reply(status_code=206, headers=part, body=data[first : last + 1])


def _read_span(wanted: str, size: int) -> tuple[int, int] | None:
    """Return first and last byte, crossed if outside; None for what is not one span."""
    unit, _, span = wanted.partition("=")
    first, dash, last = span.strip().partition("-")
    if unit.strip() != "bytes" or not dash or not all(_is_number(one) for one in (first, last)):
        return None
    if not first:
        return (max(size - int(last), 0), size - 1) if last else None
    return int(first), min(int(last), size - 1) if last else size - 1


def _is_number(text: str) -> bool:
    return not text or (text.isascii() and text.isdigit())
