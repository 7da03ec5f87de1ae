"""What a submission may ask of the queue, and the headers that ask it.

Owns the check and the header of every option, and the names of headers that a
user may not set. It never sends: `protocol` builds the call. The rules are
those of fal's "common parameters" page and of fal_client 1.0.3 (2026-09).
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

from falq._core import codec
from falq.errors import ArgumentError
from falq.model import ObjectLifecycle, SubmitOptions

JSON_HEADERS = {"Content-Type": "application/json"}

_OWN_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "authorization",
        "content-length",
        "content-type",
        "cookie",
        "host",
        "maton-connection",
        "transfer-encoding",
        "connection",
        "expect",
        "upgrade",
        "user-agent",
        "x-fal-request-timeout",
        "x-fal-runner-hint",
        "x-fal-queue-priority",
        "x-fal-no-retry",
        "x-fal-store-io",
        "x-fal-tags",
        "x-fal-object-lifecycle-preference",
        "x-app-fal-disable-fallback",
        "x-fal-disable-fallbacks",
    }
)


def check_options(options: SubmitOptions) -> None:
    """Return if every option can be sent.

    Raises:
        ArgumentError: One cannot. The message names it and says what it takes.
    """
    _check_start_timeout(options.start_timeout)
    # A tuple, because what is given may not be hashable.
    if options.priority not in (None, "normal", "low"):
        raise _refusal("priority", "is 'normal' or 'low'")
    if options.hint is not None and not _is_header_text(options.hint):
        raise _refusal("hint", "is text without control characters, in ASCII")
    _check_tags(options.tags)
    if options.webhook_url is not None:
        _check_webhook_url(options.webhook_url)
    for name in ("no_retry", "store_io", "disable_fallbacks"):
        # Not by truth: store_io="no" would keep what shall not be kept.
        if not isinstance(getattr(options, name), bool):
            raise _refusal(name, "is True or False")
    if not _is_count_or_none(options.max_queue_length):
        raise _refusal("max_queue_length", "is a whole number above 0")
    if options.lifecycle is not None:
        _check_lifecycle(options.lifecycle)
    _check_headers(options.headers)


def start_timeout_of(own_s: float | None, timeout_s: float | None) -> float | None:
    """Return within how many seconds a job must start, None for no limit.

    Args:
        own_s: What was asked for, if anything was.
        timeout_s: Seconds that the job gets in all; it is sent as this as well, as
            fal_client does, if it is long enough for the server.

    Example:
        >>> start_timeout_of(None, 60.0), start_timeout_of(5.0, 60.0), start_timeout_of(None, 1.0)
        (60.0, 5.0, None)
    """
    if own_s is not None or timeout_s is None:
        return own_s
    return timeout_s if 1 < timeout_s < math.inf else None


def _refusal(argument: str, rule: str) -> ArgumentError:
    return ArgumentError(f"{argument} {rule}; nothing was sent", argument=argument)


def _is_count_or_none(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= sys.maxsize


def _check_lifecycle(lifecycle: ObjectLifecycle) -> None:
    if not isinstance(lifecycle, ObjectLifecycle):
        raise _refusal("lifecycle", "is a falq.ObjectLifecycle")
    if not _is_count_or_none(lifecycle.expiration_s):
        raise _refusal("lifecycle", "has an expiration_s of 1 or more whole seconds, or None")
    try:
        json.dumps(lifecycle.initial_acl and dict(lifecycle.initial_acl), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise _refusal("lifecycle", "has an initial_acl that is a JSON object, or None") from None


def _is_header_text(text: object) -> bool:
    return isinstance(text, str) and text.isascii() and text.isprintable() and len(text) <= 4096


def _check_start_timeout(start_timeout: float | None) -> None:
    if start_timeout is None:
        return
    # fal_client and fal-js refuse 1 second and less, the server 0.1.
    is_number = isinstance(start_timeout, int | float) and not isinstance(start_timeout, bool)
    if not is_number or not 1 < start_timeout <= sys.float_info.max:
        raise _refusal("start_timeout", "is a number of seconds above 1")


def _check_tags(tags: Mapping[str, str]) -> None:
    allowed = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")
    if not isinstance(tags, Mapping):
        raise _refusal("tags", "is a mapping of names to values")
    if len(tags) > 10:
        raise _refusal("tags", "has 10 entries at most")
    for name, value in tags.items():
        if not isinstance(name, str) or not 0 < len(name) <= 64 or not allowed.issuperset(name):
            raise _refusal("tags", "has names of 1 to 64 of a-z 0-9 . _ -")
        if name.startswith("fal."):
            raise _refusal("tags", "has no names that start with 'fal.', which fal keeps")
        if not _is_header_text(value) or len(value) > 256 or {",", "="} & set(value):
            raise _refusal("tags", "has ASCII values of up to 256 characters without , and =")
    if len(_tags_text(tags)) > 1024:
        raise _refusal("tags", "has 1024 bytes at most altogether")


def _tags_text(tags: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in tags.items())


def _check_webhook_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in {"https", "http"} and bool(parts.hostname)
    except (ValueError, AttributeError):
        is_good = False
    if not is_good or not url.isprintable() or " " in url:
        raise _refusal("webhook_url", "is an absolute https:// or http:// address")


def _check_headers(headers: Mapping[str, str]) -> None:
    if not isinstance(headers, Mapping):
        raise _refusal("headers", "is a mapping of names to values")
    for name, value in headers.items():
        is_token = isinstance(name, str) and name.isascii() and name.replace("-", "").isalnum()
        if not is_token:
            raise _refusal("headers", "has names of letters, digits and dashes")
        if name.lower() in _OWN_HEADERS:
            raise ArgumentError(
                f"headers: falq sets {name} itself; use the option of its own for it",
                argument="headers",
            )
        if not _is_header_text(value):
            raise _refusal("headers", f"has a value for {name} that is no printable ASCII text")


# fal's newest page has the first name, its reliability page the second.
_NO_FALLBACK_HEADERS = {"x-app-fal-disable-fallback": "1", "x-fal-disable-fallbacks": "1"}


def _flag_headers(options: SubmitOptions) -> dict[str, str]:
    headers = {"X-Fal-No-Retry": "1"} if options.no_retry else {}
    if not options.store_io:
        headers["X-Fal-Store-IO"] = "0"
    if options.disable_fallbacks:
        headers |= _NO_FALLBACK_HEADERS
    return headers


def option_headers(options: SubmitOptions) -> dict[str, str]:
    """Return the headers that ask for `options`, and the content type."""
    headers = dict(JSON_HEADERS)
    if options.start_timeout is not None:
        headers["X-Fal-Request-Timeout"] = str(float(options.start_timeout))
    if options.hint is not None:
        headers["X-Fal-Runner-Hint"] = options.hint
    if options.priority is not None:
        headers["X-Fal-Queue-Priority"] = options.priority
    headers.update(_flag_headers(options))
    if options.tags:
        headers["X-Fal-Tags"] = _tags_text(options.tags)
    if options.lifecycle is not None:
        wire = codec.converter.unstructure(options.lifecycle)
        headers["X-Fal-Object-Lifecycle-Preference"] = json.dumps(wire)
    headers.update(options.headers)
    return headers
