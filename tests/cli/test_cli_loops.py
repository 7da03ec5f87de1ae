"""Which event loop a command runs on."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from falq.cli.loops import choose_loop, describe_loop
from falq.cli.output import Output
from falq.cli.running import run_command
from falq.errors import ConfigError

needs_uvloop = pytest.mark.skipif(sys.platform == "win32", reason="there is no uvloop for Windows")

WITHOUT_UVLOOP = """
import sys
sys.modules["uvloop"] = None
from falq.cli.loops import choose_loop
from falq.errors import ConfigError
print(choose_loop({}))
try:
    choose_loop({"FALQ_LOOP": "uvloop"})
except ConfigError as error:
    print(error)
"""


async def tell_loop() -> int:
    print(describe_loop(asyncio.get_running_loop()))  # noqa: T201  what the test reads
    return 0


@needs_uvloop
@pytest.mark.parametrize("word", [None, "", "uvloop", " UVLOOP"])
def test_a_command_runs_on_uvloop_where_it_is_installed(monkeypatch, capsys, word):
    monkeypatch.delenv("FALQ_LOOP", raising=False)
    if word is not None:
        monkeypatch.setenv("FALQ_LOOP", word)
    assert run_command(tell_loop, Output()) == 0
    assert capsys.readouterr().out.startswith("uvloop ")


def test_a_command_runs_on_pythons_own_loop_if_it_is_told_to(monkeypatch, capsys):
    monkeypatch.setenv("FALQ_LOOP", "asyncio")
    assert run_command(tell_loop, Output()) == 0
    assert capsys.readouterr().out.startswith("Python's own")


def test_a_loop_that_is_not_known_is_a_setting_to_correct(monkeypatch, capsys):
    monkeypatch.setenv("FALQ_LOOP", "trio")
    assert run_command(tell_loop, Output()) == 3
    assert "FALQ_LOOP is 'asyncio' or 'uvloop'" in capsys.readouterr().err


@pytest.mark.slow
def test_without_uvloop_pythons_own_is_used_and_asking_for_it_names_the_extra():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_UVLOOP], capture_output=True, text=True, check=True
    )
    chosen, refused = done.stdout.splitlines()
    assert chosen == "None"
    assert "pip install 'falq[speed]'" in refused


def test_choosing_names_the_setting():
    with pytest.raises(ConfigError) as caught:
        choose_loop({"FALQ_LOOP": "curio"})
    assert caught.value.setting == "FALQ_LOOP"
