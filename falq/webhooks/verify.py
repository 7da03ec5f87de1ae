"""Tell a delivery of fal's from a forgery.

Owns the Ed25519 check, done by the cryptography package, and the order of all
checks: headers, freshness, signature, and only then the body is read. It is
pure and framework-free, fetches nothing and keeps nothing. `receiver` calls it,
or your own handler does.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterable, Mapping
from typing import Any

from falq._core.delivery import WebhookDelivery, read_delivery
from falq._core.signature import SignedHead, check_fresh, read_head, signed_message
from falq.errors import ConfigError, SignatureError
from falq.webhooks.keys import read_keys


def verify(
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    body: bytes,
    *,
    keys: bytes | Iterable[bytes],
    now: float | None = None,
    intent_id: str | None = None,
) -> WebhookDelivery:
    """Return the delivery that a POST from fal carries.

    Args:
        headers: Of the request. Pairs show a repeated header, which is refused;
            a mapping that folds them may hide it.
        body: Exactly as received: a body that was parsed and written again has
            another signature.
        keys: The key set as fetched from `JWKS_URL`, or the keys that
            `read_keys` made of it. Each is tried.
        now: Unix seconds; None reads the system's clock.
        intent_id: What the address says, to be kept with the delivery.

    Raises:
        SignatureError: A header is missing, comes twice or is malformed, or none
            of the keys has signed this.
        StaleDeliveryError: It was signed more than 300 seconds from `now`.
        WebhookError: It is signed, and is no delivery of that request; or `keys`
            is no key set.
        ConfigError: The package cryptography is not installed.

    Example:
        >>> verify({}, b"{}", keys=[bytes(32)])
        Traceback (most recent call last):
        falq.SignatureError: the header x-fal-webhook-request-id is missing; ...
    """
    head = verify_signature(headers, body, keys=keys, now=now)
    return open_delivery(head, body, intent_id=intent_id)


def verify_signature(
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    body: bytes,
    *,
    keys: bytes | Iterable[bytes],
    now: float | None = None,
) -> SignedHead:
    """Return what the signed headers say, if fal has signed them and the body.

    It never reads the body's JSON, which takes several times as long for a large one:
    use it where the body is handed on, and `verify` where it is read anyway.

    Args:
        headers: As for `verify`, as are the others.
        body: Exactly as received.
        keys: The key set, or keys.
        now: Unix seconds; None reads the system's clock.

    Raises:
        SignatureError: As for `verify`, as are the others.
        StaleDeliveryError: It was signed more than 300 seconds from `now`.
        WebhookError: `keys` is no key set.
        ConfigError: The package cryptography is not installed.
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    head = read_head(pairs)
    check_fresh(head, time.time() if now is None else now)
    known = read_keys(keys) if isinstance(keys, bytes) else tuple(keys)
    if not is_signed(head, body, known):
        raise SignatureError(
            "no known key has signed the delivery; it was not accepted", request_id=head.request_id
        )
    return head


def is_signed(head: SignedHead, body: bytes, keys: Iterable[bytes]) -> bool:
    """Return whether one of `keys` has signed the delivery.

    Raises:
        ConfigError: The package cryptography is not installed.
    """
    ed25519, invalid = load_cryptography()
    message = signed_message(head, body)
    for key in keys:
        try:
            ed25519.Ed25519PublicKey.from_public_bytes(key).verify(head.signature, message)
        except (invalid, ValueError):
            # ValueError: not 32 bytes, or no point of the curve.
            continue
        return True
    return False


def open_delivery(
    head: SignedHead, body: bytes, *, intent_id: str | None = None
) -> WebhookDelivery:
    """Read the body of a delivery whose signature was checked.

    Raises:
        WebhookError: It is no delivery of that request.
    """
    return read_delivery(
        body,
        request_id=head.request_id,
        user_id=head.user_id,
        signed_at=head.signed_at,
        intent_id=intent_id,
    )


def load_cryptography() -> tuple[Any, type[Exception]]:
    """Return cryptography's module for Ed25519 and its error for a bad signature.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        ed25519 = importlib.import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
        exceptions = importlib.import_module("cryptography.exceptions")
    except ImportError:
        raise ConfigError(
            "webhooks are checked with the package cryptography; install it with "
            "pip install 'falq[webhooks]'",
            setting="webhooks",
        ) from None
    invalid: type[Exception] = exceptions.InvalidSignature
    return ed25519, invalid
