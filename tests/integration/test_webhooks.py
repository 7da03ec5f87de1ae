"""Webhooks on real sockets: the emulator signs and posts, a receiver takes, handles resolve."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import logging
from collections.abc import AsyncIterator

import aiohttp
import pytest

import falq
from falq._journal.sqlite import SqliteJournal
from falq._journal.states import RecordState
from falq.emulator import Emulator, Fault, Scenario
from falq.emulator.webhooks import sign
from falq.webhooks import KeyCache, KeyHost, LooseInbox, WebhookReceiver
from tests.support.web_servers import aiohttp_server, asgi_server, free_port

# Polls would hide a webhook that does not come: none happens in these tests.
NO_POLLS = falq.PollSettings(announced_s=60.0)
GUARD_S = 20.0
NOW = 1_767_225_600.0


@contextlib.asynccontextmanager
async def aiohttp_receiver(receiver: WebhookReceiver, port: int) -> AsyncIterator[None]:
    async with aiohttp_server(receiver.handle, "/fal/{intent:.*}", port):
        try:
            yield
        finally:
            await receiver.aclose()


@pytest.fixture(params=["aiohttp", "ASGI"])
def serve(request, until):
    if request.param == "aiohttp":
        return aiohttp_receiver
    return functools.partial(asgi_server, until=until)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def base_url(port) -> str:
    return f"http://127.0.0.1:{port}/fal"


def session_at(emulator, base_url, **settings):
    chosen = {"webhook_base_url": base_url, "poll": NO_POLLS, "seed": 1, **settings}
    return falq.Session(emulator.gateway, **chosen)


async def run_jobs(session, count):
    async with asyncio.timeout(GUARD_S):
        handles = [await session.submit("acme/echo", {"n": n}) for n in range(count)]
        return [await handle for handle in handles]


@pytest.mark.slow
async def test_handles_resolve_by_webhooks_without_a_poll(serve, port, base_url):
    heard = []
    async with (
        Emulator(Scenario(speed=100.0)) as emulator,
        session_at(emulator, base_url) as session,
    ):
        receiver = WebhookReceiver(session, on_delivery=heard.append)
        async with serve(receiver, port):
            assert await run_jobs(session, 8) == [{"n": n} for n in range(8)]
        calls = emulator.stats().calls
        assert receiver.statistics().accepted == 8
        assert session.statistics().deliveries == 8
    assert (calls["submit"], calls.get("status", 0), calls["result"]) == (8, 0, 8)
    assert len({one.request_id for one in heard}) == 8
    assert all(one.intent_id for one in heard)
    assert sum(calls.values()) / 8 < 3


@pytest.mark.slow
async def test_with_a_journal_the_webhook_brings_the_result(serve, port, base_url, tmp_path):
    async with (
        Emulator(Scenario(speed=100.0)) as emulator,
        session_at(emulator, base_url, journal=tmp_path / "jobs.sqlite") as session,
    ):
        async with serve(WebhookReceiver(session), port):
            assert await run_jobs(session, 8) == [{"n": n} for n in range(8)]
        calls = emulator.stats().calls
    assert calls == {"submit": 8}


@pytest.mark.slow
@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(speed=500.0, webhook_copies=3, webhook_jitter_s=0.1),
        Scenario(speed=500.0, webhook_forgery="wrong_key"),
        Scenario(speed=500.0, webhook_forgery="other_body"),
        Scenario(speed=500.0, webhook_forgery="old_timestamp"),
        Scenario(speed=500.0, webhook_forgery="bad_hex", webhook_forged_attempts=2),
        Scenario(speed=500.0, webhook_payload="null"),
        Scenario(speed=500.0, faults=[Fault("delay", "submit", delay_s=0.2)]),
    ],
    ids=[
        "twice and out of order",
        "a wrong key first",
        "a changed body first",
        "an old time first",
        "bad hex twice",
        "no payload",
        "the webhook before the answer to the submit",
    ],
)
@pytest.mark.parametrize("has_journal", [True, False])
async def test_every_job_ends_once_whatever_happens_to_its_webhook(
    until, port, base_url, tmp_path, scenario, has_journal
):
    heard = []
    settings = {"journal": tmp_path / "jobs.sqlite"} if has_journal else {}
    async with (
        Emulator(scenario) as emulator,
        session_at(emulator, base_url, **settings) as session,
    ):
        receiver = WebhookReceiver(session, on_delivery=lambda one: heard.append(one.request_id))
        async with aiohttp_receiver(receiver, port):
            assert await run_jobs(session, 6) == [{"n": n} for n in range(6)]
            await until(lambda: receiver.statistics().accepted == 6)
        assert emulator.stats().calls.get("status", 0) == 0
    assert sorted(heard) == sorted(set(heard))
    assert len(heard) == 6


async def test_a_model_error_is_the_jobs_error(port, base_url, tmp_path):
    async with (
        Emulator(Scenario(speed=100.0)) as emulator,
        session_at(emulator, base_url, journal=tmp_path / "jobs.sqlite") as session,
    ):
        async with aiohttp_receiver(WebhookReceiver(session), port):
            with pytest.raises(falq.JobInputError) as caught:
                await session.subscribe(
                    "acme/echo", {"_emulator": {"fail": "content_policy_violation"}}
                )
        assert caught.value.detail[0]["type"] == "content_policy_violation"
        assert emulator.stats().calls.get("status", 0) == 0


@pytest.mark.slow
async def test_a_webhook_that_never_comes_is_made_up_for_by_polls(port, base_url):
    async with (
        Emulator(Scenario(speed=100.0, webhook_loss_probability=1.0)) as emulator,
        session_at(emulator, base_url, poll=falq.PollSettings(announced_s=0.2)) as session,
    ):
        async with aiohttp_receiver(WebhookReceiver(session), port):
            assert await run_jobs(session, 3) == [{"n": n} for n in range(3)]
        assert emulator.stats().deliveries == {"lost": 3}


@pytest.mark.slow
async def test_a_restart_in_the_middle_takes_each_delivery_once(until, port, base_url, tmp_path):
    path = tmp_path / "jobs.sqlite"
    heard = []

    def note(delivery):
        heard.append(delivery.request_id)

    async with Emulator(Scenario(speed=1000.0, webhook_copies=2)) as emulator:
        # Nobody listens while these are submitted: fal tries again.
        async with session_at(emulator, base_url, journal=path) as session:
            handles = [await session.submit("acme/echo", {"n": n}) for n in range(4)]
            ids = [handle.request_id for handle in handles]
        # A process that only receives: it keeps two, and dies.
        async with SqliteJournal(path) as journal:
            keys = KeyCache(KeyHost(f"{emulator.gateway.rest_url}/.well-known/jwks.json").fetch)
            receiver = WebhookReceiver(LooseInbox(journal), keys=keys, on_delivery=note)
            async with aiohttp_receiver(receiver, port):
                await until(lambda: len(heard) >= 2)
        # The next one has the session again, and what was kept needs no call.
        async with session_at(emulator, base_url, journal=path) as session:
            receiver = WebhookReceiver(session, on_delivery=note)
            async with aiohttp_receiver(receiver, port), asyncio.timeout(GUARD_S):
                recovered = await session.recover()
                results = [await handle for handle in recovered]
                await until(lambda: len(heard) == 4)
            for handle in recovered:
                await session.acknowledge(handle)
        async with SqliteJournal(path) as journal:
            counts = await journal.load_counts()
    assert results == [{"n": n} for n in range(4)]
    assert sorted(heard) == sorted(ids)
    assert counts[RecordState.DELIVERED] == 4


async def post(url, headers, body=b"{}", method="POST"):
    async with (
        aiohttp.ClientSession() as pool,
        pool.request(method, url, data=body, headers=headers) as response,
    ):
        return response.status


@pytest.fixture
async def listening(serve, port):
    """A receiver on a socket, whose keys an emulator publishes, and what it heard."""
    heard = []
    async with Emulator(Scenario()) as emulator:
        receiver = receiver_of(
            emulator, on_delivery=heard.append, limit_bytes=1_000_000, read_s=0.2
        )
        async with serve(receiver, port):
            yield receiver, f"http://127.0.0.1:{port}/fal/{'ab' * 16}", heard


def signed(body, *, at=NOW, request_id="r-1"):
    return sign(request_id, body, at=int(at), seed="0")


def receiver_of(emulator, **settings):
    keys = KeyCache(KeyHost(f"{emulator.gateway.rest_url}/.well-known/jwks.json").fetch)
    return WebhookReceiver(keys=keys, wall_clock=lambda: NOW, **settings)


BODY = b'{"request_id":"r-1","status":"OK","payload":{"n":1}}'


@pytest.mark.slow
async def test_a_replay_counts_once_and_an_old_one_not_at_all(listening):
    receiver, url, heard = listening
    headers = signed(BODY)
    assert [await post(url, headers, BODY) for _ in range(3)] == [200, 200, 200]
    assert await post(url, signed(BODY, at=NOW - 86_400), BODY) == 400
    assert await post(url, signed(BODY, at=NOW + 3600), BODY) == 400
    assert [one.payload for one in heard] == [{"n": 1}]
    assert heard[0].intent_id == "ab" * 16
    now = receiver.statistics()
    assert (now.accepted, now.repeated, now.stale) == (1, 2, 2)


@pytest.mark.slow
async def test_what_is_no_good_delivery_is_refused_and_heard_by_nobody(listening):
    receiver, url, heard = listening
    good = signed(BODY)
    assert await post(url, {}, BODY) == 401
    assert await post(url, good, BODY + b" ") == 401
    assert await post(url, good | {"X-Fal-Webhook-Request-Id": "r-2"}, BODY) == 401
    assert await post(url, good | {"X-Fal-Webhook-User-Id": "other"}, BODY) == 401
    assert await post(url, good, BODY, method="GET") == 405
    assert await post(url, good | {"Content-Encoding": "gzip"}, b"x") in {400, 415}
    assert await post(url, good, bytes(1_000_001)) == 413
    broken = b'{"request_id":'
    assert await post(url, signed(broken), broken) == 400
    other = b'{"request_id":"r-9"}'
    assert await post(url, signed(other), other) == 400
    assert heard == []
    assert receiver.statistics().accepted == 0
    assert await post(url, good, BODY) == 200


@pytest.mark.slow
async def test_a_large_body_is_taken_whole_and_a_larger_one_in_pieces_refused(listening):
    _, url, heard = listening
    large = b'{"request_id":"r-1","status":"OK","payload":{"text":"%s"}}' % (b"x" * 700_000)
    assert await post(url, signed(large), large) == 200
    assert len(heard[0].payload["text"]) == 700_000

    async def pieces():
        for _ in range(40):
            yield bytes(50_000)

    try:
        assert await post(url, signed(b"", request_id="r-2"), pieces()) == 413
    except aiohttp.ClientError:
        # The server may hang up on a sender that goes on sending.
        assert len(heard) == 1


@pytest.mark.slow
async def test_a_body_that_does_not_arrive_is_not_waited_for(listening):
    receiver, url, _ = listening
    never = asyncio.Event()

    async def stuck():
        yield b"{"
        await never.wait()

    with contextlib.suppress(aiohttp.ClientError):
        async with asyncio.timeout(GUARD_S):
            assert await post(url, signed(BODY), stuck()) == 408
    assert receiver.statistics().refused == 1


async def test_a_hook_that_raises_is_called_again(port, base_url, caplog):
    heard = []
    failures = iter([RuntimeError("not now")])

    async def hook(delivery):
        for failure in failures:
            raise failure
        heard.append(delivery)

    async with Emulator(Scenario()) as emulator:
        receiver = receiver_of(emulator, on_delivery=hook)
        async with aiohttp_receiver(receiver, port):
            url = f"{base_url}/"
            assert [await post(url, signed(BODY), BODY) for _ in range(3)] == [500, 200, 200]
    assert len(heard) == 1
    assert receiver.statistics().hook_errors == 1
    assert "not now" in caplog.text


async def test_without_the_key_host_nothing_is_taken(port, base_url):
    keys = KeyCache(KeyHost(f"http://127.0.0.1:{free_port()}").fetch)
    receiver = WebhookReceiver(keys=keys, wall_clock=lambda: NOW)
    async with aiohttp_receiver(receiver, port):
        assert await post(f"{base_url}/x", signed(BODY), BODY) == 503
    assert receiver.statistics().unavailable == 1


async def test_a_key_host_that_redirects_answers_no_or_sends_too_much_is_not_believed(raw_server):
    answers = [
        {"code": 302, "headers": {"location": "http://127.0.0.2:1/"}},
        {"code": 500},
        {"body": bytes(70_000)},
    ]

    async def answer(connection):
        while await connection.read_request():
            connection.answer(**answers.pop(0))

    async with raw_server(answer) as server:
        host = KeyHost(f"{server.url}/.well-known/jwks.json")
        for kind in (falq.WireError, falq.WireError, falq.ResponseTooLargeError):
            with pytest.raises(kind):
                await host.fetch()
    with pytest.raises(falq.ConnectError):
        await host.fetch()
    assert b"authorization" not in server.heard.lower()


async def test_a_closed_session_asks_the_sender_to_try_again(port, base_url):
    async with Emulator(Scenario()) as emulator:
        async with session_at(emulator, base_url) as session:
            receiver = WebhookReceiver(session, wall_clock=lambda: NOW)
        async with aiohttp_receiver(receiver, port):
            assert await post(f"{base_url}/x", signed(BODY), BODY) == 503


@pytest.mark.slow
async def test_no_key_or_intent_is_shown(port, base_url, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    shown = io.StringIO()
    async with (
        Emulator(Scenario(speed=500.0, webhook_forgery="wrong_key")) as emulator,
        session_at(emulator, base_url, journal=tmp_path / "jobs.sqlite") as session,
    ):
        receiver = WebhookReceiver(session, on_delivery=lambda one: print(one, file=shown))
        async with aiohttp_receiver(receiver, port):
            await run_jobs(session, 2)
        print(receiver, session, session.gateway, receiver.statistics(), file=shown)
        secret = emulator.key.partition(":")[2]
    text = caplog.text + shown.getvalue()
    assert "request_id=" in text
    assert secret not in text
    assert base_url not in text


@pytest.mark.slow
async def test_a_reset_of_the_emulator_ends_what_it_was_posting(until, port, base_url):
    async with (
        Emulator(Scenario(speed=1000.0)) as emulator,
        session_at(emulator, base_url, poll=falq.PollSettings(announced_s=0.05)) as session,
    ):
        await session.submit("acme/echo", {"n": 1})
        # Nobody listens: it is refused and planned again.
        await until(lambda: emulator.stats().deliveries.get("refused", 0) >= 2)
        assert await post(f"{emulator.url}/_emulator/reset", {}) == 200
        heard = []
        receiver = WebhookReceiver(
            on_delivery=lambda one: heard.append(one.payload),
            keys=KeyCache(KeyHost(f"{emulator.gateway.rest_url}/.well-known/jwks.json").fetch),
        )
        async with aiohttp_receiver(receiver, port):
            await session.submit("acme/echo", {"n": 2})
            await until(lambda: bool(heard))
            # Long enough for the next attempt of the first, which was due within 40 ms.
            await session.subscribe("acme/echo", {"n": 3, "_emulator": {"run_s": 100.0}})
        assert {"n": 1} not in heard
        assert {"n": 2} in heard
