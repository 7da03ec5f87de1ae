"""One form for equal inputs, so that their hashes are equal too.

Owns the form: keys sorted, no spaces, ASCII only. For the hash whole floats
become integers, because a server may hand `1.0` back as `1`. It never changes
what is sent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_WHOLE_BELOW = 2.0**53


def canonical_json(value: Any) -> bytes:
    """Return `value` as JSON in its one form.

    Raises:
        ValueError: It holds NaN or an infinity.
        TypeError: It holds something that JSON has not.

    Example:
        >>> canonical_json({"b": 1, "a": [1.0]})
        b'{"a":[1.0],"b":1}'
    """
    return json.dumps(value, allow_nan=False, sort_keys=True, separators=(",", ":")).encode()


def input_sha256(value: Any) -> str:
    """Return the hash by which equal inputs are known, in hex.

    Raises:
        ValueError: It holds NaN or an infinity.
        TypeError: It holds something that JSON has not.

    Example:
        >>> input_sha256({"steps": 4, "size": 1.0}) == input_sha256({"size": 1, "steps": 4})
        True
    """
    return hashlib.sha256(canonical_json(_plain_numbers(value))).hexdigest()


def _plain_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < _WHOLE_BELOW:
        return int(value)
    if isinstance(value, Mapping):
        return {key: _plain_numbers(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_numbers(child) for child in value]
    return value
