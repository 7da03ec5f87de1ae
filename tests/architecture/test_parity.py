"""The page for users of fal_client has a row for all that fal_client offers.

Owns the comparison of the page's tables with fal_client's public names, methods
and parameters, and with falq's own. It never asks whether a counterpart behaves
the same: tests of the counterpart do.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import fal_client
import pytest

import falq

# aiohttp comes with it, and takes longer to load than a test may.
import falq.session

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "coming-from-fal-client.md"
CLIENTS = ("AsyncClient", "SyncClient")
CODE = re.compile(r"`([^`]+)`")


def rows_below(heading: str) -> list[tuple[str, str, str]]:
    """The three cells of each row of the table in a part of the page."""
    parts = PAGE.read_text(encoding="utf-8").split("\n## ")
    (part,) = (part for part in parts if part.startswith(heading))
    lines = [line for line in part.splitlines() if line.startswith("|")]
    found = []
    for line in lines[2:]:
        name, ours, reason = (cell.strip() for cell in line.strip("|").split("|"))
        found.append((name, ours, reason))
    return found


HEADINGS = ("Functions of fal_client", "Classes of fal_client", "Names of @fal-ai/client")
TABLES = {heading: rows_below(heading) for heading in HEADINGS}
ROWS = [row for rows in TABLES.values() for row in rows]
OF_FAL_CLIENT = {
    code
    for heading in HEADINGS[:2]
    for name, _, _ in TABLES[heading]
    for code in CODE.findall(name)
}
COUNTERPARTS = sorted({code for _, ours, _ in ROWS for code in CODE.findall(ours)})


def shared_name(kind: str) -> str:
    """What the page calls both forms of a class."""
    bare = kind.removeprefix("Async").removeprefix("Sync")
    return bare if bare in {"Client", "RequestHandle", "RealtimeConnection"} else kind


def own_parameters(value: Any) -> list[str]:
    try:
        names = inspect.signature(value).parameters
    except ValueError:  # an exception without a constructor of its own
        return []
    return [name for name in names if name != "self" and not name.startswith("_")]


def is_class_of_theirs(value: object) -> bool:
    return inspect.isclass(value) and value.__module__.startswith("fal_client")


def named_in(kind: type) -> Iterator[str]:
    """A class's parameters and public members, with the parameters of its methods."""
    owner = shared_name(kind.__name__)
    for name in own_parameters(kind):
        yield f"{owner}({name})"
    inherited = {
        name for base in kind.__mro__ if not is_class_of_theirs(base) for name in vars(base)
    }
    for name in dir(kind):
        if name.startswith("_") or name in inherited:
            continue
        value = getattr(kind, name)
        # A client's methods are the functions.
        full = name if kind.__name__ in CLIENTS and callable(value) else f"{owner}.{name}"
        yield full
        if callable(value):
            yield from (f"{full}({parameter})" for parameter in own_parameters(value))


def offered() -> Iterator[str]:
    public = {name for name in vars(fal_client) if not name.startswith("_")}
    for name in sorted(public | set(fal_client.__all__)):
        value = getattr(fal_client, name)
        if isinstance(value, ModuleType):
            continue
        if is_class_of_theirs(value):
            yield name
            yield from named_in(value)
        elif inspect.isroutine(value):
            bare = name.removesuffix("_async")
            yield bare
            yield from (f"{bare}({parameter})" for parameter in own_parameters(value))
        else:
            yield name


OFFERED = sorted(set(offered()))


def find(name: str) -> Any:
    """The value of a dotted name that begins with falq."""
    value: Any = falq
    for part in name.split(".")[1:]:
        if isinstance(value, ModuleType) and not hasattr(value, part):
            value = importlib.import_module(f"{value.__name__}.{part}")
        elif inspect.isclass(value) and not hasattr(value, part):
            # An error has its attributes once it is made, each by its parameter.
            assert part in inspect.signature(value).parameters, f"{name}: no {part}"
        else:
            value = getattr(value, part)
    return value


def parameters_of(value: Any) -> set[str]:
    """The parameters of a function, the names in its `**options: Unpack[...]` among them."""
    parameters = inspect.signature(value).parameters
    names = set(parameters)
    for name, parameter in parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD and not inspect.isclass(value):
            (keywords,) = get_type_hints(value)[name].__args__
            names |= keywords.__annotations__.keys()
    return names


def test_the_walk_sees_functions_options_classes_methods_and_fields():
    assert {
        "subscribe",
        "subscribe(on_queue_update)",
        "AsyncRequestHandle",
        "RequestHandle.iter_events(with_logs)",
        "get_handle",
        "FalClientHTTPError(status_code)",
        "StorageSettings(expires_in)",
    } <= set(OFFERED)


@pytest.mark.parametrize("name", OFFERED)
def test_all_that_fal_client_offers_has_a_row(name):
    assert name in OF_FAL_CLIENT


def test_the_tables_name_nothing_that_fal_client_lacks():
    assert sorted(OF_FAL_CLIENT - set(OFFERED)) == []


@pytest.mark.parametrize("heading", HEADINGS)
def test_no_table_has_a_row_twice(heading):
    names = [name for name, _, _ in TABLES[heading]]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("heading", HEADINGS)
def test_every_row_has_a_counterpart_or_a_reason(heading):
    for name, ours, reason in TABLES[heading]:
        assert reason if ours == "none" else CODE.findall(ours), name


@pytest.mark.parametrize("counterpart", COUNTERPARTS)
def test_every_counterpart_exists(counterpart):
    match = re.fullmatch(r"(?P<name>falq(\.\w+)+)(\((?P<parameter>\w+)\))?", counterpart)
    assert match, counterpart
    value = find(match["name"])
    if match["parameter"]:
        assert match["parameter"] in parameters_of(value)
