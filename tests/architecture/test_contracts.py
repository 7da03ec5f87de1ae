from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import falq

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "falq").rglob("*.py"))
NOT_FOR_EVERYONE = {
    "PIL",
    "av",
    "cryptography",
    "cyclopts",
    "jinja2",
    "jsonschema",
    "mcp",
    "msgpack",
    "opentelemetry",
    "pyarrow",
    "pytest",
    "rich",
    "trustme",
}


@pytest.mark.slow
def test_imports_point_down_only_and_the_other_contracts_hold():
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    linted = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_does(path):
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":"))


@pytest.mark.parametrize(
    "path", sorted((ROOT / "falq" / "_core").glob("*.py")), ids=lambda path: path.name
)
def test_nothing_in_the_core_waits(path):
    waiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    assert not [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, waiting)]


def test_each_module_of_the_core_has_a_test_file_of_its_own():
    modules = {path.stem for path in (ROOT / "falq" / "_core").glob("[!_]*.py")}
    tests = {path.stem.removeprefix("test_") for path in (ROOT / "tests/unit/_core").glob("*.py")}
    assert modules <= tests


def test_the_version_is_the_one_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == falq.__version__


@pytest.mark.slow
def test_importing_falq_loads_nothing_that_only_an_extra_brings():
    code = "import sys, falq; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "falq" in loaded
    assert not NOT_FOR_EVERYONE & set(loaded)


@pytest.mark.slow
def test_the_types_that_users_see_are_those_they_are_promised():
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "tests/typing"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
