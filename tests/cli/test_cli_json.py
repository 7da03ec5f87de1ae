"""With `--json` every failure is an object on stdout, whatever the exit code."""

from __future__ import annotations

import json

import pytest

from falq.emulator import Scenario

pytestmark = pytest.mark.slow

USAGE = [
    (("status", "acme/echo", "--colour"), "--colour"),
    (("subscribe", "acme/echo", "n:=oops"), "n"),
    (("subscribe", "echo", "n:=1"), "echo"),
    (("batch", "nothing.jsonl"), "nothing.jsonl"),
]


@pytest.mark.parametrize(("words", "named"), USAGE, ids=lambda one: " ".join(one[:1]))
async def test_wrong_usage_is_an_object_with_exit_code_2(run_falq, words, named):
    ran = await run_falq(*words, "--json")
    assert ran.code == 2, ran
    error = ran.data["error"]
    assert (error["kind"], error["exit_code"]) == ("ArgumentError", 2)
    assert named in error["message"]
    assert error["message"] in ran.err


async def test_a_setting_that_is_missing_is_an_object_with_exit_code_3(run_falq):
    ran = await run_falq("submit", "acme/echo", "--json", FAL_KEY="")
    assert ran.code == 3, ran
    error = ran.data["error"]
    assert (error["kind"], error["exit_code"], error["setting"]) == ("ConfigError", 3, "FAL_KEY")


async def test_a_refused_key_is_an_object_with_exit_code_3_and_without_the_key(run_falq):
    ran = await run_falq("submit", "acme/echo", "--json", FAL_KEY="wrong:key-nobody-has")
    assert ran.code == 3, ran
    assert ran.data["error"]["kind"] == "AuthenticationError"
    assert "key-nobody-has" not in ran.out + ran.err


async def test_bad_rows_are_in_the_object_by_their_lines(run_falq, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"n": 1}\n[]\n{\n')
    ran = await run_falq("batch", "rows.jsonl", "--endpoint", "acme/echo", "--json")
    assert ran.code == 2
    assert [line for line, _ in ran.data["error"]["problems"]] == ["line 2", "line 3"]


@pytest.mark.parametrize("scenario", [Scenario(is_locked=True)])
async def test_what_stops_a_batch_is_its_last_line(run_falq, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"n": 1}\n{"n": 2}\n{"n": 3}\n')
    words = ("batch", "rows.jsonl", "--endpoint", "acme/echo", "--max-jobs", "1", "--json")
    ran = await run_falq(*words, "--out", "out")
    last = ran.lines[-1]["error"]
    assert (last["kind"], last["exit_code"]) == ("AuthenticationError", ran.code)


async def test_without_json_stdout_stays_empty(run_falq):
    ran = await run_falq("subscribe", "echo", "n:=1")
    assert (ran.code, ran.out) == (2, "")


async def test_an_emulator_on_every_address_prints_one_that_falq_takes(start_falq, run_falq):
    command = await start_falq("emulator", "--host", "0.0.0.0", "--speed", "1000", "--json")
    reach = json.loads(await command.wait_says("FALQ_BASE_URL", stream="stdout"))
    ran = await run_falq("subscribe", "acme/echo", "x=1", **reach)
    assert ran.data == {"x": "1"}
    command.interrupt()
    await command.ended()
