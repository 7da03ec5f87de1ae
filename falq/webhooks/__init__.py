"""Webhooks of fal: tell them from forgeries, and take each once.

    verify              a delivery, from headers, raw body and keys: pure, no framework
    verify_signature    the same without reading what it says
    WebhookDelivery     what it says
    SignedHead          what its signed headers say
    WebhookReceiver     an ASGI application and an aiohttp handler for a session
    LooseInbox          remembers deliveries without a session
    KeyCache, KeyHost,
    read_keys, JWKS_URL the public keys

The rooms: `keys` and `keyhost` (whose signature counts) -> `verify` (whether it
is theirs) -> `inbox` (who remembers) -> `receiver` (the order of it all) ->
`asgi`, `aio` and `faces` (web servers). Needs `pip install 'falq[webhooks]'`.
"""

from __future__ import annotations

from falq._core.delivery import WebhookDelivery as WebhookDelivery
from falq._core.signature import SignedHead as SignedHead
from falq.webhooks.faces import WebhookReceiver as WebhookReceiver
from falq.webhooks.inbox import LooseInbox as LooseInbox
from falq.webhooks.keyhost import JWKS_URL as JWKS_URL
from falq.webhooks.keyhost import KeyHost as KeyHost
from falq.webhooks.keys import KeyCache as KeyCache
from falq.webhooks.keys import read_keys as read_keys
from falq.webhooks.receiver import ReceiverStatistics as ReceiverStatistics
from falq.webhooks.verify import verify as verify
from falq.webhooks.verify import verify_signature as verify_signature

__all__ = [
    "JWKS_URL",
    "KeyCache",
    "KeyHost",
    "LooseInbox",
    "ReceiverStatistics",
    "SignedHead",
    "WebhookDelivery",
    "WebhookReceiver",
    "read_keys",
    "verify",
    "verify_signature",
]
