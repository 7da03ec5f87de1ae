"""The reference pages say what the code says.

Owns the comparison of pages with the parser, the settings, the errors, the
events and the emulator. It never looks at how a page is built.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest

import falq
from falq import (
    batch,
    config,
    connections,
    emulator,
    events,
    journal,
    media,
    models,
    testing,
)
from falq.cli.app import app
from falq.emulator import Fault, Scenario
from falq.emulator.models import MODELS
from falq.emulator.scenario import FaultKind
from falq.emulator.script import Script

PAGES = Path(__file__).parent
REFERENCE = PAGES / "reference"


def read(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def table_rows(text: str) -> list[str]:
    """The rows of a Markdown table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return lines[2:]


def documented_classes(page: str) -> list[str]:
    return re.findall(r"^\.\. autoclass:: ([\w.]+)", read(page), re.MULTILINE)


def documented_names(page: str) -> list[str]:
    """Classes, functions and data."""
    return re.findall(r"^\.\. auto(?:class|data|function):: ([\w.]+)", read(page), re.MULTILINE)


def command_rows(name: str) -> list[str]:
    """A command's table as the parser would have it: words, default, help."""
    rows = []
    for argument in app[name].assemble_argument_collection(parse_docstring=True):
        if not argument.show:
            continue
        names = [word for word in argument.names if not word.startswith("--empty-")]
        default = argument.field_info.default
        is_said = argument.parameter.show_default is not False
        is_plain = default in (None, (), False, inspect.Parameter.empty) or not is_said
        shown = "" if is_plain else f"`{default}`"
        words = ", ".join(f"`{word}`" for word in names)
        rows.append(f"| {words} | {shown} | {argument.parameter.help} |")
    return rows


def command_names() -> list[str]:
    return [name for name in app if not name.startswith("-")]


def test_every_command_has_its_section_and_every_option_its_row() -> None:
    found = re.findall(
        r"^## falq (\w+)\n(.*?)(?=^## |\Z)", read("cli.md"), re.MULTILINE | re.DOTALL
    )
    sections = dict(found)
    assert sections.keys() == set(command_names())
    assert {name: table_rows(text) for name, text in sections.items()} == {
        name: command_rows(name) for name in sections
    }


def test_every_error_that_can_be_imported_has_its_entry() -> None:
    public = [name for name in falq.__all__ if issubclass(getattr(falq, name), falq.FalqError)]
    assert sorted(documented_classes("errors.md")) == sorted(public)


def test_every_event_has_its_entry() -> None:
    known = [
        name
        for name, value in vars(events).items()
        if isinstance(value, type)
        and issubclass(value, events.Event)
        and value.__module__ == events.__name__
    ]
    assert sorted(documented_classes("events.md")) == sorted(known)


def test_every_other_public_name_is_on_the_api_page() -> None:
    names = {name.rpartition(".")[2] for name in documented_classes("api.md")}
    others = {name for name in falq.__all__ if not issubclass(getattr(falq, name), falq.FalqError)}
    assert others <= names


def test_every_public_name_of_the_rooms_beside_is_on_a_page() -> None:
    names = {
        name.rpartition(".")[2]
        for page in ("api.md", "scenarios.md")
        for name in documented_names(page)
    }
    rooms = (batch, connections, emulator, journal, media, models, testing)
    assert {name for room in rooms for name in room.__all__} <= names


def test_the_variables_are_those_that_config_reads() -> None:
    page = read("config.md").partition("## Variables")[2]
    assert table_rows(page) == table_rows(config.__doc__ or "")


def test_every_setting_of_a_session_has_its_row() -> None:
    page = read("config.md").partition("## Variables")[0]
    rows = [re.match(r"\| `(\w+)` \|", row) for row in table_rows(page)]
    assert [row[1] for row in rows if row] == list(inspect.signature(falq.Session).parameters)


@pytest.mark.parametrize(
    "setting", ["max_calls", "max_resends", "exit_grace_s", "delivery", "on_exit"]
)
def test_a_default_on_the_page_is_the_default(setting: str) -> None:
    default: Any = inspect.signature(falq.Session).parameters[setting].default
    shown = f'`"{default}"`' if isinstance(default, str) else str(default)
    assert f"| `{setting}` | {shown} |" in read("config.md")


def test_every_field_of_a_script_has_its_row() -> None:
    rows = table_rows(read("scenarios.md").partition("## One job")[2].partition("##")[0])
    fields = [field.name for field in attrs.fields(Script) if field.name != "problem"]
    assert [row.split("`")[1] for row in rows] == fields


@pytest.mark.parametrize("kind", [Scenario, Fault])
def test_every_switch_of_the_emulator_is_described(kind: type) -> None:
    described = inspect.getdoc(kind) or ""
    unsaid = [
        field.name
        for field in attrs.fields(kind)
        if not re.search(rf"^ +{field.name}: ", described, re.MULTILINE)
    ]
    assert unsaid == []


def test_the_counts_in_the_readme_are_right() -> None:
    readme = (PAGES.parent / "README.md").read_text(encoding="utf-8")
    assert len(MODELS) == 7
    assert "seven models" in readme
    assert len(get_args(FaultKind)) == 20
    assert "twenty kinds of faults" in readme


def test_the_readme_is_short() -> None:
    readme = (PAGES.parent / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 120


def test_every_how_to_begins_with_its_goal_and_ends_with_its_check() -> None:
    for page in (PAGES / "how-to").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert text.splitlines()[2].startswith("Goal: "), page.name
        assert re.findall(r"^## (.*)$", text, re.MULTILINE)[-1] == "Check", page.name
