"""The file of results: one durable line per row.

Owns `results.jsonl`: lines are appended in groups, each group flushed to the
disk before anyone is told, and a file that a crash left behind is rebuilt from
what the journal knows. It never decides what a line says. The runner calls it.

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
    """

    def __init__(self, path: Path) -> None:
        self._path = path
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
        """Append a line; return when it is on the disk.

        Raises:
            OSError: It could not be written, now or before.
        """
        await self._is_ready.wait()
        if self._failure is not None:
            raise OSError(self._failure.errno, self._failure.strerror, str(self._path))
        waiting = _Waiting(line)
        self._waiting.append(waiting)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await waiting.done

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
        _write_durably(self._stream, b"".join(lines))

    def _break(self, error: OSError) -> None:
        self._failure = error


def _write_durably(stream: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) or 0 :]
    os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
