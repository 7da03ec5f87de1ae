"""The file of results: durable, rebuilt, never half."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from falq.batch.lines import ResultLines, write_line


@pytest.fixture
def anyio_backend() -> str:
    """Files are written in threads: a virtual clock would run ahead of them."""
    return "asyncio"


async def pages(*groups: Iterable[bytes]) -> AsyncIterator[Iterable[bytes]]:
    for group in groups:
        yield group


def names_in(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir()]


def read(path: Path) -> list[object]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize("is_rebuilt", [False, True])
async def test_lines_are_in_the_file_when_append_returns(tmp_path: Path, is_rebuilt):
    path = tmp_path / "results.jsonl"
    lines = ResultLines(path, is_rebuilt=is_rebuilt)
    await lines.rebuild(pages())
    await asyncio.gather(*(lines.append(write_line({"id": number})) for number in range(50)))
    assert read(path) == [{"id": number} for number in range(50)]
    await lines.flush()
    await lines.aclose()


async def test_a_flush_waits_for_what_was_appended(tmp_path: Path):
    lines = ResultLines(tmp_path / "results.jsonl", is_rebuilt=True)
    await lines.rebuild(pages())
    appending = asyncio.create_task(lines.append(write_line({"id": 1})))
    await asyncio.sleep(0)
    await lines.flush()
    assert read(lines.path) == [{"id": 1}]
    await appending
    await lines.aclose()


async def test_a_rebuild_puts_new_lines_in_place_of_old_and_half_ones(tmp_path: Path):
    path = tmp_path / "results.jsonl"
    path.write_bytes(b'{"id": 1}\n{"id": 2')
    lines = ResultLines(path)
    await lines.rebuild(pages([write_line({"id": 1})], [write_line({"id": 7})]))
    await lines.append(write_line({"id": 8}))
    await lines.aclose()
    assert read(path) == [{"id": 1}, {"id": 7}, {"id": 8}]
    assert names_in(tmp_path) == ["results.jsonl"]


async def test_what_is_appended_during_a_rebuild_comes_after_it(tmp_path: Path):
    path = tmp_path / "results.jsonl"
    lines = ResultLines(path)
    lines.hold()
    appending = asyncio.create_task(lines.append(write_line({"id": "new"})))
    await asyncio.sleep(0)
    await lines.rebuild(pages([write_line({"id": "old"})]))
    await appending
    await lines.aclose()
    assert read(path) == [{"id": "old"}, {"id": "new"}]


async def test_a_folder_that_is_gone_refuses_the_rebuild_and_every_line_after(tmp_path: Path):
    lines = ResultLines(tmp_path / "gone" / "results.jsonl")
    with pytest.raises(FileNotFoundError):
        await lines.rebuild(pages())
    with pytest.raises(FileNotFoundError):
        await lines.append(b"{}\n")
    with pytest.raises(FileNotFoundError):
        await lines.flush()
    await lines.aclose()


def test_a_line_is_one_line_of_ascii():
    assert write_line({"say": "\u2028\n\x85é"}).isascii()
    assert write_line({"say": "\u2028\n\x85é"}).count(b"\n") == 1
