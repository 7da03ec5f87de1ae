"""What `submit`, `subscribe` and `map` take beside the arguments.

Owns the names of those options and their checking: what is wrong is said before
anything is sent. `session` calls it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TypedDict

from falq._core.options import check_options, start_timeout_of
from falq.errors import ArgumentError
from falq.model import (
    LONGEST_ID,
    Completion,
    EndpointId,
    ObjectLifecycle,
    Priority,
    SubmitOptions,
)

_INSTEAD = {
    "input": "what the model gets is the second argument, 'arguments'",
    "interval": "checks are planned for all jobs together, by Session(poll=PollSettings(...))",
    "timeout": "a job's time limit is client_timeout",
    "webhook": "the address is webhook_url",
    "logs": "subscribe has with_logs, and a handle's events have logs",
}
"""What other clients call by a name that is none here."""


class SubmitKeywords(TypedDict, total=False):
    """What `submit`, `subscribe` and `map` take beside the arguments.

    Attributes:
        path: Appended to the endpoint, as in fal_client.
        client_timeout: Seconds until falq gives the job up and asks the server
            to cancel it; default is the session's `timeout`. If `start_timeout`
            is not given, it is sent as that as well, as fal_client does.
        start_timeout: Seconds within which the job must start, above 1.
        hint: Any text; equal hints prefer the same runner.
        priority: `"normal"`, or `"low"`: behind every normal job, here and at fal.
        no_retry: Ask the server not to retry a failed attempt.
        store_io: False asks the server not to keep input and output.
        tags: Usage tags, at most 10.
        webhook_url: Address, https or http, that fal calls when the job ends.
        max_queue_length: Refuse with 429 if the endpoint's queue is this long.
        disable_fallbacks: Ask the server not to route to another endpoint.
        lifecycle: Life of the generated media.
        headers: Further headers.
        key: Your own name for the job in the session's journal, such as an order
            number. A key that is there already is not submitted again: a job in
            flight is attached to, one that has ended ends the same without a call.
            Other content under a known key raises `JournalConflictError`. Not for
            `map`; ignored without a journal.
        validate: Whether the arguments are checked against the endpoint's schema
            before anything is sent; default is the session's `validate`.
        completion: How the job's end is noticed, `"poll"` or `"stream"`; default is
            the session's `completion`. A stream is opened while fewer than the
            session's `max_streams` are.
    """

    path: str
    client_timeout: float | None
    start_timeout: float | None
    hint: str | None
    priority: Priority | None
    no_retry: bool
    store_io: bool
    tags: Mapping[str, str]
    webhook_url: str | None
    max_queue_length: int | None
    disable_fallbacks: bool
    lifecycle: ObjectLifecycle | None
    headers: Mapping[str, str] | None
    key: str | None
    validate: bool | None
    completion: Completion | None


_PLAIN_OPTIONS = SubmitOptions()


def check_on_cancel(on_cancel: object) -> None:
    """Raise `ArgumentError` unless `on_cancel` is one of its two words."""
    # A misspelt "cancel" would otherwise leave a paid job running.
    if on_cancel not in ("detach", "cancel"):
        raise ArgumentError(
            "on_cancel is 'detach' or 'cancel'; nothing was sent", argument="on_cancel"
        )


def check_callbacks(**callbacks: object) -> None:
    """Raise `ArgumentError` unless each can be called, or is None."""
    for name, callback in callbacks.items():
        # It would fail when the job is there, and cost its money.
        if callback is not None and not callable(callback):
            raise ArgumentError(f"{name} is a function or None; nothing was sent", argument=name)


def timeout_of(keywords: SubmitKeywords, default_s: float | None) -> float | None:
    """Return the seconds that a job gets, or None for no limit.

    Raises:
        ArgumentError: It is no number of seconds above 0.
    """
    timeout_s = keywords.get("client_timeout")
    if timeout_s is None:
        return default_s
    is_number = isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool)
    if not is_number or not 0 < timeout_s <= sys.float_info.max:
        raise ArgumentError(
            "client_timeout is a number of seconds above 0, or None for no limit; nothing was sent",
            argument="client_timeout",
        )
    return timeout_s


def target_of(endpoint: str, keywords: SubmitKeywords) -> EndpointId:
    """Return where a submission goes: the endpoint and the `path` below it.

    Raises:
        ArgumentError: One of them is none.
    """
    path = keywords.get("path", "")
    if not isinstance(path, str):
        raise ArgumentError("path is text; nothing was sent", argument="path")
    return EndpointId.parse(f"{endpoint}/{path.strip('/')}" if path else endpoint)


def options_of(keywords: SubmitKeywords, timeout_s: float | None) -> SubmitOptions:
    """Return the options of a submission, checked.

    Args:
        keywords: As the caller gave them.
        timeout_s: Seconds that the job gets, which is sent as its `start_timeout`
            if it has none of its own.

    Raises:
        ArgumentError: There is no such option, or a value cannot be sent.
    """
    own = {"path", "client_timeout", "key", "validate", "completion"}
    unknown = keywords.keys() - SubmitKeywords.__annotations__.keys()
    if unknown:
        name = min(unknown)
        known = ", ".join(sorted(SubmitKeywords.__annotations__))
        instead = f"; {_INSTEAD[name]}" if name in _INSTEAD else ""
        raise ArgumentError(
            f"there is no option {name!r}{instead}; the options are {known}", argument=name
        )
    given: dict[str, Any] = {name: value for name, value in keywords.items() if name not in own}
    for name in ("tags", "headers"):
        if name in given and given[name] is None:
            del given[name]
    start_timeout = start_timeout_of(given.get("start_timeout"), timeout_s)
    if start_timeout is not None:
        given["start_timeout"] = start_timeout
    if not given:
        return _PLAIN_OPTIONS
    options = SubmitOptions(**given)
    check_options(options)
    return options


def key_of(keywords: SubmitKeywords) -> str | None:
    """Return the caller's own name of a job in the journal, if it has one.

    Raises:
        ArgumentError: It is no text of a length that the journal holds.
    """
    key = keywords.get("key")
    if key is None:
        return None
    is_text = isinstance(key, str) and 0 < len(key) <= LONGEST_ID
    # Half a character, which UTF-8 and so the journal has no bytes for.
    if not is_text or any("\ud800" <= character <= "\udfff" for character in key):
        raise ArgumentError(
            f"key is text of 1 to {LONGEST_ID} characters; nothing was sent", argument="key"
        )
    return key


def completion_of(keywords: SubmitKeywords) -> Completion | None:
    """Return how a job's end is noticed, None for as the session says.

    Raises:
        ArgumentError: It is neither of its two words.
    """
    completion = keywords.get("completion")
    # A misspelt word would poll silently.
    if completion not in (None, "poll", "stream"):
        raise ArgumentError(
            "completion is 'poll', 'stream', or None for the session's; nothing was sent",
            argument="completion",
        )
    return completion


def validate_of(keywords: SubmitKeywords, default: bool) -> bool:  # noqa: FBT001  a value, no switch
    """Return whether the arguments of a submission are checked before it.

    Raises:
        ArgumentError: It is neither yes nor no.
    """
    validate = keywords.get("validate")
    if validate is None:
        return default
    if not isinstance(validate, bool):
        raise ArgumentError(
            "validate is True, False, or None for the session's; nothing was sent",
            argument="validate",
        )
    return validate


def full_ids(limits: Mapping[str, int]) -> dict[str, int]:
    """Return `limits` by full endpoint id.

    Raises:
        ArgumentError: An endpoint is none.
    """
    return {EndpointId.parse(endpoint).full: limit for endpoint, limit in limits.items()}
