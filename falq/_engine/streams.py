"""Follow jobs by status streams, a bounded number at a time.

Owns the streams in flight. A stream brings statuses sooner than polling and with
fewer calls; it decides nothing, and polling stays the safety net: the poller keeps
a followed job at its slowest pace, and gets it back at once when its stream ends
without the job's end, for whatever reason. `driver` starts and stops streams.

Rules:
    1. A job has one stream, or is polled. It gets no second stream after one that
       broke: what broke it is likely to break the next.
    2. A reader that wants log lines and comes late gets the server's window by one
       status check, because a stream brings new lines only.
    3. A server that refuses the first few streams is asked for no more of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from attrs import define

from falq._core.direct import is_event_stream
from falq._core.sse import EventReader
from falq._core.statusstream import build_status_stream, read_status_event
from falq._engine.job import Job
from falq._engine.listening import HeldStream
from falq._engine.queue_client import QueueClient
from falq.errors import FalqError, SessionClosedError
from falq.model import Completed, Status, Ticket

logger = logging.getLogger("falq")

IDLE_S = 45.0
"""Silence after which a stream is given up, in seconds: three of fal's pings, of 15 s each."""

REFUSALS = 3
"""Streams refused in a row, before any was granted, after which none is asked for."""

_END_S = 1.0
"""How long the end of a reply is waited for, so that its connection can be used again."""

_REFUSAL_CODES = frozenset({400, 401, 403, 404, 405, 406, 410, 501})


class Follower(Protocol):
    """Who hears what a stream brings."""

    def heard_in_stream(self, job: Job, status: Status) -> None:
        """Take in a status."""
        ...

    def lost_stream(self, job: Job) -> None:
        """Go on without a stream."""
        ...


@define
class _Following:
    """One job's stream, and how many readers of log lines it knows of.

    Attributes:
        task: What follows the job.
        readers: Readers of log lines when the stream was asked for; None before that.
    """

    task: asyncio.Task[Any]
    readers: int | None = None


class StatusStreams:
    """The status streams of a session.

    Args:
        client: Who opens them.
        follower: Who hears of statuses and of lost streams.
        most: Returns how many streams may be open now; further jobs are polled.
        limit_bytes: Largest event.
        spawn: Starts a task that the session owns.
    """

    def __init__(
        self,
        client: QueueClient,
        *,
        follower: Follower,
        most: Callable[[], int],
        limit_bytes: int,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[Any]],
    ) -> None:
        self._client = client
        self._follower = follower
        self._most = most
        self._limit_bytes = limit_bytes
        self._spawn = spawn
        self._followed: dict[Job, _Following] = {}
        self._open = 0
        self._refusals = 0
        self._was_granted = False

    @property
    def open(self) -> int:
        """Streams under way."""
        return self._open

    def start(self, job: Job, *, is_late: bool = False) -> bool:
        """Follow an accepted job; return False if it is to be polled instead.

        Args:
            job: Whose statuses are wanted.
            is_late: Whether it was accepted some time ago: rule 2.
        """
        if job.ticket is None or self._open >= self._most() or self._refusals >= REFUSALS:
            return False
        try:
            self._begin(job, job.ticket, is_late=is_late and job.with_logs > 0)
        except SessionClosedError:
            # It ends in this moment, and the job with it.
            return False
        return True

    def stop(self, job: Job) -> None:
        """Stop following a job; nothing happens if it is not followed."""
        following = self._followed.pop(job, None)
        if following is not None:
            following.task.cancel()

    def renew(self, job: Job) -> bool:
        """Return whether a job is followed; its stream then brings what new readers want."""
        following = self._followed.get(job)
        if following is None or job.ticket is None:
            return False
        if following.readers is not None and job.with_logs > following.readers:
            self.stop(job)
            self._begin(job, job.ticket, is_late=True)
        return True

    def _begin(self, job: Job, ticket: Ticket, *, is_late: bool) -> None:
        task = self._spawn(self._follow(job, ticket, is_late=is_late))
        # Not in the task: one that is cancelled before it begins would never give it back.
        self._open += 1
        task.add_done_callback(self._give_back)
        self._followed[job] = _Following(task)

    def _give_back(self, _: asyncio.Task[Any]) -> None:
        self._open -= 1

    async def _follow(self, job: Job, ticket: Ticket, *, is_late: bool) -> None:
        try:
            if is_late:
                self._tell(job, await self._client.check(ticket, logs=True))
            else:
                # Who waits for the acceptance says now whether it wants log lines.
                await asyncio.sleep(0)
            following = self._followed.get(job)
            if following is not None:
                following.readers = job.with_logs
                await self._listen(job, ticket)
        except FalqError as error:
            logger.debug("a status stream ended: %s", error)
        except Exception:
            logger.exception("a bug in falq broke a status stream; its job is polled")
        if self._followed.pop(job, None) is not None:
            self._follower.lost_stream(job)

    async def _listen(self, job: Job, ticket: Ticket) -> None:
        call = build_status_stream(ticket, logs=job.with_logs > 0)
        stream = await self._client.carrier.listen(call, idle_s=IDLE_S)
        try:
            if stream.status_code != 200 or not is_event_stream(stream.headers):
                self._note_refusal(stream.status_code)
                return
            self._was_granted, self._refusals = True, 0
            await self._read(job, ticket, stream)
        finally:
            stream.close()

    async def _read(self, job: Job, ticket: Ticket, stream: HeldStream) -> None:
        reader = EventReader(limit_bytes=self._limit_bytes)
        while piece := await stream.read():
            for event in reader.feed(piece):
                status = read_status_event(event, ticket)
                if status is None:
                    continue
                self._tell(job, status)
                if isinstance(status, Completed):
                    await _read_end(stream)
                    return

    def _tell(self, job: Job, status: Status) -> None:
        if isinstance(status, Completed):
            # First: the driver stops the streams of a job that has ended.
            self._followed.pop(job, None)
        self._follower.heard_in_stream(job, status)

    def _note_refusal(self, status_code: int) -> None:
        if self._was_granted or (status_code >= 300 and status_code not in _REFUSAL_CODES):
            return
        self._refusals += 1
        if self._refusals == REFUSALS:
            logger.warning(
                "the gateway answers status streams with HTTP %d; jobs are polled", status_code
            )


async def _read_end(stream: HeldStream) -> None:
    try:
        async with asyncio.timeout(_END_S):
            while await stream.read():
                pass
    except (FalqError, TimeoutError):
        return
