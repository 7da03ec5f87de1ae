"""What limits let through, and what they count."""

from __future__ import annotations

import asyncio

import pytest

import falq
from falq._journal.memory import MemoryJournal
from falq.actions import Actions, LimitedJobs
from falq.batch import Budget
from falq.batch.budget import PER_JOB
from falq.emulator import Fault, Scenario
from falq.platform import Price

ONE_CENT = {"acme/echo": Price(0.01, PER_JOB)}


@pytest.fixture
async def journal():
    async with MemoryJournal() as journal:
        yield journal


@pytest.fixture
async def session(emulator, journal):
    async with falq.Session(
        emulator.gateway, transport=emulator.transport(), journal=journal, seed=1
    ) as session:
        yield session


@pytest.fixture
def limit(session, journal):
    def make(*, usd=None, prices=(), **settings):
        budget = Budget(usd, dict(prices))
        return LimitedJobs(session, budget=budget, journal=journal, **settings), budget

    return make


async def test_more_jobs_than_allowed_are_refused_until_one_ends(limit, emulator):
    jobs, _ = limit(max_jobs=2)
    first = await jobs.submit("acme/echo", {"n": 1})
    await jobs.submit("acme/echo", {"n": 2})
    with pytest.raises(falq.ConfigError, match="2 jobs are on the way") as caught:
        await jobs.submit("acme/echo", {"n": 3})
    assert caught.value.setting == "max_jobs"
    assert emulator.stats().submits == 2
    await first
    await jobs.submit("acme/echo", {"n": 3})
    assert repr(jobs) == f"<LimitedJobs on_the_way={jobs.on_the_way} max_jobs=2>"


async def test_jobs_that_are_being_submitted_count_as_well(limit):
    jobs, _ = limit(max_jobs=3)
    told = await asyncio.gather(
        *(jobs.submit("acme/echo", {"n": n}) for n in range(6)), return_exceptions=True
    )
    assert sum(isinstance(one, falq.Handle) for one in told) == 3
    assert sum(isinstance(one, falq.ConfigError) for one in told) == 3


@pytest.mark.parametrize(
    ("allowed", "endpoint", "is_good"),
    [
        ((), "acme/echo", True),
        (("acme/echo",), "acme/echo", True),
        (("acme/echo",), "acme/echo/", True),
        (("acme/echo",), "acme/echo/fast", False),
        (("acme/echo/*",), "acme/echo/fast", True),
        (("acme/echo/*",), "acme/echo", True),
        (("acme/echo/*",), "acme/echoes", False),
        (("acme/echo", "acme/other"), "acme/other", True),
        (("acme/echo",), "fal-ai/flux", False),
    ],
)
async def test_only_endpoints_on_the_list_are_submitted_to(
    limit, emulator, allowed, endpoint, is_good
):
    jobs, _ = limit(allowed=allowed)
    if is_good:
        await jobs.submit(endpoint, {})
    else:
        with pytest.raises(falq.ConfigError, match="not among the allowed") as caught:
            await jobs.submit(endpoint, {})
        assert caught.value.setting == "allow"
        assert emulator.stats().submits == 0


async def test_requests_of_other_apps_are_neither_shown_nor_cancelled(session, limit):
    handle = await session.submit("acme/other/deep", {})
    jobs, _ = limit(allowed=("acme/echo/fast",))
    for ask in (jobs.status, jobs.result, jobs.cancel):
        with pytest.raises(falq.ConfigError, match="acme/other is not among"):
            await ask("acme/other/deep", handle.request_id)
    own = await session.submit("acme/echo/fast", {"n": 1})
    await own
    # Requests are addressed by their app: the path below it makes no difference.
    assert isinstance(await jobs.status("acme/echo", own.request_id), falq.Completed)
    assert await jobs.result("acme/echo", own.request_id) == {"n": 1}
    assert await jobs.cancel("acme/echo", own.request_id) == "already_completed"


async def test_a_job_above_the_budget_is_refused_with_what_is_left(limit, emulator):
    jobs, budget = limit(usd=0.025, prices=ONE_CENT)
    first = await jobs.submit("acme/echo", {})
    second = await jobs.submit("acme/echo", {})
    with pytest.raises(
        falq.ConfigError, match=r"0\.0100 USD, and 0\.0050 of 0\.0250 USD"
    ) as caught:
        await jobs.submit("acme/echo", {})
    assert caught.value.setting == "budget_usd"
    await first
    await second
    with pytest.raises(falq.ConfigError, match="budget"):
        await jobs.submit("acme/echo", {})
    assert (round(budget.spent_usd, 9), budget.reserved_usd) == (0.02, 0.0)
    assert emulator.stats().submits == 2


async def test_billed_units_are_counted_not_the_expectation(limit, journal):
    jobs, budget = limit(usd=99.0, prices={"fal-ai/flux/dev": Price(0.5, "megapixels")})
    large = {"prompt": "a cat", "image_size": {"width": 2048, "height": 2048}}
    first = await jobs.submit("fal-ai/flux/dev", large)
    assert budget.reserved_usd == 0.5
    await first
    await jobs.submit("fal-ai/flux/dev", large)
    units = (await journal.load_job(number=first.journal_number)).billable_units
    assert units != 1.0
    assert budget.spent_usd == 0.5 * units


async def test_a_refused_submit_gives_its_money_and_its_place_back(limit):
    jobs, budget = limit(usd=0.01, prices=ONE_CENT, max_jobs=1)
    for _ in range(2):
        with pytest.raises(falq.ArgumentError):
            await jobs.submit("acme/echo", {"x": {1, 2}})
    assert (budget.reserved_usd, budget.spent_usd, jobs.on_the_way) == (0.0, 0.0, 0)
    await jobs.submit("acme/echo", {})


@pytest.mark.parametrize("scenario", [Scenario(faults=(Fault("reset", "submit", when="after"),))])
async def test_a_submit_that_may_have_been_received_stays_paid_for(limit):
    jobs, budget = limit(usd=0.015, prices=ONE_CENT)
    with pytest.raises(falq.SubmissionUnknownError):
        await jobs.submit("acme/echo", {})
    assert (budget.spent_usd, jobs.on_the_way) == (0.01, 0)


async def test_a_cancelled_submit_stays_paid_for(limit):
    jobs, budget = limit(usd=0.015, prices=ONE_CENT)
    task = asyncio.create_task(jobs.submit("acme/echo", {}))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (budget.spent_usd, jobs.on_the_way) == (0.01, 0)


async def test_a_failed_job_costs_nothing(limit):
    jobs, budget = limit(usd=0.05, prices={"fal-ai/flux/dev": Price(0.05, PER_JOB)})
    handle = await jobs.submit("fal-ai/flux/dev", {})
    with pytest.raises(falq.JobFailedError):
        await handle
    await jobs.submit("fal-ai/flux/dev", {"prompt": "a cat"})
    assert budget.spent_usd == 0.0


async def test_without_a_price_a_budget_holds_nothing_and_says_so(limit, emulator):
    jobs, _ = limit(usd=1.0)
    with pytest.raises(falq.ConfigError, match=r"--price acme/echo=0\.01"):
        await jobs.submit("acme/echo", {})
    assert emulator.stats().submits == 0


async def test_prices_are_loaded_once_and_only_dollars_count(limit):
    asked = []

    async def load(endpoints):
        asked.append(list(endpoints))
        return {"acme/echo": Price(0.5, "units"), "acme/euro": Price(0.5, "units", "EUR")}

    jobs, budget = limit(usd=2.0, load_prices=load)
    await jobs.submit("acme/echo", {})
    await jobs.submit("acme/echo", {})
    assert asked == [["acme/echo"]]
    assert budget.reserved_usd == 1.0
    with pytest.raises(falq.ConfigError, match="acme/euro"):
        await jobs.submit("acme/euro", {})


async def test_jobs_of_an_earlier_process_take_their_places(session, limit):
    done = await session.submit("acme/echo", {})
    await done
    running = await session.submit("acme/echo", {})
    jobs, budget = limit(usd=0.015, prices=ONE_CENT, max_jobs=5)
    assert jobs.take_over([done, running]) == 1
    assert budget.reserved_usd == 0.01
    with pytest.raises(falq.ConfigError, match="budget"):
        await jobs.submit("acme/echo", {})


async def test_a_result_that_was_handed_over_is_noted_in_the_journal(limit, journal):
    jobs, _ = limit()
    handle = await jobs.submit("acme/echo", {"n": 1})
    await handle
    assert await jobs.result("acme/echo", handle.request_id) == {"n": 1}
    record = await journal.load_job(request_id=handle.request_id)
    assert record.state.value == "delivered"
    await jobs.acknowledge(handle.request_id)
    await jobs.acknowledge("unknown")


@pytest.mark.parametrize("scenario", [Scenario(run_s=1.0, result_life_s=60.0)])
async def test_a_result_that_the_journal_has_is_told_without_fal_and_after_it_forgot(
    limit, emulator
):
    actions = Actions(limit()[0])
    added = await actions.add_request_to_queue("acme/echo", {"n": 1})
    await asyncio.sleep(3600.0)
    asked = dict(emulator.stats().calls)
    for _ in range(2):
        told = await actions.get_request_status("acme/echo", added["request_id"])
        assert told["status"] == "COMPLETED"
        told = await actions.get_request_response("acme/echo", added["request_id"])
        assert (told["success"], told["data"]) == (True, {"n": 1})
    assert emulator.stats().calls == asked
    # Its lines are nowhere but at fal.
    await actions.get_request_status("acme/echo", added["request_id"], logs=True)
    assert emulator.stats().calls["status"] == asked["status"] + 1


async def test_the_journal_tells_no_result_of_an_app_that_is_not_allowed(limit, session):
    other = await session.submit("acme/other", {"n": 1})
    await other
    jobs, _ = limit(allowed=("acme/echo",))
    told = await Actions(jobs).get_request_response("acme/echo", other.request_id)
    assert (told["success"], told["data"]) == (False, None)


async def test_what_the_journal_cannot_tell_is_asked_of_fal(limit, session, journal):
    handle = await session.submit("acme/echo", {"n": 1})
    await handle
    jobs, _ = limit()
    await journal.aclose()
    assert await jobs.status("acme/echo", handle.request_id) == await session.status(
        "acme/echo", handle.request_id
    )


async def test_actions_tell_of_a_limit_in_their_envelope(limit):
    jobs, _ = limit(allowed=("acme/echo",))
    told = await Actions(jobs).add_request_to_queue("lora", {})
    assert told["error"] == "fal-ai/lora is not among the allowed endpoints: acme/echo"


@pytest.mark.parametrize("settings", [{"max_jobs": 0}, {"allowed": ("flux",)}, {"allowed": ("*",)}])
async def test_limits_that_are_none_are_refused(limit, settings):
    with pytest.raises(ValueError, match=r"max_jobs|endpoint"):
        limit(**settings)


async def test_without_a_journal_the_expectation_counts(session):
    budget = Budget(0.02, ONE_CENT)
    jobs = LimitedJobs(session, budget=budget)
    await (await jobs.submit("acme/echo", {}))
    await jobs.acknowledge("unknown")
    assert budget.reserved_usd == 0.01
    await jobs.submit("acme/echo", {})
    assert budget.spent_usd == 0.01
