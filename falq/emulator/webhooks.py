"""The emulated webhooks: what is posted when a job ends, how it is signed, and when again.

Owns the bodies, the signing keys and the schedule of attempts. It is pure like
`state`: it never posts and reads no clock. `routes` tells it of ends and publishes
the keys, `postman` posts what is due and tells what became of it.

Facts: fal's pages on webhooks, 2025 and 2026. The first attempt gets 15 seconds,
later ones 120; up to 31 attempts within the life of the result; a redirect is a
failure for good; 2xx is success. The waits between attempts are not documented:
10 seconds that double up to 120 make the 31 attempts last the documented hour.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any
from urllib.parse import urlsplit

from attrs import define, field, frozen

from falq.emulator.endings import encode
from falq.emulator.jobs import Job
from falq.emulator.scenario import Scenario
from falq.errors import ConfigError
from falq.gateways import is_loopback

KEYS_PATH = "/_rest/.well-known/jwks.json"
USER_ID = "emulator-user"

MOST_ATTEMPTS = 31
FIRST_TIMEOUT_S = 15.0
LATER_TIMEOUT_S = 120.0

_FIRST_WAIT_S = 10.0
_LONGEST_WAIT_S = 120.0
# However fast the emulator runs, a receiver that says no is not asked in a loop.
_SHORTEST_WAIT_S = 0.01
_FAR_S = 3600.0
_UNSERIALIZABLE = (
    "Response payload is not JSON serializable. Either return a JSON serializable object or use "
    "the queue endpoint to retrieve the response."
)


@frozen(kw_only=True)
class Post:
    """One attempt to deliver.

    Attributes:
        url: Where to.
        headers: With the signature.
        body: As it travels.
        attempt: Counted from 1.
        timeout_s: How long the receiver has, in seconds.
        delivery: Which delivery it is an attempt of.
    """

    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    attempt: int
    timeout_s: float
    delivery: _Delivery = field(repr=False)


@define(eq=False, kw_only=True)
class _Delivery:
    request_id: str
    url: str
    body: bytes = field(repr=False)
    expires: float
    attempt: int = 0


class WebhookDesk:
    """The webhooks of one account.

    Args:
        scenario: Its behavior.
        wall_s: Returns the Unix time of an instant.
    """

    def __init__(self, scenario: Scenario, *, wall_s: Callable[[float], float]) -> None:
        self._scenario = scenario
        self._wall_s = wall_s
        self._chance = Random(f"{scenario.seed}/webhooks")  # noqa: S311  chance for tests
        self._due: list[tuple[float, int, _Delivery]] = []
        self._count = 0
        self._expected = 0
        self.counts: Counter[str] = Counter()

    @property
    def is_busy(self) -> bool:
        """Whether something is to be posted, or will be when a job ends."""
        return bool(self._due or self._expected)

    def next_due(self) -> float | None:
        """Return the instant of the next post; None if none is planned."""
        return self._due[0][0] if self._due else None

    def expect(self, job: Job) -> None:
        """Take in that a job was submitted."""
        if job.order.webhook_url is not None:
            self._expected += 1

    def note_ended(self, job: Job) -> None:
        """Take in that a job ended, and plan what it asked for."""
        url = job.order.webhook_url
        if url is None:
            return
        self._expected -= 1
        if self._scenario.webhook_targets == "loopback" and not _is_on_loopback(url):
            self.counts["dropped"] += 1
            return
        if self._chance.random() < self._scenario.webhook_loss_probability:
            self.counts["lost"] += 1
            return
        for _ in range(self._scenario.webhook_copies):
            late_s = self._scenario.webhook_delay_s
            late_s += self._chance.random() * self._scenario.webhook_jitter_s
            delivery = _Delivery(
                request_id=job.request_id,
                url=url,
                body=write_body(job, is_cut=self._scenario.webhook_payload == "null"),
                expires=job.expires,
            )
            self._plan(job.ended + late_s, delivery)

    def _plan(self, due: float, delivery: _Delivery) -> None:
        self._count += 1
        heappush(self._due, (due, self._count, delivery))

    def take_due(self, now: float) -> list[Post]:
        """Return what is to be posted now; `record_answer` must hear of each."""
        posts = []
        while self._due and self._due[0][0] <= now:
            delivery = heappop(self._due)[2]
            delivery.attempt += 1
            posts.append(self._write(delivery, now))
            self.counts["sent"] += 1
        return posts

    def record_answer(self, post: Post, status_code: int | None, now: float) -> None:
        """Take in how an attempt ended, and plan the next if there is one.

        Args:
            post: From `take_due`.
            status_code: What the receiver answered; None if nothing came.
            now: The instant in seconds.
        """
        if status_code is not None and 200 <= status_code < 300:
            self.counts["accepted"] += 1
            return
        if status_code is not None and 300 <= status_code < 400:
            self.counts["redirected"] += 1
            return
        self.counts["refused"] += 1
        wait_s = min(_FIRST_WAIT_S * 2 ** (post.attempt - 1), _LONGEST_WAIT_S)
        due = now + max(wait_s / self._scenario.speed, _SHORTEST_WAIT_S)
        if post.attempt >= MOST_ATTEMPTS or due >= post.delivery.expires:
            self.counts["given_up"] += 1
            return
        self._plan(due, post.delivery)

    def _write(self, delivery: _Delivery, now: float) -> Post:
        forged = self._scenario.webhook_forged_attempts
        is_forged = forged is None or delivery.attempt <= forged
        forgery = self._scenario.webhook_forgery if is_forged else None
        shift_s = {"old_timestamp": -_FAR_S, "future_timestamp": _FAR_S}.get(forgery or "", 0.0)
        headers = sign(
            delivery.request_id,
            delivery.body,
            at=int(self._wall_s(now) + shift_s),
            seed=f"{self._scenario.seed}/other" if forgery == "wrong_key" else self._seed,
        )
        body = delivery.body
        if forgery == "other_body":
            body = body.replace(b'"payload":', b'"payload" :')
        elif forgery == "bad_hex":
            headers["X-Fal-Webhook-Signature"] = "zz" * 64
        elif forgery == "unsigned":
            headers = {}
        return Post(
            url=delivery.url,
            headers=(("content-type", "application/json"), *headers.items()),
            body=body,
            attempt=delivery.attempt,
            timeout_s=FIRST_TIMEOUT_S if delivery.attempt == 1 else LATER_TIMEOUT_S,
            delivery=delivery,
        )

    @property
    def _seed(self) -> str:
        return str(self._scenario.seed)

    def key_set(self) -> bytes:
        """Return the published keys, a retired one before the one in use."""
        keys = []
        for seed in (f"{self._scenario.seed}/retired", self._seed):
            public = _private_key(seed).public_key().public_bytes_raw()
            x = base64.urlsafe_b64encode(public).decode().rstrip("=")
            keys.append({"kty": "OKP", "crv": "Ed25519", "use": "sig", "x": x})
        return encode({"keys": keys})


def write_body(job: Job, *, is_cut: bool) -> bytes:
    """Return what is posted about a job that ended."""
    ending = job.ending
    if ending is None:
        raise ValueError("a job that has not ended has nothing to tell")
    body: dict[str, Any] = {"request_id": job.request_id, "gateway_request_id": job.request_id}
    if ending.status_code >= 400:
        body |= {
            "status": "ERROR",
            "error": ending.error or f"Invalid status code: {ending.status_code}",
        }
    else:
        body["status"] = "OK"
    if is_cut:
        return encode(body | {"payload": None, "payload_error": _UNSERIALIZABLE})
    return encode(body | {"payload": json.loads(ending.body)})


def sign(request_id: str, body: bytes, *, at: int, seed: str) -> dict[str, str]:
    """Return the headers of a delivery, signed with the key of `seed`.

    Raises:
        ConfigError: The package cryptography is not installed.
    """
    digest = hashlib.sha256(body).hexdigest()
    message = "\n".join([request_id, USER_ID, str(at), digest])
    return {
        "X-Fal-Webhook-Request-Id": request_id,
        "X-Fal-Webhook-User-Id": USER_ID,
        "X-Fal-Webhook-Timestamp": str(at),
        "X-Fal-Webhook-Signature": _private_key(seed).sign(message.encode()).hex(),
    }


def _private_key(seed: str) -> Any:
    try:
        ed25519 = importlib.import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
    except ImportError:
        raise ConfigError(
            "the emulator signs webhooks with the package cryptography; install it with "
            "pip install 'falq[webhooks]'",
            setting="webhooks",
        ) from None
    secret = hashlib.sha256(f"falq emulator {seed}".encode()).digest()
    return ed25519.Ed25519PrivateKey.from_private_bytes(secret)


def _is_on_loopback(url: str) -> bool:
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False
