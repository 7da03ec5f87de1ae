"""Help, usage errors, keys, the network, and what is never shown."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from falq.cli.doctor import check_gateway, read_clock, read_queue_reply
from falq.emulator import Scenario
from falq.gateways import Maton
from tests.support import a_reply

pytestmark = pytest.mark.slow

MARKER = "canary5f1e7c0ffee"
CANARY = f"keyid-{MARKER}:{MARKER}"
COMMANDS = ("submit", "subscribe", "status", "logs", "result", "cancel")
COMMANDS += ("emulator", "doctor", "demo", "version")


def python(source: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # a fresh interpreter: what is loaded here is loaded for good
        [sys.executable, "-c", source], capture_output=True, text=True, check=False, timeout=40
    )


def test_help_loads_neither_aiohttp_nor_the_session():
    ran = python(
        "import sys\n"
        "from falq.cli import main\n"
        "code = main(['--help'])\n"
        "heavy = {'aiohttp', 'falq.session', 'falq._engine', 'falq.emulator'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "sys.exit(code)"
    )
    assert ran.returncode == 0, ran.stderr
    assert all(command in ran.stdout for command in COMMANDS)


@pytest.mark.parametrize("package", ["cyclopts", "rich"])
def test_without_its_extra_it_names_the_pip_command_and_exits_3(package):
    ran = python(
        f"import sys; sys.modules[{package!r}] = None\n"
        "from falq.cli import main\n"
        "sys.exit(main(['--help']))"
    )
    assert ran.returncode == 3, ran.stderr
    assert ran.stderr.count("\n") == 1
    assert "pip install 'falq[cli]'" in ran.stderr


async def test_every_command_has_help_and_takes_no_key(run_falq):
    for command in COMMANDS:
        ran = await run_falq(command, "--help")
        assert ran.code == 0, ran
        assert "--key" not in ran.out


async def test_help_comes_out_on_a_terminal_that_knows_ascii_alone(run_falq):
    ran = await run_falq("--help", PYTHONIOENCODING="ascii")
    assert (ran.code, ran.err) == (0, "")
    assert "130 interrupted" in ran.out


async def test_version_is_the_packages(run_falq):
    import falq

    assert (await run_falq("version")).out == f"falq {falq.__version__}\n"
    assert (await run_falq("--version")).out == f"falq {falq.__version__}\n"
    assert (await run_falq("version", "--json")).data == {"version": falq.__version__}


@pytest.mark.parametrize(
    "words",
    [
        ("subscrib",),
        ("subscribe",),
        ("subscribe", "no-owner"),
        ("subscribe", "acme/echo", "prompt"),
        ("subscribe", "acme/echo", "n:=two"),
        ("subscribe", "acme/echo", "--priority", "high"),
        ("subscribe", "acme/echo", "--start-timeout", "0.5"),
        ("subscribe", "acme/echo", "--tag", "nothing"),
        ("subscribe", "acme/echo", "--nonsense"),
        ("result", "acme/echo", "../../victim"),
        ("demo", "--jobs", "3"),
        ("emulator", "--port", "70000"),
    ],
)
async def test_wrong_usage_is_exit_2_and_sends_nothing(run_falq, emulator, words):
    ran = await run_falq(*words)
    assert (ran.code, ran.out) == (2, ""), ran
    assert ran.err.startswith("falq: ")
    assert sum(emulator.stats().calls.values()) == 0


async def test_without_a_key_it_names_the_variables_and_exits_3(start_falq):
    ran = await (await start_falq("submit", "acme/echo")).ended()
    assert ran.code == 3
    assert "FAL_KEY" in ran.err
    assert "MATON_API_KEY" in ran.err


async def test_a_wrong_key_is_exit_3(run_falq):
    ran = await run_falq("subscribe", "acme/echo", FAL_KEY=CANARY)
    assert ran.code == 3
    assert "401" in ran.err
    assert MARKER not in ran.out + ran.err


async def test_a_wrong_key_is_exit_3_for_a_cancel_too(run_falq):
    ids = ("acme/echo", "019f72e4-5e1e-7143-8a50-9d1f0f3c2b11")
    ran = await run_falq("cancel", *ids, FAL_KEY=CANARY)
    assert (ran.code, ran.out) == (3, "")
    assert "401" in ran.err


async def test_no_network_is_exit_1_with_one_clear_line(run_falq):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # bound, not listening: refused for sure
        port = holder.getsockname()[1]
        for words in (
            ("submit", "a/b"),
            ("status", "a/b", "r1", "--watch"),
            ("logs", "a/b", "r1", "--follow"),
            ("result", "a/b", "r1"),
        ):
            ran = await run_falq(*words, FALQ_BASE_URL=f"http://127.0.0.1:{port}")
            assert ran.code == 1, ran
            assert ran.err.count("\n") == 1
            assert "check the network" in ran.err


@pytest.mark.parametrize("scenario", [Scenario(speed=1000.0, keys=(CANARY,))])
async def test_the_key_is_in_no_output_whatever_happens(run_falq, reach):
    said = ""
    for words in (
        ("doctor",),
        ("subscribe", "acme/echo", "x=1"),
        ("subscribe", "fal-ai/flux/schnell", "num_images:=99"),
        ("submit", "not-an-endpoint"),
        ("result", "acme/echo", "unknown-id"),
        ("cancel", "acme/echo", "unknown-id"),
    ):
        for variables in ({}, {"FALQ_LOG": "debug"}, {"FALQ_BASE_URL": "http://127.0.0.1:9"}):
            ran = await run_falq(*words, **variables)
            said += ran.out + ran.err
    assert "x" in said
    assert MARKER not in said


@pytest.mark.parametrize("key", [f"{MARKER}", f"a b:{MARKER}", f"{MARKER}:b:c"])
async def test_a_malformed_key_is_exit_3_and_not_shown(run_falq, key):
    ran = await run_falq("submit", "acme/echo", FAL_KEY=key)
    assert ran.code == 3
    assert MARKER not in ran.out + ran.err


async def test_doctor_is_content_with_an_emulator(run_falq):
    ran = await run_falq("doctor", "--json")
    assert ran.code == 0, ran
    found = {line["subject"]: line["level"] for line in ran.lines}
    assert found.keys() >= {"versions", "extras", "key", "gateway", "network"}
    assert set(found.values()) == {"ok"}


async def test_doctor_fails_without_a_key_with_a_wrong_one_and_without_a_network(run_falq):
    for variables, subject in (
        ({"FAL_KEY": ""}, "key"),
        ({"FAL_KEY": "a:b"}, "network"),
        ({"FALQ_BASE_URL": "http://127.0.0.1:9"}, "network"),
    ):
        ran = await run_falq("doctor", "--json", **variables)
        assert ran.code == 3, ran
        assert [line["subject"] for line in ran.lines if line["level"] == "fail"] == [subject]


def test_doctor_says_why_a_gateway_was_chosen():
    gateway, findings = check_gateway({"FAL_KEY": "a:b", "MATON_API_KEY": "m"})
    assert gateway is not None
    assert gateway.name == "fal"
    assert "FALQ_GATEWAY=maton" in findings[-1].text
    gateway, findings = check_gateway({"MATON_API_KEY": "m"})
    assert gateway is not None
    assert gateway.name == "maton"
    assert "MATON_API_KEY" in findings[-1].text


def test_doctor_finds_a_setting_that_no_session_would_take():
    gateway, findings = check_gateway({"FAL_KEY": "a:b", "FALQ_MAX_CONCURRENCY": "many"})
    assert gateway is None
    assert [(one.level, one.subject) for one in findings] == [("fail", "settings")]
    assert "FALQ_MAX_CONCURRENCY" in findings[0].text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("words", [("version",), ("doctor",)])
async def test_a_full_disk_behind_stdout_is_a_line_and_exit_1(words, reach, tmp_path):
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "falq", *words),
            stdout=full,
            stderr=asyncio.subprocess.PIPE,
            cwd=tmp_path,
            env={**os.environ, **reach},
        )
    finally:
        os.close(full)
    _, said = await process.communicate()
    assert process.returncode == 1
    assert said.decode().splitlines()[0] == "falq: No space left on device"


@pytest.mark.parametrize(
    ("apart_s", "level"), [(0, "ok"), (-59, "ok"), (61, "warn"), (-7200, "warn")]
)
def test_doctor_warns_of_clocks_a_minute_apart(apart_s, level):
    reply = a_reply(404, headers={"Date": "Sat, 21 Nov 2026 10:00:00 GMT"})
    assert read_clock(reply, 1795255200 + apart_s).level == level


def test_doctor_reads_the_answer_about_a_request_that_does_not_exist():
    fal, maton = check_gateway({"FAL_KEY": "a:b"})[0], Maton(key="m")
    assert fal is not None
    assert read_queue_reply(a_reply(404), fal).level == "ok"
    assert read_queue_reply(a_reply(401), fal).level == "fail"
    assert read_queue_reply(a_reply(502), fal).level == "warn"
    assert "connection" in read_queue_reply(a_reply(400), maton).text


async def test_a_reader_that_leaves_early_causes_no_noise(start_falq, reach):
    command = await start_falq("subscribe", "acme/echo", "x=1", "--quiet", **reach)
    assert command.process.stdout is not None
    command.process.stdout._transport.close()
    assert command.process.stderr is not None
    assert await command.process.stderr.read() == b""
    assert await command.process.wait() == 1


async def test_json_on_stdout_is_one_line_of_plain_json(run_falq):
    ran = await run_falq("subscribe", "acme/echo", "say=caf\u00e9 \u4f60\u597d")
    assert json.loads(ran.out) == {"say": "caf\u00e9 \u4f60\u597d"}
    assert "caf\u00e9" in ran.out
