"""Who may start: a total, limits per endpoint, priorities, order of arrival.

Owns the waiting line and the count of jobs in flight. It never waits:
`scheduler` wakes those that `grant` returns.

Rules:
    1. Never more in flight than the total, nor than an endpoint's own limit.
    2. Every normal job goes before every low one that could start as well.
    3. Within one priority the endpoints take turns; within one endpoint the
       first to come goes first.
    4. A full endpoint does not hold up the others, and costs nothing while it
       is full: its line is set aside until a slot of it comes back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from attrs import define, field


@define
class _Line:
    """The jobs of one endpoint and priority that wait, in order of arrival."""

    endpoint: str
    jobs: OrderedDict[int, None] = field(factory=OrderedDict)


@define(eq=False)
class Admission:
    """The line before a session's slots.

    Args:
        total: Jobs in flight at most, 1 or more.
        per_endpoint: Limits of single endpoints, by full id, each 1 or more.
        default_per_endpoint: Limit of an endpoint that has none of its own.
    """

    total: int
    per_endpoint: dict[str, int] = field(factory=dict)
    default_per_endpoint: int | None = None
    _in_flight: int = field(init=False, default=0)
    _per_endpoint_now: dict[str, int] = field(init=False, factory=dict)
    _lines: dict[tuple[int, str], _Line] = field(init=False, factory=dict)
    _turns: dict[int, OrderedDict[str, None]] = field(init=False, factory=dict)
    _places: dict[int, tuple[int, str]] = field(init=False, factory=dict)

    @property
    def in_flight(self) -> int:
        """Jobs that hold a slot."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """Jobs in the line."""
        return len(self._places)

    def in_flight_of(self, endpoint: str) -> int:
        """Return the jobs of one endpoint that hold a slot."""
        return self._per_endpoint_now.get(endpoint, 0)

    def limit_of(self, endpoint: str) -> int:
        """Return the limit that holds for one endpoint."""
        own = self.per_endpoint.get(endpoint, self.default_per_endpoint)
        return self.total if own is None else min(own, self.total)

    def set_limits(
        self, *, total: int | None = None, per_endpoint: Mapping[str, int] | None = None
    ) -> None:
        """Change limits; jobs in flight above a lowered one keep their slots."""
        if total is not None:
            self.total = total
        if per_endpoint is not None:
            self.per_endpoint.update(per_endpoint)
        for rank, endpoint in self._lines:
            self._offer(rank, endpoint)

    def take_now(self, endpoint: str) -> bool:
        """Take a slot if one is free and nobody waits; return whether it was taken."""
        if self._places or self._in_flight >= self.total or not self._has_room(endpoint):
            return False
        self._occupy(endpoint)
        return True

    def take(self, endpoint: str) -> None:
        """Take a slot whatever the limits say: for a job that runs already."""
        self._occupy(endpoint)

    def join(self, job: int, endpoint: str, *, rank: int) -> None:
        """Put a job at the end of its line.

        Args:
            job: Its number.
            endpoint: Full id.
            rank: 0 for normal, 1 for low.
        """
        self._places[job] = rank, endpoint
        line = self._lines.get((rank, endpoint))
        if line is None:
            line = self._lines[rank, endpoint] = _Line(endpoint)
            self._turns.setdefault(rank, OrderedDict())
        line.jobs[job] = None
        self._offer(rank, endpoint)

    def withdraw(self, job: int) -> bool:
        """Take a job out of the line; return whether it was in it."""
        place = self._places.pop(job, None)
        if place is None:
            return False
        self._drop(job, *place)
        return True

    def release(self, endpoint: str) -> None:
        """Give back a slot."""
        self._in_flight -= 1
        left = self._per_endpoint_now[endpoint] - 1
        if left:
            self._per_endpoint_now[endpoint] = left
        else:
            del self._per_endpoint_now[endpoint]
        for rank in self._turns:
            if (rank, endpoint) in self._lines:
                self._offer(rank, endpoint)

    def grant(self) -> list[int]:
        """Return the jobs that may start now, each with its slot taken, in order."""
        granted: list[int] = []
        for rank in sorted(self._turns):
            turns = self._turns[rank]
            while turns and self._in_flight < self.total:
                endpoint, _ = turns.popitem(last=False)
                if not self._has_room(endpoint):
                    continue
                job = next(iter(self._lines[rank, endpoint].jobs))
                del self._places[job]
                self._drop(job, rank, endpoint)
                self._occupy(endpoint)
                granted.append(job)
                if (rank, endpoint) in self._lines:
                    turns[endpoint] = None
        return granted

    def _offer(self, rank: int, endpoint: str) -> None:
        if self._has_room(endpoint):
            self._turns[rank].setdefault(endpoint)

    def _has_room(self, endpoint: str) -> bool:
        return self.in_flight_of(endpoint) < self.limit_of(endpoint)

    def _occupy(self, endpoint: str) -> None:
        self._in_flight += 1
        self._per_endpoint_now[endpoint] = self.in_flight_of(endpoint) + 1

    def _drop(self, job: int, rank: int, endpoint: str) -> None:
        line = self._lines[rank, endpoint]
        del line.jobs[job]
        if not line.jobs:
            del self._lines[rank, endpoint]
            self._turns[rank].pop(endpoint, None)
