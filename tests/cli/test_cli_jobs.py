"""Each command about jobs, as a process against an emulator."""

from __future__ import annotations

import json

import pytest

from falq.emulator import Fault, Scenario

pytestmark = pytest.mark.slow

SCHNELL = "fal-ai/flux/schnell"


async def test_subscribe_prints_the_result_as_one_line_and_saves_the_media(run_falq, tmp_path):
    words = ("prompt=a tiny cute cat", "num_images:=2", "image_size=square")
    ran = await run_falq("subscribe", SCHNELL, *words, "--download", "out")
    assert ran.code == 0, ran
    assert ran.data["prompt"] == "a tiny cute cat"
    saved = sorted((tmp_path / "out").iterdir())
    assert len(saved) == len(ran.data["images"]) == 2
    assert all(path.read_bytes()[:3] == b"\xff\xd8\xff" for path in saved)
    assert "saved out/" in ran.err
    assert "%|" in ran.err, "the job's log lines are shown"


async def test_subscribe_without_logs_and_quiet_says_nothing_on_stderr(run_falq):
    ran = await run_falq("subscribe", "acme/echo", "x:=1", "--no-logs", "--quiet", "--json")
    assert (ran.code, ran.data, ran.err) == (0, {"x": 1}, "")


async def test_arguments_come_from_standard_input(run_falq):
    ran = await run_falq("subscribe", "acme/echo", "-", "b=2", stdin='{"a": [1]}')
    assert (ran.code, ran.data) == (0, {"a": [1], "b": "2"})


async def test_submit_then_status_logs_and_result_from_other_processes(run_falq, emulator):
    submitted = await run_falq(
        "submit", SCHNELL, "prompt=x", "image_size=square", "--priority", "low"
    )
    assert submitted.code == 0, submitted
    assert submitted.data.keys() == {"request_id", "endpoint", "intent_id"}
    ids = (SCHNELL, submitted.data["request_id"])

    watched = await run_falq("status", *ids, "--watch", "--logs")
    assert watched.code == 0, watched
    assert watched.lines[-1]["status"] == "COMPLETED"
    assert "inference_time" in watched.lines[-1]["metrics"]

    asked = await run_falq("status", *ids)
    assert asked.data["status"] == "COMPLETED"
    assert asked.data["request_id"] == ids[1]

    printed = await run_falq("logs", *ids)
    assert "100%" in printed.out
    followed = await run_falq("logs", *ids, "--follow", "--json")
    assert followed.lines
    assert all("message" in line for line in followed.lines)

    result = await run_falq("result", *ids, "--no-wait")
    assert result.code == 0
    assert result.data["prompt"] == "x"
    assert emulator.stats().submits == 1


@pytest.mark.parametrize("scenario", [Scenario(runners=0)])
async def test_a_job_in_line_is_not_finished_and_can_be_cancelled(run_falq):
    submitted = await run_falq("submit", "acme/echo", "x=1")
    ids = ("acme/echo", submitted.data["request_id"])
    early = await run_falq("result", *ids, "--no-wait")
    assert (early.code, early.out) == (1, "")
    assert "not finished: queued" in early.err
    cancelled = await run_falq("cancel", *ids)
    assert (cancelled.code, cancelled.data["cancel_outcome"]) == (0, "requested")
    again = await run_falq("cancel", *ids)
    assert (again.code, again.data["cancel_outcome"]) == (1, "already_completed")
    ended = await run_falq("result", *ids, "--json")
    assert (ended.code, ended.data["error"]["kind"]) == (1, "JobCancelledError")


async def test_cancelling_an_unknown_request_says_so(run_falq):
    ran = await run_falq("cancel", "acme/echo", "019f72e4-5e1e-7143-8a50-9d1f0f3c2b11")
    assert (ran.code, ran.data["cancel_outcome"]) == (1, "not_found")


async def test_a_refused_input_is_exit_1_with_the_reason(run_falq):
    ran = await run_falq("subscribe", SCHNELL, "prompt=x", "num_inference_steps:=400", "--json")
    assert ran.code == 1
    assert ran.data["error"]["kind"] == "JobInputError"
    assert "num_inference_steps" in ran.err


async def test_a_job_that_dies_on_the_runner_is_exit_1_also_for_its_status(run_falq):
    ran = await run_falq("submit", "acme/echo", '_emulator:={"fail": "runner_disconnected"}')
    status = await run_falq("status", "acme/echo", ran.data["request_id"], "--watch")
    assert status.code == 1, status
    assert status.lines[-1]["error_type"] == "runner_disconnected"


@pytest.mark.parametrize("scenario", [Scenario(run_s=3600)])
async def test_a_time_out_cancels_the_job_and_is_exit_1(run_falq, emulator):
    ran = await run_falq("subscribe", "acme/echo", "--timeout", "1.5")
    assert ran.code == 1
    assert "1.5" in ran.err
    assert emulator.stats().calls["cancel"] == 1


@pytest.mark.parametrize("scenario", [Scenario(faults=[Fault("reset", "submit", when="after")])])
async def test_a_lost_answer_to_a_submit_names_the_intent_and_sends_nothing_again(
    run_falq, emulator
):
    ran = await run_falq("submit", "acme/echo", "--json")
    assert ran.code == 1, ran
    assert ran.data["error"]["kind"] == "SubmissionUnknownError"
    assert ran.data["error"]["intent_id"] in ran.err
    assert emulator.stats().submits == 1


async def test_terminal_escapes_and_markup_of_a_job_stay_text(run_falq):
    text = "\x1b[2Jgone [bold]x[/bold] \u202e\x9b"
    ran = await run_falq("subscribe", "acme/echo", "-", stdin=json.dumps({"say": text}))
    assert ran.data == {"say": text}
    assert ran.out.rstrip("\n").isprintable()


async def test_download_failures_keep_the_printed_result(run_falq, emulator):
    url = f"{emulator.url}/files/00000000/nothing.png"
    ran = await run_falq("subscribe", "acme/echo", f"image.url={url}", "--download", "out")
    assert ran.code == 1
    assert ran.data == {"image": {"url": url}}
    assert "404" in ran.err
