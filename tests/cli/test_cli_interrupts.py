"""Ctrl-C, and the command that runs until it."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from falq.emulator import Scenario
from falq.session import Session

pytestmark = pytest.mark.slow

LONG = Scenario(run_s=3600)


@pytest.mark.parametrize("scenario", [LONG])
async def test_the_first_interrupt_of_subscribe_cancels_the_job_and_names_it(
    start_falq, reach, emulator
):
    command = await start_falq("subscribe", "acme/echo", "x=1", **reach)
    line = await command.wait_says("accepted as")
    request_id = line.rpartition(" ")[2].strip()
    command.interrupt()
    ran = await command.ended()
    assert (ran.code, ran.out) == (130, ""), ran
    assert ran.err.count(f"{request_id}: cancel requested") == 1
    stats = emulator.stats()
    assert stats.calls["cancel"] == 1
    assert stats.jobs_by_state["cancelled"] == 1


@pytest.mark.parametrize("scenario", [LONG])
async def test_an_interrupted_subscribe_that_detaches_leaves_the_job_and_says_how_to_go_on(
    start_falq, reach, emulator
):
    command = await start_falq("subscribe", "acme/echo", "--on-cancel", "detach", **reach)
    request_id = (await command.wait_says("accepted as")).rpartition(" ")[2].strip()
    command.interrupt()
    ran = await command.ended()
    assert ran.code == 130
    assert f"falq result acme/echo {request_id}" in ran.err
    assert emulator.stats().calls.get("cancel", 0) == 0


@pytest.mark.parametrize("scenario", [LONG])
async def test_an_interrupted_wait_for_a_result_leaves_the_job(
    start_falq, run_falq, reach, emulator
):
    submitted = await run_falq("submit", "acme/echo")
    ids = ("acme/echo", submitted.data["request_id"])
    watching = await start_falq("status", *ids, "--watch", **reach)
    await watching.wait_says("IN_PROGRESS", stream="stdout")
    watching.interrupt()
    ran = await watching.ended()
    assert ran.code == 130
    assert emulator.stats().calls.get("cancel", 0) == 0


async def test_the_emulator_command_prints_what_reaches_it_and_runs_until_interrupted(
    start_falq, run_falq
):
    command = await start_falq("emulator", "--speed", "1000", "--json")
    reach = json.loads(await command.wait_says("FALQ_BASE_URL", stream="stdout"))
    ran = await run_falq("subscribe", "acme/echo", "x=1", **reach)
    assert ran.data == {"x": "1"}
    command.interrupt()
    ended = await command.ended()
    assert ended.code == 130
    assert json.loads(ended.out)["jobs"] == 1


async def test_the_emulators_export_line_works_as_printed_also_over_tls(
    start_falq, run_falq, tmp_path
):
    words = ("--tls", "--ca-file", "ca.pem", "--speed", "1000", "--runners", "2", "--seed", "1")
    command = await start_falq("emulator", *words)
    line = await command.wait_says("export ", stream="stdout")
    reach = dict(re.findall(r"(\w+)=(\S+)", line))
    assert reach.keys() == {"FALQ_BASE_URL", "FAL_KEY", "SSL_CERT_FILE"}
    assert "BEGIN CERTIFICATE" in (tmp_path / "ca.pem").read_text()
    ran = await run_falq("subscribe", "acme/echo", "x=1", **reach)
    assert ran.data == {"x": "1"}, ran
    command.interrupt()
    ended = await command.ended()
    assert ended.code == 130
    assert "1 job (1 succeeded)" in ended.err


async def test_a_scenario_file_rules_the_emulator_and_a_bad_one_is_exit_3(start_falq, tmp_path):
    (tmp_path / "bad.toml").write_text("runers = 1\n")
    ran = await (await start_falq("emulator", "--scenario", "bad.toml")).ended()
    assert ran.code == 3
    assert "runers" in ran.err


async def test_a_taken_port_is_exit_3(start_falq, emulator):
    port = emulator.url.rpartition(":")[2]
    ran = await (await start_falq("emulator", "--port", port)).ended()
    assert ran.code == 3
    assert "--port" in ran.err


async def test_an_interrupted_demo_closes_and_says_where_its_files_are(start_falq):
    command = await start_falq("demo", "--jobs", "60", "--speed", "0.5")
    await command.wait_says("running")
    command.interrupt()
    ran = await command.ended()
    assert ran.code == 130, ran
    assert "files are in falq-demo" in ran.err
    counted = re.search(r"interrupted after (\d+) of 60 jobs", ran.err)
    assert counted is not None, ran
    assert int(counted[1]) < 60


@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["run", "dry run"])
async def test_one_interrupt_ends_a_batch_that_waits_for_a_silent_pipe(start_falq, reach, more):
    command = await start_falq("batch", "-", "--endpoint", "acme/echo", *more, **reach)
    # More than a pipe holds: once it is through, somebody reads.
    command.process.stdin.write(b"a cat\n" * 100_000)
    await command.process.stdin.drain()
    command.interrupt()
    async with asyncio.timeout(20.0):
        await command.process.wait()
    ran = await command.ended()
    assert (ran.code, ran.out) == (130, "")
    if not more:
        assert "before the batch began; run the same command again" in ran.err


async def test_a_session_beside_a_command_sees_the_same_job(run_falq, emulator):
    submitted = await run_falq("submit", "acme/echo", "x=1")
    async with Session(emulator.gateway) as session:
        assert await session.result("acme/echo", submitted.data["request_id"]) == {"x": "1"}
