"""Read a model's input by a table of fields.

Owns the kinds of field and the reading of a whole input: lax conversions, every
problem at once, unknown keys ignored, as the service's own validation does it
(pydantic 2 behind FastAPI; fal-wire 4.2 and 12). It never knows which models
there are; each of them brings its table.

Every kind has one method, `read`: it returns the value in its final type, or
appends to `problems` and returns something that nobody may use.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Protocol

from attrs import field, frozen

from falq.emulator.models.problems import Location, Problem, build_problem

INTEGER_TEXT = re.compile(r"\s*([+-]?[0-9]{1,4000})(?:\.0*)?\s*", re.ASCII)
TRUE_TEXTS = frozenset({"true", "t", "yes", "y", "on", "1"})
FALSE_TEXTS = frozenset({"false", "f", "no", "n", "off", "0"})
NOT_AN_OBJECT = "Input should be a valid dictionary or object to extract fields from"


class Kind(Protocol):
    """What a field may hold."""

    def read(self, value: object, location: Location, problems: list[Problem]) -> Any:
        """Return `value` converted, or append what is wrong with it to `problems`."""
        ...


@frozen(kw_only=True)
class Bounds:
    """Limits of a number; None is no limit."""

    gt: float | None = None
    ge: float | None = None
    le: float | None = None

    def check(
        self, number: float, value: object, location: Location, problems: list[Problem]
    ) -> None:
        """Append the first limit that `number` breaks."""
        # Asked for what holds, not for what fails: NaN breaks every limit.
        if self.ge is not None and not number >= self.ge:
            kind, words, key, limit = (
                "greater_than_equal",
                "greater than or equal to",
                "ge",
                self.ge,
            )
        elif self.gt is not None and not number > self.gt:
            kind, words, key, limit = "greater_than", "greater than", "gt", self.gt
        elif self.le is not None and not number <= self.le:
            kind, words, key, limit = "less_than_equal", "less than or equal to", "le", self.le
        else:
            return
        message = f"Input should be {words} {limit:g}"
        problems.append(build_problem(kind, location, message, value, **{key: limit}))


@frozen(kw_only=True)
class Text:
    """A string, at most `max_length` characters long."""

    max_length: int | None = None

    def read(self, value: object, location: Location, problems: list[Problem]) -> Any:
        """Return the string; nothing else is converted to one."""
        if not isinstance(value, str):
            message = "Input should be a valid string"
            problems.append(build_problem("string_type", location, message, value))
        elif any("\ud800" <= letter <= "\udfff" for letter in value):
            message = "Input should be a valid string, unable to parse raw data as a unicode string"
            # The broken string is not echoed: it could not be encoded either.
            problems.append(build_problem("string_unicode", location, message, None))
        elif self.max_length is not None and len(value) > self.max_length:
            message = f"String should have at most {self.max_length} characters"
            problem = build_problem(
                "string_too_long", location, message, value, max_length=self.max_length
            )
            problems.append(problem)
        return value


@frozen(kw_only=True)
class Integer:
    """A whole number; a float without a fraction or a numeric string will do."""

    bounds: Bounds = field(factory=Bounds)

    def read(self, value: object, location: Location, problems: list[Problem]) -> Any:
        """Return an int."""
        match value:
            case int():
                number = int(value)
            case float() if value.is_integer():
                number = int(value)
            case float() if math.isfinite(value):
                message = "Input should be a valid integer, got a number with a fractional part"
                problems.append(build_problem("int_from_float", location, message, value))
                return 0
            case float():
                message = "Input should be a finite number"
                problems.append(build_problem("finite_number", location, message, value))
                return 0
            case str() if found := INTEGER_TEXT.fullmatch(value):
                number = int(found[1])
            case str():
                message = "Input should be a valid integer, unable to parse string as an integer"
                problems.append(build_problem("int_parsing", location, message, value))
                return 0
            case _:
                message = "Input should be a valid integer"
                problems.append(build_problem("int_type", location, message, value))
                return 0
        self.bounds.check(number, value, location, problems)
        return number


@frozen(kw_only=True)
class Number:
    """A float; an int or a numeric string will do."""

    bounds: Bounds = field(factory=Bounds)

    def read(self, value: object, location: Location, problems: list[Problem]) -> Any:
        """Return a float."""
        if not isinstance(value, int | float | str):
            message = "Input should be a valid number"
            problems.append(build_problem("float_type", location, message, value))
            return 0.0
        try:
            number = float(value)
        except OverflowError:
            number = math.inf if value > 0 else -math.inf  # type: ignore[operator]  # only an int overflows
        except ValueError:
            message = "Input should be a valid number, unable to parse string as a number"
            problems.append(build_problem("float_parsing", location, message, value))
            return 0.0
        self.bounds.check(number, value, location, problems)
        return number


@frozen(kw_only=True)
class Boolean:
    """True or false; 0, 1 and the usual words will do."""

    def read(self, value: object, location: Location, problems: list[Problem]) -> Any:
        """Return a bool."""
        match value:
            case bool():
                return value
            case int() | float() if value in {0, 1}:
                return value == 1
            case str() if value.lower() in TRUE_TEXTS:
                return True
            case str() if value.lower() in FALSE_TEXTS:
                return False
            case str() | int():
                message = "Input should be a valid boolean, unable to interpret input"
                problems.append(build_problem("bool_parsing", location, message, value))
            case _:
                message = "Input should be a valid boolean"
                problems.append(build_problem("bool_type", location, message, value))
        return False


@frozen(kw_only=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]
    problem_type: str = "literal_error"

    def read(self, value: object, location: Location, problems: list[Problem]) -> Any:
        """Return the word."""
        if not isinstance(value, str) or value not in self.words:
            quoted = [f"'{word}'" for word in self.words]
            expected = " or ".join([", ".join(quoted[:-1]), quoted[-1]] if quoted[1:] else quoted)
            message = f"Input should be {expected}"
            problem = build_problem(self.problem_type, location, message, value, expected=expected)
            problems.append(problem)
        return value


@frozen(kw_only=True)
class ListOf:
    """A list whose items are all of one kind."""

    item: Kind

    def read(self, value: object, location: Location, problems: list[Problem]) -> Any:
        """Return the items, read one by one."""
        if not isinstance(value, list):
            message = "Input should be a valid list"
            problems.append(build_problem("list_type", location, message, value))
            return []
        return [self.item.read(item, (*location, i), problems) for i, item in enumerate(value)]


@frozen(kw_only=True)
class OneOf:
    """The first of several kinds that fits.

    If none does, the problems of all of them are told, each with the kind's
    name in its location.
    """

    kinds: Mapping[str, Kind]

    def read(self, value: object, location: Location, problems: list[Problem]) -> Any:
        """Return what the first fitting kind returns."""
        found: list[Problem] = []
        for name, kind in self.kinds.items():
            own: list[Problem] = []
            result = kind.read(value, (*location, name), own)
            if not own:
                return result
            found += own
        problems += found
        return None


@frozen(kw_only=True)
class Field:
    """One key of an input.

    Attributes:
        name: The key.
        kind: What it may hold.
        default: Value for a missing key; not validated.
        required: A missing key is a problem.
        nullable: Null is a value of its own.
    """

    name: str
    kind: Kind
    default: Any = None
    required: bool = False
    nullable: bool = False


@frozen
class Record:
    """An object with known keys; further keys are ignored."""

    fields: tuple[Field, ...]

    def read(self, value: object, location: Location, problems: list[Problem]) -> Mapping[str, Any]:
        """Return a value for every known key."""
        if not isinstance(value, Mapping):
            problems.append(build_problem("model_attributes_type", location, NOT_AN_OBJECT, value))
            return {}
        values: dict[str, Any] = {}
        for entry in self.fields:
            at = (*location, entry.name)
            if entry.name not in value:
                values[entry.name] = entry.default
                if entry.required:
                    # The enclosing object stands as `input`, as pydantic has it.
                    problems.append(build_problem("missing", at, "Field required", value))
            elif value[entry.name] is None and entry.nullable:
                values[entry.name] = None
            else:
                values[entry.name] = entry.kind.read(value[entry.name], at, problems)
        return values


def read_input(record: Record, arguments: object) -> tuple[Mapping[str, Any], list[Problem]]:
    """Return the values of a whole request body and everything wrong with it.

    Args:
        record: The model's table of fields.
        arguments: The body as JSON gave it; None for an empty one.
    """
    if arguments is None:
        return {}, [build_problem("missing", ("body",), "Field required", None)]
    problems: list[Problem] = []
    return record.read(arguments, ("body",), problems), problems
