"""What one input asks of the emulator about its own job.

Owns the field `_emulator`, which every endpoint honors, so that a test or a
demonstration can make a single job fail, last or resist. It never acts on it:
`state` does.
"""

from __future__ import annotations

from typing import Any

from attrs import fields, frozen

FIELD = "_emulator"


@frozen(kw_only=True)
class Script:
    """The wishes of one input.

    Attributes:
        fail: End the run with this error type or HTTP status.
        run_s: Length of the run before the scenario's `speed`, in seconds.
        ignore_cancel: The model does not stop when told to.
        retries: Runs that break and go back to the queue before the one that counts.
        problem: What is wrong with the wishes; the job then ends with 422.
    """

    fail: str | int | None = None
    run_s: float | None = None
    ignore_cancel: bool = False
    retries: int = 0
    problem: str | None = None


_NOTHING = Script()
_KINDS: dict[str, tuple[type, ...]] = {
    "fail": (str, int),
    "run_s": (int, float),
    "ignore_cancel": (bool,),
    "retries": (int,),
}


def read_script(arguments: object) -> Script:
    """Return the wishes in `arguments`, or one that has none."""
    if not isinstance(arguments, dict) or FIELD not in arguments:
        return _NOTHING
    wishes = arguments[FIELD]
    if not isinstance(wishes, dict):
        return Script(problem=f"{FIELD} must be an object")
    for name, value in wishes.items():
        problem = _find_problem(name, value)
        if problem:
            return Script(problem=problem)
    return Script(**wishes)


def _find_problem(name: str, value: Any) -> str | None:
    kinds = _KINDS.get(name)
    if kinds is None:
        known = ", ".join(one.name for one in fields(Script) if one.name in _KINDS)
        return f"{FIELD} has no field {name!r}; it may have: {known}"
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        return f"{FIELD}.{name} cannot be {value!r}"
    if name == "fail" and isinstance(value, int) and not 400 <= value <= 599:
        return f"{FIELD}.fail must be an error type or a status from 400 to 599"
    if isinstance(value, int | float) and value < 0:
        return f"{FIELD}.{name} must not be negative"
    return None
