"""A signer whose deliveries are those of the reference, and receivers without a server."""

from __future__ import annotations

import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NOW = 1_767_225_600


class Signer:
    """Signs deliveries with the key of the reference's test vector."""

    def __init__(self, seed: bytes = bytes(range(32))) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.key: bytes = self._private.public_key().public_bytes_raw()

    def body(self, **fields: object) -> bytes:
        return json.dumps(
            {"request_id": "r-1", "status": "OK", "payload": {"n": 1}} | fields
        ).encode()

    def headers(
        self, body: bytes, *, request_id: str = "r-1", user_id: str = "user_123", at: int = NOW
    ) -> dict[str, str]:
        digest = hashlib.sha256(body).hexdigest()
        message = f"{request_id}\n{user_id}\n{at}\n{digest}".encode()
        return {
            "X-Fal-Webhook-Request-Id": request_id,
            "X-Fal-Webhook-User-Id": user_id,
            "X-Fal-Webhook-Timestamp": str(at),
            "X-Fal-Webhook-Signature": self._private.sign(message).hex(),
        }


@pytest.fixture
def signer() -> Signer:
    return Signer()


@pytest.fixture
def stranger() -> Signer:
    return Signer(bytes(32))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
