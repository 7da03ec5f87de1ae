"""What jobs were billed for, in events, spans and metrics."""

from __future__ import annotations

import pytest

import falq
from falq.emulator import Emulator, Scenario
from falq.events import Settled
from falq.models import FluxSchnell
from falq.telemetry import Telemetry
from falq.telemetry.telemetry import MOST_BILLED

SCHNELL = "fal-ai/flux/schnell"
QUICK = falq.PollSettings(initial_s=0.01)
FOUR_PICTURES = {"prompt": "a tiny cute cat", "num_images": 4, "image_size": "square"}


def open_session(emulator, hook, **settings):
    return falq.Session(emulator.gateway, poll=QUICK, seed=1, on_event=hook, **settings)


@pytest.fixture
async def emulator():
    async with Emulator(Scenario(run_s=0.01)) as emulator:
        yield emulator


def bills_of(heard):
    return [(event.billable_units, event.cost_usd) for event in heard if isinstance(event, Settled)]


async def test_the_units_that_the_service_billed_are_counted_and_no_price_is_guessed(
    emulator, collected
):
    heard = []
    async with open_session(emulator, collected.telemetry(on_event=heard.append)) as session:
        handle = await session.submit(SCHNELL, FOUR_PICTURES)
        assert handle.billable_units is None
        await handle
        assert handle.billable_units == 4
    assert bills_of(heard) == [(4, None)]
    assert collected.span().attributes["falq.billable_units"] == 4
    assert "falq.cost_usd" not in collected.span().attributes
    points = collected.points()
    (units,) = points["falq.billable_units"]
    assert units.value == 4
    assert dict(units.attributes) == {"falq.endpoint": SCHNELL, "falq.outcome": "succeeded"}
    assert "falq.spend" not in points


async def test_with_a_price_that_was_asked_for_the_spend_is_told_in_dollars(emulator, collected):
    heard = []
    async with open_session(emulator, collected.telemetry(on_event=heard.append)) as session:
        price = await session.models.price(SCHNELL)
        for _ in range(2):
            await session.subscribe(SCHNELL, FOUR_PICTURES)
        await session.subscribe("acme/echo", {})
    cost_usd = pytest.approx(4 * price.unit_price)
    assert bills_of(heard) == [(4, cost_usd), (4, cost_usd), (1, None)]
    assert collected.spans()[0].attributes["falq.cost_usd"] == cost_usd
    (spend,) = collected.points()["falq.spend"]
    assert spend.value == pytest.approx(8 * price.unit_price)
    assert spend.attributes["falq.endpoint"] == SCHNELL


async def test_the_metrics_name_their_units(collected):
    telemetry = collected.telemetry()
    telemetry(settled("one", billable_units=2.0, cost_usd=0.006))
    units = collected.units()
    assert units["falq.billable_units"] == "{unit}"
    assert units["falq.spend"] == "{USD}"


async def test_what_a_failed_job_was_billed_for_is_told_too(emulator, collected):
    heard = []
    async with open_session(emulator, heard.append) as session:
        with pytest.raises(falq.JobInputError):
            await session.subscribe("acme/echo", {"_emulator": {"fail": 422}})
    assert bills_of(heard) == [(0, None)]


async def test_a_job_that_was_cancelled_before_its_submit_has_no_bill(emulator):
    heard = []
    async with open_session(emulator, heard.append, timeout=0.01, max_jobs=1) as session:
        with pytest.raises(falq.JobTimeoutError):
            await session.subscribe("acme/echo", {"_emulator": {"run_s": 60}})
    assert bills_of(heard) == [(None, None)]


async def test_attaching_to_a_job_does_not_count_its_bill_again(emulator, collected):
    heard = []
    async with open_session(emulator, collected.telemetry(on_event=heard.append)) as session:
        handle = await session.submit(SCHNELL, FOUR_PICTURES)
        await handle
        await session.handle(SCHNELL, handle.request_id)
    assert bills_of(heard) == [(4, None), (4, None)]
    (units,) = collected.points()["falq.billable_units"]
    assert units.value == 4


async def test_a_result_that_the_journal_has_is_not_billed_again(emulator, tmp_path):
    heard = []
    for _ in range(2):
        async with open_session(
            emulator, heard.append, journal=tmp_path / "jobs.sqlite"
        ) as session:
            handle = await session.submit(SCHNELL, FOUR_PICTURES, key="cat")
            await handle
    assert bills_of(heard) == [(4, None), (None, None)]


def settled(request_id, **facts):
    values = {"job_id": 1, "endpoint": SCHNELL, "now": 1.0, "error": None, "total_s": 1.0}
    return Settled(**values, request_id=request_id, polls=1, **facts)


@pytest.mark.slow
def test_only_the_latest_requests_are_kept_in_mind(collected):
    telemetry = Telemetry(
        tracer_provider=collected.tracer_provider, meter_provider=collected.meter_provider
    )
    for number in range(MOST_BILLED + 1):
        telemetry(settled(str(number), billable_units=1.0))
    telemetry(settled("1", billable_units=1.0))
    telemetry(settled("0", billable_units=1.0))
    (units,) = collected.points()["falq.billable_units"]
    assert units.value == MOST_BILLED + 2


async def test_the_outcomes_of_a_map_have_their_units_typed_or_not(emulator):
    async with open_session(emulator, None) as session:
        (plain,) = [one async for one in session.map(SCHNELL, [FOUR_PICTURES])]
        (typed,) = [one async for one in session.map(FluxSchnell, [FOUR_PICTURES])]
    assert plain.billable_units == typed.billable_units == 4
