"""What every typed input and every typed output is.

Owns the four classes that models are written with, and the way between them and
JSON. It never sends anything and never knows which models there are: each has a
module of its own, and `falq models stub` writes more.

Rules:
    1. An input is strict: a field it has not, a wrong kind or a word that is no
       choice raises before anything is sent. Limits of numbers are there only
       where they are certain (fal-wire 17, row 33).
    2. Only what was said is sent. None means that it was not.
    3. An output is tolerant: fields that are new, missing or odd never raise, but
       for the few without which there is no result. `raw` has all that came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Self, TypeAlias, TypeVar, cast

from attrs import NOTHING, Attribute, field, fields, frozen

from falq.errors import ArgumentError, WireError
from falq.models.hints import (
    MediaMark,
    Problems,
    UnreadableError,
    find_problems,
    hints_of,
    read,
)
from falq.platform.field_names import describe_unknown
from falq.text import printable

OutputT_co = TypeVar("OutputT_co", bound="OutputPart", covariant=True)

MediaSource: TypeAlias = Annotated[Any, MediaMark()]
"""A media file in an input: its URL as text, or what a session uploads by itself."""


def name_on_wire(attribute: Attribute[Any]) -> str:
    """Return what a field is called in JSON: its name, unless Python cannot say that."""
    return str(attribute.metadata.get("wire", attribute.name))


class InputPart:
    """A typed object inside an input; `ModelInput` is a whole one.

    Fields are keyword-only attrs fields. A default of None means "not sent".

    Raises:
        ArgumentError: A field does not exist, which names the one that was
            probably meant, or a value cannot be sent.
    """

    __slots__ = ()

    if not TYPE_CHECKING:
        # A type checker knows the fields better; at run time Python's own message
        # would not say which field was meant.
        def __new__(cls, *_: Any, **given: Any) -> Self:
            """Refuse a field that does not exist, and name the one that was meant."""
            unknown = given.keys() - {attribute.name for attribute in fields(cls)}
            if unknown:
                known = [attribute.name for attribute in fields(cls)]
                _refuse(cls, [(name, _say_unknown(cls, name, known)) for name in sorted(unknown)])
            return super().__new__(cls)

    def __attrs_post_init__(self) -> None:
        kind: Any = type(self)
        hints = hints_of(kind)
        problems = [
            problem
            for attribute in fields(kind)
            if (value := getattr(self, attribute.name)) is not None or attribute.default is NOTHING
            for problem in find_problems(value, hints[attribute.name], name_on_wire(attribute))
        ]
        if problems:
            _refuse(kind, problems)

    def as_arguments(self) -> dict[str, Any]:
        """Return what is sent: the fields that were said, by their names on the wire."""
        kind: Any = type(self)
        return {
            name_on_wire(attribute): _unstructure(value)
            for attribute in fields(kind)
            if (value := getattr(self, attribute.name)) is not None
        }

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> Self:
        """Return the typed input of plain arguments, all of them checked.

        Args:
            arguments: By their names on the wire.

        Raises:
            ArgumentError: A field does not exist, is missing, or cannot be sent;
                `problems` has each with its path.
        """
        problems = cls.find_problems(arguments, "")
        if problems:
            _refuse(cls, problems)
        kind: Any = cls
        names = {name_on_wire(attribute): attribute.name for attribute in fields(kind)}
        return cls(**{names[name]: value for name, value in arguments.items()})

    @classmethod
    def find_problems(cls, arguments: Mapping[str, Any], path: str) -> Problems:
        """Return `(path, message)` for everything that keeps arguments from being sent.

        Args:
            arguments: By their names on the wire.
            path: Where they stand, with nothing for the whole input.
        """
        kind: Any = cls
        hints = hints_of(kind)
        attributes = {name_on_wire(attribute): attribute for attribute in fields(kind)}
        below = f"{path}." if path else ""
        problems: Problems = [
            (f"{below}{name}", _say_unknown(cls, str(name), attributes))
            for name in arguments
            if name not in attributes
        ]
        for name, attribute in attributes.items():
            if name in arguments:
                hint = hints[attribute.name]
                problems += find_problems(arguments[name], hint, f"{below}{name}")
            elif attribute.default is NOTHING:
                problems.append((f"{below}{name}", "is missing"))
        return problems


def _say_unknown(kind: type, name: str, known: Iterable[str]) -> str:
    return describe_unknown(name, known, endpoint=getattr(kind, "endpoint", None))


def _refuse(kind: type, problems: Problems) -> None:
    shown = "; ".join(f"{path} {text}" for path, text in problems[:5])
    more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
    raise ArgumentError(
        f"{kind.__name__}: {shown}{more}; nothing was sent",
        argument=problems[0][0],
        problems=tuple((printable(path, limit=200), printable(text)) for path, text in problems),
        endpoint=getattr(kind, "endpoint", None),
    )


def _unstructure(value: Any) -> Any:
    if isinstance(value, InputPart):
        return value.as_arguments()
    if isinstance(value, Mapping):
        return {name: _unstructure(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_unstructure(one) for one in value]
    return value


@frozen(kw_only=True)
class OutputPart:
    """A typed object inside an output; `ModelOutput` is a whole one.

    Attributes:
        raw: The object as it came.
    """

    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)

    @property
    def extra(self) -> dict[str, Any]:
        """The fields of `raw` that this class does not know."""
        kind: Any = type(self)
        known = {name_on_wire(attribute) for attribute in fields(kind) if attribute.name != "raw"}
        return {name: value for name, value in self.raw.items() if name not in known}

    @classmethod
    def read(cls, value: object) -> Self:
        """Return the typed form of a JSON value.

        Args:
            value: Such as the result of a job.

        Raises:
            WireError: Something without which there is no such result is missing.
        """
        try:
            return cls.read_at(value, "")
        except UnreadableError as error:
            place = str(error) or "the top"
            raise WireError(
                f"this is no {cls.__name__}: see {printable(place, limit=120)}; the plain result "
                "is there all the same, with session.result(endpoint, request_id)",
                possibly_billed=True,
            ) from None

    @classmethod
    def read_at(cls, value: object, path: str) -> Self:
        """Return the typed form of the object at `path`; `read` is the one to call.

        Raises:
            UnreadableError: It is none.
        """
        if not isinstance(value, Mapping):
            raise UnreadableError(path)
        kind: Any = cls
        hints, below = hints_of(kind), f"{path}." if path else ""
        read_fields: dict[str, Any] = {"raw": value}
        for attribute in fields(kind):
            name = name_on_wire(attribute)
            if attribute.name == "raw":
                continue
            if name in value:
                hint, place = hints[attribute.name], f"{below}{name}"
                found = _read_field(value[name], hint, place, attribute)
                if found is not NOTHING:
                    read_fields[attribute.name] = found
            elif attribute.default is NOTHING:
                raise UnreadableError(f"{below}{name}")
        return cls(**read_fields)


def _read_field(value: object, hint: Any, path: str, attribute: Attribute[Any]) -> Any:
    try:
        return read(value, hint, path)
    except UnreadableError:
        if attribute.default is NOTHING:
            raise
        return NOTHING


class ModelOutput(OutputPart):
    """What a model answers, typed."""

    __slots__ = ()


class ModelInput(InputPart, Generic[OutputT_co]):
    """What a model takes, typed; give one to a session in place of an endpoint.

    Attributes:
        endpoint: Full id of the endpoint that it is for.
        output: Class of what the endpoint answers.
    """

    __slots__ = ()

    endpoint: ClassVar[str]
    output: ClassVar[type[OutputPart]]

    @classmethod
    def read_output(cls, result: object) -> OutputT_co:
        """Return a result of this endpoint, typed.

        Args:
            result: As a session gave it.

        Raises:
            WireError: It is none.
        """
        return cast("OutputT_co", cls.output.read(result))
