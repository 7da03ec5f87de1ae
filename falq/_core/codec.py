"""The one converter between wire values and the model.

Owns how JSON becomes log entries and problems, and how options become header
texts. Unknown fields and words are tolerated here and nowhere else. It never
decides whether an answer is good or bad: `protocol` does.

Rules:
    1. A missing, null or odd field gives the model's default, never an error.
    2. Both log shapes are read: `{message, level, source, timestamp}` (fal-js
       types) and `{timestamp, message, labels}` (captures of 2024-12).
    3. A body is JSON of bounded depth, or it is unreadable.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any

import cattrs

from falq.errors import ArgumentError
from falq.model import LogEntry, ObjectLifecycle

JsonObject = dict[str, Any]

_DEPTH_LIMIT = 100
"""Levels that a body may be nested: no model's are, and deeper values crash what shows them."""

_LOG_LIMIT = 1000
"""Log entries that are read from one status: a bound on what a job can make a user store."""


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _structure_log_entry(raw: Any, _: type[LogEntry]) -> LogEntry:
    if not isinstance(raw, dict):
        return LogEntry(message=raw if isinstance(raw, str) else json.dumps(raw))
    labels = raw.get("labels")
    if not isinstance(labels, dict):
        labels = {}
    message = raw.get("message")
    return LogEntry(
        message=message if isinstance(message, str) else json.dumps(message),
        level=_text_or_none(raw.get("level")) or _text_or_none(labels.get("level")),
        source=_text_or_none(raw.get("source")) or _text_or_none(labels.get("source")),
        timestamp=_text_or_none(raw.get("timestamp")),
    )


def _unstructure_lifecycle(lifecycle: ObjectLifecycle) -> JsonObject:
    wire: JsonObject = {}
    if lifecycle.expiration_s is not None:
        wire["expiration_duration_seconds"] = lifecycle.expiration_s
    if lifecycle.initial_acl is not None:
        wire["initial_acl"] = dict(lifecycle.initial_acl)
    return wire


converter = cattrs.Converter()
converter.register_structure_hook(LogEntry, _structure_log_entry)
converter.register_unstructure_hook(ObjectLifecycle, _unstructure_lifecycle)


def read_logs(raw: object) -> tuple[LogEntry, ...]:
    """Return the log entries of a status, the newest thousand at most."""
    if not isinstance(raw, list):
        return ()
    return tuple(_structure_log_entry(entry, LogEntry) for entry in raw[-_LOG_LIMIT:])


# Made once: json.loads looks for options that nobody gives.
_decode = json.JSONDecoder().decode


def load_json(body: bytes) -> Any:
    """Return the value of a JSON body.

    Raises:
        ValueError: It is not JSON, or nested so deep that reading it is refused.
    """
    try:
        value = _decode(body.decode())
    except RecursionError:
        raise ValueError("JSON is nested too deep") from None
    # Fewer brackets than levels allowed: the common case needs no look inside.
    if body.count(b"[") + body.count(b"{") > _DEPTH_LIMIT and not _is_shallow(value):
        raise ValueError("JSON is nested too deep")
    return value


def _is_shallow(value: object) -> bool:
    level: list[Any] = [value]
    for _ in range(_DEPTH_LIMIT + 1):
        level = [item for item in level if isinstance(item, dict | list)]
        if not level:
            return True
        insides = [item.values() if isinstance(item, dict) else item for item in level]
        level = list(itertools.chain.from_iterable(insides))
    return False


# Made once: json.dumps makes one for every call that differs from its defaults.
_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def dump_arguments(arguments: Mapping[str, Any]) -> bytes:
    """Return arguments as the JSON body of a submit.

    Raises:
        ArgumentError: They are no mapping, or hold something that JSON has not
            (NaN, bytes, an object): the message names the place.
    """
    if not isinstance(arguments, Mapping):
        raise ArgumentError(
            f"arguments must be a mapping such as {{'prompt': 'a cat'}}, "
            f"got {type(arguments).__name__}",
            argument="arguments",
        )
    try:
        return _encode(dict(arguments)).encode()
    except (TypeError, ValueError, RecursionError):
        place = _first_odd_place(arguments)
        raise ArgumentError(
            f"arguments hold something that JSON has not, at {place}; pass text, numbers, "
            "lists, mappings, booleans or None",
            argument="arguments",
        ) from None


def _first_odd_place(value: object, path: str = "arguments", depth: int = 0) -> str:
    """Return the path of the first thing in `value` that cannot be dumped."""
    if depth > 100:
        return f"{path} (nested too deep)"
    children: Iterable[tuple[object, object]] = ()
    if isinstance(value, Mapping):
        children = value.items()
    elif isinstance(value, list | tuple):
        children = enumerate(value)
    for key, child in children:
        try:
            json.dumps({key: child} if isinstance(value, Mapping) else child, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            return _first_odd_place(child, f"{path}[{key!r}]", depth + 1)
    return f"{path} ({type(value).__name__})"


def read_problems(detail: object) -> tuple[tuple[str, str], ...]:
    """Return `(path, message)` for each entry of a `detail` list.

    The path joins the entry's `loc` by dots and leaves out a leading `body`.
    """
    if not isinstance(detail, list):
        return ()
    problems = []
    for entry in detail:
        if not isinstance(entry, dict):
            continue
        loc = entry.get("loc")
        parts = [str(part) for part in loc] if isinstance(loc, list) else []
        if parts[:1] == ["body"] and len(parts) > 1:
            parts = parts[1:]
        message = entry.get("msg")
        problems.append((".".join(parts), message if isinstance(message, str) else str(entry)))
    return tuple(problems)
