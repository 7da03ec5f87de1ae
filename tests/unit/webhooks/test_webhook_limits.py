"""What a receiver holds at once, and how long its end takes, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from falq.testing import VirtualTimeLoop
from falq.webhooks import KeyCache, WebhookReceiver
from tests.unit.webhooks.test_webhook_receiver import NOW, Keys, call

MORE = {"type": "http.request", "body": b"", "more_body": True}


@pytest.fixture
def anyio_backend():
    return "asyncio", {"loop_factory": VirtualTimeLoop}


@pytest.fixture
def make_receiver(signer):
    def make(**settings):
        keys = KeyCache(Keys(signer.key).fetch, clock=lambda: 0.0)
        return WebhookReceiver(keys=keys, wall_clock=lambda: NOW, **settings)

    return make


async def test_bodies_that_come_at_once_are_held_up_to_a_limit(make_receiver, signer):
    receiver = make_receiver(limit_bytes=1000, held_bytes=2500, read_s=10.0)
    body = signer.body(payload={"n": "x" * 900})
    headers = signer.headers(body)
    begun = [
        # Nobody sends the rest of it.
        asyncio.create_task(call(receiver, headers, b"x" * 800, then=MORE))
        for _ in range(2)
    ]
    await asyncio.sleep(1.0)
    assert await call(receiver, headers, body) == 503
    assert receiver.statistics().unavailable == 1
    # What was given up is held no more.
    for task in begun:
        task.cancel()
    await asyncio.wait(begun)
    assert await call(receiver, headers, body) == 200
    assert await call(receiver, headers, body) == 200


async def test_a_hook_that_hangs_does_not_keep_a_receiver_from_closing(
    make_receiver, signer, caplog
):
    async def hang(_):
        await asyncio.Event().wait()

    receiver = make_receiver(on_delivery=hang)
    body = signer.body()
    calling = asyncio.create_task(call(receiver, signer.headers(body), body))
    await asyncio.sleep(1.0)
    began = asyncio.get_running_loop().time()
    await receiver.aclose()
    assert asyncio.get_running_loop().time() - began <= 15.0
    assert await calling == 503
    assert "on_delivery is cancelled" in caplog.text
