"""Speak a text in sounds that resemble words.

Owns a small formant synthesizer: a text becomes syllables, a syllable a hiss and
a vowel, a vowel a period of sound repeated. It knows no language; it is there to
be heard, to have a length, and to be a real WAV file. Called by `studio`.

Speed: a period is computed once for each vowel, pitch and loudness, and then
repeated, so that five thousand letters take about a second.
"""

from __future__ import annotations

import array
import io
import math
import re
import sys
import wave
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from attrs import frozen

from falq.emulator.media.draws import Draws

SAMPLE_RATE = 24_000
SYLLABLE = re.compile(r"[^aeiouy]*[aeiouy]+|[^aeiouy]+")
HISS_S, WORD_GAP_S, COMMA_S, STOP_S = 0.045, 0.05, 0.18, 0.34
LOUDNESS_STEPS = 8

# First three resonances of the mouth, in hertz: textbook values for a grown voice.
FORMANTS: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        "a": (730, 1090, 2440),
        "e": (530, 1840, 2480),
        "i": (270, 2290, 3010),
        "o": (570, 840, 2410),
        "u": (300, 870, 2240),
        "y": (300, 1900, 2600),
    }
)
HISSES: Mapping[str, float] = MappingProxyType(
    {
        **dict.fromkeys("sfxzc", 0.12),
        **dict.fromkeys("tkpqhj", 0.08),
        **dict.fromkeys("bdgvw", 0.04),
    }
)


@frozen(kw_only=True)
class Sound:
    """One stretch of sound: a vowel, a hiss, or silence if it has neither."""

    samples: int
    vowel: str = ""
    pitch_hz: float = 0.0
    hiss: float = 0.0


def plan_speech(text: str, *, voice: str, pauses: bool) -> tuple[Sound, ...]:
    """Return the stretches of sound that `text` becomes; always at least one.

    Args:
        text: What to say.
        voice: Any text; it settles how high the voice is.
        pauses: Whether commas and full stops are heard as silence.
    """
    draws = Draws(text, voice)
    base_hz = Draws(voice).between(95, 210)
    sounds = [Sound(samples=_samples(0.05))]
    words = text.split()
    for place, word in enumerate(words):
        # The voice sinks over a text, and rises before a question mark.
        lean = 1.12 - 0.24 * place / len(words) + (0.2 if word.endswith("?") else 0.0)
        for syllable in SYLLABLE.findall(re.sub(r"[\W_]", "", word.lower())):
            if hiss := HISSES.get(syllable[0], 0.0):
                sounds.append(Sound(samples=_samples(HISS_S), hiss=hiss))
            vowel = syllable[-1] if syllable[-1] in FORMANTS else draws.pick("aeiou")
            sounds.append(
                Sound(
                    samples=_samples(draws.between(0.1, 0.17)),
                    vowel=vowel,
                    pitch_hz=base_hz * lean * draws.between(0.94, 1.06),
                )
            )
        silence_s = WORD_GAP_S
        if pauses and word[-1] in ".!?:;,":
            silence_s = COMMA_S if word[-1] == "," else STOP_S
        sounds.append(Sound(samples=_samples(silence_s)))
    return tuple(sounds)


def measure_speech(sounds: Sequence[Sound]) -> tuple[float, int]:
    """Return how long the sounds last, in seconds, and how large their file is, in bytes."""
    samples = sum(sound.samples for sound in sounds)
    return samples / SAMPLE_RATE, 44 + 2 * samples


def render_speech(sounds: Sequence[Sound]) -> bytes:
    """Return the sounds as a WAV file: one channel, 16 bits, 24 kHz."""
    periods: dict[tuple[str, int, int], array.array[int]] = {}
    track = array.array("h")
    for place, sound in enumerate(sounds):
        if sound.vowel:
            track.extend(_sing(sound, periods))
        elif sound.hiss:
            track.extend(_hiss(sound, place))
        else:
            track.frombytes(bytes(2 * sound.samples))
    if sys.byteorder == "big":
        track.byteswap()
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE)
        writer.writeframes(track.tobytes())
    return file.getvalue()


def measure_wav(data: bytes) -> float | None:
    """Return how long a WAV file plays, in seconds, or None if it is none."""
    try:
        with wave.open(io.BytesIO(data), "rb") as reader:
            return reader.getnframes() / reader.getframerate()
    except (wave.Error, EOFError, ZeroDivisionError):
        return None


def _samples(length_s: float) -> int:
    return round(length_s * SAMPLE_RATE)


def _sing(sound: Sound, periods: dict[tuple[str, int, int], array.array[int]]) -> array.array[int]:
    # Steps of four samples keep the number of different periods small.
    length = max(40, 4 * round(SAMPLE_RATE / sound.pitch_hz / 4))
    samples = array.array("h")
    while len(samples) < sound.samples:
        done = len(samples) / sound.samples
        loudness = round(LOUDNESS_STEPS * min(1.0, 0.25 + 5 * done, 3.5 * (1 - done)))
        key = (sound.vowel, length, loudness)
        if key not in periods:
            full = (sound.vowel, length, LOUDNESS_STEPS)
            if full not in periods:
                periods[full] = _compute_period(sound.vowel, length)
            share = loudness / LOUDNESS_STEPS
            periods[key] = array.array("h", [int(value * share) for value in periods[full]])
        samples.extend(periods[key])
    return samples[: sound.samples]


def _compute_period(vowel: str, length: int) -> array.array[int]:
    pitch_hz = SAMPLE_RATE / length
    weights = []
    for harmonic in range(1, int(4000 / pitch_hz) + 1):
        hertz = harmonic * pitch_hz
        peaks = zip(FORMANTS[vowel], (1.0, 0.55, 0.25), (80.0, 110.0, 160.0), strict=True)
        weight = sum(size / (1 + ((hertz - at) / width) ** 2) for at, size, width in peaks)
        weights.append((harmonic, weight + 0.05 / harmonic))
    turn = 2 * math.pi / length
    wave_form = [
        sum(weight * math.sin(turn * harmonic * at) for harmonic, weight in weights)
        for at in range(length)
    ]
    loudest = max(abs(value) for value in wave_form)
    return array.array("h", [round(13_000 * value / loudest) for value in wave_form])


def _hiss(sound: Sound, place: int) -> array.array[int]:
    noise = Draws("hiss", place % 16).bytes(sound.samples)
    size = sound.hiss * 32_767 / 128
    middle = sound.samples / 2
    return array.array(
        "h",
        [
            round(size * (level - 128) * (1 - abs(at - middle) / middle))
            for at, level in enumerate(noise)
        ],
    )
