"""What a signed webhook signs, and whether it is fresh.

Owns the reading of the four signed headers, the message that the signature is
over, and the window of time in which a delivery counts. It never checks the
signature itself: that is the cryptography package's, and `falq.webhooks` asks it.

Rules (promises D9; facts: fal's page on webhooks, 2026-09):
    1. Each of the four headers comes exactly once. Two would let two readers see
       two different deliveries.
    2. Ids hold letters, digits and `. _ ~ : -` only, a user id also `|`, which
       log-in services write. A line end in one would let two sets of headers sign
       to the same message.
    3. The message is request id, user id, timestamp as it was written, and the
       SHA-256 of the body as received, joined by single line feeds.
    4. A delivery counts 300 seconds to both sides of its timestamp.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from attrs import field, frozen

from falq.errors import SignatureError, StaleDeliveryError

TOLERANCE_S = 300.0
"""How far a timestamp may be from now, in seconds, to both sides."""

REQUEST_ID = "x-fal-webhook-request-id"
USER_ID = "x-fal-webhook-user-id"
TIMESTAMP = "x-fal-webhook-timestamp"
SIGNATURE = "x-fal-webhook-signature"

_FORMS = {
    REQUEST_ID: re.compile(r"[A-Za-z0-9._~:-]{1,256}"),
    USER_ID: re.compile(r"[A-Za-z0-9._~:|-]{1,256}"),
    TIMESTAMP: re.compile(r"[0-9]{1,12}"),
    SIGNATURE: re.compile(r"[0-9a-f]{128}"),
}


@frozen(kw_only=True)
class SignedHead:
    """The four signed headers of a delivery, well formed and not yet believed.

    Attributes:
        request_id: The server's id of the request.
        user_id: The account that it belongs to.
        timestamp: When it was signed, Unix seconds, as written.
        signature: 64 bytes of Ed25519.
    """

    request_id: str
    user_id: str
    timestamp: str
    signature: bytes = field(repr=False)

    @property
    def signed_at(self) -> int:
        """When it was signed, Unix seconds."""
        return int(self.timestamp)


def read_head(headers: Iterable[tuple[str, str]]) -> SignedHead:
    """Return the signed headers among `headers`.

    Args:
        headers: Every name and value as received, repetitions included.

    Raises:
        SignatureError: One is missing, comes twice or has another form.
    """
    found: dict[str, list[str]] = {name: [] for name in _FORMS}
    for name, value in headers:
        if name.lower() in found:
            found[name.lower()].append(value)
    for name, values in found.items():
        if len(values) != 1:
            how = "is missing" if not values else "comes more than once"
            raise SignatureError(f"the header {name} {how}; the delivery was not accepted")
        if _FORMS[name].fullmatch(values[0]) is None:
            raise SignatureError(f"the header {name} is malformed; the delivery was not accepted")
    return SignedHead(
        request_id=found[REQUEST_ID][0],
        user_id=found[USER_ID][0],
        timestamp=found[TIMESTAMP][0],
        signature=bytes.fromhex(found[SIGNATURE][0]),
    )


def signed_message(head: SignedHead, body: bytes) -> bytes:
    """Return the bytes that the signature is over.

    Args:
        head: From `read_head`.
        body: As received, byte for byte.
    """
    digest = hashlib.sha256(body).hexdigest()
    return f"{head.request_id}\n{head.user_id}\n{head.timestamp}\n{digest}".encode("ascii")


def check_fresh(head: SignedHead, now: float) -> None:
    """Return if a delivery was signed within `TOLERANCE_S` of now.

    Args:
        head: From `read_head`.
        now: Unix seconds.

    Raises:
        StaleDeliveryError: It is older, or from the future.
    """
    age_s = now - head.signed_at
    if abs(age_s) <= TOLERANCE_S:
        return
    apart = f"{age_s:.0f} s old" if age_s > 0 else f"{-age_s:.0f} s ahead of this clock"
    raise StaleDeliveryError(
        f"the delivery is {apart}, and {TOLERANCE_S:.0f} s are allowed; if that goes on, compare "
        "this machine's clock",
        request_id=head.request_id,
        age_s=age_s,
    )
