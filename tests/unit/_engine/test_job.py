"""The record of one job: it settles once, and wakes each waiter by its own future."""

from __future__ import annotations

import asyncio

import pytest

from falq._core.lifecycle import JobMove, JobState
from falq._engine.job import Job
from falq.errors import JobFailedError
from falq.model import Completed, EndpointId, Ticket


def a_job(**facts: object) -> Job:
    return Job(job_id=1, endpoint="acme/a", created=0.0, **facts)


def a_ticket() -> Ticket:
    endpoint = EndpointId.parse("acme/a")
    return Ticket(endpoint=endpoint, request_id="r-1", app=endpoint.app)


async def test_cancelling_one_waiter_leaves_the_others_waiting():
    job = a_job()
    waiters = [asyncio.create_task(job.wait_until(lambda job: job.is_settled)) for _ in range(5)]
    await asyncio.sleep(0)
    waiters[2].cancel()
    await asyncio.sleep(0)
    job.settle(1.0, result=7)
    await asyncio.wait(waiters)
    assert [waiter.cancelled() for waiter in waiters] == [False, False, True, False, False]


async def test_a_job_settles_once():
    ends: list[object] = []
    job = a_job(on_settled=lambda job: ends.append(job.result))
    job.settle(1.0, result="first")
    job.settle(2.0, error=JobFailedError("second"))
    assert (job.result, job.error, job.settled, ends) == ("first", None, 1.0, ["first"])


async def test_a_settled_job_cannot_be_accepted():
    job = a_job()
    job.move(JobMove.ADMIT)
    job.settle(1.0, result=1)
    with pytest.raises(ValueError, match="cannot accept"):
        job.accept(a_ticket(), 2.0)
    assert job.state is JobState.SETTLED


async def test_settling_stops_the_timer_of_the_deadline():
    struck: list[int] = []
    job = a_job()
    job.timer = asyncio.get_running_loop().call_later(5.0, struck.append, 1)
    job.settle(1.0, result=1)
    await asyncio.sleep(10)
    assert not struck


async def test_only_a_job_that_was_not_sent_can_be_dropped():
    job = a_job()
    assert job.is_unsent
    job.move(JobMove.ADMIT)
    assert job.is_unsent
    job.is_sent = True
    assert not job.is_unsent
    job.accept(a_ticket(), 1.0)
    assert not job.is_unsent
    job.settle(2.0, result=1)
    assert not job.is_unsent


async def test_readers_hear_of_every_change_until_they_are_removed():
    heard: list[object] = []
    job = a_job(state=JobState.ACCEPTED, ticket=a_ticket())
    reader = lambda: heard.append(job.status)  # noqa: E731  it must be the same object twice
    job.add_reader(reader)
    done = Completed()
    job.hear(done)
    job.remove_reader(reader)
    job.settle(1.0, result=1)
    assert heard == [done]


async def test_timings_tell_where_the_time_went():
    job = a_job(admitted=1.0, accepted=3.0, completed=10.0)
    job.status = Completed(metrics={"inference_time": 5.5})
    job.state = JobState.FETCHING
    job.settle(12.0, result=1)
    times = job.timings(99.0)
    assert (times.waited_s, times.submit_s, times.finish_s, times.result_s) == (1.0, 2.0, 7.0, 2.0)
    assert (times.total_s, times.inference_s) == (12.0, 5.5)
