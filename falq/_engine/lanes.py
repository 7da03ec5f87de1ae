"""Lanes for calls: how many are in flight per verb, how fast, and pauses after a 429.

Owns the waiting of calls. Each verb has a lane of its own, so that a cancel is
never stuck behind polls. `flow` does the arithmetic; `carrier` and the two
clients are the only callers.

Order in which a call passes: its lane, the shared pause, the account's rate. The
pause comes after the lane, so that it holds for those as well who were in line
when it began. The rate serves cancels first, and polls behind submits and results.

A submit whose intent has to be written lends its place meanwhile: a disk takes longer
than some servers, and the places are for calls. It comes back before all that wait.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType

from falq._core.flow import AdaptiveLimit, Cooldown, Lead, TokenBucket
from falq._core.messages import Verb
from falq.errors import SessionClosedError

HANDICAPS_S = {
    Verb.CANCEL: -3600.0,
    Verb.SUBMIT: 0.0,
    Verb.RESULT: 0.0,
    Verb.STATUS: 5.0,
    Verb.PLATFORM: 5.0,
    Verb.RUN: 0.0,
    Verb.STORAGE: 0.0,
    Verb.STREAM: 5.0,
}
"""Where a call stands in the line for the account's rate, as if it had come so much later.

A check so lets every submit and result of five seconds pass, and is not held up
for ever by an endless stream of them.
"""

LONGEST_READ_PAUSE_S = 20.0
"""How long a refused call may hold up checks and results of other jobs, in seconds."""

CANCEL_LANE = 4
"""Calls kept free for cancels, out of `max_calls`.

There may be as many as `max_calls` when a session is left, or a thousand tasks are
cancelled at once: what cannot be cancelled in time runs on and is billed, and four at a
time would be forty a second where a call takes 0.1 s.
"""

OTHER_LANES = {Verb.PLATFORM: 4, Verb.STORAGE: 8, Verb.RUN: 64, Verb.STREAM: 1}
"""Calls to other hosts than the queue's, and streams, on top of `max_calls`.

A direct run holds its place until the model is done, a stream until it ends.
"""

_NEVER_PAUSED = frozenset({Verb.CANCEL, *OTHER_LANES} - {Verb.STREAM})


def share_calls(max_calls: int) -> dict[Verb, int]:
    """Return how many calls each lane of the queue may have in flight, for a session's total.

    Those of cancels are on top, but for `CANCEL_LANE`.
    """
    third, rest = divmod(max(3, max_calls - CANCEL_LANE), 3)
    return {
        Verb.SUBMIT: third,
        Verb.STATUS: third,
        Verb.RESULT: third + rest,
        Verb.CANCEL: max(CANCEL_LANE, max_calls),
    }


class Lanes:
    """The way of every call to the transport.

    Args:
        capacities: Calls in flight at most, per verb; `OTHER_LANES` unless named.
        rate: Calls a second for all verbs together, if there is such a limit.
        clock: Loop time in seconds.
    """

    def __init__(
        self,
        capacities: Mapping[Verb, int],
        *,
        rate: TokenBucket | None,
        clock: Callable[[], float],
    ) -> None:
        places = {**OTHER_LANES, **capacities}
        self._lanes = {verb: _Lane(capacity) for verb, capacity in places.items()}
        self._gate = None if rate is None else _RateGate(rate, clock)
        self._submit_cooldown = Cooldown()
        self._read_cooldown = Cooldown()
        self._clock = clock

    def in_flight(self, verb: Verb) -> int:
        """Return the calls of one verb that hold a place."""
        return self._lanes[verb].in_flight

    def limit(self, verb: Verb) -> int:
        """Return how many calls of one verb may be in flight now."""
        return self._lanes[verb].adaptive.limit

    async def enter(self, verb: Verb) -> None:
        """Wait until a call of `verb` may go; `leave` must follow.

        A cancelled wait leaves nothing behind.

        Raises:
            SessionClosedError: It was closed before the account's rate let the call pass.
        """
        lane = self._lanes[verb]
        if not lane.enter_now():
            await lane.wait()
        if self._gate is None and self._pause_left_s(verb) <= 0.0:
            return
        try:
            await self._wait_turn(verb)
        except BaseException:
            lane.leave()
            raise

    async def _wait_turn(self, verb: Verb) -> None:
        while True:
            await self._wait_out_pause(verb)
            if self._gate is None:
                return
            await self._gate.pass_through(HANDICAPS_S[verb])
            if self._pause_left_s(verb) <= 0.0:
                return
            # It began while this call waited for its turn.
            self._gate.give_back()

    def _pause_left_s(self, verb: Verb) -> float:
        if verb in _NEVER_PAUSED:
            return 0.0
        cooldown = self._submit_cooldown if verb is Verb.SUBMIT else self._read_cooldown
        return cooldown.left_s(self._clock())

    async def _wait_out_pause(self, verb: Verb) -> None:
        left_s = self._pause_left_s(verb)
        while left_s > 0.0:
            await asyncio.sleep(left_s)
            # Another refusal may have made it longer meanwhile.
            left_s = self._pause_left_s(verb)

    def leave(self, verb: Verb) -> None:
        """Give back the place of a call that ended, however it did."""
        self._lanes[verb].leave()

    def lent(self, verb: Verb) -> _Lent:
        """Return a context for a call that has entered and has to be made ready first.

        Others have its place meanwhile, if not too many lend theirs already. It holds
        one again at the end of the context, also if that raises or its wait for one is
        cancelled.
        """
        return _Lent(self._lanes[verb], self._clock)

    def record_call(self, verb: Verb, took_s: float) -> None:
        """Count how long a call was on the way, in seconds; `lent` goes by it."""
        self._lanes[verb].lead.record_call(took_s)

    def record_success(self, verb: Verb) -> None:
        """Count an answer that shows a healthy server."""
        self._lanes[verb].adaptive.record_success()

    def record_trouble(self, verb: Verb) -> None:
        """Count a 429, 503 or time-out: fewer calls of this verb go at once."""
        self._lanes[verb].adaptive.record_trouble(self._clock())

    def close(self) -> None:
        """Let no call wait for the rate any more: those who do are told that it is over."""
        if self._gate is not None:
            self._gate.close()

    def pause(self, wait_s: float) -> None:
        """Make every call of the queue but cancels wait `wait_s` seconds at least.

        Status checks and results wait `LONGEST_READ_PAUSE_S` at most: a server that
        takes no new jobs for minutes must not keep paid results from being fetched
        while they last.
        """
        now = self._clock()
        self._submit_cooldown.extend(now, wait_s)
        self._read_cooldown.extend(now, min(wait_s, LONGEST_READ_PAUSE_S))


class _Lane:
    """One verb's places and those who wait for one, in order."""

    __slots__ = ("_lenders", "_returning", "_waiters", "adaptive", "in_flight", "lead")

    def __init__(self, capacity: int) -> None:
        self.adaptive = AdaptiveLimit(capacity, floor=min(4, capacity))
        self.lead = Lead()
        self.in_flight = 0
        self._lenders = 0
        self._returning: deque[asyncio.Future[None]] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()

    def enter_now(self) -> bool:
        if self._waiters or self._returning or self.in_flight >= self.adaptive.limit:
            return False
        self.in_flight += 1
        return True

    async def wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        self.in_flight -= 1
        if self._returning:
            self._admit(self._returning)
        if self._waiters:
            self._admit(self._waiters)

    def _admit(self, line: deque[asyncio.Future[None]]) -> None:
        while line and self.in_flight < self.adaptive.limit:
            waiter = line.popleft()
            if not waiter.done():
                self.in_flight += 1
                waiter.set_result(None)

    def lend(self) -> bool:
        if self._lenders >= self.lead.limit(self.adaptive.limit):
            return False
        self._lenders += 1
        self.leave()
        return True

    async def take_back(self) -> None:
        """Wait for a place; it is held afterwards even if the wait is cancelled."""
        if not self._returning and self.in_flight < self.adaptive.limit:
            self.reclaim()
            return
        waiter = asyncio.get_running_loop().create_future()
        self._returning.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.done() or waiter.cancelled():
                self.in_flight += 1
            raise
        finally:
            self._lenders -= 1

    def reclaim(self) -> None:
        """Take a place, whether one is free or not."""
        self._lenders -= 1
        self.in_flight += 1


class _Lent:
    """A place that others may have meanwhile; see `Lanes.lent`."""

    __slots__ = ("_clock", "_is_lent", "_lane", "_since")

    def __init__(self, lane: _Lane, clock: Callable[[], float]) -> None:
        self._lane = lane
        self._clock = clock

    async def __aenter__(self) -> None:
        self._since = self._clock()
        self._is_lent = self._lane.lend()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            if self._is_lent:
                self._lane.reclaim()
            return
        self._lane.lead.record_ready(self._clock() - self._since)
        if self._is_lent:
            await self._lane.take_back()


class _RateGate:
    """Lets calls through at a rate, the most urgent first."""

    def __init__(self, bucket: TokenBucket, clock: Callable[[], float]) -> None:
        self._bucket = bucket
        self._clock = clock
        self._waiters: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def pass_through(self, handicap_s: float) -> None:
        self._check_open()
        if not self._waiters and self._bucket.take(self._clock()):
            return
        waiter = asyncio.get_running_loop().create_future()
        place = self._clock() + handicap_s
        heapq.heappush(self._waiters, (place, next(self._order), waiter))
        self._arm()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._bucket.give_back()
            raise
        self._check_open()

    def _check_open(self) -> None:
        if self._is_closed:
            raise SessionClosedError("the session is closed; open a new one")

    def give_back(self) -> None:
        """Return a passage that was not used."""
        self._bucket.give_back()

    def _arm(self) -> None:
        if self._timer is None and self._waiters:
            wait_s = self._bucket.wait_s(self._clock())
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._open)

    def _open(self) -> None:
        self._timer = None
        while self._waiters:
            waiter = self._waiters[0][2]
            if not waiter.done():
                if not self._bucket.take(self._clock()):
                    break
                waiter.set_result(None)
            heapq.heappop(self._waiters)
        self._arm()

    def close(self) -> None:
        """Send away those who wait, and drop the timer."""
        self._is_closed = True
        for _, _, waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
