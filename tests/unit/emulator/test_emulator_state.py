"""The queue's laws, and one case for each of its rules."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.emulator.jobs import Order
from falq.emulator.models.base import Answer
from falq.emulator.scenario import Scenario
from falq.emulator.state import QueueFullError

from .conftest import build_queue


def order(**more):
    arguments = more.pop("arguments", {"prompt": "a fox"})
    return Order(endpoint="acme/thing/fast", app="acme/thing", arguments=arguments, **more)


def submit(queue, now=0.0, **more):
    return queue.submit(order(**more), now)[0]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.booleans(), st.sampled_from([None, 0.2, 5.0])),
        st.tuples(st.just("cancel"), st.integers(0, 99), st.none()),
        st.tuples(st.just("wait"), st.floats(0, 20), st.none()),
    ),
    max_size=60,
)


@given(
    STEPS,
    st.integers(0, 4),
    st.sampled_from(["handled", "ignored"]),
    st.sampled_from([0.0, 0.4]),
)
def test_whatever_happens_the_counts_and_positions_hold(steps, runners, cancel_running, broken):
    queue = build_queue(
        runners=runners, cancel_running=cancel_running, server_retry_probability=broken
    )
    now, jobs, ends = 0.0, [], {}
    for step, value, timeout_s in steps:
        if step == "submit":
            jobs.append(submit(queue, now, is_low=value, start_timeout_s=timeout_s))
        elif step == "cancel" and jobs:
            queue.cancel(jobs[value % len(jobs)], now)
        elif step == "wait":
            now += value
            queue.advance(now)
        running = [job for job in jobs if job.state == "running"]
        waiting = [job for job in jobs if job.state == "queued"]
        assert len(running) == queue.in_progress <= runners
        assert not (waiting and len(running) < runners), "a runner idles while jobs wait"
        assert sorted(queue.position(job) for job in waiting) == list(range(len(waiting)))
        for job in jobs:
            if job.state == "done":
                assert ends.setdefault(job.request_id, job.ending) is job.ending
    queue.advance(now + 1e6)
    assert all(job.state == "done" for job in jobs) or runners == 0
    assert queue.peaks.in_progress <= runners


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 3))
def test_jobs_start_in_order_of_arrival_and_low_ones_behind_normal_ones(lows, runners):
    queue = build_queue(runners=runners)
    first = [submit(queue) for _ in range(runners)]
    jobs = [submit(queue, 0.5, is_low=is_low) for is_low in lows]
    queue.advance(1e6)
    starts = sorted(jobs, key=lambda job: (job.started, queue_rank(job)))
    expected = [job for job in jobs if not job.order.is_low] + [
        job for job in jobs if job.order.is_low
    ]
    assert [job.request_id for job in starts] == [job.request_id for job in expected]
    assert all(job.started == 0 for job in first)


def queue_rank(job):
    return (job.order.is_low, job.ticket)


def test_a_free_runner_takes_the_next_job_at_its_own_instant_not_at_the_next_call():
    queue = build_queue(runners=1)
    jobs = [submit(queue, arguments={"run_s": 3.0}) for _ in range(3)]
    queue.advance(100.0)
    assert [(job.started, job.ended) for job in jobs] == [(0, 3), (3, 6), (6, 9)]


def test_the_order_of_calls_in_time_does_not_change_a_run():
    coarse, fine = (build_queue(runners=2, seed=3) for _ in range(2))
    for queue, step in ((coarse, 50.0), (fine, 0.25)):
        for _ in range(8):
            submit(queue)
        now = 0.0
        while now < 200:
            now += step
            queue.advance(now)
    ends = [[job.ended for job in queue.jobs.values()] for queue in (coarse, fine)]
    assert ends[0] == ends[1]
    assert list(coarse.jobs) == list(fine.jobs)


def test_another_seed_gives_other_ids_and_run_times():
    one, other = (build_queue(seed=seed) for seed in (1, 2))
    first, second = submit(one), submit(other)
    assert first.request_id != second.request_id
    assert first.run_s != second.run_s


def test_request_ids_are_distinct_version_7_uuids_in_order_of_time():
    queue = build_queue(runners=0)
    ids = [submit(queue, number).request_id for number in range(300)]
    pattern = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    assert all(re.fullmatch(pattern, one) for one in ids)
    assert len(set(ids)) == 300
    assert ids == sorted(ids)


def test_speed_divides_every_run_time():
    slow, fast = (build_queue(speed=speed) for speed in (1.0, 100.0))
    assert submit(slow).run_s == pytest.approx(100 * submit(fast).run_s)


def test_infinite_speed_ends_a_job_as_soon_as_it_starts():
    queue = build_queue(speed=float("inf"))
    job = submit(queue)
    queue.advance(0.0)
    assert job.state == "done"


def test_a_job_cancelled_in_the_line_never_runs():
    queue = build_queue(runners=1)
    submit(queue)
    waiting = submit(queue)
    assert queue.cancel(waiting, 1.0) == "requested"
    queue.advance(1e3)
    assert waiting.attempt == 0
    assert waiting.ending.status_code == 499
    assert waiting.ending.error_type == "client_cancelled"


def test_a_cancelled_run_frees_its_runner_at_once():
    queue = build_queue(runners=1)
    running, waiting = submit(queue), submit(queue)
    assert queue.cancel(running, 2.0) == "requested"
    assert running.ending.state == "cancelled"
    assert waiting.started == 2.0


def test_a_model_without_a_handler_ignores_the_cancel_and_succeeds():
    queue = build_queue()
    job = submit(queue, arguments={"_emulator": {"ignore_cancel": True}})
    assert queue.cancel(job, 1.0) == "requested"
    queue.advance(100.0)
    assert job.ending.state == "succeeded"


def test_a_finished_job_cannot_be_cancelled():
    queue = build_queue()
    job = submit(queue)
    assert queue.cancel(job, 100.0) == "already_completed"
    assert job.ending.state == "succeeded"


def test_a_job_that_does_not_start_before_its_deadline_times_out():
    queue = build_queue(runners=1)
    submit(queue, arguments={"run_s": 10.0})
    late = submit(queue, start_timeout_s=4.0)
    queue.advance(3.9)
    assert late.state == "queued"
    queue.advance(4.0)
    assert late.ending.status_code == 504
    assert ("x-fal-request-timeout-type", "user") in late.ending.headers


def test_the_start_deadline_stops_counting_when_a_run_begins():
    queue = build_queue()
    job = submit(queue, start_timeout_s=1.0, arguments={"run_s": 5.0})
    queue.advance(100.0)
    assert job.ending.state == "succeeded"


def test_a_broken_run_goes_back_to_the_line_and_runs_again():
    queue = build_queue(runners=1)
    job = submit(queue, arguments={"run_s": 2.0, "_emulator": {"retries": 1}})
    other = submit(queue, arguments={"run_s": 2.0})
    queue.advance(2.5)
    assert (job.state, other.state) == ("queued", "running")
    queue.advance(10.0)
    assert (job.attempt, job.ending.state) == (2, "succeeded")


def test_no_retry_ends_a_broken_run_with_the_runner_error():
    queue = build_queue()
    job = submit(queue, no_retry=True, arguments={"_emulator": {"retries": 3}})
    queue.advance(100.0)
    assert (job.attempt, job.ending.error_type) == (1, "runner_disconnected")


def test_a_run_that_always_breaks_is_given_up_after_ten_attempts():
    queue = build_queue(server_retry_probability=1.0)
    job = submit(queue)
    queue.advance(1e4)
    assert (job.attempt, job.ending.status_code) == (10, 503)


@pytest.mark.parametrize(
    ("wish", "code", "error_type"),
    [
        ("runner_disconnected", 503, "runner_disconnected"),
        ("request_timeout", 504, "request_timeout"),
        ("never_heard_of", 500, "never_heard_of"),
        ("content_policy_violation", 422, None),
        (418, 418, None),
    ],
)
def test_an_input_can_ask_for_its_own_failure(wish, code, error_type):
    queue = build_queue()
    job = submit(queue, arguments={"_emulator": {"fail": wish, "run_s": 3.0}})
    queue.advance(3.0)
    assert (job.ending.status_code, job.ending.error_type) == (code, error_type)
    assert job.ending.state == "failed"


@pytest.mark.parametrize(
    "wishes", [3, {"fial": 500}, {"fail": 200}, {"fail": True}, {"run_s": -1}, {"run_s": "3"}]
)
def test_a_wish_that_makes_no_sense_ends_the_job_with_a_reason(wishes):
    queue = build_queue()
    job = submit(queue, arguments={"_emulator": wishes})
    queue.advance(1e3)
    assert job.ending.status_code == 422
    assert b"_emulator" in job.ending.body


def test_an_answer_that_is_certain_needs_no_model():
    queue = build_queue()
    job = submit(queue, answer=Answer(body={"detail": "no"}, status_code=422))
    queue.advance(1e3)
    assert job.ending.body == b'{"detail":"no"}'


def test_a_full_line_refuses():
    queue = build_queue(runners=0, max_queue_length=2)
    submit(queue)
    with pytest.raises(QueueFullError):
        submit(queue, max_queue_length=1)
    submit(queue)
    with pytest.raises(QueueFullError):
        submit(queue)


@pytest.mark.parametrize(
    ("settings", "request_stores", "prompt", "life_s"),
    [
        ({}, True, "short", 30 * 86400),
        ({}, False, "short", 3600),
        ({}, False, "x" * 10_000, 360),
        ({"stores_io": False}, True, "short", 3600),
        ({"result_life_s": 0.0}, True, "short", 0),
    ],
)
def test_a_result_lives_as_long_as_its_storage_and_size_say(
    settings, request_stores, prompt, life_s
):
    queue = build_queue(**settings)
    job = submit(queue, stores_io=request_stores, arguments={"prompt": prompt})
    queue.advance(100.0)
    assert job.expires - job.ended == pytest.approx(life_s)


def test_logs_are_spread_over_the_run():
    queue = build_queue()
    job = submit(queue, arguments={"run_s": 4.0})
    seen = [[line.message for line in queue.logs(job, now)] for now in (0.5, 1.0, 2.5, 9.0)]
    assert seen == [[], ["one"], ["one", "two"], ["one", "two", "three"]]


def test_many_thousand_waiting_jobs_keep_their_positions():
    queue = build_queue(runners=1)
    jobs = [submit(queue) for _ in range(20_000)]
    for job in jobs[5:19_000:7]:
        queue.cancel(job, 0.0)
    waiting = [job for job in jobs if job.state == "queued"]
    assert [queue.position(job) for job in waiting] == list(range(len(waiting)))


def test_equal_inputs_are_counted_whatever_the_order_of_their_keys():
    queue = build_queue()
    submit(queue, arguments={"a": 1, "b": 2})
    submit(queue, arguments={"b": 2, "a": 1})
    submit(queue, arguments={"a": 1, "b": 3})
    submit(queue, arguments={"a": 1, "b": 3}, intent="i1")
    submit(queue, arguments={"a": 9}, intent="i1")
    assert queue.ledger.duplicates == 2
    assert queue.ledger.jobs_per_input == {1: 1, 2: 1}
    assert queue.ledger.repeated_intents == 1


def test_the_default_account_runs_ten_jobs_at_once():
    queue = build_queue()
    for _ in range(15):
        submit(queue)
    assert (queue.in_progress, len(queue)) == (Scenario().runners, 5) == (10, 5)
