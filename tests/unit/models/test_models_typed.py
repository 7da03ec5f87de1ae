"""Typed inputs in a session: endpoint and arguments in one, results typed."""

from __future__ import annotations

import pytest

import falq
from falq.emulator import Scenario
from falq.models import (
    ClarityUpscaler,
    FluxSchnell,
    ImagesOutput,
    TypedHandle,
    TypedOutcome,
    TypedOutputStream,
    Whisper,
)
from falq.testing import LoopbackEmulator

SCHNELL = "fal-ai/flux/schnell"


def opened(emulator, **settings):
    return falq.Session(emulator.gateway, transport=emulator.transport(), **settings)


@pytest.fixture
def emulator():
    return LoopbackEmulator(Scenario(runners=50))


async def test_subscribe_takes_a_typed_input_and_returns_its_output(emulator):
    async with opened(emulator) as session:
        output = await session.subscribe(FluxSchnell(prompt="a cat", num_images=2, seed=3))
    assert type(output) is ImagesOutput
    assert (len(output.images), output.seed, output.prompt) == (2, 3, "a cat")
    [job] = emulator.app.queue.jobs.values()
    assert job.order.endpoint == SCHNELL
    assert job.order.arguments == {"prompt": "a cat", "num_images": 2, "seed": 3}


async def test_a_typed_handle_is_a_handle_that_gives_the_output_to_everybody(emulator):
    async with opened(emulator) as session:
        handle = await session.submit(FluxSchnell(prompt="a cat"), hint="x")
        assert isinstance(handle, TypedHandle)
        assert isinstance(handle, falq.Handle)
        assert await handle == await handle.result()
        assert type(await handle) is ImagesOutput


async def test_a_typed_map_gives_typed_outcomes_and_takes_plain_arguments_too(emulator):
    inputs = [
        FluxSchnell(prompt="a"),
        {"prompt": "b"},
        {"prompt": 3},
        Whisper(audio_url="https://x/a.wav"),
    ]
    async with opened(emulator) as session:
        outcomes = [one async for one in session.map(FluxSchnell, inputs, ordered=True)]
    assert [type(one) for one in outcomes] == [TypedOutcome] * 4
    assert [one.result.prompt for one in outcomes[:2]] == ["a", "b"]
    assert [one.is_success for one in outcomes] == [True, True, False, False]
    assert outcomes[2].error.problems == (("prompt", "is 3; give text"),)
    assert "does not go to" in str(outcomes[3].error)
    assert emulator.stats().submits == 2


async def test_a_direct_run_takes_a_typed_input_and_returns_its_output(emulator):
    async with opened(emulator) as session:
        output = await session.run(FluxSchnell(prompt="a cat"))
    assert (type(output), output.prompt) == (ImagesOutput, "a cat")


async def test_an_untyped_map_takes_typed_inputs(emulator):
    async with opened(emulator) as session:
        outcomes = [one async for one in session.map(SCHNELL, [FluxSchnell(prompt="a")])]
    assert outcomes[0].result["prompt"] == "a"


async def test_leaving_a_typed_map_early_lets_go_of_the_rest():
    emulator = LoopbackEmulator(Scenario(runners=0))
    async with opened(emulator) as session:
        async with session.map(
            FluxSchnell, [FluxSchnell(prompt="a")] * 5, on_cancel="cancel"
        ) as stream:
            assert aiter(stream) is stream
        assert session.statistics().in_flight == 0


async def test_arguments_beside_a_typed_input_are_refused(emulator):
    async with opened(emulator) as session:
        with pytest.raises(falq.ArgumentError, match="its arguments already"):
            await session.subscribe(FluxSchnell(prompt="a"), {"seed": 3})
        with pytest.raises(falq.ArgumentError, match="got FluxSchnell"):
            await session.submit(FluxSchnell)
        with pytest.raises(falq.ArgumentError, match="got int"):
            session.map(3, [])
    assert emulator.stats().submits == 0


async def test_a_result_that_is_none_names_its_request_and_stays_at_the_server(emulator):
    class Odd(FluxSchnell):
        endpoint = "acme/echo"

    async with opened(emulator) as session:
        with pytest.raises(falq.WireError, match="no ImagesOutput") as caught:
            await session.subscribe(Odd(prompt="a"))
        error = caught.value
        assert (error.endpoint, error.possibly_billed) == ("acme/echo", True)
        plain = await session.result("acme/echo", error.request_id)
        [outcome] = [one async for one in session.map(Odd, [{"prompt": "b"}])]
    assert plain == {"prompt": "a"}
    assert isinstance(outcome.error, falq.WireError)
    assert outcome.error.request_id == outcome.request_id


async def test_a_failed_typed_job_raises_what_any_other_does(emulator):
    async with opened(emulator) as session:
        with pytest.raises(falq.JobInputError, match="image_url"):
            await session.subscribe(ClarityUpscaler(image_url="https://x.example/none.png"))


class Parts:
    """A stream of parts that are there already."""

    request_id = "one"

    def __init__(self, *parts):
        self._parts = iter(parts)

    async def __anext__(self):
        return next(self._parts)


async def test_a_part_that_is_no_object_is_an_error_with_the_request(emulator):
    stream = TypedOutputStream(Parts({"half": 1}, b"bytes"), FluxSchnell)
    assert (await anext(stream)).raw == {"half": 1}
    with pytest.raises(falq.WireError) as caught:
        await anext(stream)
    assert (caught.value.endpoint, caught.value.request_id) == (SCHNELL, "one")
