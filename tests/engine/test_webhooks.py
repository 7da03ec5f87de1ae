"""Webhooks and the whole engine in virtual time: who is woken, what is fetched, how often."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict
from itertools import pairwise

import pytest

import falq
from falq import events
from falq._journal.memory import MemoryJournal
from falq._journal.states import RecordState
from falq.emulator import Fault, Scenario
from falq.errors import WebhookError
from falq.testing import LoopbackEmulator
from falq.webhooks import WebhookDelivery, read_keys, verify

BASE_URL = "http://127.0.0.1:9/fal"


def now() -> float:
    return asyncio.get_running_loop().time()


class Mail:
    """Brings an emulator's webhooks to a session, verified, without sockets."""

    def __init__(self, emulator: LoopbackEmulator) -> None:
        self._app = emulator.app
        self._keys = read_keys(self._app.webhooks.key_set())
        self.answers: list[int] = []
        self.firsts: list[str] = []

    async def carry(self, session: falq.Session) -> None:
        while True:
            for post in self._app.take_webhooks(now()):
                code = await self._give(session, post)
                self.answers.append(code)
                self._app.webhooks.record_answer(post, code, now())
            await asyncio.sleep(0.01)

    async def _give(self, session, post):
        try:
            delivery = verify(
                post.headers,
                post.body,
                keys=self._keys,
                now=self._app.queue.wall_s(now()),
                intent_id=post.url.rpartition("/")[2],
            )
        except WebhookError:
            return 401
        with contextlib.suppress(falq.SessionError):
            if await session.take_delivery(delivery):
                self.firsts.append(delivery.request_id)
            return 200
        return 503


@pytest.fixture
def mailed():
    """Return what opens a session whose webhooks come."""

    @contextlib.asynccontextmanager
    async def open_session(emulator, *, mail=None, gateway=None, **settings):
        mail = mail or Mail(emulator)
        chosen = {"webhook_base_url": BASE_URL, "transport": emulator.transport(gateway)}
        session = falq.Session(gateway or emulator.gateway, seed=1, **(chosen | settings))
        async with session:
            carrying = asyncio.create_task(mail.carry(session))
            try:
                yield session
            finally:
                carrying.cancel()
                await asyncio.wait({carrying})

    return open_session


async def run_all(session, count):
    return [one.result async for one in session.map("acme/echo", ({"n": n} for n in range(count)))]


def calls_per_job(emulator):
    stats = emulator.stats()
    return sum(stats.calls.values()) / stats.jobs


@pytest.mark.parametrize(("has_journal", "expected"), [(False, 2.0), (True, 1.0)])
@pytest.mark.parametrize("run_s", [0.1, 5.0, 30.0])
async def test_a_job_takes_fewer_than_three_calls(mailed, has_journal, expected, run_s):
    emulator = LoopbackEmulator(Scenario(run_s=run_s, runners=50))
    async with MemoryJournal() as journal:
        settings = {"journal": journal} if has_journal else {}
        async with mailed(emulator, **settings) as session:
            results = await run_all(session, 50)
            assert session.statistics().deliveries == 50
    assert sorted(one["n"] for one in results) == list(range(50))
    assert calls_per_job(emulator) == expected


async def test_a_job_of_five_minutes_is_polled_seldom_and_never_less_than_each_minute(mailed):
    emulator = LoopbackEmulator(Scenario(run_s=300.0, runners=20))
    checked = defaultdict(list)

    def note(event):
        if isinstance(event, events.Accepted | events.Polled):
            checked[event.job_id].append(event.now)

    async with mailed(emulator, on_event=note) as session:
        await run_all(session, 20)
    gaps = [after - before for instants in checked.values() for before, after in pairwise(instants)]
    assert min(gaps) >= 40.0
    assert max(gaps) <= 60.0
    assert calls_per_job(emulator) <= 9


async def test_the_result_is_fetched_the_moment_a_webhook_comes(mailed):
    emulator = LoopbackEmulator(Scenario(run_s=20.0))
    async with mailed(emulator) as session:
        await session.subscribe("acme/echo", {"n": 1})
        assert now() <= 20.3


async def test_without_the_option_no_address_is_given(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=1.0))
    transport = emulator.transport()
    async with a_session(emulator, transport=transport) as session:
        await session.subscribe("acme/echo", {})
    assert not [call for call in transport.calls if "fal_webhook" in call.target]


async def test_each_address_ends_in_the_intent_and_a_caller_s_own_comes_first(mailed):
    emulator = LoopbackEmulator(Scenario(run_s=1.0))
    transport = emulator.transport()
    async with (
        MemoryJournal() as journal,
        mailed(emulator, transport=transport, journal=journal) as session,
    ):
        await session.subscribe("acme/echo", {"n": 1})
        await session.subscribe("acme/echo", {"n": 2}, webhook_url="https://mine.example/x")
        rows = [row async for page in journal.load_jobs() for row in page]
    submits = [call.target for call in transport.calls if call.verb == "submit"]
    assert submits[0].endswith(
        f"?fal_webhook=http%3A%2F%2F127.0.0.1%3A9%2Ffal%2F{rows[0].intent_id}"
    )
    assert submits[1].endswith("?fal_webhook=https%3A%2F%2Fmine.example%2Fx")
    assert len(rows[0].intent_id) == 32


async def test_an_attempt_that_is_sent_again_has_an_address_of_its_own(mailed):
    fault = Fault("rate_limited", "submit", nth=(1, 2))
    emulator = LoopbackEmulator(Scenario(run_s=1.0, faults=(fault,)))
    transport = emulator.transport()
    async with (
        MemoryJournal() as journal,
        mailed(emulator, transport=transport, journal=journal) as session,
    ):
        await session.subscribe("acme/echo", {"n": 1})
        intents = [one.intent_id for one in await journal.load_attempts(1)]
    targets = [call.target for call in transport.calls if call.verb == "submit"]
    assert [target.rpartition("%2F")[2] for target in targets] == intents
    assert len(set(intents)) == 3


async def test_somebody_who_listens_hears_of_every_step(mailed):
    emulator = LoopbackEmulator(Scenario(run_s=8.0, runners=1))
    async with mailed(emulator) as session:
        first = await session.submit("acme/echo", {"n": 1})
        second = await session.submit("acme/echo", {"n": 2})
        words = [status.word async for status in second.events()]
        assert await second == {"n": 2}
        await first
    assert words[0] == "IN_QUEUE"
    assert words[-2:] == ["IN_PROGRESS", "COMPLETED"]


async def test_a_stream_of_statuses_ends_with_completed_by_webhook_alone(mailed):
    emulator = LoopbackEmulator(Scenario(run_s=3.0))
    seen = []
    async with mailed(emulator) as session:
        await session.subscribe("acme/echo", {"n": 1}, on_queue_update=seen.append)
    assert seen[-1].word == "COMPLETED"


@pytest.mark.parametrize("logs", [True, False])
async def test_somebody_who_listens_to_an_announced_job_gets_a_stream_if_that_is_set(mailed, logs):
    emulator = LoopbackEmulator(Scenario(run_s=30.0))
    async with mailed(emulator, completion="stream") as session:
        handle = await session.submit("fal-ai/flux/schnell", {"prompt": "a tiny cute cat"})
        await asyncio.sleep(10.0)
        assert "stream" not in session.statistics().calls
        seen = [status async for status in handle.events(logs=logs)]
        calls = session.statistics().calls
    # The window of lines so far takes one check; the stream brings new ones only.
    assert (calls["stream"], calls.get("status", 0)) == (1, int(logs))
    lines = [entry.message for status in seen for entry in status.logs]
    assert len(lines) == len(set(lines)) == (5 if logs else 0)


async def test_webhooks_that_do_not_come_are_made_up_for_within_a_minute(mailed):
    emulator = LoopbackEmulator(Scenario(run_s=10.0, webhook_loss_probability=1.0))
    async with mailed(emulator) as session:
        await session.subscribe("acme/echo", {"n": 1})
        assert now() - 10.0 <= 60.0


async def test_where_webhooks_stay_out_jobs_are_polled_as_usual_until_one_comes(mailed, caplog):
    emulator = LoopbackEmulator(Scenario(run_s=4.0, webhook_loss_probability=1.0))
    async with mailed(emulator) as session:
        lasted = []
        for n in range(5):
            began = now()
            await session.subscribe("acme/echo", {"n": n})
            lasted.append(now() - began)
    assert min(lasted[:3]) > 20.0
    assert max(lasted[3:]) < 10.0
    assert caplog.text.count("no webhook came") == 1


@pytest.mark.parametrize("has_journal", [True, False])
async def test_a_webhook_before_the_answer_to_the_submit_is_not_lost(mailed, has_journal):
    fault = Fault("delay", "submit", delay_s=5.0)
    emulator = LoopbackEmulator(Scenario(run_s=1.0, faults=(fault,)))
    async with MemoryJournal() as journal:
        settings = {"journal": journal} if has_journal else {}
        async with mailed(emulator, **settings) as session:
            assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
            assert now() < 5.5
    assert calls_per_job(emulator) == (1.0 if has_journal else 2.0)


async def test_an_early_webhook_names_the_job_of_a_lost_answer(mailed):
    faults = (Fault("stall", "submit"),)
    emulator = LoopbackEmulator(Scenario(run_s=1.0, faults=faults))
    async with mailed(emulator) as session:
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
    assert (emulator.stats().submits, emulator.stats().jobs) == (1, 1)


@pytest.mark.parametrize("has_journal", [True, False])
@pytest.mark.parametrize("is_maton", [True, False])
async def test_a_later_webhook_ends_the_search_for_a_lost_submit(mailed, has_journal, is_maton):
    fault = Fault("reset", "submit", when="after")
    emulator = LoopbackEmulator(
        Scenario(run_s=30.0, history_stores_payloads=False, faults=(fault,))
    )
    gateway = emulator.maton if is_maton else None
    async with MemoryJournal() as journal:
        settings = {"journal": journal} if has_journal else {}
        async with mailed(emulator, gateway=gateway, delivery="reconcile", **settings) as session:
            assert await session.subscribe("fal-ai/echo", {"n": 1}) == {"n": 1}
            assert session.statistics().reconciled == 1
            assert now() < 32.0
    assert emulator.stats().submits == 1


async def test_a_webhook_is_waited_for_where_the_history_refuses_the_key(mailed):
    faults = (
        Fault("reset", "submit", when="after"),
        Fault("json_error", "history", status_code=403),
    )
    emulator = LoopbackEmulator(Scenario(run_s=30.0, faults=faults))
    async with mailed(emulator, delivery="reconcile") as session:
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}


async def test_an_error_is_fetched_as_it_is(mailed):
    emulator = LoopbackEmulator(Scenario(run_s=1.0))
    async with MemoryJournal() as journal, mailed(emulator, journal=journal) as session:
        with pytest.raises(falq.JobFailedError) as caught:
            await session.subscribe("acme/echo", {"_emulator": {"fail": "runner_disconnected"}})
    assert caught.value.error_type == "runner_disconnected"


@pytest.mark.parametrize("has_journal", [True, False])
async def test_a_webhook_without_its_payload_is_a_hint_to_fetch(mailed, has_journal):
    emulator = LoopbackEmulator(Scenario(run_s=1.0, webhook_payload="null"))
    async with MemoryJournal() as journal:
        settings = {"journal": journal} if has_journal else {}
        async with mailed(emulator, **settings) as session:
            assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
    assert calls_per_job(emulator) == 2.0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("has_journal", [True, False])
async def test_copies_and_disorder_change_nothing(mailed, seed, has_journal):
    scenario = Scenario(
        seed=seed,
        runners=40,
        webhook_copies=3,
        webhook_jitter_s=20.0,
        webhook_loss_probability=0.2,
        webhook_forgery="other_body",
        faults=(Fault("reset", "result", probability=0.2), Fault("delay", "submit", delay_s=0.5)),
    )
    emulator = LoopbackEmulator(scenario)
    mail = Mail(emulator)
    async with MemoryJournal() as journal:
        settings = {"journal": journal} if has_journal else {}
        async with mailed(emulator, mail=mail, **settings) as session:
            results = await run_all(session, 60)
            await asyncio.sleep(120.0)
        counts = await journal.load_counts()
    assert sorted(one["n"] for one in results) == list(range(60))
    assert len(mail.firsts) == len(set(mail.firsts))
    assert emulator.stats().jobs == 60
    assert 200 in mail.answers
    assert 401 in mail.answers
    if has_journal:
        assert counts[RecordState.FETCHED] == 60


async def test_an_error_after_ok_changes_nothing(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=1.0))
    async with (
        MemoryJournal() as journal,
        a_session(emulator, journal=journal, webhook_base_url=BASE_URL) as session,
    ):
        handle = await session.submit("acme/echo", {"n": 1})
        later = WebhookDelivery(request_id=handle.request_id, status="ERROR", error="x", body=b"{}")
        first = WebhookDelivery(request_id=handle.request_id, payload={"n": 1}, body=b"{}")
        assert await session.take_delivery(first)
        assert not await session.take_delivery(later)
        assert await handle == {"n": 1}
        assert not await session.take_delivery(first)


async def test_a_delivery_about_nobody_s_request_wakes_nobody(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=5.0))
    async with a_session(emulator, webhook_base_url=BASE_URL) as session:
        handle = await session.submit("acme/echo", {"n": 1})
        stranger = WebhookDelivery(request_id="r-of-another", payload={"n": 9})
        assert await session.take_delivery(stranger)
        await asyncio.sleep(1.0)
        assert not await handle.wait(0.0)


async def test_a_webhook_that_is_ahead_of_the_server_s_own_word_is_asked_after(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=6.0))
    async with a_session(emulator, webhook_base_url=BASE_URL) as session:
        handle = await session.submit("acme/echo", {"n": 1})
        hint = WebhookDelivery(request_id=handle.request_id, payload=None)
        assert await session.take_delivery(hint)
        assert await handle == {"n": 1}
        assert 6.0 <= now() <= 10.0
    # From then on by its status: a result is asked for when the server itself says so.
    assert emulator.stats().calls["result"] == 2


async def test_what_was_delivered_between_two_sessions_needs_no_call(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=3.0))
    async with MemoryJournal() as journal:
        async with a_session(emulator, journal=journal, webhook_base_url=BASE_URL) as session:
            handle = await session.submit("acme/echo", {"n": 1})
            request_id = handle.request_id
        await asyncio.sleep(5.0)
        (post,) = emulator.app.take_webhooks(now())
        await journal.record_webhook(request_id, intent_id=None, body=post.body)
        transport = emulator.transport()
        async with a_session(emulator, journal=journal, transport=transport) as session:
            (again,) = await session.recover()
            assert await again == {"n": 1}
        assert transport.calls == []


async def test_a_webhook_in_the_journal_that_cannot_be_read_is_polled_past(a_session, caplog):
    emulator = LoopbackEmulator(Scenario(run_s=3.0))
    async with MemoryJournal() as journal:
        async with a_session(emulator, journal=journal) as session:
            handle = await session.submit("acme/echo", {"n": 1})
        await journal.record_webhook(handle.request_id, intent_id=None, body=b"no json")
        async with a_session(emulator, journal=journal) as session:
            (again,) = await session.recover()
            assert await again == {"n": 1}
    assert "could not be read" in caplog.text


async def test_a_cancelled_job_is_watched_closely_again(mailed):
    emulator = LoopbackEmulator(Scenario(run_s=500.0, webhook_loss_probability=1.0))
    async with mailed(emulator) as session:
        handle = await session.submit("acme/echo", {})
        await asyncio.sleep(1.0)
        assert await handle.cancel() == "requested"
        with pytest.raises(falq.JobCancelledError):
            await handle
        assert now() < 15.0


async def test_a_closed_session_takes_nothing(a_session):
    emulator = LoopbackEmulator()
    async with a_session(emulator, webhook_base_url=BASE_URL) as session:
        pass
    with pytest.raises(falq.SessionClosedError):
        await session.take_delivery(WebhookDelivery(request_id="r"))


async def test_shuffled_deliveries_settle_every_job_once(a_session):
    chance = random.Random(24)
    emulator = LoopbackEmulator(Scenario(run_s=1.0, runners=200))
    async with a_session(emulator, webhook_base_url=BASE_URL) as session:
        handles = [await session.submit("acme/echo", {"n": n}) for n in range(100)]
        await asyncio.sleep(2.0)
        deliveries = [
            WebhookDelivery(request_id=handle.request_id, payload={"n": -1})
            for handle in handles
            for _ in range(4)
        ]
        chance.shuffle(deliveries)
        firsts = [await session.take_delivery(one) for one in deliveries]
        # Without a journal the payload is a hint: what counts is what is fetched.
        assert [await handle for handle in handles] == [{"n": n} for n in range(100)]
        assert sum(firsts) == session.statistics().deliveries == 100
        assert session.statistics().succeeded == 100


async def test_a_webhook_wakes_everybody_who_waits_for_its_request(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=2.0))
    async with a_session(emulator, webhook_base_url=BASE_URL) as session:
        handle = await session.submit("acme/echo", {"n": 1})
        attached = session.handle("acme/echo", handle.request_id)
        waiting = [asyncio.create_task(one.result()) for one in (attached, handle)]
        await asyncio.sleep(2.5)
        began = now()
        await session.take_delivery(WebhookDelivery(request_id=handle.request_id))
        assert await asyncio.gather(*waiting) == [{"n": 1}] * 2
        assert now() - began < 0.1
