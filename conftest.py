"""Run every code block of README, CONTRIBUTING and docs.

Owns the blocks' world: an emulator in a thread, the variables that lead to it
and an empty folder to run in, so that a block reads as a user would write it.
What each kind of block is held to:

    python     it runs, on free ports instead of the printed ones; one that begins with
               the name of a file is written to it, and one of tests is run by pytest in
               a process of its own
    toml, json it is read as a scenario, or as JSON
    bash       every `falq …` line is understood by the parser
    text       nothing: it is what somebody sees

A block of any other language is an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from sybil import Document, Example, Region, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.integration.pytest import SybilItem
from sybil.parsers.abstract.lexers import LexerCollection
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer
from sybil.region import Lexeme

from falq.cli.app import app
from falq.emulator import Emulator, Scenario

FILE_NAME = re.compile(r"# (?P<name>[a-z_]+\.py)\n")
PRINTED_PORT = re.compile(r"\b87\d\d\b")
"""Ports that a reader may copy; here somebody may have them."""

_ROOT = Path(__file__).parent
_run_python = PythonEvaluator()


def _run_block_of_python(example: Example) -> None:
    ports = example.namespace.setdefault("_free_ports", {})
    for printed in PRINTED_PORT.findall(example.parsed):
        if printed not in ports:
            with socket.create_server(("127.0.0.1", 0)) as found:
                ports[printed] = str(found.getsockname()[1])
    source = PRINTED_PORT.sub(lambda match: ports[match[0]], example.parsed)
    example.parsed = Lexeme(source, example.parsed.offset, example.parsed.line_offset)
    named = FILE_NAME.match(example.parsed)
    if named is None:
        _run_python(example)
        return
    path = Path(named["name"])
    path.write_text(example.parsed, encoding="utf-8")
    if not path.name.startswith("test_"):
        return
    options = ["-o", "anyio_mode=auto", "-o", "addopts=", "-p", "no:cacheprovider"]
    done = subprocess.run(  # noqa: S603  a page of this repository, run by its own tests
        [sys.executable, "-m", "pytest", "-q", "--rootdir=.", *options, path.name],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(done.stdout + done.stderr)


def _read_block_of_toml(example: Example) -> None:
    path = Path("scenario.toml")
    path.write_text(example.parsed, encoding="utf-8")
    Scenario.load(path)


def _read_block_of_json(example: Example) -> None:
    for document in example.parsed.strip().split("\n\n"):
        json.loads(document)


def _read_block_of_bash(example: Example) -> None:
    joined = example.parsed.replace("\\\n", " ")
    for line in joined.splitlines():
        for command in re.split(r"&&|\||;", line):
            words = shlex.split(command, comments=True)
            if words and words[0] == "falq":
                _check_command(words[1:])


def _check_command(words: list[str]) -> None:
    redirections = [place for place, word in enumerate(words) if word in {">", "<", "2>"}]
    kept = words[: redirections[0]] if redirections else words
    tokens = ["@-" if word == "-" else word for word in kept]
    app.parse_args(tokens, exit_on_error=False, print_error=False)


_EVALUATORS = {
    "python": _run_block_of_python,
    "toml": _read_block_of_toml,
    "json": _read_block_of_json,
    "bash": _read_block_of_bash,
}
_UNCHECKED = {"text", "{include}", "{literalinclude}", "{eval-rst}", "{toctree}"}


class _Blocks:
    """Finds every fenced block and gives it the evaluator of its language."""

    def __init__(self) -> None:
        lexer = FencedCodeBlockLexer(
            language=r"[^\n]*", mapping={"language": "arguments", "source": "source"}
        )
        self._lexers = LexerCollection([lexer])

    def __call__(self, document: Document) -> Iterable[Region]:
        for region in self._lexers(document):
            words = region.lexemes["arguments"].split()
            language = words[0] if words else ""
            if language in _UNCHECKED:
                continue
            if language not in _EVALUATORS:
                where = f"{document.path}:{document.text[: region.start].count(chr(10)) + 1}"
                raise ValueError(f"{where}: nothing runs a block of {language or 'no language'!r}")
            region.parsed = region.lexemes["source"]
            region.evaluator = _EVALUATORS[language]
            yield region


_collect = Sybil(
    parsers=[_Blocks()], pattern="*.md", path=str(_ROOT), fixtures=["documented_world"]
).pytest()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect the pages that have their blocks run."""
    is_page = file_path.is_relative_to(_ROOT / "docs") and "_build" not in file_path.parts
    is_beside = file_path.parent == _ROOT and file_path.name in {"README.md", "CONTRIBUTING.md"}
    return _collect(file_path, parent) if is_page or is_beside else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the blocks that run jobs on sockets or start a process."""
    for item in items:
        if isinstance(item, SybilItem):
            source = str(item.example.parsed)
            if "asyncio.run(" in source or FILE_NAME.match(source):
                item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def documented_emulator() -> Iterator[Emulator]:
    """An emulator in a thread: blocks bring event loops of their own."""
    emulator = Emulator(Scenario(speed=1000.0, runners=50))
    has_started, must_end = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with emulator:
            has_started.set()
            await must_end.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    has_started.wait(10)
    yield emulator
    loop.call_soon_threadsafe(must_end.set)
    thread.join()
    loop.close()


@pytest.fixture
def documented_world(
    request: pytest.FixtureRequest,
    documented_emulator: Emulator,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    """The variables and the folder that blocks of one page share; its printed ports are taken."""
    for name in list(os.environ):
        if name.startswith(("FAL", "MATON")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FALQ_BASE_URL", documented_emulator.url)
    monkeypatch.setenv("FAL_KEY", documented_emulator.key)
    folder = tmp_path_factory.getbasetemp() / f"page-{request.node.path.stem}"
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    with contextlib.ExitStack() as taken:
        for port in set(PRINTED_PORT.findall(str(request.node.example.parsed))):
            # Or somebody has it already.
            with contextlib.suppress(OSError):
                taken.enter_context(socket.create_server(("127.0.0.1", int(port))))
        yield
