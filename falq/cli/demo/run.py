"""Run the demonstration: emulator, session, jobs, downloads.

Owns the tasks of the demonstration and their end. Everything is closed when it
is left, also by Ctrl-C. `plan` says which jobs, `ledger` hears how they go.
"""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

from attrs import frozen

from falq.cli.demo.display import DemoDisplay
from falq.cli.demo.ledger import Entry, Ledger
from falq.cli.demo.plan import SCHNELL, SDXL, UPSCALER, plan_jobs
from falq.cli.demo.report import DemoRun, print_summary, write_page
from falq.cli.failures import OK
from falq.cli.output import Output
from falq.cli.running import Interrupted
from falq.emulator import Emulator
from falq.errors import FalqError
from falq.media import Downloader, find_media
from falq.model import InProgress
from falq.session import Session

RUNNERS = 24
_DOWNLOADS_AT_ONCE = 6


@frozen(kw_only=True)
class _Stage:
    """What the tasks of one demonstration share."""

    session: Session
    downloader: Downloader
    ledger: Ledger
    pictures: asyncio.Queue[str]
    turns: asyncio.Semaphore


async def demonstrate(
    output: Output, *, jobs: int, folder: Path, speed: float, has_page: bool
) -> int:
    """Run the demonstration.

    Args:
        output: Where to say what happens.
        jobs: How many jobs.
        folder: Where media and page go.
        speed: Divides the run times of the emulated models.
        has_page: Whether to write the page.
    """
    has_upscaler, has_video = _is_installed("PIL"), _is_installed("av")
    planned = plan_jobs(jobs, has_upscaler=has_upscaler, has_video=has_video)
    _tell_what_is_missing(output, has_upscaler=has_upscaler, has_video=has_video)
    loop = asyncio.get_running_loop()
    ledger = Ledger(planned, now=loop.time())
    ended = 0
    try:
        async with (
            Emulator(runners=RUNNERS, speed=speed, seed=7) as emulator,
            Session(emulator.gateway, on_event=ledger.hear, on_exit="cancel") as session,
            Downloader(folder / "media", allow_loopback=True) as downloader,
        ):
            output.note(f"{jobs} jobs on an emulated fal queue at {emulator.url}", style="bold")
            stage = _Stage(
                session=session,
                downloader=downloader,
                ledger=ledger,
                pictures=asyncio.Queue(),
                turns=asyncio.Semaphore(_DOWNLOADS_AT_ONCE),
            )
            ledger.started_at = loop.time()
            with DemoDisplay(ledger, output) as display:
                try:
                    await _run_all(stage, display)
                finally:
                    # Leaving the session ends the rest: those are not to be counted.
                    ended = ledger.settled
            run = DemoRun(
                ledger=ledger,
                folder=folder,
                elapsed_s=loop.time() - ledger.started_at,
                emulated=emulator.stats(),
                statistics=session.statistics(),
            )
    except asyncio.CancelledError:
        output.error(f"interrupted after {ended} of {jobs} jobs; files are in {folder}")
        raise Interrupted from None
    page = await asyncio.to_thread(write_page, run, output) if has_page else None
    print_summary(run, page, output)
    return OK


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _tell_what_is_missing(output: Output, *, has_upscaler: bool, has_video: bool) -> None:
    if not has_upscaler:
        output.note("no upscaler and plain pictures without Pillow: pip install 'falq[emulator]'")
    if not has_video:
        output.note("no videos without PyAV: pip install 'falq[video]'")


async def _run_all(stage: _Stage, display: DemoDisplay) -> None:
    failure: Exception
    try:
        async with asyncio.TaskGroup() as group:
            beat = group.create_task(display.beat())
            tasks = [group.create_task(_run_one(stage, entry)) for entry in stage.ledger.entries]
            await asyncio.wait(tasks)
            beat.cancel()
    except ExceptionGroup as failures:
        # One says it all: a disk that is full refuses the other downloads as well.
        failure = failures.exceptions[0]
    else:
        return
    raise failure


async def _run_one(stage: _Stage, entry: Entry) -> None:
    """Run one job to its end; a job that fails is an entry, not an exception."""
    arguments: dict[str, Any] = dict(entry.job.arguments)
    if entry.job.endpoint == UPSCALER:
        arguments["image_url"] = await stage.pictures.get()
    entry.arguments = arguments
    try:
        handle = await stage.session.submit(entry.job.endpoint, arguments)
        stage.ledger.link(entry, handle.job_id)
        if entry.job.role == "cancelled":
            async for status in handle.events():
                if isinstance(status, InProgress):
                    break
            await handle.cancel()
        entry.result = await handle
    except FalqError as error:
        now = asyncio.get_running_loop().time()
        stage.ledger.fail(entry, error, now=now)
        return
    if entry.job.endpoint in {SCHNELL, SDXL}:
        for ref in find_media(entry.result)[:1]:
            stage.pictures.put_nowait(ref.url)
    async with stage.turns:
        entry.files = await stage.downloader.fetch(entry.result)
