"""Decide which jobs the demonstration runs.

Owns prompts, shares and the three jobs that shall not succeed. It is pure: the
same number gives the same jobs. The picture that an upscaler job enlarges is
filled in by `run`, when an earlier job has made one.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from typing import Any, Literal

from attrs import frozen

SCHNELL = "fal-ai/flux/schnell"
SDXL = "fal-ai/fast-sdxl"
UPSCALER = "fal-ai/clarity-upscaler"
VIDEO = "fal-ai/minimax/video-01"
SPEECH = "fal-ai/f5-tts"

Role = Literal["plain", "refused", "broken", "cancelled"]

# Of every hundred jobs; the rest are pictures by FLUX.
_SHARES: Mapping[str, int] = {SDXL: 24, UPSCALER: 9, SPEECH: 14, VIDEO: 4}

_SUBJECTS = (
    "a tiny cute cat",
    "a lighthouse in a storm",
    "a red fox in the snow",
    "an old tram in Lisbon",
    "a hot-air balloon over vineyards",
    "a whale under the northern lights",
    "a robot watering a bonsai",
    "a paper boat on a mountain lake",
    "a futuristic city skyline",
    "a cup of tea by a rainy window",
    "a desert observatory",
    "a field of sunflowers",
    "a train crossing a viaduct",
    "a koi pond",
    "a violin on a balcony",
    "a snow leopard on a ridge",
)
_MANNERS = (
    "at sunset",
    "in watercolor",
    "as a woodcut",
    "at blue hour",
    "in soft morning fog",
    "from above",
    "in the style of a travel poster",
    "under a full moon",
    "macro, shallow focus",
    "in late autumn",
)
_MOVES = ("slow motion", "a long tracking shot", "a time-lapse", "a gentle zoom")
_SAYINGS = (
    "Hello world, this is a test of text to speech.",
    "Two hundred jobs walk into a queue. All of them walk out again.",
    "A request that was submitted once is never submitted twice.",
    "The quick brown fox jumps over the lazy dog.",
    "Please mind the gap between the train and the platform.",
    "It was a bright cold day in April, and the clocks were striking thirteen.",
    "Every picture on this page was drawn on your own machine.",
)
_SIZES = ("square", "landscape_4_3", "square_hd", "portrait_4_3", "landscape_16_9")
_VOICES = tuple(f"https://voices.example/{name}.wav" for name in ("ada", "grace", "alan"))


@frozen(kw_only=True)
class DemoJob:
    """One job of the demonstration.

    Attributes:
        index: Its place on the page, from 0.
        endpoint: Where it goes.
        arguments: The model's input; an upscaler's lacks `image_url`.
        role: Whether it runs plainly or shows one way to end badly.
    """

    index: int
    endpoint: str
    arguments: Mapping[str, Any]
    role: Role = "plain"


def plan_jobs(total: int, *, has_upscaler: bool = True, has_video: bool = True) -> list[DemoJob]:
    """Return the jobs of a demonstration.

    Args:
        total: How many; 12 or more, so that every model has one.
        has_upscaler: Whether the emulator can enlarge pictures.
        has_video: Whether it can make films.
    """
    # A shuffle for the eye: nothing depends on it.
    chance = random.Random(7)  # noqa: S311
    endpoints = [SCHNELL, SCHNELL, SCHNELL]
    for endpoint, share in _SHARES.items():
        is_possible = {UPSCALER: has_upscaler, VIDEO: has_video}.get(endpoint, True)
        endpoints += [endpoint] * (max(1, total * share // 100) if is_possible else 0)
    endpoints += [SCHNELL] * (total - len(endpoints))
    chance.shuffle(endpoints)
    scenes = [f"{subject}, {manner}" for subject in _SUBJECTS for manner in _MANNERS]
    chance.shuffle(scenes)
    scene = itertools.cycle(scenes)
    jobs = [
        DemoJob(index=index, endpoint=endpoint, arguments=_arguments(endpoint, index, next(scene)))
        for index, endpoint in enumerate(endpoints)
    ]
    return _spoil(jobs)


def _arguments(endpoint: str, index: int, scene: str) -> dict[str, Any]:
    if endpoint == SPEECH:
        return {
            "gen_text": _SAYINGS[index % len(_SAYINGS)],
            "ref_audio_url": _VOICES[index % len(_VOICES)],
            "model_type": "F5-TTS",
        }
    if endpoint == UPSCALER:
        return {"upscale_factor": 1.5, "seed": index}
    if endpoint == VIDEO:
        # A film of the real model takes minutes; shorter ones keep the show moving.
        script = {"run_s": 24 + 3 * (index % 5)}
        return {"prompt": f"{scene}, {_MOVES[index % len(_MOVES)]}", "_emulator": script}
    size = _SIZES[index % len(_SIZES)]
    return {"prompt": scene, "image_size": size, "seed": 1000 + index}


def _spoil(jobs: list[DemoJob]) -> list[DemoJob]:
    """Give three of the FLUX jobs a bad end, spread over the page."""
    pictures = [job for job in jobs if job.endpoint == SCHNELL]
    spots = (len(pictures) // 4, len(pictures) // 2, 3 * len(pictures) // 4)
    roles: tuple[tuple[Role, dict[str, Any]], ...] = (
        ("refused", {"num_inference_steps": 400}),
        ("broken", {"_emulator": {"fail": "runner_disconnected"}}),
        # Long enough that the cancel meets it at work.
        ("cancelled", {"_emulator": {"run_s": 900}}),
    )
    for spot, (role, extra) in zip(spots, roles, strict=True):
        job = pictures[spot]
        jobs[job.index] = DemoJob(
            index=job.index,
            endpoint=job.endpoint,
            arguments={**job.arguments, **extra},
            role=role,
        )
    return jobs
