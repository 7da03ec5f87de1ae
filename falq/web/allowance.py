"""How much each user of a proxy may do.

Owns the counts of users: calls now, calls and jobs of the last minute. It never
waits and reads no clock: `relay` passes the instant in. A user that did nothing
for a minute is forgotten.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque

from attrs import define, field, frozen, validators

_MINUTE_S = 60.0


@frozen(kw_only=True)
class ProxyLimits:
    """What a user of a proxy may do. All count whole calls, not bytes.

    Attributes:
        calls_at_once: Calls of one user in flight, streams among them.
        calls_per_minute: Calls of one user in any 60 seconds, status checks among
            them: @fal-ai/client makes 120 for each job that it waits for.
        jobs_per_minute: Submits and direct runs of one user in any 60 seconds.
        all_calls_at_once: Calls of all users in flight.
    """

    calls_at_once: int = field(default=8, validator=validators.ge(1))
    calls_per_minute: int = field(default=600, validator=validators.ge(1))
    jobs_per_minute: int = field(default=20, validator=validators.ge(1))
    all_calls_at_once: int = field(default=500, validator=validators.ge(1))


@define
class _User:
    in_flight: int = 0
    calls: deque[float] = field(factory=deque)
    jobs: deque[float] = field(factory=deque)


class Allowance:
    """The counts of a proxy's users.

    Args:
        limits: What each may do.
    """

    def __init__(self, limits: ProxyLimits) -> None:
        self._limits = limits
        # By latest call, the oldest first.
        self._users: OrderedDict[str, _User] = OrderedDict()
        self.in_flight = 0

    @property
    def known(self) -> int:
        """Users that are remembered."""
        return len(self._users)

    def take(self, name: str, *, is_job: bool, now: float) -> int | None:
        """Take a place for a call; `give_back` must follow if there was one.

        Args:
            name: The user.
            is_job: Whether the call makes a job.
            now: The instant in seconds, never before that of an earlier call.

        Returns:
            None if the call may go, else whole seconds to wait, 1 or more. What is
            refused is not counted.
        """
        self._forget(now)
        limits = self._limits
        user = self._users.get(name) or _User()
        waits_s = [
            _wait_s(user.calls, limits.calls_per_minute, now),
            _wait_s(user.jobs, limits.jobs_per_minute, now) if is_job else 0.0,
        ]
        is_full = (
            user.in_flight >= limits.calls_at_once or self.in_flight >= limits.all_calls_at_once
        )
        if is_full or any(waits_s):
            return max(1, math.ceil(max(waits_s)))
        user.calls.append(now)
        if is_job:
            user.jobs.append(now)
        user.in_flight += 1
        self.in_flight += 1
        self._users[name] = user
        self._users.move_to_end(name)
        return None

    def give_back(self, name: str) -> None:
        """Give back a place that `take` gave."""
        self.in_flight -= 1
        self._users[name].in_flight -= 1

    def _forget(self, now: float) -> None:
        while self._users:
            name, user = next(iter(self._users.items()))
            if user.calls and user.calls[-1] + _MINUTE_S > now:
                return
            if user.in_flight:
                # A stream that lasts: looked at again when all others were.
                self._users.move_to_end(name)
                return
            del self._users[name]


def _wait_s(instants: deque[float], most: int, now: float) -> float:
    while instants and instants[0] + _MINUTE_S <= now:
        instants.popleft()
    return instants[0] + _MINUTE_S - now if len(instants) >= most else 0.0
