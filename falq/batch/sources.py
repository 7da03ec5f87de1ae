"""Where a manifest comes from: a file, standard input, or items of a program.

Owns opening, telling the format, and reading twice: once to check and once to
run. A file is opened again. What can be read only once (standard input, a
pipe) is copied to a temporary file if it is read first to be checked, and
streamed if not. Who waits for that copy can be told to stop, however silent the
writer is. It never looks into a line, but for the first byte of one.
"""

from __future__ import annotations

import os
import select
import shutil
import stat
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol, get_args

from falq.batch import rows
from falq.batch.parquet import read_parquet
from falq.batch.rows import Drafts, Format
from falq.errors import ArgumentError
from falq.text import printable

STDIN_NAME = "-"

_COPY_BYTES = 256 * 1024
# How late a copy may hear that it shall stop: a thread that waits for a pipe hears nothing.
_LOOK_S = 0.1

_FORMATS: Mapping[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".txt": "text",
    ".parquet": "parquet",
    ".pq": "parquet",
}


class Source(Protocol):
    """Something that drafts can be read from.

    Attributes:
        folder: Where relative paths in its rows start.
    """

    folder: Path

    def drafts(self, *, keep: bool, stopped: threading.Event | None = None) -> Drafts:
        """Yield the drafts from the start.

        Args:
            keep: Whether they will be read once more.
            stopped: Once it is set, a wait for what is not written yet ends; whoever
                reads on looks at it.

        Raises:
            ArgumentError: It cannot be read, or not a second time, or it was stopped.
            ConfigError: A package is missing.
        """
        ...


class FileSource:
    """A file with a name, which may be a pipe."""

    def __init__(self, path: Path, *, format: Format | None) -> None:  # noqa: A002  the option's name
        self.folder = path.absolute().parent
        self._path = path
        self._format = format or _format_of(path)
        self._pipe: StreamSource | None = None

    def drafts(self, *, keep: bool, stopped: threading.Event | None = None) -> Drafts:
        """Yield the drafts from the start; see `Source`."""
        try:
            if self._pipe is None and not stat.S_ISREG(self._path.stat().st_mode):
                pipe = self._path.open("rb")
                weakref.finalize(self, pipe.close)
                self._pipe = StreamSource(pipe, format=self._format)
                self._pipe.folder = self.folder
            if self._pipe is not None:
                yield from self._pipe.drafts(keep=keep, stopped=stopped)
                return
            with self._path.open("rb") as stream:
                yield from _read(stream, self._format)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ArgumentError(
                f"cannot read the manifest {printable(str(self._path), limit=200)}: {reason}",
                argument="manifest",
            ) from None


class StreamSource:
    """A stream that can be read once, such as standard input."""

    def __init__(self, stream: BinaryIO | None, *, format: Format | None) -> None:  # noqa: A002  the option's name
        self.folder = Path.cwd()
        self._stream = stream
        self._format = format
        self._spool: BinaryIO | None = None
        self._is_spent = False

    def drafts(self, *, keep: bool, stopped: threading.Event | None = None) -> Drafts:
        """Yield the drafts from the start; see `Source`."""
        if self._spool is None:
            if self._is_spent:
                raise ArgumentError(
                    "standard input was read to its end already; check before you run, or give a "
                    "file",
                    argument="manifest",
                )
            self._is_spent = True
            stream = sys.stdin.buffer if self._stream is None else self._stream
            if not keep and self._format != "parquet":
                yield from _read(stream, self._format)
                return
            self._spool = _spooled(stream, stopped)
            weakref.finalize(self, self._spool.close)
        self._spool.seek(0)
        yield from _read(self._spool, self._format)
        if not keep:
            self._spool.close()
            self._spool = None


class ItemSource:
    """Items of a program: mappings as in JSON lines, or text as prompts."""

    def __init__(self, items: Iterable[Any]) -> None:
        self.folder = Path.cwd()
        self._items = items
        self._is_spent = False

    def drafts(self, *, keep: bool, stopped: threading.Event | None = None) -> Drafts:
        """Yield the drafts from the start; see `Source`."""
        del stopped
        is_once = isinstance(self._items, Iterator)
        if is_once and (keep or self._is_spent):
            raise ArgumentError(
                "the items come from an iterator, which can be read once; they are read to check "
                "them all and again to run them: pass a list, or an object that makes a new "
                "iterator each time",
                argument="manifest",
            )
        self._is_spent = True
        yield from rows.read_items(self._items)


def open_source(
    manifest: str | Path | Iterable[Any],
    *,
    format: Format | None = None,  # noqa: A002  the option's name
    stdin: BinaryIO | None = None,
) -> Source:
    """Return the source that `manifest` names; nothing is opened yet.

    Args:
        manifest: A path, `-` for standard input, or items.
        format: How to read it; None goes by the ending of the name, and for
            standard input by the first byte that is not blank: `{` is JSON
            lines, anything else plain text.
        stdin: Stands for standard input.

    Raises:
        ArgumentError: There is no such format, the ending tells none, or the items are
            a single mapping.
    """
    if format is not None and format not in get_args(Format):
        known = ", ".join(get_args(Format))
        raise ArgumentError(
            f"format {printable(repr(format), limit=40)} is unknown; there are {known}",
            argument="format",
        )
    if isinstance(manifest, str) and manifest == STDIN_NAME:
        return StreamSource(stdin, format=format)
    if isinstance(manifest, str | Path):
        return FileSource(Path(manifest), format=format)
    if isinstance(manifest, Mapping):
        # Its names would be taken for prompts.
        raise ArgumentError("rows is one mapping; give a list of them", argument="rows")
    return ItemSource(manifest)


def _format_of(path: Path) -> Format:
    if path.is_dir():
        raise ArgumentError(
            f"{printable(str(path), limit=200)} is a folder; name a file of rows in it",
            argument="manifest",
        )
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        known = ", ".join(sorted(_FORMATS))
        raise ArgumentError(
            f"{printable(path.name, limit=120)} does not end in one of {known}; "
            "say how to read it with --format",
            argument="format",
        ) from None


def _spooled(stream: BinaryIO, stopped: threading.Event | None) -> BinaryIO:
    # It stays open between two readings, and is gone when it is closed.
    spool = tempfile.TemporaryFile()  # noqa: SIM115  outlives this function
    try:
        if stopped is None or not _can_wait(stream):
            shutil.copyfileobj(stream, spool)
        else:
            _copy(stream, spool, stopped)
    except BaseException:
        spool.close()
        raise
    return spool


def _can_wait(stream: BinaryIO) -> bool:
    """Return whether it is possible to wait for a stream otherwise than by reading it."""
    if sys.platform == "win32" or not hasattr(stream, "read1"):
        return False
    try:
        return not stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except OSError:
        return False


def _copy(stream: Any, spool: BinaryIO, stopped: threading.Event) -> None:
    while not stopped.is_set():
        ready, _, _ = select.select([stream], [], [], _LOOK_S)
        if not ready:
            continue
        # Larger than the stream's own buffer, which would hide what is in it from select.
        data = stream.read1(_COPY_BYTES)
        if not data:
            return
        spool.write(data)
    raise stopped_error()


def stopped_error() -> ArgumentError:
    """Return what a reading that was told to stop ends with."""
    return ArgumentError("the reading of the manifest was stopped", argument="manifest")


def _read(stream: BinaryIO, form: Format | None) -> Drafts:
    if form is None:
        start = _Start(stream)
        first = start.look()
        if first.startswith((b"[{", b"[\n", b"[\r")):
            raise ArgumentError(
                "standard input is a JSON array; write one object a line, as jq -c '.[]' does, "
                "or say --format text if these are prompts",
                argument="manifest",
            )
        return rows.read_jsonl(start) if first.startswith(b"{") else rows.read_text(start)
    match form:
        case "jsonl":
            return rows.read_jsonl(stream)
        case "text":
            return rows.read_text(stream)
        case "csv":
            return rows.read_table(stream, delimiter=",")
        case "tsv":
            return rows.read_table(stream, delimiter="\t")
        case "parquet":
            return read_parquet(stream)


class _Start:
    """A stream whose first lines were looked at and are read again."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._looked_at: list[bytes] = []

    def look(self) -> bytes:
        """Return the first line that is not blank, without what is before its text."""
        for line in iter(lambda: self._stream.readline(rows.LONGEST_LINE_BYTES), b""):
            self._looked_at.insert(0, line)
            text = line.removeprefix(b"\xef\xbb\xbf").lstrip()
            if text:
                return text
        return b""

    def readline(self, limit: int, /) -> bytes:
        return self._looked_at.pop() if self._looked_at else self._stream.readline(limit)
