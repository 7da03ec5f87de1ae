"""What fal's API and its storage are asked for an upload, and how often.

Owns the calls that come before, around and after a file's bytes (fal-wire 8): the
token of the CDN with its life, signed addresses, and the reading of the answers.
It never sends by itself: calls with the key go through the session's own way to
fal's API, calls with bytes through `storage`, which has no key. `upload` and
`multipart` use it.

Rules:
    1. The key goes to fal's API and never to a storage host.
    2. A token goes to the CDN and never to another host that an answer names.
    3. Uploads cost nothing and may be repeated: small calls `ASKS` times in all,
       calls with bytes `SENDS` times, after a broken connection, 408, 429 or 5xx.
    4. A token that is refused is dropped, and the call made again with a new one.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, TypeVar

from attrs import define, evolve, field, frozen

from falq._core.answer import read_object
from falq._core.messages import Call, Origin, Reply, Verb
from falq._core.refusal import read_error, read_retry_after
from falq._core.retry import Failure, RetrySettings, decide_wait_s
from falq.errors import ApiError, FalqError, RateLimitError, WireError
from falq.gateways import HeaderSecret
from falq.media.download import shown_url
from falq.media.storage import StorageCall, StorageHosts, may_have_token

T = TypeVar("T")

Ask: TypeAlias = Callable[[Call], Awaitable[Reply]]
"""Carries one call, with the key, to one of the gateway's own addresses."""

ASKS = 3
SENDS = 5

_MARGIN = timedelta(seconds=30)
_JSON = {"Content-Type": "application/json"}


@frozen(kw_only=True)
class SignedUpload:
    """Where a file may be put, and where it is then.

    Attributes:
        upload_url: Takes one PUT; its query is a signature.
        file_url: Where the file is read.
    """

    upload_url: str = field(repr=lambda url: shown_url(url))
    file_url: str


@frozen(repr=False)
class _Token:
    header: HeaderSecret
    base_url: str
    good_until: datetime


@define
class Counts:
    """What was sent, for statistics."""

    sent_bytes: int = 0
    retries: int = 0


class UploadApi:
    """The calls of a session's uploads.

    Args:
        ask: Carries calls with the key.
        hosts: Carries calls without it.
        cdn_url: The gateway's own address of the CDN.
        retry: How waits between attempts grow.
        draw: Returns a uniform draw from [0, 1).
        wall_clock: Aware UTC time, for the life of a token.
    """

    def __init__(
        self,
        ask: Ask,
        hosts: StorageHosts,
        *,
        cdn_url: str,
        retry: RetrySettings,
        draw: Callable[[], float],
        wall_clock: Callable[[], datetime],
    ) -> None:
        self._ask = ask
        self._hosts = hosts
        self._cdn_url = cdn_url
        self._retry = retry
        self._draw = draw
        self._wall_clock = wall_clock
        self._token: _Token | None = None
        self._asking = asyncio.Lock()
        self.counts = Counts()

    async def initiate(
        self, file_name: str, content_type: str, lifecycle: Mapping[str, str]
    ) -> SignedUpload:
        """Ask fal's API for a signed address.

        Args:
            file_name: A safe name.
            content_type: What the file is; the PUT must say the same.
            lifecycle: Headers about its life.

        Raises:
            ApiError: The API says no.
            WireError: The answer names no addresses.
            TransportError: There is no whole answer.
        """
        body = json.dumps({"file_name": file_name, "content_type": content_type}).encode()
        call = Call(
            Verb.STORAGE,
            "POST",
            # fal_client 1.0.3 asks for this type where the CDN failed.
            "/storage/upload/initiate?storage_type=gcs",
            body,
            {**_JSON, **lifecycle},
            origin=Origin.REST,
        )
        place = _read_signed(await self._ask_api(call, doing="ask for an upload address"))
        if place is None:
            raise WireError("the storage's answer names no upload address; try again later")
        return place

    async def put_signed(self, call: StorageCall) -> None:
        """Send a whole file to a signed address, with no credential but its signature.

        Raises:
            ApiError: The storage says no.
            WireError: The address is none that bytes may be sent to.
            TransportError: There is no whole answer.
        """

        async def send() -> None:
            reply = await self._carry(call)
            if not 200 <= reply.status_code < 300:
                # What a storage says may repeat the signature.
                raise self._refusal(evolve(reply, body=b""), "upload to a signed address")

        await self._again(send, attempts=SENDS)

    async def send_to_cdn(
        self, call: StorageCall, *, doing: str, below_base: bool = False
    ) -> Reply:
        """Carry a call to the CDN, with a token, and return a good answer.

        Args:
            call: With a path below the CDN's address, or a whole URL.
            doing: What it does, for messages.
            below_base: Whether a path lies below the address that the token names.

        Raises:
            ApiError: The CDN says no.
            WireError: The URL is none that a token may go to.
            TransportError: There is no whole answer.
        """
        work = functools.partial(self._send_with_token, call, doing=doing, below_base=below_base)
        try:
            return await work()
        except _TokenRefusedError:
            self.counts.retries += 1
        try:
            return await work()
        except _TokenRefusedError as error:
            refusal = error.refusal
        raise refusal

    async def _send_with_token(self, call: StorageCall, *, doing: str, below_base: bool) -> Reply:
        # Outside the attempts of the call: it has attempts of its own.
        token = await self._use_token()
        whole = self._address(call, token, doing=doing, below_base=below_base)
        send = functools.partial(self._send_with, token, whole, doing)
        return await self._again(send, attempts=SENDS)

    def _address(
        self, call: StorageCall, token: _Token, *, doing: str, below_base: bool
    ) -> StorageCall:
        base_url = token.base_url if below_base else self._cdn_url
        url = f"{base_url}{call.url}" if call.url.startswith("/") else call.url
        if not may_have_token(url, self._cdn_url):
            raise WireError(f"could not {doing}: the server named another host for it")
        return evolve(call, url=url, headers={**call.headers, "Authorization": token.header})

    async def _send_with(self, token: _Token, call: StorageCall, doing: str) -> Reply:
        reply = await self._carry(call)
        if reply.status_code in {401, 403}:
            # It can expire under a long upload, or be withdrawn. Parts on their way at
            # once are refused together: only the first drops it.
            if self._token is token:
                self._token = None
            raise _TokenRefusedError(self._refusal(reply, doing))
        if not 200 <= reply.status_code < 300:
            raise self._refusal(reply, doing)
        return reply

    async def _use_token(self) -> _Token:
        # One asks, the others wait for what it gets.
        async with self._asking:
            token = self._token
            if token is None or self._wall_clock() >= token.good_until:
                token = self._token = await self._fetch_token()
            return token

    async def _fetch_token(self) -> _Token:
        call = Call(
            Verb.STORAGE,
            "POST",
            "/storage/auth/token?storage_type=fal-cdn-v3",
            b"{}",
            _JSON,
            origin=Origin.REST,
        )
        told_at = self._wall_clock()
        token = _read_token(
            await self._ask_api(call, doing="ask for an upload token"), self._cdn_url, told_at
        )
        if token is None:
            raise WireError("the storage's answer has no token; try again later")
        return token

    async def _ask_api(self, call: Call, *, doing: str) -> dict[str, Any]:
        async def ask() -> dict[str, Any]:
            reply = await self._ask(call)
            if not 200 <= reply.status_code < 300:
                raise self._refusal(reply, doing)
            if reply.fault is not None:
                raise reply.fault
            return read_told(reply, doing)

        return await self._again(ask, attempts=ASKS)

    async def _carry(self, call: StorageCall) -> Reply:
        self.counts.sent_bytes += call.size_bytes
        return await self._hosts.send(call)

    async def _again(self, work: Callable[[], Awaitable[T]], *, attempts: int) -> T:
        attempt = 0
        while True:
            attempt += 1
            try:
                return await work()
            except FalqError as error:
                wait_s = self._wait_s(error, attempt) if attempt < attempts else None
                if wait_s is None:
                    raise
            self.counts.retries += 1
            await asyncio.sleep(wait_s)

    def _wait_s(self, error: FalqError, attempt: int) -> float | None:
        is_throttled = isinstance(error, RateLimitError)
        is_late = isinstance(error, ApiError) and error.status_code == 408
        if not (error.retryable or is_late):
            return None
        return decide_wait_s(
            self._retry,
            Failure.THROTTLED if is_throttled else Failure.BROKEN,
            attempt=attempt,
            draw=self._draw(),
            retry_after_s=error.retry_after_s if isinstance(error, RateLimitError) else None,
        )

    def _refusal(self, reply: Reply, doing: str) -> FalqError:
        error = read_error(reply, endpoint=None, request_id=None, doing=doing)
        if isinstance(error, RateLimitError):
            error.retry_after_s = read_retry_after(reply, wall_now_s=self._wall_clock().timestamp())
        return error


class _TokenRefusedError(Exception):
    """The CDN refused the token of a call."""

    def __init__(self, refusal: FalqError) -> None:
        super().__init__()
        self.refusal = refusal


def read_told(reply: Reply, doing: str) -> dict[str, Any]:
    """Return the JSON object of a good answer.

    Raises:
        WireError: It is none.
    """
    return read_object(reply, doing=doing, advice="try again later", retryable=True)


# What these read is secret. They raise nothing, so that no traceback has it in a local.


def _read_signed(told: dict[str, Any]) -> SignedUpload | None:
    upload_url, file_url = told.get("upload_url"), told.get("file_url")
    if isinstance(upload_url, str) and isinstance(file_url, str):
        return SignedUpload(upload_url=upload_url, file_url=file_url)
    return None


def _read_token(told: dict[str, Any], cdn_url: str, now: datetime) -> _Token | None:
    token, kind, base_url = told.get("token"), told.get("token_type"), told.get("base_url")
    if not (isinstance(token, str) and token and isinstance(kind, str) and kind):
        return None
    header = HeaderSecret(f"{kind} {token}")
    if not header.isascii() or not header.isprintable():
        return None
    if not isinstance(base_url, str) or not may_have_token(base_url, cdn_url):
        base_url = cdn_url
    return _Token(header, base_url.rstrip("/"), _good_until(told.get("expires_at"), now))


def _good_until(expires_at: object, now: datetime) -> datetime:
    """Return until when a token is used: a little less than it lives.

    One whose life cannot be read is used until it is refused.
    """
    try:
        end = datetime.fromisoformat(str(expires_at))
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)
    if end.tzinfo is None:
        end = end.replace(tzinfo=UTC)
    # Half of a very short life, not none of it.
    return max(end - _MARGIN, now + (end - now) / 2)
