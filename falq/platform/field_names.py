"""Say which field somebody meant by a name that does not exist.

Owns the search for close names and the few wrong names that are on record. It
never decides whether a name is wrong: `validation` and the typed models do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType

MISNOMERS: Mapping[tuple[str, str], str] = MappingProxyType({
    # Maton's skill of 2026 documents `scale`; the server ignores it, enlarges by
    # 2 and bills that (fal-wire 12.4).
    ("fal-ai/clarity-upscaler", "scale"): "upscale_factor",
    # Called `output_format` by every newer model (fal-wire 12.3).
    ("fal-ai/fast-sdxl", "output_format"): "format",
})  # fmt: skip
"""What is meant by names that published guides get wrong, by endpoint and name."""

_LEAST_LETTERS = 4
"""Letters of a name that is looked for inside of others: shorter ones are in everything."""


def find_close(name: str, known: Iterable[str], *, endpoint: str | None = None) -> list[str]:
    """Return the fields that somebody may have meant, the likeliest first, two at most.

    Args:
        name: What was said.
        known: What there is.
        endpoint: Full endpoint id, for the wrong names on record.

    Example:
        >>> find_close("promt", ["prompt", "seed"])
        ['prompt']
        >>> find_close("steps", ["num_inference_steps", "seed"])
        ['num_inference_steps']
    """
    names = sorted(set(known))
    meant = MISNOMERS.get((endpoint or "", name))
    if meant in names:
        return [meant]
    close = difflib.get_close_matches(name, names, n=2, cutoff=0.65)
    if close:
        return close
    return [one for one in names if _is_inside(name, one) or _is_inside(one, name)][:2]


def _is_inside(part: str, whole: str) -> bool:
    return len(part) >= _LEAST_LETTERS and part.lower() in whole.lower()


def describe_unknown(name: str, known: Iterable[str], *, endpoint: str | None = None) -> str:
    """Return what is to be said of a field that does not exist, to follow its name.

    Args:
        name: What was said.
        known: What there is.
        endpoint: Full endpoint id, for the wrong names on record.
    """
    close = find_close(name, known, endpoint=endpoint)
    if close:
        return f"does not exist; did you mean {' or '.join(map(repr, close))}?"
    # Most models ignore what they do not know (fal-wire 12), and charge.
    return "does not exist; it would be ignored and the job billed all the same"
