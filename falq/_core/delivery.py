"""What a webhook's body says, and which deliveries were seen.

Owns the form of the body (fal's page on webhooks, 2026-09), the form of the
address that a session has fal call, and a bounded memory of ids. It never checks
a signature: whoever reads a body here has done so.

An address is the session's `webhook_base_url` and, as its last part, the id of
the intent: whoever does not know the 128 random bits cannot name a submission.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

from attrs import define, field, frozen

from falq._core import codec
from falq.errors import WebhookError

_INTENT = re.compile(r"[0-9a-f]{32}")


@frozen(kw_only=True)
class WebhookDelivery:
    """One verified delivery.

    Attributes:
        request_id: The server's id of the request.
        gateway_request_id: Another one if the server retried, else the same.
        status: `"OK"` or `"ERROR"`, as told.
        payload: The model's output, or the body of its error; None if it was not
            delivered.
        error: What went wrong, for `"ERROR"`.
        payload_error: Why there is no payload, if the server said so.
        user_id: The account that the request belongs to.
        signed_at: When it was signed, Unix seconds.
        intent_id: falq's id of the submission, if the address carried one.
        body: As received.
    """

    request_id: str
    gateway_request_id: str | None = None
    status: str = "OK"
    payload: Any = field(default=None, repr=False)
    error: str | None = None
    payload_error: str | None = None
    user_id: str = ""
    signed_at: int = 0
    intent_id: str | None = None
    body: bytes = field(default=b"", repr=False)

    @property
    def has_result(self) -> bool:
        """Whether the payload is the whole result, so that none has to be fetched."""
        is_good = self.status == "OK" and self.error is None and self.payload_error is None
        # An output that is no object is not documented: it is fetched.
        return is_good and isinstance(self.payload, dict)


def read_delivery(
    body: bytes,
    *,
    request_id: str | None = None,
    user_id: str = "",
    signed_at: int = 0,
    intent_id: str | None = None,
) -> WebhookDelivery:
    """Read a delivery whose signature was checked.

    Args:
        body: As received.
        request_id: What the signed header says; None to believe the body.
        user_id: What the signed header says.
        signed_at: What the signed header says, Unix seconds.
        intent_id: What the address says.

    Raises:
        WebhookError: The body is no delivery, or is about another request.
    """
    try:
        said = codec.load_json(body)
    except ValueError:
        said = None
    named = said.get("request_id") if isinstance(said, dict) else None
    if not isinstance(said, dict) or not isinstance(named, str) or not named:
        raise WebhookError(
            "the delivery is no JSON object with a request_id", request_id=request_id
        )
    if request_id is not None and named != request_id:
        raise WebhookError(
            "the delivery's body and its headers name different requests", request_id=request_id
        )
    return WebhookDelivery(
        request_id=named,
        gateway_request_id=_text_or_none(said.get("gateway_request_id")),
        status=str(said.get("status", "")),
        payload=said.get("payload"),
        error=_text_or_none(said.get("error")),
        payload_error=_text_or_none(said.get("payload_error")),
        user_id=user_id,
        signed_at=signed_at,
        intent_id=intent_id,
        body=body,
    )


def _text_or_none(value: object) -> str | None:
    return None if value is None else str(value)


def address_for(base_url: str, intent_id: str) -> str:
    """Return the address that fal calls when the job of an intent ends."""
    return f"{base_url.rstrip('/')}/{intent_id}"


def intent_of(path: str) -> str | None:
    """Return the intent that the last part of a called path names, if it names one."""
    last = path.rstrip("/").rpartition("/")[2]
    return last if _INTENT.fullmatch(last) else None


@define
class RecentIds:
    """The latest ids that were noted.

    Args:
        most: How many are kept; the oldest go first.
    """

    most: int = 100_000
    _ids: OrderedDict[str, None] = field(factory=OrderedDict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self._ids)

    def note(self, name: str) -> bool:
        """Note an id, and return whether it is new."""
        if name in self._ids:
            return False
        self._ids[name] = None
        if len(self._ids) > self.most:
            self._ids.popitem(last=False)
        return True
