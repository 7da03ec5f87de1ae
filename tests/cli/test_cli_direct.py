"""`falq run` and `falq stream`, as processes against an emulator."""

from __future__ import annotations

import pytest

from falq.emulator import Scenario

pytestmark = pytest.mark.slow

SCHNELL = "fal-ai/flux/schnell"


async def test_run_prints_the_output_and_saves_its_media_without_the_queue(
    run_falq, emulator, tmp_path
):
    words = ("prompt=a tiny cute cat", "image_size=square", "--download", "out")
    ran = await run_falq("run", SCHNELL, *words)
    assert ran.code == 0, ran
    assert ran.data["prompt"] == "a tiny cute cat"
    (saved,) = (tmp_path / "out").iterdir()
    assert saved.read_bytes()[:3] == b"\xff\xd8\xff"
    assert "done in" in ran.err
    assert emulator.stats().submits == 0


async def test_run_takes_arguments_from_standard_input_and_options(run_falq):
    ran = await run_falq(
        *("run", "acme/echo", "-", "b=2", "--hint", "warm", "--tag", "team=art"),
        *("--no-store-io", "--start-timeout", "30", "--timeout", "20", "--json", "--quiet"),
        stdin='{"a": [1]}',
    )
    assert (ran.code, ran.data, ran.err) == (0, {"a": [1], "b": "2"}, "")


async def test_a_run_that_is_refused_is_exit_1_with_the_failure(run_falq):
    ran = await run_falq("run", "acme/echo", '_emulator:={"fail": 422}', "--json")
    assert (ran.code, ran.data["error"]["kind"]) == (1, "InvalidInputError")


async def test_wrong_arguments_are_exit_2_before_anything_runs(run_falq, emulator):
    ran = await run_falq("run", SCHNELL, "prompt=x", "steps:=4", "--validate")
    assert (ran.code, ran.out) == (2, ""), ran
    assert "num_inference_steps" in ran.err
    assert not emulator.stats().calls.get("run")


async def test_stream_prints_each_part_as_a_line(run_falq):
    ran = await run_falq("stream", "acme/echo", "n:=1")
    assert ran.code == 0, ran
    assert len(ran.lines) == 4
    assert ran.lines[-1] == {"n": 1}
    assert "4 parts" in ran.err


async def test_stream_saves_the_media_of_the_last_part(run_falq, tmp_path):
    words = ("prompt=a cat", "image_size=square", "--download", "out")
    ran = await run_falq("stream", SCHNELL, *words)
    assert ran.code == 0, ran
    assert len(list((tmp_path / "out").iterdir())) == len(ran.lines[-1]["images"]) == 1


async def test_the_parts_before_an_error_are_printed_and_then_the_failure(run_falq):
    ran = await run_falq("stream", "acme/echo", '_emulator:={"fail": 500}', "--json")
    assert ran.code == 1, ran
    *parts, last = ran.lines
    assert parts
    assert last["error"]["kind"] == "JobFailedError"
    assert last["error"]["possibly_billed"] is True
    assert "it may have been billed" in ran.err


@pytest.mark.parametrize("scenario", [Scenario(run_s=3600)])
@pytest.mark.parametrize("name", ["run", "stream"])
async def test_ctrl_c_says_that_nothing_can_cancel_the_run(start_falq, reach, name):
    command = await start_falq(name, "acme/echo", **reach)
    await command.wait_says("running, without the queue (")
    command.interrupt()
    ran = await command.ended()
    assert ran.code == 130
    assert ran.out == "" or name == "stream"
    assert "interrupted" in ran.err
    assert "cannot be cancelled: fal may stop it, or finish and bill it" in ran.err


@pytest.mark.parametrize("name", ["run", "stream"])
async def test_a_gateway_that_has_no_direct_runs_is_exit_3(run_falq, emulator, name):
    ran = await run_falq(
        *(name, "acme/echo", "n:=1"), FALQ_GATEWAY="maton", MATON_API_KEY=emulator.key
    )
    assert (ran.code, ran.out) == (3, ""), ran
    assert "queue only" in ran.err
    assert not emulator.stats().calls
