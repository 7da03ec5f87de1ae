"""The public keys that fal signs webhooks with, and how long they are believed.

Owns the reading of a JSON Web Key Set and the cache of one. It never fetches
anything itself: `keyhost` does, or whatever the caller gives. `receiver` asks
for keys with every delivery.

Rules (promises C25, D9):
    1. A set that was fetched counts for 24 hours at most, and is renewed from
       half of that on. A key host that is down changes nothing until then.
    2. A delivery that no known key has signed causes one fetch a minute at most:
       forgeries cannot make the key host work.
    3. Without keys nothing is accepted: the sender is asked to try again.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from falq._core import codec
from falq.errors import FalqError, WebhookError

logger = logging.getLogger("falq")

MAX_AGE_S = 24 * 3600.0
"""How long fetched keys are believed, in seconds (fal's page on webhooks)."""

REFETCH_S = 60.0
"""Between two fetches that unknown keys cause, in seconds."""

RETRY_S = 5.0
"""Between two fetches while there are no keys at all, in seconds."""

MOST_KEYS = 16

_KEY_BYTES = 32


def read_keys(body: bytes) -> tuple[bytes, ...]:
    """Return the Ed25519 keys of a JSON Web Key Set, 32 bytes each.

    Keys of other kinds are passed over.

    Args:
        body: `{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": …}]}`.

    Raises:
        WebhookError: It is no such set, holds none of these keys, or more than 16.
    """
    try:
        said = codec.load_json(body)
    except ValueError:
        said = None
    found = said.get("keys") if isinstance(said, dict) else None
    if not isinstance(found, list) or len(found) > MOST_KEYS:
        raise WebhookError(
            f"what the key host sent is no set of at most {MOST_KEYS} keys", retryable=True
        )
    keys = tuple(key for key in map(_read_key, found) if key is not None)
    if not keys:
        raise WebhookError("the key host's set has no Ed25519 key", retryable=True)
    return keys


def _read_key(entry: Any) -> bytes | None:
    if not isinstance(entry, dict):
        return None
    text = entry.get("x")
    is_ed25519 = (entry.get("kty"), entry.get("crv")) == ("OKP", "Ed25519")
    if not is_ed25519 or entry.get("use", "sig") != "sig" or not isinstance(text, str):
        return None
    try:
        # 32 bytes make 43 characters: one sign of padding is always left out.
        key = base64.b64decode(text.rstrip("=") + "=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == _KEY_BYTES else None


class KeyCache:
    """Keys that are fetched when they are needed and kept for a day.

    It belongs to the event loop that uses it.

    Args:
        fetch: Returns a JSON Web Key Set, or raises a `FalqError`.
        clock: Seconds on a monotonic clock.

    Attributes:
        fetches: How often the key host was asked.
    """

    def __init__(
        self, fetch: Callable[[], Awaitable[bytes]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = asyncio.Lock()
        self._keys: tuple[bytes, ...] = ()
        self._fetched = float("-inf")
        self._asked = float("-inf")
        self.fetches = 0

    def __repr__(self) -> str:
        return f"<KeyCache keys={len(self._keys)} fetches={self.fetches}>"

    async def load(self) -> tuple[bytes, ...]:
        """Return the keys, fetching them if there are none or they are old.

        Raises:
            WebhookError: There are none; it is `retryable`.
        """
        is_good = self._age_s() < MAX_AGE_S
        if self._age_s() < MAX_AGE_S / 2 or (is_good and self._lock.locked()):
            # While another asks for new ones, perhaps a host that hangs, these will do.
            return self._keys
        async with self._lock:
            is_old = self._age_s() >= MAX_AGE_S
            gap_s = RETRY_S if is_old else REFETCH_S
            if self._age_s() >= MAX_AGE_S / 2 and self._may_ask(gap_s):
                await self._renew()
        if self._age_s() >= MAX_AGE_S:
            raise WebhookError(
                "there are no keys to check webhooks with; the key host does not answer",
                retryable=True,
            )
        return self._keys

    async def refresh(self) -> tuple[bytes, ...]:
        """Return the keys, fetched again if the last fetch is a minute ago.

        To be called when none of them has signed a delivery: fal may have new ones.
        """
        async with self._lock:
            if self._may_ask(REFETCH_S):
                await self._renew()
        return self._keys if self._age_s() < MAX_AGE_S else ()

    def _age_s(self) -> float:
        return self._clock() - self._fetched

    def _may_ask(self, gap_s: float) -> bool:
        return self._clock() - self._asked >= gap_s

    async def _renew(self) -> None:
        # Noted before the answer: a host that hangs is not asked by everybody.
        self._asked = self._clock()
        self.fetches += 1
        try:
            self._keys = read_keys(await self._fetch())
        except FalqError as error:
            logger.warning("the keys of webhooks could not be fetched: %s", error)
        else:
            self._fetched = self._clock()
