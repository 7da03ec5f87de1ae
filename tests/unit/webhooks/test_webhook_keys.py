from __future__ import annotations

import asyncio
import base64
import json

import pytest

import falq
from falq.errors import ConnectError, WebhookError
from falq.webhooks import JWKS_URL, KeyCache, KeyHost, read_keys
from falq.webhooks.keyhost import keys_url_of
from falq.webhooks.keys import MAX_AGE_S, REFETCH_S, RETRY_S

KEYS = [bytes([n]) * 32 for n in range(1, 20)]


def entry(key, **changes):
    x = base64.urlsafe_b64encode(key).decode().rstrip("=")
    return {"kty": "OKP", "crv": "Ed25519", "x": x} | changes


def key_set(*entries):
    return json.dumps({"keys": list(entries)}).encode()


def test_keys_are_read_with_their_padding_left_out():
    entries = [entry(KEYS[0]), entry(KEYS[1], use="sig", kid="2", alg="EdDSA")]
    assert read_keys(key_set(*entries)) == (KEYS[0], KEYS[1])


@pytest.mark.parametrize(
    "other",
    [
        {"kty": "RSA"},
        {"kty": "EC"},
        {"crv": "X25519"},
        {"crv": None},
        {"use": "enc"},
        {"x": None},
        {"x": "!!!"},
        {"x": "é"},
        {"x": "AAAA"},
        {"x": base64.urlsafe_b64encode(bytes(33)).decode()},
    ],
)
def test_keys_of_other_kinds_are_passed_over(other):
    assert read_keys(key_set(entry(KEYS[0], **other), entry(KEYS[1]))) == (KEYS[1],)
    with pytest.raises(WebhookError, match="no Ed25519 key"):
        read_keys(key_set(entry(KEYS[0], **other)))


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b'{"keys":{}}', b"null", key_set(*[entry(KEYS[0])] * 17)],
)
def test_what_is_no_key_set_is_refused_and_may_be_asked_for_again(body):
    with pytest.raises(WebhookError) as caught:
        read_keys(body)
    assert caught.value.retryable


def test_entries_of_any_kind_do_no_harm():
    assert read_keys(key_set(1, None, [], "x", entry(KEYS[2]))) == (KEYS[2],)


class Host:
    """A key host whose answers and clock are the test's."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.now = 0.0
        self.asked = []

    def cache(self):
        return KeyCache(self.fetch, clock=lambda: self.now)

    async def fetch(self):
        self.asked.append(self.now)
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


DOWN = ConnectError("the key host is down")
FIRST, SECOND = key_set(entry(KEYS[0])), key_set(entry(KEYS[1]))


async def test_many_deliveries_share_one_fetch():
    host = Host(FIRST)
    cache = host.cache()
    assert await asyncio.gather(*(cache.load() for _ in range(20))) == [(KEYS[0],)] * 20
    assert host.asked == [0.0]


async def test_an_unknown_key_causes_one_fetch_a_minute():
    host = Host(FIRST, SECOND)
    cache = host.cache()
    await cache.load()
    for _ in range(100):
        assert await cache.refresh() == (KEYS[0],)
    host.now = REFETCH_S
    assert await asyncio.gather(*(cache.refresh() for _ in range(100))) == [(KEYS[1],)] * 100
    assert host.asked == [0.0, REFETCH_S]


async def test_keys_outlive_their_host_by_a_day_and_no_more(caplog):
    host = Host(FIRST, DOWN)
    cache = host.cache()
    await cache.load()
    host.now = MAX_AGE_S - 1.0
    assert await cache.load() == (KEYS[0],)
    host.now = MAX_AGE_S
    with pytest.raises(WebhookError, match="no keys") as caught:
        await cache.load()
    assert caught.value.retryable
    assert await cache.refresh() == ()
    assert "could not be fetched" in caplog.text


async def test_keys_are_renewed_before_they_are_too_old():
    host = Host(FIRST, DOWN, SECOND)
    cache = host.cache()
    await cache.load()
    host.now = MAX_AGE_S / 2
    assert await cache.load() == (KEYS[0],)
    assert await cache.load() == (KEYS[0],)
    host.now += REFETCH_S
    assert await cache.load() == (KEYS[1],)
    assert host.asked == [0.0, MAX_AGE_S / 2, MAX_AGE_S / 2 + REFETCH_S]


async def test_without_any_key_the_host_is_asked_every_few_seconds():
    host = Host(DOWN, FIRST)
    cache = host.cache()
    for _ in range(10):
        with pytest.raises(WebhookError):
            await cache.load()
    host.now = RETRY_S
    assert await cache.load() == (KEYS[0],)
    assert host.asked == [0.0, RETRY_S]


async def test_a_poisoned_set_changes_nothing():
    host = Host(FIRST, b'{"keys":[]}')
    cache = host.cache()
    await cache.load()
    host.now = REFETCH_S
    assert await cache.refresh() == (KEYS[0],)


async def test_a_cancelled_fetch_leaves_the_cache_usable():
    host = Host(FIRST)
    cache = host.cache()
    task = asyncio.create_task(cache.load())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    host.now = RETRY_S
    assert await cache.load() == (KEYS[0],)


def test_the_keys_are_fal_s_own_unless_its_gateway_is_elsewhere():
    assert keys_url_of(None) == keys_url_of(falq.Maton(key="m")) == JWKS_URL
    assert keys_url_of(falq.Fal(key="a:b")) == JWKS_URL
    there = falq.Fal(key="a:b", rest_url="http://127.0.0.1:9/_rest")
    assert keys_url_of(there) == "http://127.0.0.1:9/_rest/.well-known/jwks.json"


@pytest.mark.parametrize("url", ["http://rest.fal.ai/x", "ftp://x", "https://u@x/", ""])
def test_keys_are_asked_for_over_https_only(url):
    with pytest.raises(falq.ConfigError, match="keys_url"):
        KeyHost(url)


async def test_nobody_else_waits_for_a_key_host_that_hangs_while_the_keys_are_good():
    now, answer = 0.0, asyncio.Event()

    async def fetch():
        if now > 0.0:
            await answer.wait()
        return FIRST

    keys = KeyCache(fetch, clock=lambda: now)
    assert await keys.load() == (KEYS[0],)
    now = MAX_AGE_S * 0.75
    renewing = asyncio.ensure_future(keys.load())
    await asyncio.sleep(0)
    assert await keys.load() == (KEYS[0],)
    assert not renewing.done()
    answer.set()
    assert await renewing == (KEYS[0],)
