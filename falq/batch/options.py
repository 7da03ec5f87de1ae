"""The `options` of a row: what it asks of the queue beside its arguments.

Owns their names in a manifest, which are those of `Session.submit`, and the
check of their values. It never sends anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs

from falq._core.canonical import canonical_json
from falq._core.options import check_options
from falq.batch.problems import BadFieldError
from falq.errors import ArgumentError
from falq.model import ObjectLifecycle, SubmitOptions
from falq.text import printable

OPTION_NAMES = frozenset(field.name for field in attrs.fields(SubmitOptions)) | {"client_timeout"}
"""What may stand among the options of a row."""

_SWITCHES = ("no_retry", "store_io", "disable_fallbacks")
_LIFECYCLE_NAMES = frozenset(field.name for field in attrs.fields(ObjectLifecycle))


def submit_keywords(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as `Session.submit` takes them.

    Args:
        options: JSON values by name; `lifecycle` is an object with
            `expiration_s` and `initial_acl`.

    Raises:
        BadFieldError: A name is unknown, or a value cannot be sent.

    Example:
        >>> submit_keywords({"priority": "low"})
        {'priority': 'low'}
    """
    if not options:
        return {}
    _check_names(options)
    _check_client_timeout(options.get("client_timeout"))
    # null says "the default", which is not always None.
    keywords = {name: value for name, value in options.items() if value is not None}
    if "lifecycle" in keywords:
        keywords["lifecycle"] = _read_lifecycle(keywords["lifecycle"])
    sent = {name: value for name, value in keywords.items() if name != "client_timeout"}
    try:
        check_options(SubmitOptions(**sent))
    except ArgumentError as error:
        raise BadFieldError(f"options.{error.argument}", f"cannot be sent: {error}") from None
    return keywords


def _check_names(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if name not in OPTION_NAMES:
            known = ", ".join(sorted(OPTION_NAMES))
            raise BadFieldError(f"options.{name}", f"is no option; there are {known}")
        if name in _SWITCHES and not isinstance(value, bool | None):
            raise BadFieldError(f"options.{name}", "is true or false, without quotes")
    try:
        canonical_json(options)
    except (TypeError, ValueError):
        raise BadFieldError("options", "hold something that JSON has not") from None


def _read_lifecycle(value: Any) -> ObjectLifecycle:
    if not isinstance(value, Mapping) or not _LIFECYCLE_NAMES.issuperset(value):
        raise BadFieldError(
            "options.lifecycle", "is an object with expiration_s, initial_acl or both"
        )
    return ObjectLifecycle(**value)


def _check_client_timeout(value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise BadFieldError(
            "options.client_timeout",
            f"is a number of seconds above 0, not {printable(repr(value), limit=40)}",
        )
