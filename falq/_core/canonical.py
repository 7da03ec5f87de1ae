"""One form for equal inputs, so that their hashes are equal too.

Owns the form (keys sorted, no spaces, ASCII only) and the hash by which an
input is known: to a manifest that looks for equal rows, to a journal that is
asked whether a row has changed, and to the search for a lost request. It never
changes what is sent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_WHOLE_BELOW = 2.0**53

# Kept, because building one for each of a million rows costs more than its use.
_encoder = json.JSONEncoder(allow_nan=False, sort_keys=True, separators=(",", ":"))


def canonical_json(value: Any) -> bytes:
    """Return `value` as JSON in its one form.

    Raises:
        ValueError: It holds NaN or an infinity, or is nested too deep.
        TypeError: It holds something that JSON has not.

    Example:
        >>> canonical_json({"b": 1, "a": [1.5, None]})
        b'{"a":[1.5,null],"b":1}'
    """
    try:
        return _encoder.encode(value).encode()
    except RecursionError:
        raise ValueError("the value is nested too deep for JSON") from None


def input_sha256(endpoint: str, value: Any) -> str:
    """Return the hash by which equal inputs of an endpoint are known, in hex.

    Whole floats count as integers, because a server may hand `1.0` back as `1`.

    Args:
        endpoint: Its full id, as `EndpointId.full` gives it.
        value: The arguments.

    Raises:
        ValueError: They hold NaN or an infinity, or are nested too deep.
        TypeError: They hold something that JSON has not.

    Example:
        >>> one = input_sha256("fal-ai/flux", {"steps": 4, "size": 1.0})
        >>> one == input_sha256("fal-ai/flux", {"size": 1, "steps": 4})
        True
    """
    return hash_canonical(endpoint, value, canonical_json(value))


def hash_canonical(endpoint: str, value: Any, canonical: bytes) -> str:
    """Return `input_sha256` of a value whose canonical JSON is at hand."""
    # A whole float below 2**53 is written with ".0"; without one the walk is spared.
    if b".0" in canonical:
        canonical = canonical_json(_plain_numbers(value))
    return hashlib.sha256(b"%b\n%b" % (endpoint.encode(), canonical)).hexdigest()


def _plain_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < _WHOLE_BELOW:
        return int(value)
    if isinstance(value, Mapping):
        return {key: _plain_numbers(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_numbers(child) for child in value]
    return value
