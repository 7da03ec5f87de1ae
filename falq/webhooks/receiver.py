"""Receive webhooks: verify, remember, wake who waits, answer.

Owns the order of these and the answer to each call. The checks are `verify`'s,
the keys `keys`', the memory the inbox's: a session's, or a loose one. `asgi` and
`aio` bring calls from web servers; nothing here knows one.

Rules (promises C24, C25, D9):
    1. Headers and freshness are checked before the body is used, the signature
       before the body is parsed.
    2. 2xx is answered only after the delivery was kept, and written where there
       is a journal. What cannot be kept now is answered with 503.
    3. Each request's first delivery counts; every other is answered with 200 and
       changes nothing.
    4. What was begun is finished although the sender hangs up: a delivery that is
       written is told to the hook, until the receiver is closed.
    5. What has no checked signature takes no more memory than is said: beyond it
       503 is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from typing import Any, TypeAlias

from attrs import evolve, field, frozen

from falq._core.delivery import WebhookDelivery, intent_of
from falq._core.signature import SignedHead, check_fresh, read_head
from falq.errors import FalqError, SignatureError, StaleDeliveryError, WebhookError
from falq.webhooks.inbox import Inbox, LooseInbox
from falq.webhooks.keys import KeyCache
from falq.webhooks.verify import is_signed, load_cryptography, open_delivery

logger = logging.getLogger("falq")

OnDelivery: TypeAlias = Callable[[WebhookDelivery], Awaitable[None] | None]

LIMIT_BYTES = 32 * 1024 * 1024
HELD_BYTES = 4 * LIMIT_BYTES
READ_S = 10.0
CLOSE_S = 15.0
"""How long deliveries that are being kept may take when a receiver is closed, in seconds.

As long as fal itself waits for an answer.
"""

_LARGE_BYTES = 256 * 1024
"""Bodies above this are hashed and parsed beside the loop."""

_RETRY_AFTER_S = 30
_CANCELLED_S = 1.0
_MOST_UNHEARD = 10_000


@frozen(kw_only=True)
class Answer:
    """What to answer a call with.

    Attributes:
        status_code: HTTP status.
        text: The body.
        headers: Further headers.
    """

    status_code: int
    text: str
    headers: dict[str, str] = field(factory=dict)


@frozen(kw_only=True)
class ReceiverStatistics:
    """What a receiver was called with, so far.

    Attributes:
        accepted: First deliveries of a request, verified and kept.
        repeated: Further deliveries of a request, verified and passed over.
        refused: Calls without a good signature, or that are no delivery.
        stale: Signed too long ago, or in the future.
        unavailable: Good or not: they could not be checked or kept, and the sender
            was asked to try again.
        hook_errors: Deliveries whose `on_delivery` raised.
    """

    accepted: int = 0
    repeated: int = 0
    refused: int = 0
    stale: int = 0
    unavailable: int = 0
    hook_errors: int = 0


class CrowdedError(Exception):
    """More bytes came at once than are held."""


class Reception:
    """A receiver without a web server; `WebhookReceiver` adds the faces of two.

    Args:
        inbox: Takes the deliveries.
        keys: Of those who may sign.
        on_delivery: Hears of each request's first delivery.
        user_ids: Accounts whose deliveries are taken; none named takes all.
        limit_bytes: Largest body.
        held_bytes: Largest sum of the bodies that are held at once.
        read_s: Seconds that a body may take to arrive.
        wall_clock: Unix seconds.
    """

    def __init__(
        self,
        inbox: Inbox | None,
        *,
        keys: KeyCache,
        on_delivery: OnDelivery | None,
        user_ids: Collection[str],
        limit_bytes: int,
        held_bytes: int,
        read_s: float,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        load_cryptography()
        self.limit_bytes = limit_bytes
        self.read_s = read_s
        self._most_held = held_bytes
        self._held = 0
        self._inbox: Inbox = inbox or LooseInbox()
        self._keys = keys
        self._on_delivery = on_delivery
        self._user_ids = frozenset(user_ids)
        self._wall_clock = wall_clock
        self._counts: Counter[str] = Counter()
        # First deliveries whose hook raised: the sender was asked to try again.
        self._unheard: dict[str, None] = {}
        self._under_way: set[asyncio.Task[Any]] = set()

    def statistics(self) -> ReceiverStatistics:
        """Return the counts of this moment."""
        return ReceiverStatistics(**self._counts)

    async def aclose(self) -> None:
        """Wait for deliveries that are being kept, `CLOSE_S` at most. Safe to call twice."""
        if self._under_way:
            _, left = await asyncio.wait(set(self._under_way), timeout=CLOSE_S)
            for task in left:
                task.cancel()
            if left:
                logger.warning(
                    "%d deliveries were not done with %g s after the receiver was closed; their "
                    "on_delivery is cancelled",
                    len(left),
                    CLOSE_S,
                )
                await asyncio.wait(left, timeout=_CANCELLED_S)

    @contextlib.contextmanager
    def holding(self) -> Iterator[Callable[[int], None]]:
        """Yield what counts the bytes of one body, for as long as it is held.

        It raises `CrowdedError` if there are too many with those of all others.
        """
        held = 0

        def note(size: int) -> None:
            nonlocal held
            held += size
            self._held += size
            if self._held > self._most_held:
                raise CrowdedError

        try:
            yield note
        finally:
            self._held -= held

    def refuse_head(self, method: str, headers: Iterable[tuple[str, str]]) -> Answer | None:
        """Return the answer to a call whose head is enough to refuse it, else None."""
        if method != "POST":
            return Answer(status_code=405, text="POST only", headers={"Allow": "POST"})
        pairs = list(headers)
        given = {name.lower(): value for name, value in pairs}
        length = given.get("content-length", "")
        if length.isdecimal() and int(length) > self.limit_bytes:
            return self.refuse_large()
        if given.get("content-encoding", "identity") != "identity":
            # What is signed is what travels, and unpacking has no limit of ours.
            self._counts["refused"] += 1
            return Answer(status_code=415, text="bodies are taken unpacked only")
        try:
            check_fresh(read_head(pairs), self._wall_clock())
        except WebhookError as error:
            return self._refuse(error)
        return None

    def refuse_large(self) -> Answer:
        """Return the answer to a call with too large a body."""
        self._counts["refused"] += 1
        return Answer(
            status_code=413,
            text=f"at most {self.limit_bytes} bytes are taken",
            headers={"Connection": "close"},
        )

    def refuse_crowded(self) -> Answer:
        """Return the answer to a call whose body is one too many at this moment."""
        logger.warning(
            "webhooks came with more than %d bytes at once; one is asked for again",
            self._most_held,
        )
        answer = self._unavailable()
        return evolve(answer, headers={**answer.headers, "Connection": "close"})

    def refuse_slow(self) -> Answer:
        """Return the answer to a call whose body did not arrive in time."""
        self._counts["refused"] += 1
        return Answer(
            status_code=408, text="the body did not arrive in time", headers={"Connection": "close"}
        )

    async def receive(
        self, *, path: str, headers: Iterable[tuple[str, str]], body: bytes
    ) -> Answer:
        """Take one call, whole.

        Args:
            path: Its path; its last part may be the id of an intent.
            headers: Every name and value, repetitions included.
            body: As received.

        A cancelled call is finished all the same.
        """
        if len(body) > self.limit_bytes:
            return self.refuse_large()
        try:
            delivery = await self._check(list(headers), body, intent_of(path))
        except FalqError as error:
            return self._refuse(error)
        task = asyncio.create_task(self._keep(delivery))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                # Not the call was cancelled, but its hook, by the receiver's end.
                return self._unavailable()
            raise

    async def _check(
        self, headers: list[tuple[str, str]], body: bytes, intent_id: str | None
    ) -> WebhookDelivery:
        head = read_head(headers)
        check_fresh(head, self._wall_clock())
        if self._user_ids and head.user_id not in self._user_ids:
            raise SignatureError("the delivery is another account's", request_id=head.request_id)
        keys = await self._keys.load()
        if not await _beside(len(body), is_signed, head, body, keys):
            renewed = await self._keys.refresh()
            fresh = [key for key in renewed if key not in keys]
            if not fresh or not await _beside(len(body), is_signed, head, body, fresh):
                raise SignatureError(
                    "no known key has signed the delivery", request_id=head.request_id
                )
        opened: WebhookDelivery = await _beside(len(body), _open, head, body, intent_id)
        return opened

    async def _keep(self, delivery: WebhookDelivery) -> Answer:
        try:
            is_first = await self._inbox.take_delivery(delivery)
        except FalqError as error:
            return self._refuse(error, is_ours=True)
        except Exception:
            logger.exception("a webhook could not be kept; the sender is asked to try again")
            return self._unavailable()
        if is_first:
            self._counts["accepted"] += 1
        elif delivery.request_id in self._unheard:
            self._unheard.pop(delivery.request_id)
        else:
            self._counts["repeated"] += 1
            return Answer(status_code=200, text="known")
        return await self._tell(delivery)

    async def _tell(self, delivery: WebhookDelivery) -> Answer:
        if self._on_delivery is not None:
            try:
                answer = self._on_delivery(delivery)
                if inspect.isawaitable(answer):
                    await answer
            except Exception:
                logger.exception(
                    "on_delivery raised for request %s; the sender is asked to try again",
                    delivery.request_id,
                )
                self._counts["hook_errors"] += 1
                self._unheard[delivery.request_id] = None
                if len(self._unheard) > _MOST_UNHEARD:
                    self._unheard.pop(next(iter(self._unheard)))
                return Answer(status_code=500, text="try again")
        return Answer(status_code=200, text="accepted")

    def _refuse(self, error: FalqError, *, is_ours: bool = False) -> Answer:
        if is_ours or error.retryable or not isinstance(error, WebhookError):
            logger.warning("a webhook could not be taken, the sender is to try again: %s", error)
            return self._unavailable()
        if isinstance(error, StaleDeliveryError):
            self._counts["stale"] += 1
            logger.warning("a webhook was refused: %s", error)
            return Answer(status_code=400, text="stale")
        self._counts["refused"] += 1
        logger.info("a webhook was refused: %s", error)
        is_forged = isinstance(error, SignatureError)
        return Answer(
            status_code=401 if is_forged else 400, text="bad signature" if is_forged else "bad body"
        )

    def _unavailable(self) -> Answer:
        self._counts["unavailable"] += 1
        return Answer(
            status_code=503, text="try again", headers={"Retry-After": str(_RETRY_AFTER_S)}
        )


def _open(head: SignedHead, body: bytes, intent_id: str | None) -> WebhookDelivery:
    return open_delivery(head, body, intent_id=intent_id)


async def _beside(size: int, work: Callable[..., Any], *arguments: Any) -> Any:
    """Do what takes long for a large body in a thread, so that others are answered meanwhile."""
    if size <= _LARGE_BYTES:
        return work(*arguments)
    return await asyncio.to_thread(work, *arguments)
