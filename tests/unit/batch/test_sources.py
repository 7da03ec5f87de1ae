from __future__ import annotations

import asyncio
import gc
import io
import os
import threading

import pytest

from falq.batch.checking import check_manifest
from falq.batch.manifest import Manifest
from falq.batch.sources import open_source
from falq.errors import ArgumentError


@pytest.fixture
def anyio_backend() -> str:
    """Threads and pipes are real here: a virtual clock would run ahead of them."""
    return "asyncio"


OBJECTS = b'\n{"prompt": "a cat"}\n{"prompt": "a dog"}\n'
PROMPTS = ["a cat", "a dog"]


def prompts(drafts):
    return [draft.arguments["prompt"] for draft in drafts]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rows.jsonl", OBJECTS),
        ("rows.NDJSON", OBJECTS),
        ("rows.csv", b"prompt\na cat\na dog\n"),
        ("rows.tsv", b"prompt\tn\na cat\t1\na dog\t2\n"),
        ("rows.txt", b"a cat\na dog\n"),
    ],
)
def test_the_ending_tells_the_format_and_a_file_can_be_read_twice(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    source = open_source(tmp_path / name)
    assert source.folder == tmp_path
    assert prompts(source.drafts(keep=True)) == PROMPTS
    assert prompts(source.drafts(keep=False)) == PROMPTS


def test_a_format_that_is_given_goes_before_the_ending(tmp_path):
    (tmp_path / "rows.csv").write_bytes(OBJECTS)
    assert prompts(open_source(str(tmp_path / "rows.csv"), format="jsonl").drafts(keep=False)) == (
        PROMPTS
    )


@pytest.mark.parametrize("name", ["rows.json", "rows", "rows.xlsx"])
def test_an_ending_that_tells_no_format_is_refused(name):
    with pytest.raises(ArgumentError, match="--format") as caught:
        open_source(name)
    assert caught.value.argument == "format"


def test_a_format_that_there_is_not_is_refused():
    with pytest.raises(ArgumentError, match="jsonl, csv"):
        open_source("rows.csv", format="xml")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (OBJECTS, PROMPTS),
        (b'\xef\xbb\xbf{"prompt": "a cat"}', ["a cat"]),
        (b"\n\na cat\n{a dog}\n", ["a cat", "{a dog}"]),
        (b"", []),
        (b"\n\n", []),
    ],
)
def test_standard_input_tells_its_format_by_its_first_byte(data, found):
    assert prompts(open_source("-", stdin=io.BytesIO(data)).drafts(keep=False)) == found


def test_standard_input_that_is_checked_first_can_be_read_again():
    source = open_source("-", stdin=io.BytesIO(OBJECTS))
    assert prompts(source.drafts(keep=True)) == PROMPTS
    assert prompts(source.drafts(keep=True)) == PROMPTS
    assert prompts(source.drafts(keep=False)) == PROMPTS
    with pytest.raises(ArgumentError, match="already"):
        list(source.drafts(keep=False))


def test_standard_input_that_is_not_checked_is_streamed_line_by_line():
    stdin = io.BytesIO(OBJECTS)
    drafts = open_source("-", stdin=stdin, format="jsonl").drafts(keep=False)
    next(drafts)
    assert stdin.tell() < len(OBJECTS)


def test_lines_of_standard_input_are_counted_from_its_start():
    drafts = open_source("-", stdin=io.BytesIO(OBJECTS)).drafts(keep=False)
    assert [draft.line for draft in drafts] == [2, 3]


def test_a_spool_that_is_left_behind_is_closed():
    source = open_source("-", stdin=io.BytesIO(OBJECTS))
    next(source.drafts(keep=True))
    del source
    gc.collect()


def test_a_named_pipe_can_be_checked_and_then_read(tmp_path):
    pipe = tmp_path / "rows.jsonl"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(OBJECTS,))
    writer.start()
    manifest = Manifest(pipe, endpoint="fal-ai/flux")
    assert manifest.check().count == 2
    writer.join()
    assert [row.arguments["prompt"] for row in manifest.rows()] == PROMPTS


@pytest.mark.parametrize("name", ["missing.csv", "folder.csv"])
def test_a_manifest_that_cannot_be_opened_is_named(tmp_path, name):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ArgumentError, match=name) as caught:
        list(open_source(tmp_path / name).drafts(keep=False))
    assert caught.value.argument == "manifest"


def test_one_mapping_is_not_taken_for_prompts():
    with pytest.raises(ArgumentError, match="give a list"):
        open_source({"prompt": "a cat"})


def test_an_iterator_can_be_run_but_not_checked_first():
    with pytest.raises(ArgumentError, match="list"):
        list(open_source(iter(PROMPTS)).drafts(keep=True))
    source = open_source(iter(PROMPTS))
    assert prompts(source.drafts(keep=False)) == PROMPTS
    with pytest.raises(ArgumentError, match="once"):
        list(source.drafts(keep=False))


async def test_a_check_that_nobody_waits_for_any_more_leaves_a_silent_pipe():
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as writer:
        manifest = Manifest("-", endpoint="acme/echo", stdin=stream)
        checking = asyncio.create_task(check_manifest(manifest))
        # More than a pipe holds: once it is through, somebody reads.
        await asyncio.to_thread(writer.write, b"a cat\n" * 50_000)
        checking.cancel()
        await asyncio.wait({checking})
        assert checking.cancelled()
        # It returns when the thread has ended, and only then.
        await asyncio.get_running_loop().shutdown_default_executor()


def test_a_check_of_a_file_can_be_stopped_too(tmp_path):
    (tmp_path / "rows.txt").write_text("a cat\n")
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(ArgumentError, match="stopped"):
        Manifest(tmp_path / "rows.txt", endpoint="acme/echo").check(stopped=stopped)


def test_a_pipe_that_ends_is_checked_to_its_last_line():
    reading, writing = os.pipe()
    os.write(writing, b"a cat\na dog")
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        # The first line is read by somebody else, and more with it.
        assert stream.readline() == b"a cat\n"
        manifest = Manifest("-", endpoint="acme/echo", stdin=stream)
        assert manifest.check(stopped=threading.Event()).count == 1
