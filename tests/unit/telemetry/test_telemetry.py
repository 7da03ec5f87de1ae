"""Sessions on an emulator over sockets, watched by OpenTelemetry's SDK."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from opentelemetry.trace import StatusCode

import falq
from falq.emulator import Emulator, Fault, Scenario
from falq.events import Accepted, Admitted, Polled, Settled

QUICK = falq.PollSettings(initial_s=0.01)
SECRET_PROMPT = "a cat nobody may hear of"


def open_session(emulator, hook, **settings):
    return falq.Session(emulator.gateway, poll=QUICK, seed=1, on_event=hook, **settings)


async def run_one(collected, scenario, arguments, **settings):
    """Run a job to its end, good or bad; return the error, if there was one."""
    async with (
        Emulator(scenario) as emulator,
        open_session(emulator, collected.telemetry(), **settings) as session,
    ):
        try:
            await session.subscribe("acme/echo", arguments)
        except falq.FalqError as error:
            return error
    return None


async def test_a_job_is_one_span_from_its_submission_to_its_result(collected):
    assert await run_one(collected, Scenario(run_s=0.05), {"n": 1}) is None
    span = collected.span()
    assert span.name == "falq acme/echo"
    assert span.attributes["falq.outcome"] == "succeeded"
    assert span.attributes["falq.endpoint"] == "acme/echo"
    assert span.attributes["falq.request_id"]
    assert span.attributes["falq.polls"] >= 1
    assert span.status.status_code is StatusCode.UNSET
    names = [event.name for event in span.events]
    assert names[:2] == ["falq.admitted", "falq.accepted"]
    assert names[-1] == "falq.settled"
    words = [event.attributes["falq.status"] for event in span.events if "status" in event.name]
    assert words[-1] == "COMPLETED"
    instants = [event.timestamp for event in span.events]
    assert instants == sorted(instants)
    assert span.start_time <= instants[0]
    assert instants[-1] == span.end_time


async def test_a_span_is_the_child_of_the_one_that_was_current_at_the_submit(collected):
    tracer = collected.tracer_provider.get_tracer("application")
    hook = collected.telemetry()
    async with Emulator(Scenario(run_s=0.01)) as emulator:
        with tracer.start_as_current_span("start-up"):
            session = open_session(emulator, hook)
            await session.__aenter__()
        with tracer.start_as_current_span("request") as request:
            handle = await session.submit("acme/echo", {})
        await handle
        attached = session.handle("acme/echo", handle.request_id)
        await attached
        await session.aclose()
    own, other = collected.spans()
    assert own.parent.span_id == request.get_span_context().span_id
    assert other.parent is None


async def test_a_failed_job_is_an_error_span_without_the_server_s_words(collected):
    arguments = {"prompt": SECRET_PROMPT, "_emulator": {"fail": 422}}
    error = await run_one(collected, Scenario(run_s=0.01), arguments)
    assert isinstance(error, falq.JobInputError)
    span = collected.span()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "JobInputError"
    assert span.attributes["error.type"] == "JobInputError"
    assert span.attributes["http.response.status_code"] == 422
    assert span.attributes["falq.outcome"] == "failed"


async def test_neither_prompts_nor_keys_nor_results_are_exported(collected):
    scenario = Scenario(run_s=0.01)
    await run_one(collected, scenario, {"prompt": SECRET_PROMPT})
    await run_one(collected, scenario, {"prompt": SECRET_PROMPT, "_emulator": {"fail": 422}})
    text = collected.everything()
    assert "acme/echo" in text
    assert SECRET_PROMPT not in text
    assert scenario.keys[0] not in text
    assert scenario.keys[0].partition(":")[2] not in text


async def test_retries_and_failed_checks_are_events_and_counts(collected):
    faults = (
        Fault("rate_limited", "submit", times=1, retry_after_s=0),
        Fault("json_error", "status", times=1, status_code=503),
    )
    retry = falq.RetrySettings(base_s=0.01, throttle_base_s=0.01)
    scenario = Scenario(run_s=0.05, faults=faults)
    assert await run_one(collected, scenario, {}, retry=retry) is None
    span = collected.span()
    events = {event.name: event.attributes for event in span.events}
    assert events["falq.retrying"]["falq.verb"] == "submit"
    assert events["falq.retrying"]["error.type"] == "RateLimitError"
    assert events["falq.retrying"]["http.response.status_code"] == 429
    assert events["falq.poll_failed"]["error.type"] == "ServerError"
    assert span.attributes["falq.retries"] == 1
    points = collected.points()
    (retries,) = points["falq.retries"]
    assert retries.value == 1
    assert dict(retries.attributes) == {"falq.endpoint": "acme/echo", "falq.verb": "submit"}
    polls = {point.attributes["falq.answered"]: point.value for point in points["falq.polls"]}
    assert polls[False] == 1
    assert polls[True] + polls[False] == span.attributes["falq.polls"]


async def test_the_metrics_of_many_jobs_add_up(collected):
    hook = collected.telemetry()
    async with (
        Emulator(Scenario(run_s=0.02)) as emulator,
        open_session(emulator, hook, max_jobs=2) as session,
    ):
        await asyncio.gather(*(session.subscribe("acme/echo", {"n": n}) for n in range(8)))
    points = collected.points()
    (in_flight,) = points["falq.jobs.in_flight"]
    assert in_flight.value == 0
    for name in ("duration", "slot_wait", "run_time"):
        (point,) = points[f"falq.job.{name}"]
        assert point.count == 8, name
    (run_time,) = points["falq.job.run_time"]
    assert run_time.sum == pytest.approx(8 * 0.02)
    (slot_wait,) = points["falq.job.slot_wait"]
    assert slot_wait.max > 0.01
    assert len(collected.spans()) == 8
    assert repr(hook) == "<Telemetry unsettled=0>"


async def test_jobs_are_in_flight_from_their_slot_to_their_outcome(collected):
    async with (
        Emulator(Scenario(run_s=60.0)) as emulator,
        open_session(emulator, collected.telemetry()) as session,
    ):
        for _ in range(2):
            await session.submit("acme/echo", {})
        (in_flight,) = collected.points()["falq.jobs.in_flight"]
        assert in_flight.value == 2
    (in_flight,) = collected.points()["falq.jobs.in_flight"]
    assert in_flight.value == 0


async def test_a_job_that_the_session_left_behind_is_detached_and_no_error(collected):
    hook = collected.telemetry()
    async with (
        Emulator(Scenario(run_s=60.0)) as emulator,
        open_session(emulator, hook) as session,
    ):
        await session.submit("acme/echo", {})
    span = collected.span()
    assert span.attributes["falq.outcome"] == "detached"
    assert span.attributes["falq.possibly_billed"] is True
    assert span.status.status_code is StatusCode.UNSET
    assert repr(hook) == "<Telemetry unsettled=0>"


async def test_the_application_s_own_hook_hears_every_event_too(collected):
    heard = []
    async with (
        Emulator(Scenario(run_s=0.01)) as emulator,
        open_session(emulator, collected.telemetry(on_event=heard.append)) as session,
    ):
        await session.subscribe("acme/echo", {})
    kinds = [type(event) for event in heard]
    assert kinds[:2] == [Admitted, Accepted]
    assert kinds[-1] is Settled
    assert Polled in kinds


async def test_a_hook_of_the_application_that_raises_costs_neither_the_job_nor_its_span(collected):
    def hook(event):
        raise ValueError(event)

    async with (
        Emulator(Scenario(run_s=0.01)) as emulator,
        open_session(emulator, collected.telemetry(on_event=hook)) as session,
    ):
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
    assert collected.span().attributes["falq.outcome"] == "succeeded"


# None among the loaded modules is how Python says that one cannot be imported.
WITHOUT = """
import sys
sys.modules["opentelemetry"] = None
import falq
try:
    import falq.telemetry
except falq.ConfigError as error:
    print(error.setting, error)
"""


@pytest.mark.slow
def test_without_opentelemetry_the_error_names_the_extra():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("on_event ")
    assert "pip install 'falq[otel]'" in done.stdout


@pytest.mark.slow
def test_only_the_api_is_imported():
    code = "import sys, falq.telemetry; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "opentelemetry.trace" in loaded
    assert not [name for name in loaded if name.startswith("opentelemetry.sdk")]
