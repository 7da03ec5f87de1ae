"""Whole runs over real sockets: TLS, many jobs under limits, and use as in a web backend."""

from __future__ import annotations

import asyncio
import random

import pytest

import falq
from falq.emulator import Emulator, Fault, Scenario

QUICK_POLLS = falq.PollSettings(initial_s=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["gateway", "maton"])
async def test_a_job_over_tls_from_its_submit_to_its_picture(way):
    async with (
        Emulator(Scenario(speed=200), tls=True) as emulator,
        falq.Session(
            getattr(emulator, way), ssl_context=emulator.ssl_context, poll=QUICK_POLLS
        ) as session,
    ):
        told, ids = [], []
        result = await session.subscribe(
            "fal-ai/flux/schnell",
            {"prompt": "a tiny cute cat"},
            with_logs=True,
            on_enqueue=ids.append,
            on_queue_update=told.append,
        )
        assert result["prompt"] == "a tiny cute cat"
        assert result["images"][0]["url"].startswith(emulator.url)
        assert isinstance(told[-1], falq.Completed)
        assert await session.result("fal-ai/flux/schnell", ids[0]) == result
        stats = emulator.stats()
        assert stats.jobs == 1
        assert set(stats.replies) <= {"200", "202"}


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True])
async def test_500_jobs_over_mixed_endpoints_stay_under_their_limits(tls):
    endpoints = ["acme/one", "acme/two/fast", "workflows/acme/three", "110602490-sd"]
    limits = {"acme/one": 20, "acme/two/fast": 5}
    chance = random.Random(7)
    inputs = [
        (chance.choice(endpoints), {"n": number, "_emulator": {"run_s": chance.uniform(0, 0.05)}})
        for number in range(500)
    ]
    in_flight: dict[str, set[int]] = {}
    peaks: dict[str, int] = {}

    def count(event):
        jobs = in_flight.setdefault(event.endpoint, set())
        if type(event).__name__ == "Admitted":
            jobs.add(event.job_id)
        elif type(event).__name__ == "Settled":
            jobs.discard(event.job_id)
        peaks[event.endpoint] = max(peaks.get(event.endpoint, 0), len(jobs))
        peaks["all"] = max(peaks.get("all", 0), sum(map(len, in_flight.values())))

    async with (
        Emulator(Scenario(runners=40), tls=tls) as emulator,
        falq.Session(
            emulator.gateway,
            ssl_context=emulator.ssl_context,
            poll=QUICK_POLLS,
            max_jobs=60,
            per_endpoint=limits,
            on_event=count,
        ) as session,
    ):
        results = await asyncio.gather(
            *(session.subscribe(endpoint, arguments) for endpoint, arguments in inputs)
        )
        assert [one["n"] for one in results] == list(range(500))
        stats = emulator.stats()
        assert stats.jobs == stats.submits == 500
        assert stats.duplicates == 0
        assert stats.in_progress_peak <= 40
        assert stats.connections <= 110
        assert session.statistics().succeeded == 500
        assert session.statistics().in_flight == session.statistics().waiting == 0
    assert peaks["all"] == 60
    assert peaks["acme/one"] <= 20
    assert peaks["acme/two/fast"] == 5


@pytest.mark.slow
async def test_100_jobs_through_every_kind_of_fault_are_neither_lost_nor_doubled():
    faults = [
        Fault("reset", "status", probability=0.1, when="after"),
        Fault("cut", "status", probability=0.1),
        Fault("nginx", "status", probability=0.1),
        Fault("html", "status", probability=0.1),
        Fault("reset", "result", probability=0.2, when="after"),
        Fault("truncated_json", "result", probability=0.02),
        Fault("nginx", "result", probability=0.2),
        Fault("reset", "submit", probability=0.1, when="after"),
        Fault("rate_limited", "submit", probability=0.1, retry_after_s=0.05),
        Fault("json_error", "submit", probability=0.1, when="after", has_request_id=False),
    ]
    async with (
        Emulator(Scenario(runners=200, run_s=0.05, faults=faults, seed=3)) as emulator,
        falq.Session(
            emulator.gateway,
            poll=QUICK_POLLS,
            retry=falq.RetrySettings(
                base_s=0.01, throttle_base_s=0.01, cap_s=0.1, budget=5000, submit_attempts=20
            ),
        ) as session,
    ):
        unknown = set()
        async for outcome in session.map("acme/echo", ({"n": number} for number in range(100))):
            if outcome.is_success:
                assert outcome.result == outcome.input
            else:
                assert isinstance(outcome.error, falq.SubmissionUnknownError), outcome.error
                unknown.add(outcome.index)
        stats = emulator.stats()
    assert stats.jobs == 100
    assert stats.duplicates == 0
    # A reset after the job was made is the one thing that cannot be known.
    assert 0 < len(unknown) < 40


async def test_a_session_serves_many_tasks_like_a_web_backend():
    async with Emulator(Scenario(run_s=0.02, runners=100)) as emulator:
        session = await asyncio.create_task(
            falq.Session(emulator.gateway, poll=QUICK_POLLS).open(), name="startup"
        )

        async def answer(request_number):
            handle = await session.submit("acme/echo", {"n": request_number})
            if request_number % 5 == 0:
                # The browser went away.
                asyncio.current_task().cancel()
            return (await handle)["n"]

        requests = [asyncio.create_task(answer(number)) for number in range(50)]
        await asyncio.wait(requests)
        for number, request in enumerate(requests):
            if number % 5 == 0:
                assert request.cancelled()
            else:
                assert request.result() == number
        await asyncio.create_task(session.aclose(), name="shutdown")
        assert emulator.stats().jobs == 50
        assert "cancel" not in emulator.stats().calls


SAMPLE = """
import falq
import pytest
from falq.emulator import Scenario

pytestmark = pytest.mark.anyio

@pytest.fixture
def anyio_backend():
    return "asyncio"

async def test_with_the_default(falq_session, falq_emulator):
    assert await falq_session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
    assert falq_emulator.stats().jobs == 1

class TestLocked:
    @pytest.fixture
    def falq_scenario(self):
        return Scenario(is_locked=True)

    async def test_with_a_scenario(self, falq_session):
        with pytest.raises(falq.AuthenticationError):
            await falq_session.submit("acme/echo", {})
"""

RUN_PYTEST = """
import sys
import pytest
sys.exit(pytest.main(["-q", "-W", "error", "-p", "no:cacheprovider", sys.argv[1]]))
"""


@pytest.mark.slow
async def test_a_users_project_gets_the_fixtures_by_installing_falq(run_script, tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    sample = tmp_path / "test_sample.py"
    sample.write_text(SAMPLE, encoding="utf-8")
    ran = await run_script(RUN_PYTEST, str(sample))
    assert ran.code == 0, ran.out + ran.err
    assert "2 passed" in ran.out
