"""Files inside arguments: uploaded before the submit, once, or nothing is submitted."""

from __future__ import annotations

import asyncio
import io

import pytest
from PIL import Image

import falq
from falq.emulator import Fault, Scenario
from falq.errors import ArgumentError, JobTimeoutError, SessionClosedError, UnsupportedError
from falq.preparation import DATA_URL_LIMIT_BYTES, find_uploads, put_in_place, shown_place
from falq.testing import LoopbackEmulator

ECHO = "acme/echo"
UPLOAD_VERBS = ("upload", "upload_initiate")


def text(data="hello"):
    return falq.Upload(data, "text/plain")


def an_emulator(*faults, **settings):
    return LoopbackEmulator(Scenario(speed=1000.0, faults=faults, **settings))


def served(emulator, url):
    return emulator.app.files.find(url).data


async def test_an_upload_anywhere_inside_arguments_gives_way_to_its_url(a_session):
    emulator = an_emulator()
    given = {"a": text("one"), "b": [{"c": text("two")}, 3], "d": (text("three"),), "e": "plain"}
    async with a_session(emulator) as session:
        result = await session.subscribe(ECHO, given)
    assert served(emulator, result["a"]) == b"one"
    assert served(emulator, result["b"][0]["c"]) == b"two"
    assert served(emulator, result["d"][0]) == b"three"
    assert (result["b"][1], result["e"]) == (3, "plain")
    assert given["b"][0]["c"] == text("two")


async def test_open_files_are_uploaded_as_well(a_session):
    emulator = an_emulator()
    async with a_session(emulator) as session:
        result = await session.subscribe(ECHO, {"x": falq.Upload(io.BytesIO(b"abc"), "audio/wav")})
    assert served(emulator, result["x"]) == b"abc"


async def test_equal_content_is_uploaded_once_within_a_session(a_session):
    emulator = an_emulator()
    async with a_session(emulator) as session:
        first = await session.subscribe(ECHO, {"x": text(), "y": text()})
        again = await session.subscribe(ECHO, {"x": [text()]})
        other = await session.subscribe(ECHO, {"x": falq.Upload("hello", "text/html")})
    assert first["x"] == first["y"] == again["x"][0] != other["x"]
    assert emulator.stats().uploads == 2


async def test_jobs_that_start_together_share_one_upload(a_session):
    emulator = an_emulator()
    async with a_session(emulator) as session:
        results = await asyncio.gather(
            *(session.subscribe(ECHO, {"n": n, "x": text()}) for n in range(20))
        )
    assert len({result["x"] for result in results}) == 1
    assert emulator.stats().uploads == 1


async def test_one_who_is_cancelled_does_not_end_the_upload_of_the_others(a_session):
    emulator = an_emulator(Fault("delay", "upload", delay_s=5.0, every=1))
    async with a_session(emulator) as session:
        first, second = (
            asyncio.create_task(session.subscribe(ECHO, {"n": n, "x": text()})) for n in range(2)
        )
        await asyncio.sleep(1.0)
        first.cancel()
        result = await second
    assert served(emulator, result["x"]) == b"hello"
    assert (emulator.stats().uploads, emulator.stats().submits) == (1, 1)


async def test_a_cancelled_wait_for_an_upload_submits_nothing(a_session):
    emulator = an_emulator(Fault("delay", "upload", delay_s=5.0, every=1))
    async with a_session(emulator) as session:
        submitting = asyncio.create_task(session.submit(ECHO, {"x": text()}))
        await asyncio.sleep(1.0)
        submitting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await submitting
        await asyncio.sleep(60.0)
    assert emulator.stats().submits == 0


async def test_a_failed_upload_submits_nothing_and_the_next_starts_anew(a_session):
    emulator = an_emulator(Fault("json_error", "upload_token", nth=1, status_code=403))
    async with a_session(emulator) as session:
        failed = await asyncio.gather(
            *(session.submit(ECHO, {"n": n, "x": text()}) for n in range(3)),
            return_exceptions=True,
        )
        assert {type(error) for error in failed} == {falq.AuthenticationError}
        assert len(set(map(id, failed))) == 3
        assert emulator.stats().submits == 0
        assert await session.subscribe(ECHO, {"x": text()})


async def test_bytes_of_which_nobody_says_what_they_are_are_refused_by_their_place(a_session):
    emulator = an_emulator()
    async with a_session(emulator) as session:
        with pytest.raises(ArgumentError, match=r"arguments\.images\[1\]\.url .*falq\.Upload"):
            await session.submit(ECHO, {"images": [text(), {"url": b"png"}]})
    assert emulator.stats().calls == {}


async def test_what_is_neither_json_nor_a_file_is_refused_as_ever(a_session):
    emulator = an_emulator()
    async with a_session(emulator) as session:
        with pytest.raises(ArgumentError, match="JSON"):
            await session.submit(ECHO, {"x": object()})
        with pytest.raises(ArgumentError, match="JSON"):
            await session.submit(ECHO, {"x": text(), "y": float("nan")})
        with pytest.raises(ArgumentError, match="mapping"):
            await session.submit(ECHO, [text()])
        deep = []
        for _ in range(500):
            deep = [deep]
        deep.append(object())
        with pytest.raises(ArgumentError):
            await session.submit(ECHO, {"x": deep})
    assert emulator.stats().calls == {}


async def test_arguments_that_hold_themselves_are_refused_and_not_walked_for_ever(a_session):
    ring = {"x": text()}
    ring["y"] = ring["z"] = ring
    emulator = an_emulator()
    async with a_session(emulator) as session:
        with pytest.raises(ArgumentError):
            await session.submit(ECHO, ring)
    assert emulator.stats().calls == {}


async def test_plain_arguments_are_submitted_without_a_turn_of_the_loop_more(a_session):
    emulator = an_emulator()
    transport = emulator.transport()
    async with a_session(emulator, transport=transport) as session:
        await session.subscribe(ECHO, {"x": "cat.png"})
    assert transport.storage.calls == []
    assert set(emulator.stats().calls) <= {"submit", "status", "result"}


async def test_the_time_of_a_job_counts_from_before_its_uploads(a_session):
    emulator = an_emulator(Fault("delay", "upload", delay_s=20.0, every=1))
    async with a_session(emulator) as session:
        with pytest.raises(JobTimeoutError) as caught:
            await session.submit(ECHO, {"x": text()}, client_timeout=5.0)
        assert caught.value.cancel_outcome == "not_submitted"
        assert not caught.value.possibly_billed
        with pytest.raises(JobTimeoutError):
            await session.subscribe(
                ECHO, {"x": text("a"), "_emulator": {"run_s": 1e9}}, client_timeout=30.0
            )
        assert asyncio.get_running_loop().time() == pytest.approx(35.0, abs=1.0)
    assert emulator.stats().submits == 1


async def test_map_uploads_what_its_inputs_hold_and_goes_on_after_a_failure(a_session):
    refusals = (Fault("json_error", verb, nth=1, status_code=400) for verb in UPLOAD_VERBS)
    emulator = an_emulator(*refusals)
    inputs = [{"x": text("bad")}, {"x": text("good")}, {"x": 1}, {"x": b"odd"}, {"x": text("good")}]
    async with a_session(emulator) as session:
        outcomes = [outcome async for outcome in session.map(ECHO, inputs, ordered=True)]
    assert [outcome.index for outcome in outcomes] == [0, 1, 2, 3, 4]
    assert [outcome.input for outcome in outcomes] == inputs
    assert [type(outcome.error) for outcome in outcomes] == [
        falq.ApiError,
        type(None),
        type(None),
        ArgumentError,
        type(None),
    ]
    assert outcomes[1].result == outcomes[4].result
    assert emulator.stats().uploads == 1


async def test_a_map_that_is_left_uploads_and_submits_no_more(a_session):
    emulator = an_emulator(Fault("delay", "upload", delay_s=5.0, every=1))
    async with a_session(emulator) as session:
        async with session.map(ECHO, [{"x": 1}, {"x": text()}]) as outcomes:
            assert (await anext(outcomes)).result == {"x": 1}
        await asyncio.sleep(60.0)
    assert emulator.stats().submits == 1


async def test_closing_the_session_during_an_upload_of_map_is_an_outcome(a_session):
    emulator = an_emulator(Fault("delay", "upload", delay_s=500.0, every=1))
    async with a_session(emulator) as session:
        outcomes = session.map(ECHO, [{"x": text()}])
        reading = asyncio.create_task(anext(outcomes))
        await asyncio.sleep(1.0)
    assert isinstance((await reading).error, SessionClosedError)


async def test_closing_the_session_before_an_upload_of_map_began_is_an_outcome(a_session):
    emulator = an_emulator(runners=0)
    async with a_session(emulator, max_jobs=3, exit_grace_s=1.0) as session:
        outcomes = session.map(ECHO, [{"x": text()}, {"x": 1}, {"x": text("b")}])
        reading = asyncio.create_task(anext(outcomes))
        # The feeder has run, what it started has not.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    ends = [await reading, await anext(outcomes), await anext(outcomes)]
    assert sorted(outcome.index for outcome in ends) == [0, 1, 2]
    assert {type(outcome.error) for outcome in ends} == {SessionClosedError}


class OddBytes(io.BytesIO):
    """A file that fails in a way of its own."""

    def read(self, _count=-1):
        raise ZeroDivisionError("odd")


async def test_a_file_that_fails_in_its_own_way_is_an_outcome_of_map(a_session):
    emulator = an_emulator()
    async with a_session(emulator) as session:
        inputs = [{"x": text()}, {"x": OddBytes()}, {"x": 1}]
        outcomes = [outcome async for outcome in session.map(ECHO, inputs, ordered=True)]
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert "ZeroDivisionError: odd" in str(outcomes[1].error)


async def test_without_uploads_small_files_go_inside_the_request(a_session):
    emulator = an_emulator()
    transport = emulator.transport(emulator.maton)
    async with falq.Session(emulator.maton, transport=transport) as session:
        result = await session.subscribe(ECHO, {"x": text()})
        assert result == {"x": "data:text/plain;base64,aGVsbG8="}
        large = falq.Upload(bytes(DATA_URL_LIMIT_BYTES + 1), "image/png")
        with pytest.raises(UnsupportedError, match=str(DATA_URL_LIMIT_BYTES)):
            await session.submit(ECHO, {"x": [text(), large]})
    assert emulator.stats().submits == 1


def test_everything_to_upload_is_found_by_its_place_and_replaced_there(tmp_path):
    image = Image.new("RGB", (1, 1))
    given = {"a": [text(), {"b": image}], "c": tmp_path, "d": "plain"}
    found = find_uploads(given)
    assert list(found) == [("a", 0), ("a", 1, "b"), ("c",)]
    assert [shown_place(place) for place in found] == [
        "arguments.a[0]",
        "arguments.a[1].b",
        "arguments.c",
    ]
    texts = {place: str(number) for number, place in enumerate(found)}
    assert put_in_place(given, texts) == {"a": ["0", {"b": "1"}], "c": "2", "d": "plain"}
