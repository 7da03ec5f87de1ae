"""`Admission` against a plain list that is scanned anew each time."""

from __future__ import annotations

from collections import Counter

import pytest
from attrs import frozen
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from falq._core.admission import Admission

ENDPOINTS = st.sampled_from("abcd")


@frozen
class Job:
    number: int
    endpoint: str
    rank: int


class AdmissionMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.total, self.limits = 3, {"a": 1, "b": 2}
        self.line = Admission(self.total, per_endpoint=dict(self.limits))
        self.waiting: list[Job] = []
        self.running: list[str] = []
        self.admitted: set[Job] = set()
        self.joined = 0

    def has_room(self, endpoint: str) -> bool:
        limit = min(self.limits.get(endpoint, self.total), self.total)
        return len(self.running) < self.total and self.running.count(endpoint) < limit

    def could_start(self) -> list[Job]:
        return [job for job in self.waiting if self.has_room(job.endpoint)]

    @rule(endpoint=ENDPOINTS, rank=st.integers(0, 1))
    def join(self, endpoint: str, rank: int) -> None:
        job = Job(self.joined, endpoint, rank)
        self.joined += 1
        self.line.join(job, endpoint, rank=rank)
        self.waiting.append(job)

    @rule(endpoint=ENDPOINTS)
    def take_now(self, endpoint: str) -> None:
        expected = not self.waiting and self.has_room(endpoint)
        assert self.line.take_now(endpoint) is expected
        if expected:
            self.running.append(endpoint)

    @rule()
    def grant(self) -> None:
        for job in self.line.grant():
            assert job not in self.admitted
            self.admitted.add(job)
            candidates = self.could_start()
            assert job in candidates
            assert job.rank == min(other.rank for other in candidates)
            before = [
                other
                for other in self.waiting
                if (other.endpoint, other.rank) == (job.endpoint, job.rank)
            ]
            assert before[0] == job
            self.waiting.remove(job)
            self.running.append(job.endpoint)
        assert not self.could_start()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        endpoint = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.line.release(endpoint)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        job = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        assert self.line.withdraw(job)
        assert not self.line.withdraw(job)

    @rule(total=st.integers(1, 6))
    def change_the_total(self, total: int) -> None:
        self.total = total
        self.line.set_limits(total=total)

    @rule(endpoint=ENDPOINTS, limit=st.integers(1, 6))
    def change_an_endpoints_limit(self, endpoint: str, limit: int) -> None:
        self.limits[endpoint] = limit
        self.line.set_limits(per_endpoint={endpoint: limit})

    @invariant()
    def the_counts_agree(self) -> None:
        assert self.line.in_flight == len(self.running)
        assert self.line.waiting == len(self.waiting)
        counts = Counter(self.running)
        assert all(self.line.in_flight_of(endpoint) == counts[endpoint] for endpoint in "abcd")

    def teardown(self) -> None:
        """Everybody who waits is started in the end."""
        for _ in range(len(self.waiting) + len(self.running) + 1):
            self.grant()
            for endpoint in self.running:
                self.line.release(endpoint)
            self.running.clear()
        assert not self.waiting


TestAdmission = AdmissionMachine.TestCase
TestAdmission.pytestmark = pytest.mark.slow
TestAdmission.settings = settings(deadline=None, stateful_step_count=40)
