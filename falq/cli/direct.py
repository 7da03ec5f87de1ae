"""The commands that run without the queue: run, stream.

Owns what each asks of a session, what it prints, and what Ctrl-C leaves behind: a
run that nothing can cancel. It never parses words and never decides an exit code
of a failure (`failures`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from falq.cli.failures import FAILED
from falq.cli.live import BEAT_S, JobLine
from falq.cli.output import Output, dump_json
from falq.cli.results import deliver, fetch_media, print_answer
from falq.cli.running import Interrupted
from falq.live import RunKeywords
from falq.session import Session

_LEFT = "a direct run cannot be cancelled: fal may stop it, or finish and bill it"


@frozen(kw_only=True)
class DirectRequest:
    """One direct run as the command line asks for it.

    Attributes:
        endpoint: Where it goes.
        arguments: The model's input.
        timeout_s: Seconds for the whole run, or between two parts; None for the usual.
        validate: Whether the arguments are checked first.
        options: What `Session.run` takes beside it.
    """

    endpoint: str
    arguments: Mapping[str, Any]
    timeout_s: float | None
    validate: bool
    options: RunKeywords


async def run(request: DirectRequest, output: Output, *, download: Path | None) -> int:
    """Run an endpoint, print its output and fetch its media."""
    session = Session(validate=request.validate)
    async with _shown(request, output) as line, session:
        answer = await session.run(
            request.endpoint, request.arguments, timeout=request.timeout_s, **request.options
        )
        elapsed_s = line.elapsed_s
    output.note(f"done in {elapsed_s:.1f} s", style="green")
    return await deliver(answer, output, download, session)


async def stream(
    request: DirectRequest, output: Output, *, path: str, download: Path | None
) -> int:
    """Run an endpoint, print each part of its output as it comes and fetch the last one's media."""
    session = Session(validate=request.validate)
    count, last = 0, None
    async with _shown(request, output) as line, session:
        opening = session.stream(
            request.endpoint,
            request.arguments,
            path=path,
            timeout=request.timeout_s,
            **request.options,
        )
        async with opening as parts:
            async for last in parts:
                count += 1
                line.tell(f"{_count(count)} so far")
                if not _print_part(last, output):
                    return FAILED
        elapsed_s = line.elapsed_s
    output.note(f"done in {elapsed_s:.1f} s, {_count(count)}", style="green")
    return await fetch_media(last, output, download, session)


def _print_part(part: Any, output: Output) -> bool:
    """Print a part on a line of its own, on a terminal too; False if it cannot be printed."""
    if isinstance(part, bytes):
        return print_answer(part, output)
    output.line(dump_json(part))
    return True


def _count(parts: int) -> str:
    return f"{parts:,} part" if parts == 1 else f"{parts:,} parts"


@contextlib.asynccontextmanager
async def _shown(request: DirectRequest, output: Output) -> AsyncIterator[JobLine]:
    """Show how long a run takes: it says nothing until it answers. On Ctrl-C say what is left."""
    with JobLine(output, request.endpoint, phase="running, without the queue") as line:
        line.beat()
        beating = asyncio.create_task(_beat(line))
        try:
            yield line
        except asyncio.CancelledError:
            output.error(f"interrupted; {_LEFT}")
            raise Interrupted from None
        finally:
            beating.cancel()
            await asyncio.wait({beating})


async def _beat(line: JobLine) -> None:
    while True:
        await asyncio.sleep(BEAT_S)
        line.beat()
