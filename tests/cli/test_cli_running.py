"""A command at its outermost edge: what reaches it, and what is said of it."""

from __future__ import annotations

import asyncio
import gc

from falq.cli.output import Output
from falq.cli.running import Interrupted, run_command


def run_with_stray(error: Exception) -> int:
    """Run a command that leaves a task behind which ends with `error` and is never asked."""

    async def stray() -> None:
        raise error

    async def command() -> int:
        task = asyncio.create_task(stray())
        await asyncio.wait({task})
        del task
        gc.collect()
        return 0

    return run_command(command, Output())


def test_one_more_interrupt_while_a_command_tidies_up_is_no_bug(capsys):
    assert run_with_stray(Interrupted()) == 0
    assert capsys.readouterr().err == ""


def test_any_other_error_that_nobody_asked_for_is_told(capsys):
    assert run_with_stray(ValueError("lost")) == 0
    assert "a bug in falq: ValueError: lost" in capsys.readouterr().err
