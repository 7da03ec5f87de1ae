from __future__ import annotations

import pytest

from falq._core.delivery import WebhookDelivery
from falq._engine.deliveries import DOUBT_AFTER, Deliveries
from falq._engine.job import Job

INTENT = "0123456789abcdef" * 2


def deliveries_of(**settings):
    named = []
    chosen = {"base_url": "https://x.example/fal", "journal": None, **settings}
    made = Deliveries(on_intent=lambda *pair: named.append(pair), **chosen)
    return made, named


def a_job(**facts):
    return Job(job_id=1, endpoint="acme/echo", created=0.0, **facts)


def test_an_address_is_given_only_where_one_is_set_and_an_intent_known():
    deliveries, _ = deliveries_of()
    assert deliveries.address(a_job(intent_id=INTENT)) == f"https://x.example/fal/{INTENT}"
    assert deliveries.address(a_job()) is None
    silent, _ = deliveries_of(base_url=None)
    assert silent.address(a_job(intent_id=INTENT)) is None
    assert (deliveries.is_in_use, silent.is_in_use) == (True, False)


def test_a_job_without_an_id_is_neither_noted_nor_missed():
    deliveries, _ = deliveries_of()
    job = a_job(intent_id=INTENT)
    deliveries.note_accepted(job)
    deliveries.forget(job)
    assert not job.is_told


async def test_webhooks_are_doubted_after_three_that_stayed_out_until_one_comes():
    deliveries, _ = deliveries_of()
    job = a_job(has_webhook=True, is_announced=True)
    for _ in range(DOUBT_AFTER):
        assert deliveries.expects(job)
        deliveries.note_missed(job)
    assert not deliveries.expects(job)
    await deliveries.take(WebhookDelivery(request_id="r-1"))
    assert deliveries.expects(job)


async def test_an_end_that_a_check_found_first_is_no_miss_if_nothing_was_left_to_a_webhook():
    deliveries, _ = deliveries_of()
    for job in (a_job(has_webhook=True), a_job(has_webhook=True, is_announced=True, is_told=True)):
        for _ in range(DOUBT_AFTER):
            deliveries.note_missed(job)
        assert deliveries.expects(job)


async def test_only_so_many_early_deliveries_are_kept():
    deliveries, named = deliveries_of()
    for n in range(10_001):
        intent_id = None if n == 1 else f"{n:032x}"
        await deliveries.take(WebhookDelivery(request_id=f"r-{n}", intent_id=intent_id))
    assert len(named) == 10_000
    assert deliveries.request_of(f"{0:032x}") is None
    assert deliveries.request_of(f"{2:032x}") == "r-2"
    await deliveries.take(WebhookDelivery(request_id="one more"))
    assert deliveries.taken == 10_002


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_second_delivery_of_a_request_is_not_the_first(is_known):
    deliveries, named = deliveries_of()
    if is_known:
        await deliveries.take(WebhookDelivery(request_id="r-1", intent_id=INTENT))
    assert await deliveries.take(WebhookDelivery(request_id="r-1", intent_id=INTENT)) != is_known
    assert named == [(INTENT, "r-1")]
