"""The file of results: one line per row.

Owns `results.jsonl`: lines are appended in groups, and a file that a crash left
behind is rebuilt from what the journal knows. Where no journal is, each group is
flushed to the disk before anyone is told; where one is, the disk has all that a line
says already, and the file is flushed once, at the end. It never decides what a line
says. The runner calls it.

A full disk breaks the file: nothing is appended after a failed write, because
what follows half a line would be lost with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from attrs import define, field

_LINES_A_WRITE = 500

_GATHER_S = 0.02
"""How long lines that need no flush are gathered, in seconds: the flush of one group
gathers the next, and without it each line would be a hand-over to a thread."""


def write_line(value: Mapping[str, Any]) -> bytes:
    """Return a JSON object as one line, in ASCII."""
    return json.dumps(value, separators=(",", ":"), default=str).encode() + b"\n"


@define
class _Waiting:
    line: bytes
    done: asyncio.Future[None] = field(factory=lambda: asyncio.get_running_loop().create_future())


class ResultLines:
    """The lines of one file, appended durably once it was rebuilt.

    Args:
        path: The file. Its folder must exist.
        is_rebuilt: Whether a journal knows all that is in it, so that what a crash of
            the machine loses is written again.
    """

    def __init__(self, path: Path, *, is_rebuilt: bool = False) -> None:
        self._path = path
        self._is_rebuilt = is_rebuilt
        self._stream: FileIO | None = None
        self._waiting: list[_Waiting] = []
        self._writer: asyncio.Task[None] | None = None
        self._failure: OSError | None = None
        self._is_ready = asyncio.Event()

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._path

    def hold(self) -> None:
        """Let appending wait until `rebuild` is done."""
        self._is_ready.clear()

    async def rebuild(self, lines: AsyncIterator[Iterable[bytes]]) -> None:
        """Put `lines` in its place, whole or not at all, and open it for appending.

        Appending waits meanwhile.

        Args:
            lines: Pages of whole lines.

        Raises:
            OSError: It cannot be written; the old file stays.
        """
        self._is_ready.clear()
        part = self._path.with_name(f".{self._path.name}.part")
        try:
            with await asyncio.to_thread(FileIO, part, "w") as stream:
                async for page in lines:
                    await asyncio.to_thread(_write_durably, stream, b"".join(page))
            await asyncio.to_thread(self._replace, part)
        except OSError as error:
            self._break(error)
            with contextlib.suppress(OSError):
                await asyncio.to_thread(part.unlink)
            raise
        finally:
            self._is_ready.set()

    def _replace(self, part: Path) -> None:
        if self._stream is not None:
            self._stream.close()
        part.replace(self._path)
        _sync_folder(self._path.parent)
        self._stream = FileIO(self._path, "a+")

    async def append(self, line: bytes) -> None:
        """Append a line; return when it is in the file, and on the disk unless that is rebuilt.

        Raises:
            OSError: It could not be written, now or before.
        """
        await self._is_ready.wait()
        self._check()
        waiting = _Waiting(line)
        self._waiting.append(waiting)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await waiting.done

    async def flush(self) -> None:
        """Return when every line that was appended is on the disk.

        Raises:
            OSError: It could not be written, now or before.
        """
        if self._writer is not None:
            await asyncio.wait({self._writer})
        self._check()
        if self._stream is not None:
            try:
                await asyncio.to_thread(os.fsync, self._stream.fileno())
            except OSError as error:
                self._break(error)
                raise

    def _check(self) -> None:
        if self._failure is not None:
            raise OSError(self._failure.errno, self._failure.strerror, str(self._path))

    async def aclose(self) -> None:
        """Write what waits and close it."""
        if self._writer is not None:
            await asyncio.wait({self._writer})
        if self._stream is not None:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self._stream.close)
            self._stream = None

    async def _write(self) -> None:
        while self._waiting:
            if self._is_rebuilt:
                await asyncio.sleep(_GATHER_S)
            group, self._waiting = (
                self._waiting[:_LINES_A_WRITE],
                self._waiting[_LINES_A_WRITE:],
            )
            try:
                await asyncio.to_thread(self._write_group, [waiting.line for waiting in group])
            except OSError as error:
                self._break(error)
                group += self._waiting
                self._waiting = []
            for waiting in group:
                if waiting.done.done():
                    continue
                if self._failure is None:
                    waiting.done.set_result(None)
                else:
                    waiting.done.set_exception(
                        OSError(self._failure.errno, self._failure.strerror, str(self._path))
                    )

    def _write_group(self, lines: list[bytes]) -> None:
        if self._stream is None:
            raise OSError(errno.EBADF, "the file of results is closed")
        _write_whole(self._stream, b"".join(lines))
        if not self._is_rebuilt:
            os.fsync(self._stream.fileno())

    def _break(self, error: OSError) -> None:
        self._failure = error


def _write_durably(stream: FileIO, data: bytes) -> None:
    _write_whole(stream, data)
    os.fsync(stream.fileno())


def _write_whole(stream: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) or 0 :]


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
