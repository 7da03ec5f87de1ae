"""What is uploaded: bytes, a file by its path, an open file, a Pillow image.

Owns the reading of them, piece by piece from any place, so that a file of any
size is sent from a few pieces in memory and its parts can be sent again. It never
sends. `upload` opens a source, `multipart` divides it.

Rules:
    1. A file is read in worker threads, never whole.
    2. A file that changes while it is sent is an error: half of it would be old.
    3. Text is never taken for a path; a path is a `Path`.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import stat
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, TypeAlias

from attrs import evolve, field, frozen

from falq.errors import ArgumentError
from falq.media.encode import image_bytes
from falq.media.names import safe_name
from falq.media.types import UNKNOWN_TYPE, type_by_name
from falq.media.upload_progress import Meter
from falq.text import printable

PIECE_BYTES = 256 * 1024
"""How much of a source is in memory for each part on its way."""

IMAGE_FORMAT = "png"
"""How an image inside arguments is written: no other format keeps every image as it is."""

IN_PLACE_BYTES = 1024 * 1024
"""Bytes that are hashed or encoded on the loop; more would hold it up for milliseconds."""


Stamp: TypeAlias = tuple[int, int, int]
"""Size and time of change of a file, and where its upload begins."""


@frozen
class Upload:
    """Something to upload, with what it is. Give it anywhere inside a job's arguments.

    Attributes:
        data: Bytes, text that becomes UTF-8, a `Path`, a file open for reading in
            binary mode, which is read from where it stands, or a Pillow image.
        content_type: What it is, such as `image/png`; an image is written as that.
            None asks the ending of a file's name.
        file_name: What it is called at the storage. Default: the file's own name.
        sha256: What the content must hash to, in hex; anything else is refused before a
            byte of it is sent. Default: not checked. Only inside a job's arguments.

    Example:
        >>> Upload(b"...", "image/png")
        Upload(content_type='image/png', file_name=None)
    """

    # Any: no type says "a Pillow image" without Pillow.
    data: Any = field(repr=False)
    content_type: str | None = None
    file_name: str | None = field(default=None, kw_only=True)
    sha256: str | None = field(default=None, kw_only=True, repr=False)


def is_image(value: object) -> bool:
    """Return whether `value` is a Pillow image; Pillow is not loaded for the question."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def is_open_file(value: object) -> bool:
    """Return whether `value` has what a file open for reading has."""
    return callable(getattr(value, "read", None)) and callable(getattr(value, "seek", None))


def as_upload(value: object) -> Upload | None:
    """Return what a value inside arguments stands for; None if it is nothing to upload.

    An image is still to be written, which takes time: see `open_source`.
    """
    if isinstance(value, Upload):
        return value
    if is_image(value):
        return Upload(value)
    if isinstance(value, os.PathLike) or is_open_file(value):
        return Upload(value)
    return None


class Source(Protocol):
    """Something that can be read from any place, as often as it takes.

    Attributes:
        file_name: A safe name for the storage.
        content_type: What it is.
        size_bytes: How much it has.
        stamp: What changes with a file; None of what cannot change.
    """

    file_name: str
    content_type: str
    size_bytes: int
    stamp: Stamp | None

    async def read_at(self, start: int, count: int) -> bytes:
        """Return `count` bytes from `start`.

        Raises:
            ArgumentError: They are not there any more.
        """
        ...

    async def check_unchanged(self) -> None:
        """Return if it is what it was when it was opened.

        Raises:
            ArgumentError: It changed.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


async def open_source(upload: Upload) -> Source:
    """Return a source to read from; close it.

    Args:
        upload: What to open.

    Raises:
        ArgumentError: It cannot be read, or its type or name cannot be sent.
    """
    data = upload.data
    if is_image(data):
        upload = evolve(upload, content_type=upload.content_type or f"image/{IMAGE_FORMAT}")
        name = check_content_type(upload.content_type).partition("/")[2]
        data = await asyncio.to_thread(image_bytes, data, name)
    if isinstance(data, str):
        data = data.encode()
    if isinstance(data, bytes | bytearray | memoryview):
        return BytesSource(bytes(data), *_named(upload, ""))
    if isinstance(data, os.PathLike):
        path = Path(data)
        named = _named(upload, path.name)
        return await asyncio.to_thread(
            lambda: FileSource(_open_regular(path), 0, *named, is_ours=True)
        )
    if isinstance(data, io.BytesIO):
        return _open_again(upload, data)
    if is_open_file(data):
        return await asyncio.to_thread(_open_again, upload, data)
    raise ArgumentError(
        f"{type(data).__name__} cannot be uploaded; give bytes, a Path, an open binary file or a "
        "Pillow image",
        argument="data",
    )


async def digest_of(source: Source) -> str:
    """Return the SHA-256 of a source in hex."""
    digest = hashlib.sha256()
    is_small = source.size_bytes <= IN_PLACE_BYTES
    async for piece in read_pieces(source, 0, source.size_bytes, size_bytes=4 * PIECE_BYTES):
        if is_small:
            digest.update(piece)
        else:
            await asyncio.to_thread(digest.update, piece)
    return digest.hexdigest()


def check_digest(upload: Upload, source: Source, digest: str) -> None:
    """Return if a source has the content that was promised, or nothing was.

    Args:
        upload: What it was opened for.
        source: For its name.
        digest: Its SHA-256 in hex.

    Raises:
        ArgumentError: It has another.
    """
    if upload.sha256 not in {None, digest}:
        raise ArgumentError(
            f"{source.file_name} has changed: its content has another SHA-256 than was given; "
            "nothing was sent",
            argument="data",
        )


async def read_pieces(
    source: Source,
    start: int,
    count: int,
    *,
    size_bytes: int = PIECE_BYTES,
    on_piece: Callable[[int], None] | None = None,
) -> AsyncIterator[bytes]:
    """Yield a part of a source, piece by piece.

    Args:
        source: What to read.
        start: Where the part begins.
        count: Its bytes.
        size_bytes: The largest piece.
        on_piece: Hears the size of each piece before it is given.
    """
    end = start + count
    for place in range(start, end, size_bytes):
        piece = await source.read_at(place, min(size_bytes, end - place))
        if on_piece is not None:
            on_piece(len(piece))
        yield piece


class Span:
    """A part of a source as the body of a call, which may be sent more than once.

    Args:
        source: What to read.
        start: Where the part begins.
        count: Its bytes.
        meter: Counts them; when they are sent again, not twice.
    """

    def __init__(self, source: Source, start: int, count: int, meter: Meter) -> None:
        self._source = source
        self._start = start
        self._count = count
        self._meter = meter
        self._told_bytes = 0

    def pieces(self) -> AsyncIterator[bytes]:
        """Return the pieces, from the first."""
        if self._told_bytes:
            self._meter.add(-self._told_bytes)
            self._told_bytes = 0
        return read_pieces(self._source, self._start, self._count, on_piece=self._note)

    def _note(self, size_bytes: int) -> None:
        self._told_bytes += size_bytes
        self._meter.add(size_bytes)


class BytesSource:
    """Bytes in memory; see `Source`."""

    def __init__(self, data: bytes, file_name: str, content_type: str) -> None:
        self._data = data
        self.file_name = file_name
        self.content_type = content_type
        self.size_bytes = len(data)
        self.stamp: Stamp | None = None

    async def read_at(self, start: int, count: int) -> bytes:
        """Return a part; it never waits."""
        return self._data[start : start + count]

    async def check_unchanged(self) -> None:
        """Bytes stay what they are."""

    def close(self) -> None:
        """Nothing is held."""


class FileSource:
    """A regular file, from some place to its end; see `Source`. Making one blocks.

    Args:
        stream: The file, open for reading.
        start: Where to begin.
        file_name: A safe name for the storage.
        content_type: What it is.
        is_ours: Whether closing the source closes it.
    """

    def __init__(
        self, stream: io.FileIO, start: int, file_name: str, content_type: str, *, is_ours: bool
    ) -> None:
        self._stream = stream
        self._start = start
        self._is_ours = is_ours
        self._lock = Lock()
        self.file_name = file_name
        self.content_type = content_type
        self.stamp: Stamp | None = _stamp_of(stream, start)
        self.size_bytes = max(self.stamp[0] - start, 0) if self.stamp else 0

    async def read_at(self, start: int, count: int) -> bytes:
        """Read a part in a thread."""
        return await asyncio.to_thread(self._read_at, self._start + start, count)

    def _read_at(self, place: int, count: int) -> bytes:
        try:
            if hasattr(os, "pread"):
                # The file's own position stays where its owner has it.
                data = os.pread(self._stream.fileno(), count, place)
            else:
                with self._lock:
                    self._stream.seek(place)
                    data = self._stream.read(count)
        except (OSError, ValueError) as error:
            raise ArgumentError(
                f"{self.file_name} cannot be read ({error}); nothing was submitted",
                argument="data",
            ) from None
        if len(data) != count:
            raise changed(self)
        return data

    async def check_unchanged(self) -> None:
        """Look at its size and time of change in a thread."""
        if await asyncio.to_thread(_stamp_of, self._stream, self._start) != self.stamp:
            raise changed(self)

    def close(self) -> None:
        """Close it if it is ours."""
        if self._is_ours:
            self._stream.close()


def changed(source: Source) -> ArgumentError:
    """Return the error of a file that is not what it was."""
    return ArgumentError(
        f"{source.file_name} changed while it was uploaded; nothing came of it, try again",
        argument="data",
    )


def _stamp_of(stream: io.FileIO, start: int) -> Stamp | None:
    try:
        facts = os.fstat(stream.fileno())
    except (OSError, ValueError):
        # Closed by its owner.
        return None
    return facts.st_size, facts.st_mtime_ns, start


def check_content_type(content_type: object) -> str:
    """Return a content type that can stand in a header.

    Raises:
        ArgumentError: It cannot, or has no slash.
    """
    if isinstance(content_type, str) and content_type.isascii() and content_type.isprintable():
        parts = content_type.partition("/")
        if all(parts) and len(content_type) < 200:
            return content_type
    raise ArgumentError(
        f"content_type is text such as 'image/png', not {printable(repr(content_type), limit=80)}",
        argument="content_type",
    )


def _named(upload: Upload, own_name: str) -> tuple[str, str]:
    """Return a safe name and the type."""
    name = own_name if upload.file_name is None else upload.file_name
    if not isinstance(name, str):
        raise ArgumentError("file_name is text; nothing was sent", argument="file_name")
    given = upload.content_type
    content_type = check_content_type(type_by_name(name) if given is None else given)
    safe = safe_name(name or "upload", content_type=content_type)
    if "." not in safe and content_type == UNKNOWN_TYPE:
        safe = f"{safe}.bin"
    # It travels in a header, where letters outside ASCII have no agreed form.
    return "".join(char if char.isascii() else "_" for char in safe), content_type


def _open_again(upload: Upload, stream: Any) -> Source:
    """Return a source for a file that its owner has open; blocks."""
    own_name = getattr(stream, "name", "")
    name, content_type = _named(upload, Path(own_name).name if isinstance(own_name, str) else "")
    if isinstance(stream, io.TextIOBase):
        raise ArgumentError(f"{name} is open as text; open it with mode 'rb'", argument="data")
    # What tempfile gives stands in front of the real one.
    real = getattr(stream, "file", stream)
    raw = getattr(real, "raw", real)
    try:
        if isinstance(raw, io.FileIO) and stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
            real.flush()
            return FileSource(raw, real.tell(), name, content_type, is_ours=False)
        # In memory, or made while it is read, as an unpacked one is.
        data = _read_from_here(stream)
    except (OSError, ValueError) as error:
        raise ArgumentError(
            f"{name} cannot be read ({error}); give its bytes or a Path", argument="data"
        ) from None
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ArgumentError(f"{name} gives no bytes; open it with mode 'rb'", argument="data")
    return BytesSource(bytes(data), name, content_type)


def _read_from_here(stream: Any) -> Any:
    """Read the rest and go back, so that the same file can be given again."""
    place = stream.tell()
    try:
        return stream.read()
    finally:
        stream.seek(place)


def check_file(path: Path) -> None:
    """Check that a file can be read, as `open_source` will.

    Raises:
        ArgumentError: It is not there, is no regular file, or cannot be read.
    """
    _open_regular(path).close()


def _open_regular(path: Path) -> io.FileIO:
    shown = printable(str(path), limit=120)
    try:
        # A pipe would block the thread for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ArgumentError(
            f"{shown} cannot be read: {why}; nothing was sent", argument="path"
        ) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ArgumentError(f"{shown} is no file; nothing was sent", argument="path")
    return io.FileIO(descriptor)
