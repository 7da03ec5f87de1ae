"""A job's statuses for a page that stays open.

Owns the waiting for three things at once: a status, silence, and the end of the app.
It writes nothing: what a page is told is the app's business. `app_session` calls it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from falq._engine.handle import Handle, StatusStream
from falq.model import Status
from falq.web.draining import Draining


async def follow(
    handle: Handle, draining: Draining, *, logs: bool, heartbeat_s: float
) -> AsyncGenerator[Status | None, None]:
    """Yield statuses until the job ends or the app drains; None after silence.

    Args:
        handle: The job.
        draining: The app's.
        logs: Whether to bring log lines.
        heartbeat_s: How long silence may last, in seconds.

    Raises:
        FalqError: As `Handle.events`.
    """
    stream = handle.events(logs=logs)
    end = asyncio.ensure_future(draining.wait())
    step: asyncio.Task[Status] | None = None
    try:
        while True:
            step = step or asyncio.ensure_future(_next(stream))
            await asyncio.wait({step, end}, timeout=heartbeat_s, return_when="FIRST_COMPLETED")
            if step.done():
                done, step = step, None
                try:
                    status = done.result()
                except StopAsyncIteration:
                    return
                yield status
            elif end.done():
                return
            else:
                yield None
    finally:
        stream.close()
        end.cancel()
        if step is not None:
            await _drop(step)


async def _next(stream: StatusStream) -> Status:
    return await anext(stream)


async def _drop(step: asyncio.Task[Status]) -> None:
    step.cancel()
    await asyncio.wait({step})
    if not step.cancelled():
        # What it raised has nobody left to hear of it, the loop's complaint included.
        step.exception()
