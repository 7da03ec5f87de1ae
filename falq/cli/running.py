"""Run one command to its exit code.

Owns the event loop of a command, what Ctrl-C does, and that a failure becomes
lines and a code instead of a traceback. It never knows what a command does.

Ctrl-C cancels the command's task once; commands tell what they leave behind. A
second Ctrl-C leaves at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

from falq.cli.failures import INTERRUPTED, describe_failure, exit_code_of, failure_as_data
from falq.cli.garbage import collect_seldom
from falq.cli.loops import choose_loop
from falq.cli.output import Output
from falq.errors import FalqError


class Interrupted(Exception):  # noqa: N818  an end, not an error
    """Ctrl-C, after the command has tidied up and said what it left."""


def run_command(command: Callable[[], Coroutine[Any, Any, int]], output: Output) -> int:
    """Run a coroutine function on a loop of its own and return the exit code."""
    _set_up_logging()
    collect_seldom()
    try:
        with asyncio.Runner(loop_factory=choose_loop(os.environ)) as runner:
            return runner.run(_run(command, output))
    except (KeyboardInterrupt, Interrupted, asyncio.CancelledError):
        return INTERRUPTED
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # noqa: BLE001  the outermost edge: a person reads what comes
        return tell_failure(error, output)


async def _run(command: Callable[[], Coroutine[Any, Any, int]], output: Output) -> int:
    def tell_stray(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Interrupted):
            # One more Ctrl-C while the command tidied up; it has said what it left.
            return
        if error is None or _log_level() == logging.DEBUG:
            loop.default_exception_handler(context)
        else:
            # In a task that nobody waits for: the command goes on, without a traceback.
            tell_failure(error, Output(is_quiet=output.is_quiet, console=output.console))

    asyncio.get_running_loop().set_exception_handler(tell_stray)
    return await command()


def tell_failure(error: BaseException, output: Output) -> int:
    """Print an error and return its exit code."""
    code = exit_code_of(error)
    is_known = isinstance(error, FalqError | OSError)
    if _log_level() == logging.DEBUG and not is_known:
        output.console.print("".join(traceback.format_exception(error)), markup=False)
    first, *rest = describe_failure(error)
    output.error(first)
    for line in rest:
        output.console.print(line, markup=False)
    if output.is_json:
        output.data(failure_as_data(error))
    return code


def _log_level() -> int | None:
    word = os.environ.get("FALQ_LOG", "").upper()
    return {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARNING": logging.WARNING}.get(word)


def _set_up_logging() -> None:
    """Send falq's own log to stderr if `FALQ_LOG` asks for it."""
    level, logger = _log_level(), logging.getLogger("falq")
    if level is None:
        # Commands say themselves what went wrong; once is enough.
        logger.addHandler(logging.NullHandler())
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(level)
