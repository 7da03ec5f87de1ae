"""Statuses and results through a server and a network that misbehave: no job is lost."""

from __future__ import annotations

import asyncio

import pytest

import falq
from falq._journal.memory import MemoryJournal
from falq._journal.states import RecordState
from falq.emulator import Fault, Scenario
from falq.testing import LoopbackEmulator, LoopbackTransport


def now() -> float:
    return asyncio.get_running_loop().time()


def range_names(faults: list[Fault]) -> list[str]:
    return [f"{number}-{fault.kind}" for number, fault in enumerate(faults)]


class Outage:
    """A transport that fails status and result calls while it is down."""

    def __init__(self, inner: LoopbackTransport) -> None:
        self._inner = inner
        self.is_down = False
        self.failed: dict[str, int] = {}
        self.verbs_down: set[str] = {"status", "result"}

    async def open(self) -> None:
        await self._inner.open()

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def send(self, call: object) -> object:
        if self.is_down and call.verb in self.verbs_down:
            await asyncio.sleep(0.02)
            self.failed[call.verb] = self.failed.get(call.verb, 0) + 1
            raise falq.TransportError("the connection broke")
        return await self._inner.send(call)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_a_thousand_results_in_an_outage_make_no_storm_and_come_soon_after(a_session, seed):
    emulator = LoopbackEmulator(Scenario(runners=2000, run_s=5.0))
    network = Outage(emulator.transport())
    network.verbs_down = {"result"}
    async with a_session(emulator, transport=network, seed=seed) as session:
        network.is_down = True
        work = [asyncio.create_task(session.subscribe("acme/echo", {"n": n})) for n in range(1000)]
        await asyncio.sleep(20)
        assert session.statistics().watched == 0
        await asyncio.sleep(60)
        assert network.failed["result"] <= 1150
        network.is_down = False
        recovered = now()
        await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        assert now() - recovered <= 60
        results = await asyncio.gather(*work)
        assert now() - recovered <= 120
    assert sorted(result["n"] for result in results) == list(range(1000))


async def test_an_outage_of_all_reading_only_delays_jobs(a_session):
    emulator = LoopbackEmulator(Scenario(runners=200, run_s=5.0))
    network = Outage(emulator.transport())
    async with a_session(emulator, transport=network) as session:
        work = [asyncio.create_task(session.subscribe("acme/echo", {"n": n})) for n in range(100)]
        await asyncio.sleep(1)
        network.is_down = True
        await asyncio.sleep(300)
        assert not any(task.done() for task in work)
        # In five minutes: the steps of the curve, and then one check a minute.
        assert network.failed["status"] <= 100 * 16
        network.is_down = False
        recovered = now()
        await asyncio.gather(*work)
        assert now() - recovered <= 65
        assert session.statistics().succeeded == 100


STATUS_FAULTS = [
    Fault("reset", "status", probability=0.6),
    Fault("cut", "status", probability=0.6),
    Fault("stall", "status", probability=0.3),
    Fault("nginx", "status", probability=0.6),
    Fault("json_error", "status", probability=0.6),
    Fault("rate_limited", "status", probability=0.4),
    Fault("rate_limited", "status", probability=0.4, retry_after_s=3.0),
    Fault("html", "status", probability=0.6),
    Fault("list_body", "status", probability=0.6),
    Fault("empty_body", "status", probability=0.6),
    Fault("truncated_json", "status", probability=0.6),
    Fault("id_only", "status", probability=0.6),
    Fault("replace_body", "status", probability=0.6, body="null"),
    Fault("replace_body", "status", probability=0.6, body="12"),
    Fault("replace_body", "status", probability=0.6, body='{"status": 7}'),
    Fault("replace_body", "status", probability=0.6, body='{"status": "IN_QUEUE"}'),
    Fault("replace_body", "status", probability=0.6, body='{"status": "DREAMING", "x": 1}'),
    Fault("replace_body", "status", probability=0.6, body='{"status":"IN_PROGRESS","logs":7}'),
    Fault("flap", "status", probability=0.6),
    Fault("redirect", "status", probability=0.6),
    Fault("delay", "status", probability=0.5, delay_s=8.0),
]


@pytest.mark.parametrize("fault", STATUS_FAULTS, ids=range_names(STATUS_FAULTS))
async def test_no_failing_check_fails_a_job(a_session, fault):
    emulator = LoopbackEmulator(Scenario(runners=50, run_s=4.0, faults=(fault,)))
    async with a_session(emulator) as session:
        work = (session.subscribe("acme/echo", {"n": n}) for n in range(12))
        results = await asyncio.gather(*work)
        assert session.statistics().in_flight == 0
    assert [result["n"] for result in results] == list(range(12))
    assert sum(emulator.stats().faults.values()) > 0


RESULT_FAULTS = [
    Fault("reset", "result", nth=(1, 2)),
    Fault("cut", "result", nth=(1, 2)),
    Fault("stall", "result", nth=1),
    Fault("nginx", "result", nth=(1, 2, 3, 4)),
    Fault("nginx", "result", nth=(1, 2), status_code=504),
    Fault("json_error", "result", nth=(1, 2), has_request_id=False),
    Fault("rate_limited", "result", nth=(1, 2), has_request_id=False),
    Fault("rate_limited", "result", nth=1, retry_after_s=7.0, has_request_id=False),
    Fault("replace_body", "result", nth=1, status_code=408, has_request_id=False),
    Fault("replace_body", "result", nth=(1, 2, 3), status_code=202),
    Fault(
        "replace_body",
        "result",
        nth=(1, 2, 3),
        status_code=400,
        body='{"detail": "Request is still in progress"}',
    ),
    Fault("truncated_json", "result", nth=1),
    Fault("not_found", "result", lasting_s=10.0),
]


@pytest.mark.parametrize("fault", RESULT_FAULTS, ids=range_names(RESULT_FAULTS))
async def test_a_result_is_asked_for_until_it_comes(a_session, fault):
    emulator = LoopbackEmulator(Scenario(run_s=2.0, faults=(fault,)))
    async with a_session(emulator) as session:
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
    assert sum(emulator.stats().faults.values()) > 0


async def test_a_server_that_denies_a_completed_result_for_long_is_asked_less_and_less(a_session):
    early = Fault(
        "replace_body", "result", status_code=400, body='{"detail":"Request is still in progress"}'
    )
    emulator = LoopbackEmulator(Scenario(run_s=1.0, faults=(early,)))
    async with a_session(emulator) as session:
        with pytest.raises(falq.JobTimeoutError):
            await session.subscribe("acme/echo", {}, client_timeout=300)
    assert emulator.stats().calls["result"] <= 30
    assert emulator.stats().calls["status"] <= 40


async def test_a_404_right_after_the_submit_is_waited_out(a_session):
    faults = (Fault("not_found", "status", lasting_s=25.0),)
    emulator = LoopbackEmulator(Scenario(run_s=1.0, faults=faults))
    async with a_session(emulator) as session:
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
        assert now() >= 25.0
    assert emulator.stats().calls["status"] <= 12


async def test_a_job_that_stays_unknown_is_lost_after_thirty_seconds_and_three_answers(a_session):
    emulator = LoopbackEmulator(Scenario())
    async with a_session(emulator) as session:
        handle = session.handle("acme/echo", "no-such-request")
        with pytest.raises(falq.JobLostError) as caught:
            await handle
        assert 30.0 <= now() <= 60.0
    assert caught.value.request_id == "no-such-request"
    assert emulator.stats().calls["status"] >= 3


async def test_single_404s_between_good_answers_lose_no_job(a_session):
    fault = Fault("not_found", "status", every=2, lasting_s=1e9)
    emulator = LoopbackEmulator(Scenario(run_s=300.0, faults=(fault,)))
    async with a_session(emulator) as session:
        assert await session.subscribe("acme/echo", {"n": 1, "_emulator": {"run_s": 300.0}})


async def test_an_expired_result_is_lost_and_says_so(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=1.0, result_life_s=0.0))
    async with a_session(emulator) as session:
        with pytest.raises(falq.JobLostError) as caught:
            await session.subscribe("acme/echo", {})
    assert caught.value.possibly_billed
    assert emulator.stats().calls["result"] == 3


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("FAILED", falq.JobFailedError),
        ("ERROR", falq.JobFailedError),
        ("CANCELLED", falq.JobCancelledError),
    ],
)
async def test_words_that_fal_never_says_are_ends(a_session, word, kind):
    emulator = LoopbackEmulator(Scenario(run_s=1.0, failed_word=word))
    async with a_session(emulator) as session:
        with pytest.raises(kind) as caught:
            await session.subscribe("acme/echo", {"_emulator": {"fail": "runner_disconnected"}})
    assert caught.value.request_id in emulator.app.queue.jobs


async def test_an_unknown_word_means_not_finished(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=20.0, unknown_state="DREAMING"))
    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {"n": 1})
        seen = [status.word async for status in handle.events()]
        assert await handle == {"n": 1}
    assert seen == ["DREAMING", "COMPLETED"]


async def test_a_job_that_goes_back_to_the_queue_is_followed_to_its_end(a_session):
    emulator = LoopbackEmulator(Scenario(runners=1, run_s=10.0))
    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {"n": 1, "_emulator": {"retries": 2}})
        other = await session.submit("acme/echo", {"n": 2})
        words = [status.word async for status in handle.events()]
        assert (await handle)["n"] == 1
        await other
    assert words[-1] == "COMPLETED"
    assert "IN_QUEUE" in words[words.index("IN_PROGRESS") :]


@pytest.mark.parametrize(
    ("failure", "kind", "code"),
    [
        (422, falq.JobInputError, 422),
        ("content_policy_violation", falq.JobInputError, 422),
        (400, falq.JobFailedError, 400),
        (500, falq.JobFailedError, 500),
        (503, falq.JobFailedError, 503),
        ("internal_server_error", falq.JobFailedError, 500),
        ("runner_disconnected", falq.JobFailedError, 503),
        ("startup_timeout", falq.JobFailedError, 504),
        ("client_cancelled", falq.JobCancelledError, None),
    ],
)
async def test_what_the_model_answered_is_what_the_job_ended_with(a_session, failure, kind, code):
    emulator = LoopbackEmulator(Scenario(run_s=1.0))
    async with a_session(emulator) as session:
        with pytest.raises(kind) as caught:
            await session.subscribe("acme/echo", {"_emulator": {"fail": failure}})
        assert now() < 10.0
    assert getattr(caught.value, "status_code", None) == code
    assert caught.value.request_id in emulator.app.queue.jobs
    assert caught.value.intent_id
    assert caught.value.job_id == 1
    assert emulator.stats().calls["result"] <= 3


async def test_a_missed_start_deadline_is_never_worth_the_same_again(a_session):
    emulator = LoopbackEmulator(Scenario(runners=0))
    async with a_session(emulator) as session:
        with pytest.raises(falq.JobFailedError) as caught:
            await session.subscribe("acme/echo", {}, start_timeout=20)
    assert caught.value.error_type == "request_timeout"
    assert not caught.value.retryable


async def test_a_key_that_is_refused_meanwhile_ends_the_watch(a_session):
    refusal = Fault("json_error", "status", status_code=401, nth=(2, 3, 4, 5, 6, 7, 8, 9))
    emulator = LoopbackEmulator(Scenario(run_s=100.0, faults=(refusal,)))
    async with a_session(emulator) as session:
        with pytest.raises(falq.AuthenticationError) as caught:
            await session.subscribe("acme/echo", {})
        assert now() < 10.0
        assert session.statistics().watched == 0
    assert caught.value.request_id in emulator.app.queue.jobs


async def test_a_transport_that_breaks_its_contract_ends_no_other_job(a_session):
    class Broken(Outage):
        async def send(self, call: object) -> object:
            if self.is_down and call.verb in self.verbs_down:
                raise RuntimeError("not in the contract")
            return await super().send(call)

    emulator = LoopbackEmulator(Scenario(runners=20, run_s=5.0))
    network = Broken(emulator.transport())
    async with a_session(emulator, transport=network) as session:
        work = [asyncio.create_task(session.subscribe("acme/echo", {"n": n})) for n in range(10)]
        await asyncio.sleep(1)
        network.is_down = True
        await asyncio.sleep(3)
        network.is_down = False
        assert len(await asyncio.gather(*work)) == 10
        assert session.statistics().in_flight == 0


async def test_the_result_of_a_request_can_be_read_by_its_id_before_and_after_its_end(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=10.0))
    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {"n": 1})
        early = asyncio.create_task(session.result("acme/echo", handle.request_id))
        assert await handle == {"n": 1}
        assert await early == {"n": 1}
        assert await session.result("acme/echo", handle.request_id) == {"n": 1}
        status = await session.status("acme/echo", handle.request_id, with_logs=True)
        assert [entry.message for entry in status.logs] == ["echoing the input"]
        assert await session.cancel("acme/echo", handle.request_id) == "already_completed"
        with pytest.raises(falq.RequestNotFoundError):
            await session.result("acme/echo", "no-such-request")
        with pytest.raises(falq.RequestNotFoundError):
            await session.status("acme/echo", "no-such-request")
        assert await session.cancel("acme/echo", "no-such-request") == "not_found"


@pytest.mark.parametrize("after_cancel", ["completed", "gone"])
@pytest.mark.parametrize("cancel_queued", ["requested", "ok"])
async def test_a_cancelled_job_ends_as_cancelled(a_session, after_cancel, cancel_queued):
    scenario = Scenario(runners=0, after_cancel=after_cancel, cancel_queued=cancel_queued)
    emulator = LoopbackEmulator(scenario)
    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {})
        assert await handle.cancel() == "requested"
        with pytest.raises(falq.JobCancelledError) as caught:
            await handle
        assert now() < 70.0
        assert session.statistics().cancelled == 1
    assert caught.value.request_id == handle.request_id


async def test_a_model_that_ignores_a_cancel_still_gives_its_result(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=5.0))
    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {"n": 1, "_emulator": {"ignore_cancel": True}})
        await asyncio.sleep(1)
        assert await handle.cancel() == "requested"
        assert (await handle)["n"] == 1


@pytest.mark.parametrize("late", [falq.InProgress(), falq.Queued(0)], ids=lambda one: one.word)
async def test_an_older_word_that_comes_with_the_last_one_hides_no_failure(a_session, late):
    emulator = LoopbackEmulator(Scenario(run_s=60.0))
    async with a_session(emulator) as session:
        handle = await session.submit("acme/echo", {"n": 1})
        waiting = asyncio.ensure_future(handle.result())
        await asyncio.sleep(61)
        # A stream tells of the end, and in the same turn comes a check that was on its way.
        watcher, job = session._opened._watcher, handle._job
        assert job.has_turn is False
        watcher.heard_in_stream(job, falq.Completed(error="boom", error_type="internal_error"))
        watcher.heard(job, late, 1.0)
        with pytest.raises(falq.JobFailedError, match="boom"):
            await waiting


async def test_a_check_that_is_told_to_wait_for_years_is_made_within_minutes(a_session):
    faults = [Fault("rate_limited", "status", nth=1, retry_after_s=1e9)]
    emulator = LoopbackEmulator(Scenario(run_s=5.0, faults=faults))
    async with a_session(emulator) as session:
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
        assert asyncio.get_running_loop().time() < 310.0


async def test_a_result_that_never_comes_is_asked_for_as_long_as_it_is_kept_and_no_longer(
    a_session,
):
    emulator = LoopbackEmulator(Scenario(run_s=0, faults=[Fault("nginx", "result")]))
    settings = falq.RetrySettings(result_for_s=600.0)
    async with a_session(emulator, retry=settings) as session:
        with pytest.raises(falq.ServerError) as caught:
            await session.subscribe("acme/echo", {"n": 1})
        assert 500.0 < asyncio.get_running_loop().time() < 610.0
        assert caught.value.resume_token


async def test_a_job_that_prints_more_than_a_status_may_hold_is_seen_to_end(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=60.0))
    limits = falq.CallLimits(status_bytes=450)
    transport = LoopbackTransport(emulator.app, emulator.gateway, limits=limits)
    async with a_session(emulator, transport=transport) as session:
        handle = await session.submit("acme/echo", {"n": 1})
        words = [status.word async for status in handle.events(logs=True)]
        assert await handle == {"n": 1}
    assert words[-1] == "COMPLETED"


async def test_a_result_is_asked_for_when_checks_alone_fail(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=5.0))
    network = Outage(emulator.transport())
    network.is_down, network.verbs_down = True, {"status"}
    async with a_session(emulator, transport=network) as session:
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
    assert 120 < now() < 240


async def test_a_job_that_runs_on_while_checks_fail_is_asked_for_seldom(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=600.0))
    network = Outage(emulator.transport())
    network.is_down, network.verbs_down = True, {"status"}
    async with (
        MemoryJournal() as journal,
        a_session(emulator, transport=network, journal=journal) as session,
    ):
        handle = await session.submit("acme/echo", {"n": 1})
        await asyncio.sleep(500.0)
        assert emulator.stats().calls["result"] <= 4
        row = await journal.load_job(number=handle.journal_number)
        assert (row.state, row.completed_at) == (RecordState.ACCEPTED, None)
        assert await handle == {"n": 1}
        assert now() < 800


@pytest.mark.parametrize("down_s", [200.0, 4000.0])
async def test_an_outage_of_status_and_result_ends_no_running_job(a_session, down_s):
    emulator = LoopbackEmulator(Scenario(run_s=100.0))
    network = Outage(emulator.transport())
    async with a_session(emulator, transport=network) as session:
        handle = await session.submit("acme/echo", {"n": 1})
        network.is_down = True
        await asyncio.sleep(down_s)
        network.is_down = False
        assert await handle == {"n": 1}
