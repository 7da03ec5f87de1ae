"""What a person sees on a terminal: the line that is drawn anew, and its colors."""

from __future__ import annotations

import asyncio
import os
import re
import sys

import pytest

pty = pytest.importorskip("pty", reason="needs pseudo-terminals")

pytestmark = pytest.mark.slow

COLOR = re.compile(r"\x1b\[(?:\d+;)*3[0-9](?:;\d+)*m")
UP_OR_ERASE = re.compile(r"\x1b\[\d*[AK]")


def read_to_its_end(terminal: int) -> str:
    """What was written to a terminal until its last writer went."""
    said = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            # Linux tells the end of a pseudo-terminal as an error.
            piece = b""
        if not piece:
            return said.decode()
        said += piece


async def watch_falq(*words: str, **variables: str) -> tuple[int | None, str, str]:
    """Run `falq` with stderr on a terminal; return its code, stdout and what was seen."""
    terminal, end = pty.openpty()
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "falq", *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=end,
            env=kept | {"TERM": "xterm-256color", "COLUMNS": "100", "PYTHONUTF8": "1"} | variables,
        )
    finally:
        os.close(end)
    try:
        seen = asyncio.to_thread(read_to_its_end, terminal)
        (out, _), said = await asyncio.gather(process.communicate(), seen)
    finally:
        os.close(terminal)
    return process.returncode, out.decode(), said


async def test_a_terminal_gets_a_line_that_is_drawn_anew_in_color(reach):
    code, out, seen = await watch_falq("subscribe", "acme/echo", "x=1", **reach)
    assert (code, out) == (0, '{"x": "1"}\n')
    assert COLOR.search(seen)
    assert UP_OR_ERASE.search(seen)
    assert "acme/echo" in seen


async def test_no_color_takes_the_colors_away_and_leaves_the_line(reach):
    code, _, seen = await watch_falq("subscribe", "acme/echo", "x=1", NO_COLOR="1", **reach)
    assert code == 0
    assert not COLOR.search(seen)
    assert UP_OR_ERASE.search(seen)


async def test_a_quiet_command_leaves_a_terminal_empty(reach):
    code, _, seen = await watch_falq("subscribe", "acme/echo", "x=1", "--quiet", **reach)
    assert (code, seen) == (0, "")


async def test_a_batch_is_drawn_on_a_terminal_with_its_bar_on_a_line_of_its_own(reach, tmp_path):
    manifest = tmp_path / "prompts.txt"
    manifest.write_text("".join(f"cat {n}\n" for n in range(20)))
    words = ("batch", str(manifest), "--endpoint", "acme/echo", "--out", str(tmp_path / "out"))
    code, out, seen = await watch_falq(*words, **reach)
    assert code == 0
    assert "20 rows: 20 succeeded" in out
    assert "Traceback" not in seen
    assert "running" in seen
    assert not re.search(r"━[^\r\n]*running", seen)


async def test_data_that_come_while_a_line_is_drawn_go_to_stdout_all_the_same(reach):
    code, out, seen = await watch_falq("stream", "acme/echo", "n:=1", **reach)
    assert code == 0
    assert out.splitlines()[-1] == '{"n": 1}'
    assert len(out.splitlines()) == 4
    assert '{"n": 1}' not in seen


async def test_the_rows_of_a_batch_go_to_stdout_while_its_picture_is_drawn(reach, tmp_path):
    manifest = tmp_path / "rows.jsonl"
    manifest.write_text('{"n": 1}\n{"n": 2}\n')
    words = ("batch", str(manifest), "--endpoint", "acme/echo", "--out", str(tmp_path / "out"))
    code, out, _ = await watch_falq(*words, "--json", **reach)
    assert code == 0
    assert len(out.splitlines()) == 2
