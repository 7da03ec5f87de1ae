"""Options and errors as JSON values, for a journal to keep.

Owns their form there and the way back. A record may be older or newer than this
falq: what is not known is passed over, and an error of an unknown kind comes back
as a plain `JobError`. It never writes anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from falq import errors
from falq._core import codec
from falq.errors import ApiError, FalqError, JobError
from falq.model import ObjectLifecycle, SubmitOptions

_PLAIN = SubmitOptions()

_OPTION_NAMES = frozenset(field.name for field in attrs.fields(SubmitOptions))

_KINDS: dict[str, type[FalqError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, FalqError)
}

_TUPLES = frozenset({"problems", "keys", "unwritten"})
_INSTANTS = frozenset({"sent_at", "started_at"})


def dump_options(options: SubmitOptions) -> dict[str, Any]:
    """Return what differs from the defaults, as JSON values."""
    if options == _PLAIN:
        return {}
    return {
        name: value
        for name, value in attrs.asdict(options).items()
        if value != getattr(_PLAIN, name)
    }


def load_options(stored: Mapping[str, Any]) -> SubmitOptions:
    """Return the options that `dump_options`, or a manifest's row, was made of."""
    if not stored:
        return _PLAIN
    given = {name: value for name, value in stored.items() if name in _OPTION_NAMES}
    if isinstance(given.get("lifecycle"), Mapping):
        given["lifecycle"] = ObjectLifecycle(**given["lifecycle"])
    return SubmitOptions(**given)


def dump_error(error: FalqError) -> dict[str, Any]:
    """Return an error as JSON values: its kind, its text and what it carries."""
    facts = {
        name: _plain(value)
        for name, value in vars(error).items()
        if value is not None and not name.startswith("_")
    }
    text = str(error.args[0]) if error.args else str(error)
    return {"kind": type(error).__name__, "message": text, **facts}


def load_error(stored: Mapping[str, Any]) -> FalqError:
    """Return the error that `dump_error` was given, or a `JobError` that says the same."""
    facts = dict(stored)
    kind = _KINDS.get(str(facts.pop("kind", "")), JobError)
    message = str(facts.pop("message", "the journal says that the job ended without a result"))
    error = _make(kind, message, facts.get("status_code"))
    for name, value in facts.items():
        # Only what this kind has: a record is no way to set anything else.
        if hasattr(error, name) and not callable(getattr(error, name)):
            setattr(error, name, _full(name, value))
    return error


def _make(kind: type[FalqError], message: str, status_code: Any) -> FalqError:
    if issubclass(kind, ApiError):
        return kind(message, status_code=status_code if isinstance(status_code, int) else 0)
    return kind(message)


def load_result(body: bytes) -> Any:
    """Return a stored result as the session gives it: a JSON value, or bytes."""
    try:
        return codec.load_json(body)
    except ValueError:
        return body


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return str(value)
    return value


def _full(name: str, value: Any) -> Any:
    if name in _TUPLES and isinstance(value, list):
        return tuple(tuple(one) if isinstance(one, list) else one for one in value)
    if name in _INSTANTS and isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            return None
    return value
