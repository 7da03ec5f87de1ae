"""What one line of a manifest says, before anything is set, checked or hashed.

Owns how an object or a line of columns is taken apart into id, endpoint,
arguments and options:

    {"id", "endpoint", "arguments", "options"}   falq's own form; `model` is
                                                 another word for endpoint
    {"custom_id", "body"}                        OpenAI's batch form; `method` and
                                                 `url` are read over
    {"prompt": …, …}                             no `arguments` and no `body`: the
                                                 object itself is the arguments,
                                                 but for an `id` or `custom_id`
    columns                                      each is an argument; `id`,
                                                 `custom_id` and `endpoint` are not

An object without `arguments` that has `endpoint`, `model` or `options` is
refused and not guessed at: a misspelt `argument` would be paid for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen

from falq._core import codec
from falq.batch.keys import KeyPath, parse_key, with_value
from falq.batch.problems import BadFieldError
from falq.errors import ArgumentError
from falq.text import printable

LONGEST_ROW_ID = 200

_ID_NAMES = ("id", "custom_id")
_ENDPOINT_NAMES = ("endpoint", "model")
_ARGUMENT_NAMES = ("arguments", "body")
_NEEDS_ARGUMENTS = ("endpoint", "model", "options")
_READ_OVER = frozenset({"method", "url"})
_KNOWN = frozenset({*_ID_NAMES, *_ENDPOINT_NAMES, *_ARGUMENT_NAMES, "options"}) | _READ_OVER


@frozen
class Draft:
    """What a line says.

    Attributes:
        line: Where it begins, from 1.
        id: The id it gives itself, if it does.
        endpoint: The endpoint it names, if it does.
        arguments: Its arguments.
        options: Its options.
        source: The columns or the object as they were read.
    """

    line: int
    id: str | None
    endpoint: str | None
    arguments: Mapping[str, Any]
    options: Mapping[str, Any]
    source: Mapping[str, Any]


def draft_object(line: int, value: Any) -> Draft:
    """Return what an object says.

    Raises:
        BadFieldError: It is no object, or its fields do not fit together.
    """
    if not isinstance(value, Mapping):
        raise BadFieldError("", 'is no object; write {"arguments": {"prompt": "a cat"}}')
    arguments_name = _only_one(value, _ARGUMENT_NAMES)
    if arguments_name is None:
        return _draft_bare(line, value)
    for name in value:
        if name not in _KNOWN:
            raise BadFieldError(name, f"is unknown beside {arguments_name!r}; arguments go into it")
    arguments = _object_at(value, arguments_name)
    endpoint_name = _only_one(value, _ENDPOINT_NAMES)
    return Draft(
        line,
        _read_id(value),
        None if endpoint_name is None else _read_endpoint(value[endpoint_name], endpoint_name),
        arguments,
        _object_at(value, "options") if value.get("options") is not None else {},
        value,
    )


def _draft_bare(line: int, value: Mapping[str, Any]) -> Draft:
    for name in _NEEDS_ARGUMENTS:
        if name in value:
            raise BadFieldError(
                name,
                "is given but 'arguments' is not; put the arguments into an object of that name",
            )
    arguments = {name: child for name, child in value.items() if name not in _ID_NAMES}
    return Draft(line, _read_id(value), None, arguments, {}, value)


def _only_one(value: Mapping[str, Any], names: Sequence[str]) -> str | None:
    given = [name for name in names if name in value]
    if len(given) > 1:
        raise BadFieldError(given[1], f"is another word for {given[0]!r}; give one of them")
    return given[0] if given else None


def _object_at(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    inner = value[name]
    if not isinstance(inner, Mapping):
        raise BadFieldError(name, 'is no object; write it as {"name": value}')
    # A copy: a program may go on using its own, and JSON takes no other mapping.
    return dict(inner)


def _read_id(value: Mapping[str, Any]) -> str | None:
    name = _only_one(value, _ID_NAMES)
    row_id = None if name is None else value[name]
    if row_id is None or row_id == "":
        return None
    if isinstance(row_id, int) and not isinstance(row_id, bool) and abs(row_id) < 10**30:
        return str(row_id)
    if not isinstance(row_id, str) or not row_id.isprintable() or len(row_id) > LONGEST_ROW_ID:
        raise BadFieldError(
            str(name), f"is text of up to {LONGEST_ROW_ID} printable characters, or a whole number"
        )
    return row_id


def _read_endpoint(value: Any, name: str) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise BadFieldError(name, "is text such as 'fal-ai/flux/schnell'")
    return value


@frozen
class _Column:
    name: str
    path: KeyPath
    is_json: bool
    is_special: bool


class Columns:
    """The head of a table: which argument each column is.

    A name ending in `:=` has JSON in its cells, any other has text. A dot leads
    into an object. An empty cell leaves the argument out.

    Args:
        names: As the head has them. An empty one stands over empty cells only.

    Raises:
        ArgumentError: A name stands twice, or cannot be read.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = [name.strip() for name in names]
        given = [name for name in self._names if name]
        if not given:
            raise ArgumentError("the manifest's first line names no columns", argument="manifest")
        if len(set(given)) < len(given):
            twice = next(name for name in given if given.count(name) > 1)
            raise ArgumentError(
                f"the manifest has two columns named {printable(repr(twice), limit=80)}",
                argument="manifest",
            )
        self._columns = [_read_head(name) if name else None for name in self._names]

    def draft(self, line: int, cells: Sequence[Any]) -> Draft:
        """Return what a line of cells says. A cell that is None counts as empty.

        Raises:
            BadFieldError: There are too few or too many cells, or one cannot be read.
        """
        if len(cells) != len(self._names):
            raise BadFieldError(
                "",
                f"has {len(cells)} cells and the head {len(self._names)}; quote a cell that holds "
                "the separator",
            )
        arguments: dict[str, Any] = {}
        special: dict[str, Any] = {}
        for column, cell in zip(self._columns, cells, strict=True):
            if cell is None or cell == "":
                continue
            if column is None:
                raise BadFieldError("", "has a value in a column without a name")
            if column.is_special:
                special[column.name] = cell
                continue
            value = _read_json_cell(column.name, cell) if column.is_json else cell
            if len(column.path) == 1:
                arguments[column.path[0]] = value
            else:
                arguments = with_value(arguments, column.path, value)
        return Draft(
            line,
            _read_id(special),
            _read_endpoint(special.get("endpoint"), "endpoint"),
            arguments,
            {},
            dict(zip(self._names, cells, strict=True)),
        )


def _read_head(name: str) -> _Column:
    is_json = name.endswith(":=")
    path = parse_key(name.removesuffix(":="), what="manifest")
    return _Column(name, path, is_json, name in {*_ID_NAMES, "endpoint"})


def _read_json_cell(name: str, cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    try:
        return codec.load_json(cell.encode("utf-8", "replace"))
    except ValueError as error:
        raise BadFieldError(
            name, f"takes JSON ({error}); for text take the := off the column's name"
        ) from None
