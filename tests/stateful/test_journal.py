"""Both journals against a dict of states: the same laws, call by call."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from falq._journal.memory import MemoryJournal
from falq._journal.records import PlannedJob
from falq._journal.sqlite import SqliteJournal
from falq._journal.states import ENDS, RETRYABLE, RecordState, may_move
from falq.errors import JournalError

S = RecordState
NUMBERS = st.integers(1, 6)
IDS = st.sampled_from("abcdefgh")


class JournalMachine(RuleBasedStateMachine):
    """The dict knows each job's state and which ids are taken, and no more."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.journals: list[SqliteJournal | MemoryJournal] = [
            SqliteJournal(self.folder / "journal.db"),
            MemoryJournal(),
        ]
        self.states: dict[int, RecordState] = {}
        self.intents: set[str] = set()
        self.requests: set[str] = set()
        for journal in self.journals:
            self.run(journal.open())

    def run(self, verb: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(verb)

    def teardown(self) -> None:
        for journal in self.journals:
            self.run(journal.aclose())
        self.runner.close()
        shutil.rmtree(self.folder)

    def tell(self, name: str, *values: Any, is_legal: bool, **named: Any) -> list[Any]:
        """Tell both, and require of both that they agree with the dict."""
        answers = []
        for journal in self.journals:
            verb = getattr(journal, name)(*values, **named)
            if is_legal:
                answers.append(self.run(verb))
            else:
                with pytest.raises(JournalError):
                    self.run(verb)
        return answers

    def can(self, number: int, after: RecordState) -> bool:
        return number in self.states and may_move(self.states[number], after)

    @precondition(lambda self: len(self.states) < 5)
    @rule(count=st.integers(1, 2))
    def plan(self, *, count: int) -> None:
        job = PlannedJob(endpoint="a/b", input_sha256="00")
        first, second = self.tell("plan", [job] * count, is_legal=True)
        assert first == second
        self.states.update(dict.fromkeys(first, S.PLANNED))

    @rule(number=NUMBERS, intent_id=IDS)
    def send(self, *, number: int, intent_id: str) -> None:
        is_legal = self.can(number, S.SENDING) and intent_id not in self.intents
        self.tell("record_sending", number, intent_id=intent_id, sent_at=1.5, is_legal=is_legal)
        if is_legal:
            self.states[number] = S.SENDING
            self.intents.add(intent_id)

    @rule(number=NUMBERS, intent_id=IDS)
    def resend(self, *, number: int, intent_id: str) -> None:
        is_legal = self.states.get(number) is S.UNKNOWN and intent_id not in self.intents
        facts = {"intent_id": intent_id, "sent_at": 1.5, "is_resend": True}
        self.tell("record_sending", number, **facts, is_legal=is_legal)
        if is_legal:
            self.states[number] = S.SENDING
            self.intents.add(intent_id)

    @rule(number=NUMBERS, request_id=IDS)
    def accept(self, *, number: int, request_id: str) -> None:
        is_legal = self.can(number, S.ACCEPTED) and request_id not in self.requests
        self.tell("record_accepted", number, request_id, is_legal=is_legal)
        if is_legal:
            self.states[number] = S.ACCEPTED
            self.requests.add(request_id)

    @rule(number=NUMBERS)
    def not_sent(self, *, number: int) -> None:
        is_legal = self.states.get(number) is S.SENDING
        self.tell("record_not_sent", number, "refused", is_legal=is_legal)
        if is_legal:
            self.states[number] = S.PLANNED

    @rule(number=NUMBERS)
    def lose(self, *, number: int) -> None:
        is_legal = self.can(number, S.UNKNOWN)
        self.tell("record_unknown", number, "reset", is_legal=is_legal)
        if is_legal:
            self.states[number] = S.UNKNOWN

    @rule(number=NUMBERS)
    def complete(self, *, number: int) -> None:
        for journal in self.journals:
            self.run(self.hint(journal, number))
        if self.states.get(number) is S.ACCEPTED:
            self.states[number] = S.COMPLETED

    @staticmethod
    async def hint(journal: SqliteJournal | MemoryJournal, number: int) -> None:
        journal.record_completed_nowait(number)
        await journal.flush()

    @rule(number=NUMBERS, body=st.binary(max_size=8))
    def fetch(self, *, number: int, body: bytes) -> None:
        is_legal = self.can(number, S.FETCHED)
        self.tell("record_result", number, body, inference_s=0.1, is_legal=is_legal)
        if is_legal:
            self.states[number] = S.FETCHED
            assert self.tell("load_result", number, is_legal=True) == [body, body]

    @rule(number=NUMBERS)
    def deliver(self, *, number: int) -> None:
        is_legal = self.can(number, S.DELIVERED)
        self.tell("record_delivered", number, is_legal=is_legal)
        if is_legal:
            self.states[number] = S.DELIVERED

    @rule(number=NUMBERS, state=st.sampled_from(sorted(ENDS)))
    def end(self, *, number: int, state: RecordState) -> None:
        is_legal = self.can(number, state)
        self.tell("record_ended", number, state, {"why": 1}, is_legal=is_legal)
        if is_legal:
            self.states[number] = state

    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=2))
    def retry(self, *, numbers: list[int]) -> None:
        is_legal = len(set(numbers)) == len(numbers) and all(
            self.states.get(number) in RETRYABLE for number in numbers
        )
        self.tell("record_retry", numbers, is_legal=is_legal)
        if is_legal:
            self.states.update(dict.fromkeys(numbers, S.PLANNED))

    @rule()
    def restart(self) -> None:
        old = self.journals[0]
        assert isinstance(old, SqliteJournal)
        self.run(old.aclose())
        self.journals[0] = SqliteJournal(old.path)
        self.run(self.journals[0].open())
        sending = [number for number, state in self.states.items() if state is S.SENDING]
        counts = self.tell("mark_interrupted", is_legal=True)
        assert counts == [len(sending)] * 2
        self.states.update(dict.fromkeys(sending, S.UNKNOWN))

    @invariant()
    def both_agree_with_the_dict(self) -> None:
        counted = Counter(self.states.values())
        expected = {state: counted[state] for state in S}
        assert self.tell("load_counts", is_legal=True) == [expected, expected]
        claimed = self.tell("load_claimed_request_ids", "abcdefgh", is_legal=True)
        assert claimed == [self.requests, self.requests]

    @invariant()
    def both_hold_the_same_rows(self) -> None:
        in_file, in_memory = (self.run(rows_of(journal)) for journal in self.journals)
        assert in_file == in_memory
        assert {row[0]: row[1] for row in in_memory} == self.states


async def rows_of(journal: SqliteJournal | MemoryJournal) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    async for page in journal.load_jobs(page=2):
        for job in page:
            attempts = await journal.load_attempts(job.number)
            rows.append(
                (
                    job.number,
                    job.state,
                    job.request_id,
                    job.intent_id,
                    job.attempts,
                    job.sent_at,
                    job.reason,
                    job.error,
                    job.ended_at is None,
                    job.completed_at is None,
                    [(a.n, a.intent_id, a.request_id, a.outcome, a.reason) for a in attempts],
                )
            )
    return rows


TestJournal = pytest.mark.slow(JournalMachine.TestCase)
TestJournal.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
