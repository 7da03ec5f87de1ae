"""What a type checker says of typed inputs and their results. It is checked, never run."""

from __future__ import annotations

from typing import Any, assert_type

import falq
from falq.models import (
    ClarityUpscaler,
    F5Tts,
    FluxDev,
    FluxSchnell,
    Image,
    ImageSize,
    ImagesOutput,
    MinimaxVideo01,
    OutputPart,
    TypedHandle,
    TypedOutcome,
    TypedOutputStream,
    Whisper,
)
from falq.platform import Estimate, ModelInfo, ModelSchema, Price


async def check_typed_calls(session: falq.Session) -> None:
    output = await session.subscribe(FluxSchnell(prompt="a cat"), client_timeout=30)
    assert_type(output, ImagesOutput)
    assert_type(output.images, tuple[Image, ...])
    assert_type(output.images[0].width, int | None)
    assert_type(output.extra, dict[str, Any])
    handle = await session.submit(FluxDev(prompt="a cat", image_size=ImageSize(width=640)))
    assert_type(handle, TypedHandle[ImagesOutput])
    assert_type(await handle, ImagesOutput)
    assert_type(await handle.result(), ImagesOutput)
    assert_type(await handle.status(), falq.Status)
    async for outcome in session.map(FluxSchnell, [FluxSchnell(prompt="a"), {"prompt": "b"}]):
        assert_type(outcome, TypedOutcome[ImagesOutput])
        assert_type(outcome.result, ImagesOutput | None)
        assert_type(outcome.error, falq.FalqError | None)


async def check_each_output(session: falq.Session) -> None:
    upscaled = await session.subscribe(ClarityUpscaler(image_url="https://x/y.png"))
    assert_type(upscaled.image, Image)
    film = await session.subscribe(MinimaxVideo01(prompt="a cat"))
    assert_type(film.video.url, str)
    speech = await session.subscribe(F5Tts(gen_text="a", ref_audio_url="b", model_type="F5-TTS"))
    assert_type(speech.audio_url.duration, float | None)
    text = await session.subscribe(Whisper(audio_url="https://x/y.wav"))
    assert_type(text.chunks[0].timestamp, tuple[float | None, ...])
    assert_type(FluxSchnell.read_output({}), ImagesOutput)
    assert_type(await session.run(FluxSchnell(prompt="a")), ImagesOutput)


async def check_streams_and_recovered_jobs(session: falq.Session) -> None:
    stream = session.stream(FluxSchnell(prompt="a cat"), timeout=5)
    assert_type(stream, TypedOutputStream[ImagesOutput])
    async for part in stream:
        assert_type(part, ImagesOutput | OutputPart)
    assert_type(await stream.done(), ImagesOutput)
    assert_type(await session.recover(FluxSchnell), list[TypedHandle[ImagesOutput]])
    assert_type(await session.recover(), list[falq.Handle])
    assert_type(await session.recover("a/b", resume_planned=True), list[falq.Handle])


async def check_plain_calls_stay_plain(session: falq.Session) -> None:
    assert_type(session.stream("a/b", {"prompt": "a"}), falq.OutputStream)
    assert_type(await session.subscribe("a/b", {"prompt": "a"}, validate=True), Any)
    assert_type(await session.submit("a/b"), falq.Handle)
    assert_type(await session.run("a/b", {"prompt": "a"}), Any)
    async for outcome in session.map("a/b", [FluxSchnell(prompt="a")]):
        assert_type(outcome, falq.Outcome)


def check_what_a_checker_refuses() -> None:
    ClarityUpscaler(image_url="x", scale=2)  # type: ignore[call-arg]
    FluxSchnell(prompt=3)  # type: ignore[arg-type]
    FluxSchnell(prompt="x", output_format="gif")  # type: ignore[arg-type]
    F5Tts(gen_text="x")  # type: ignore[call-arg]


async def check_models(session: falq.Session) -> None:
    async for model in session.models.search("cat", limit=3):
        assert_type(model, ModelInfo)
    assert_type(await session.models.get("a/b"), ModelInfo)
    assert_type(await session.models.schema("a/b"), ModelSchema)
    assert_type(await session.models.price("a/b"), Price | None)
    assert_type(await session.models.estimate(calls={"a/b": 3}), Estimate)
