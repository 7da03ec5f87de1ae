"""A receiver called as an ASGI server calls it, without one."""

from __future__ import annotations

import asyncio
import base64
import json
import random

import pytest

from falq._journal.memory import MemoryJournal
from falq.errors import JournalError
from falq.webhooks import KeyCache, LooseInbox, WebhookReceiver

NOW = 1_767_225_600
INTENT = "0123456789abcdef" * 2


class Keys:
    """A key host that publishes what it is told."""

    def __init__(self, *keys):
        self.keys = keys
        self.fetches = 0

    async def fetch(self):
        self.fetches += 1
        entries = [
            {"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(key).decode()}
            for key in self.keys
        ]
        return json.dumps({"keys": entries}).encode()


@pytest.fixture
def make_receiver(signer):
    def make(inbox=None, *, keys=None, **settings):
        host = keys or Keys(signer.key)
        now = settings.pop("now", lambda: 0.0)
        return WebhookReceiver(
            inbox, keys=KeyCache(host.fetch, clock=now), wall_clock=lambda: NOW, **settings
        )

    return make


async def call(receiver, headers, *pieces, method="POST", path=f"/fal/{INTENT}", then=None):
    """Call once; return the status, or None if nothing was answered."""
    sent = []
    messages = [
        {"type": "http.request", "body": piece, "more_body": place < len(pieces) - 1}
        for place, piece in enumerate(pieces)
    ]
    if then is not None:
        messages[-1]["more_body"] = True
        messages.append(then)

    async def receive():
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": pairs}
    await receiver(scope, receive, send)
    return sent[0]["status"] if sent else None


async def test_a_body_in_pieces_is_verified_as_one(make_receiver, signer):
    heard = []
    receiver = make_receiver(on_delivery=heard.append)
    body = signer.body()
    assert await call(receiver, signer.headers(body), body[:5], b"", body[5:]) == 200
    assert (heard[0].request_id, heard[0].intent_id) == ("r-1", INTENT)
    assert "accepted=1" in repr(receiver)


async def test_a_sender_that_hangs_up_gets_no_answer(make_receiver, signer):
    receiver = make_receiver()
    body = signer.body()
    gone = {"type": "http.disconnect"}
    assert await call(receiver, signer.headers(body), body[:5], then=gone) is None
    assert receiver.statistics().accepted == 0


async def test_a_bad_head_is_refused_before_the_body_is_read(make_receiver, signer):
    receiver = make_receiver()
    body = signer.body()
    good = signer.headers(body)
    # No piece of a body is given: whoever asks for one waits for ever.
    assert await call(receiver, {}) == 401
    assert await call(receiver, good, method="GET") == 405
    assert await call(receiver, signer.headers(body, at=NOW - 301)) == 400
    assert await call(receiver, good | {"Content-Length": "99999999999"}) == 413
    assert await call(receiver, good | {"Content-Encoding": "gzip"}) == 415
    assert await call(receiver, good | {"X-Fal-Webhook-Signature": "0F" * 64}) == 401


async def test_it_takes_part_in_a_server_s_start_and_end(make_receiver):
    receiver = make_receiver()
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message["type"])

    await receiver({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    await receiver({"type": "websocket"}, receive, send)
    assert sent[-1] == "websocket.close"


async def test_a_key_that_is_new_is_fetched_and_believed(make_receiver, signer, stranger):
    host = Keys(stranger.key)
    instants = [0.0]
    receiver = make_receiver(keys=host, now=lambda: instants[0])
    body = signer.body()
    assert await call(receiver, signer.headers(body), body) == 401
    host.keys = (stranger.key, signer.key)
    # Within the minute nobody is asked, however many forgeries come.
    for _ in range(50):
        assert await call(receiver, signer.headers(body), body) == 401
    assert host.fetches == 1
    instants[0] = 60.0
    assert await call(receiver, signer.headers(body), body) == 200
    assert host.fetches == 2


async def test_another_account_s_deliveries_are_refused_if_accounts_are_named(
    make_receiver, signer
):
    receiver = make_receiver(user_ids=["user_123"])
    body = signer.body()
    assert await call(receiver, signer.headers(body, user_id="user_456"), body) == 401
    assert await call(receiver, signer.headers(body), body) == 200


class Stubborn:
    """An inbox that fails as it is told, then keeps."""

    def __init__(self, *failures):
        self.failures = list(failures)
        self.kept = []

    async def take_delivery(self, delivery):
        if self.failures:
            raise self.failures.pop(0)
        self.kept.append(delivery.request_id)
        return True


async def test_what_cannot_be_kept_is_asked_for_again(make_receiver, signer, caplog):
    inbox = Stubborn(JournalError("the disk is full"), RuntimeError("a bug"))
    heard = []
    receiver = make_receiver(inbox, on_delivery=heard.append)
    body = signer.body()
    codes = [await call(receiver, signer.headers(body), body) for _ in range(3)]
    assert codes == [503, 503, 200]
    assert (inbox.kept, len(heard)) == (["r-1"], 1)
    assert receiver.statistics().unavailable == 2
    assert "the disk is full" in caplog.text


class Slow:
    """An inbox that keeps when it is told to."""

    def __init__(self):
        self.may_keep = asyncio.Event()
        self.is_asked = asyncio.Event()
        self.kept = []

    async def take_delivery(self, delivery):
        self.is_asked.set()
        await self.may_keep.wait()
        self.kept.append(delivery.request_id)
        return True


async def test_nothing_is_answered_before_the_delivery_is_kept(make_receiver, signer):
    inbox = Slow()
    receiver = make_receiver(inbox)
    body = signer.body()
    task = asyncio.create_task(call(receiver, signer.headers(body), body))
    await inbox.is_asked.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not task.done()
    inbox.may_keep.set()
    assert await task == 200


async def test_a_delivery_that_is_being_kept_is_told_although_the_call_is_cancelled(
    make_receiver, signer
):
    inbox = Slow()
    heard = []
    receiver = make_receiver(inbox, on_delivery=heard.append)
    body = signer.body()
    task = asyncio.create_task(call(receiver, signer.headers(body), body))
    await inbox.is_asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    inbox.may_keep.set()
    await receiver.aclose()
    assert (inbox.kept, len(heard)) == (["r-1"], 1)


async def test_a_loose_inbox_remembers_in_its_journal(make_receiver, signer):
    body = signer.body()
    heard = []
    async with MemoryJournal() as journal:
        for code in (200, 200):
            receiver = make_receiver(LooseInbox(journal), on_delivery=heard.append)
            assert await call(receiver, signer.headers(body), body) == code
        kept = await journal.load_webhook(intent_id=INTENT)
    assert len(heard) == 1
    assert (kept.request_id, kept.body) == ("r-1", body)


async def test_deliveries_in_any_order_and_number_are_heard_once_for_each_request(
    make_receiver, signer
):
    chance = random.Random(9)
    heard = []
    receiver = make_receiver(on_delivery=lambda one: heard.append(one.request_id))
    bodies = [signer.body(request_id=f"r-{n}") for n in range(200)]
    calls = [(n, body) for n, body in enumerate(bodies) for _ in range(5)]
    calls += [(n, signer.body(request_id=f"r-{n}", status="ERROR")) for n in range(200)]
    chance.shuffle(calls)
    for n, body in calls:
        headers = signer.headers(body, request_id=f"r-{n}")
        assert await call(receiver, headers, body) == 200
    assert sorted(heard) == sorted(f"r-{n}" for n in range(200))
    assert receiver.statistics().repeated == 1000
