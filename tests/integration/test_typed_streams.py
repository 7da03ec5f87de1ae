"""Output streams of typed inputs, and typed handles of jobs that a journal has."""

from __future__ import annotations

import pytest

import falq
from falq.emulator import Emulator, Scenario
from falq.models import (
    FluxDev,
    FluxSchnell,
    ImagesOutput,
    OutputPart,
    TypedHandle,
    TypedOutputStream,
)

CAT = FluxSchnell(prompt="a cat", image_size="square")


@pytest.fixture
def scenario():
    return Scenario(speed=1000.0)


@pytest.fixture
async def emulator(scenario):
    async with Emulator(scenario) as emulator:
        yield emulator


@pytest.fixture
async def session(emulator):
    async with falq.Session(emulator.gateway) as session:
        yield session


async def test_a_part_that_is_a_result_is_typed_and_any_other_keeps_what_came(session):
    async with session.stream(CAT) as stream:
        assert isinstance(stream, TypedOutputStream)
        parts = [part async for part in stream]
        assert stream.request_id
    assert [type(part) for part in parts] == [OutputPart] * 3 + [ImagesOutput]
    assert parts[0].raw == {"partial": True, "part": 1, "of": 3}
    assert (parts[-1].prompt, len(parts[-1].images)) == ("a cat", 1)


async def test_done_gives_the_whole_output_typed(session):
    stream = session.stream(CAT)
    assert "TypedOutputStream fal-ai/flux/schnell/stream not open" in repr(stream)
    output = await stream.done()
    assert type(output) is ImagesOutput
    assert await stream.done() == output
    await stream.aclose()


@pytest.mark.parametrize("scenario", [Scenario(speed=1000.0, stream_parts=0)])
async def test_a_whole_output_that_is_no_result_is_an_error_that_names_the_endpoint(session):
    class Echo(FluxSchnell):
        endpoint = "acme/echo"

    echo = Echo.from_arguments({"prompt": "a"})
    assert [part.raw async for part in session.stream(echo)] == [{"prompt": "a"}]
    with pytest.raises(falq.WireError, match="this is no ImagesOutput") as caught:
        await session.stream(echo).done()
    assert caught.value.endpoint == "acme/echo"


async def test_a_typed_input_has_its_arguments_already(session):
    with pytest.raises(falq.ArgumentError, match="arguments already"):
        session.stream(CAT, {"prompt": "another"})


@pytest.mark.slow
async def test_recover_with_a_class_takes_up_its_jobs_alone_and_types_them(emulator, tmp_path):
    path = tmp_path / "jobs.sqlite"
    async with falq.Session(emulator.gateway, journal=path) as session:
        await session.submit(CAT)
        await session.submit(FluxDev(prompt="a dog", image_size="square"))
        await session.submit("acme/echo", {"n": 1})
    async with falq.Session(emulator.gateway, journal=path) as session:
        (cat,) = await session.recover(FluxSchnell)
        assert isinstance(cat, TypedHandle)
        assert (await cat).prompt == "a cat"
        (plain,) = await session.recover("acme/echo")
        assert await plain == {"n": 1}
        handles = await session.recover()
        assert [handle.endpoint for handle in handles] == [
            "fal-ai/flux/schnell",
            "fal-ai/flux/dev",
            "acme/echo",
        ]
        assert not any(isinstance(handle, TypedHandle) for handle in handles)
        with pytest.raises(falq.ArgumentError):
            await session.recover("flux")
    assert emulator.stats().submits == 3
