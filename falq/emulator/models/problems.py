"""Say no the way a model does: a list of problems, or one sentence.

Owns the shape of an entry of `detail` and the two kinds of refusing answer. It
never decides what is wrong: `schema` reads the input, the models look at the
media. Facts: fal-wire 4.2 and 4.4, seen 2026-09.
"""

from __future__ import annotations

from typing import Any

from falq.emulator.models.base import Answer

Location = tuple[str | int, ...]
Problem = dict[str, Any]


def build_problem(
    kind: str, location: Location, message: str, value: object, **context: object
) -> Problem:
    """Return one entry of `detail`.

    Args:
        kind: The machine-readable `type`, which also names the page in `url`.
        location: Path to the value, from `"body"` down.
        message: Free text for people.
        value: What was found there; echoed as `input`.
        context: Limits that were broken; left out of the entry if there are none.
    """
    problem: Problem = {"type": kind, "loc": list(location), "msg": message, "input": value}
    if context:
        problem["ctx"] = context
    problem["url"] = f"https://docs.fal.ai/errors#{kind}"
    return problem


def refuse(*problems: Problem) -> Answer:
    """Return the 422 that lists `problems`; it bills nothing."""
    return Answer(status_code=422, body={"detail": list(problems)}, billable_units=0.0)


def fail(status_code: int, sentence: str) -> Answer:
    """Return a model's failure that is nobody's input's fault; it bills nothing."""
    return Answer(status_code=status_code, body={"detail": sentence}, billable_units=0.0)
