"""`map`: lazy, with back-pressure, and one bad input never stops the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping

import pytest

import falq
from falq.emulator import Scenario
from falq.testing import LoopbackEmulator


class Source:
    """Counts how far it was pulled."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.pulled = 0

    def __iter__(self) -> Iterator[dict[str, int]]:
        for n in range(self.size):
            self.pulled += 1
            yield {"n": n}

    async def later(self, delay_s: float = 0.0) -> AsyncIterator[dict[str, int]]:
        for given in self:
            await asyncio.sleep(delay_s)
            yield given


async def test_ordered_outcomes_come_in_the_order_of_the_inputs(a_session):
    emulator = LoopbackEmulator(Scenario(runners=20))
    async with a_session(emulator, max_jobs=20) as session:
        outcomes = session.map("acme/echo", Source(200), ordered=True)
        indexes = [(outcome.index, outcome.result["n"]) async for outcome in outcomes]
    assert indexes == [(n, n) for n in range(200)]


async def test_unordered_outcomes_come_as_they_end_and_none_is_missing(a_session):
    emulator = LoopbackEmulator(Scenario(runners=20))
    async with a_session(emulator, max_jobs=20) as session:
        indexes = [o.index async for o in session.map("acme/echo", Source(200))]
    assert indexes != sorted(indexes)
    assert sorted(indexes) == list(range(200))


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_million_inputs_are_not_pulled_ahead_of_the_window(a_session, ordered):
    emulator = LoopbackEmulator(Scenario(runners=50, run_s=1.0))
    source = Source(1_000_000)
    async with a_session(emulator, max_jobs=50) as session:
        async with session.map("acme/echo", source, ordered=ordered) as outcomes:
            for taken in range(1, 301):
                await anext(outcomes)
                assert source.pulled <= taken + 50
        assert source.pulled >= 300


async def test_a_reader_that_stops_reading_stops_the_start_of_jobs(a_session):
    emulator = LoopbackEmulator(Scenario(runners=50, run_s=0.1))
    source = Source(10_000)
    async with a_session(emulator, max_jobs=10) as session:
        outcomes = session.map("acme/echo", source)
        await anext(outcomes)
        await asyncio.sleep(3600)
        assert source.pulled == 11
        assert session.statistics().in_flight == 0
        await anext(outcomes)
        await asyncio.sleep(3600)
        assert source.pulled == 12


async def test_an_async_source_is_awaited_for_each_input(a_session):
    emulator = LoopbackEmulator(Scenario(runners=50, run_s=1.0))
    async with a_session(emulator) as session:
        outcomes = session.map("acme/echo", Source(20).later(3.0))
        found = [o.result["n"] async for o in outcomes]
        assert asyncio.get_running_loop().time() >= 60.0
    assert found == list(range(20))


@pytest.mark.parametrize("is_async", [False, True])
async def test_what_the_source_raises_comes_after_the_outcomes_before_it(a_session, is_async):
    def broken() -> Iterator[dict[str, int]]:
        yield from Source(7)
        raise OSError("the disk is gone")

    async def broken_later() -> AsyncIterator[dict[str, int]]:
        for given in broken():
            yield given

    emulator = LoopbackEmulator(Scenario(run_s=1.0))
    async with a_session(emulator) as session:
        outcomes = session.map("acme/echo", broken_later() if is_async else broken())
        found = [(await anext(outcomes)).index for _ in range(7)]
        with pytest.raises(OSError, match="the disk is gone"):
            await anext(outcomes)
        with pytest.raises(StopAsyncIteration):
            await anext(outcomes)
    assert sorted(found) == list(range(7))


@pytest.mark.parametrize("ordered", [False, True])
async def test_bad_inputs_in_the_middle_are_outcomes_with_errors(a_session, ordered):
    inputs = [{"n": 0}, {"bad": object()}, {"n": 2}, "no mapping", {"n": float("nan")}, {"n": 5}]
    emulator = LoopbackEmulator(Scenario(run_s=1.0))
    async with a_session(emulator) as session:
        outcomes = [o async for o in session.map("acme/echo", inputs, ordered=ordered)]
    outcomes.sort(key=lambda outcome: outcome.index)
    assert [outcome.is_success for outcome in outcomes] == [True, False, True, False, False, True]
    assert all(isinstance(o.error, falq.ArgumentError) for o in outcomes if not o.is_success)
    assert [outcome.input for outcome in outcomes] == inputs
    assert emulator.stats().submits == 3


async def test_a_window_full_of_bad_inputs_does_not_stop_the_map(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=1.0))
    async with a_session(emulator, max_jobs=4) as session:
        inputs = [object()] * 20 + [{"n": 1}]
        outcomes = [o async for o in session.map("acme/echo", inputs)]
    assert len(outcomes) == 21
    assert outcomes[-1].result == {"n": 1}


async def test_failed_jobs_are_outcomes_with_their_errors_and_ids(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=1.0))
    inputs = [
        {"n": 0},
        {"_emulator": {"fail": "runner_disconnected"}},
        {"_emulator": {"fail": 422}},
    ]
    async with a_session(emulator) as session:
        outcomes = [o async for o in session.map("acme/echo", inputs, ordered=True)]
    assert outcomes[0].is_success
    assert isinstance(outcomes[1].error, falq.JobFailedError)
    assert isinstance(outcomes[2].error, falq.JobInputError)
    assert all(outcome.request_id for outcome in outcomes)


async def test_no_inputs_make_no_outcomes(a_session):
    emulator = LoopbackEmulator()
    async with a_session(emulator) as session:
        assert [o async for o in session.map("acme/echo", [])] == []
    assert emulator.stats().submits == 0


async def test_leaving_early_withdraws_what_was_not_submitted_and_leaves_the_rest(a_session):
    emulator = LoopbackEmulator(Scenario(runners=100, run_s=100.0), latency_s=0.5)
    async with a_session(emulator, max_calls=8, max_jobs=20) as session:
        async with session.map("acme/echo", Source(1000)) as outcomes:
            await asyncio.sleep(0)
            reading = asyncio.create_task(anext(outcomes))
            await asyncio.sleep(1.2)
            reading.cancel()
        submits = emulator.stats().submits
        await asyncio.sleep(30)
        assert emulator.stats().submits == submits < 20
        assert emulator.stats().calls.get("cancel", 0) == 0
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert len(session.unfinished) == submits


async def test_leaving_early_with_cancel_cancels_what_runs(a_session):
    emulator = LoopbackEmulator(Scenario(runners=100, run_s=100.0))
    async with a_session(emulator, max_jobs=20) as session:
        async with session.map("acme/echo", Source(1000), on_cancel="cancel") as outcomes:
            reading = asyncio.create_task(anext(outcomes))
            await asyncio.sleep(5)
            reading.cancel()
        await asyncio.sleep(5)
        assert session.statistics().in_flight == 0
    assert emulator.stats().jobs_by_state["cancelled"] == 20
    assert emulator.stats().calls["cancel"] == 20
    assert session.unfinished == ()


async def test_breaking_out_without_closing_does_not_delay_the_end_of_the_session(a_session):
    emulator = LoopbackEmulator(Scenario(runners=100, run_s=1.0))
    async with a_session(emulator, max_jobs=5) as session:
        async for _ in session.map("acme/echo", Source(1000)):
            break
        await asyncio.sleep(20)
        left = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - left < 0.5


async def test_a_cancelled_anext_loses_no_outcome(a_session):
    emulator = LoopbackEmulator(Scenario(runners=10))
    found = []
    async with a_session(emulator, max_jobs=10) as session:
        outcomes = session.map("acme/echo", Source(60))
        while True:
            try:
                async with asyncio.timeout(0.013):
                    found.append((await anext(outcomes)).index)
            except TimeoutError:
                continue
            except StopAsyncIteration:
                break
    assert sorted(found) == list(range(60))


async def test_two_readers_at_once_are_refused(a_session):
    emulator = LoopbackEmulator(Scenario(run_s=10.0))
    async with a_session(emulator) as session:
        outcomes = session.map("acme/echo", Source(2))
        first = asyncio.create_task(anext(outcomes))
        await asyncio.sleep(1)
        with pytest.raises(falq.ArgumentError):
            await anext(outcomes)
        assert (await first).is_success


async def test_outcomes_of_a_closed_session_are_still_told_and_then_the_closing(a_session):
    emulator = LoopbackEmulator(Scenario(runners=2, run_s=1000.0))
    session = a_session(emulator, max_jobs=5)
    async with session:
        outcomes = session.map("acme/echo", Source(100))

        async def read() -> list[falq.Outcome]:
            found = [await anext(outcomes) for _ in range(5)]
            with pytest.raises(falq.SessionClosedError):
                await anext(outcomes)
            return found

        reading = asyncio.create_task(read())
        await asyncio.sleep(10)
    found = await reading
    assert len(found) == 5
    assert {outcome.request_id for outcome in found} == {u.request_id for u in session.unfinished}
    assert all(isinstance(outcome.error, falq.SessionClosedError) for outcome in found)


async def test_something_that_is_no_iterable_is_refused_before_anything_is_sent(a_session):
    emulator = LoopbackEmulator()
    async with a_session(emulator) as session:
        with pytest.raises(falq.ArgumentError):
            session.map("acme/echo", 7)


class HaltError(BaseException):
    """What no `except Exception` takes, such as pytest's way to end a test."""


@pytest.mark.parametrize("is_async", [False, True])
async def test_inputs_that_end_by_more_than_an_exception_do_not_end_in_silence(a_session, is_async):
    def count():
        yield {"n": 1}
        raise HaltError

    async def count_later():
        for given in count():
            yield given

    emulator = LoopbackEmulator()
    async with a_session(emulator) as session:
        outcomes = session.map("acme/echo", count_later() if is_async else count())
        assert (await anext(outcomes)).is_success
        with pytest.raises(HaltError):
            await anext(outcomes)


class UnreadableInput(Mapping):
    """A mapping that breaks when it is read, as one over a closed file does."""

    def __getitem__(self, name):
        raise ValueError(name)

    def __iter__(self):
        return iter(["n"])

    def __len__(self):
        return 1


async def test_an_input_that_breaks_when_it_is_read_is_an_outcome_and_stops_no_other(a_session):
    emulator = LoopbackEmulator()
    async with a_session(emulator) as session:
        inputs = [{"n": 0}, UnreadableInput(), {"n": 2}]
        found = [one async for one in session.map("acme/echo", inputs, ordered=True)]
    assert [one.is_success for one in found] == [True, False, True]
    assert isinstance(found[1].error, falq.ArgumentError)
