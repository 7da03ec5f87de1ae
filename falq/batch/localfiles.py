"""Files of this machine that a row names: checked first, read when the row is sent.

Owns the rule: an argument whose *name* ends in `@` names a file, or a list of
them, and is sent under the name without it. What a value says never matters, so
a prompt that begins with `@` stays a prompt.

    {"image_url@": "cat.png"}              becomes {"image_url": "data:image/png;base64,…"}
    {"video_url@": "long.mp4"}             becomes {"video_url": "https://…/long.mp4"}
    {"image_urls@": ["a.png", "b.png"]}    a list of them

A small file goes inside the request, as a data URL; a larger one is uploaded and
its URL goes there. Which it is, is decided once, when the row is read.

A relative path starts at the manifest's folder. Rows and journals hold the
reference and a hash, by which they know the row; the data exist only while it is
sent. It never uploads: it says what is to be uploaded, and the session does. It
never follows a URL. The manifest checks; whoever sends resolves, in a worker
thread.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from attrs import frozen

from falq.batch.problems import BadFieldError
from falq.errors import ArgumentError
from falq.media.encode import encode
from falq.media.types import type_by_name
from falq.media.upload_source import Upload
from falq.text import printable

FILE_MARK = "@"
_NOT_PATHS = ("http://", "https://", "data:")

FILE_LIMIT_BYTES = 8 * 1024 * 1024
"""Largest file that is sent as a data URL, unless told otherwise."""

UploadMode: TypeAlias = Literal["auto", "always", "never"]
"""Which files are uploaded: those above the limit, all, or none."""

_MOST_KNOWN = 10_000
_CHUNK_BYTES = 1024 * 1024


@frozen(kw_only=True)
class LocalFile:
    """A file that a row names.

    Attributes:
        argument: Where it is named, such as `image_url@` or `image_urls@[1]`.
        location: Its absolute path.
        media_type: By the ending of its name.
        size_bytes: Its size when it was hashed.
        sha256: Hash of its bytes, in hex.
        is_uploaded: Whether it is uploaded, and not sent inside the request.
    """

    argument: str
    location: str
    media_type: str
    size_bytes: int
    sha256: str
    is_uploaded: bool = False


@frozen
class _Known:
    stamp: tuple[int, int]
    sha256: str


class FileShelf:
    """Looks files up below a folder, and hashes each of them once.

    Args:
        folder: Where relative paths start.
        limit_bytes: Largest file that is sent inside a request.
        upload: Which files are uploaded.

    Raises:
        ArgumentError: There is no such `upload`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        limit_bytes: int = FILE_LIMIT_BYTES,
        upload: UploadMode = "auto",
    ) -> None:
        if upload not in get_args(UploadMode):
            raise ArgumentError(
                f"upload is of {', '.join(get_args(UploadMode))}; nothing was sent",
                argument="upload",
            )
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._upload = upload
        self._without_uploads = ""
        self._known: dict[str, _Known] = {}

    def refuse_uploads(self, gateway: str) -> None:
        """Refuse from now on what would have to be uploaded.

        Args:
            gateway: Name of the gateway that has no uploads.
        """
        self._without_uploads = gateway

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Return if every file that is named is there, readable and small enough.

        Raises:
            BadFieldError: One is not; the field is the argument that names it.
        """
        _swap(arguments, self._find)

    def look_up(self, arguments: Mapping[str, Any]) -> tuple[LocalFile, ...]:
        """Return the files that `arguments` name, with their hashes.

        Raises:
            BadFieldError: As for `check`.
        """
        found: list[LocalFile] = []
        _swap(arguments, lambda argument, name: found.append(self._hash(argument, name)))
        return tuple(found)

    def _find(self, argument: str, name: str) -> tuple[Path, os.stat_result]:
        shown = printable(name, limit=120)
        if not name:
            raise BadFieldError(argument, "names no file; leave the argument out")
        if name.startswith(_NOT_PATHS):
            raise BadFieldError(
                argument, f"names {shown}, a URL; write the argument's name without the @"
            )
        try:
            location = (self._folder / name).absolute()
            # Opened and not only asked about: rights are checked by opening.
            descriptor = os.open(location, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            try:
                facts = os.fstat(descriptor)
            finally:
                os.close(descriptor)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise BadFieldError(
                argument,
                f"names {shown}, which cannot be read: {why}; paths start at "
                f"{printable(str(self._folder), limit=120)}",
            ) from None
        if not stat.S_ISREG(facts.st_mode):
            raise BadFieldError(argument, f"names {shown}, which is no file")
        if facts.st_size == 0:
            raise BadFieldError(argument, f"names {shown}, which is empty")
        refusal = self._refusal_of(facts.st_size)
        if refusal:
            raise BadFieldError(
                argument, f"names {shown}, which has {facts.st_size} bytes; {refusal}"
            )
        return location, facts

    def _is_uploaded(self, size_bytes: int) -> bool:
        if self._upload == "auto":
            return size_bytes > self._limit_bytes
        return self._upload == "always"

    def _refusal_of(self, size_bytes: int) -> str:
        """Return why a file of a size cannot be sent; nothing if it can."""
        most = f"{self._limit_bytes} is the most that is sent inside a request"
        if self._is_uploaded(size_bytes):
            if not self._without_uploads:
                return ""
            if self._upload == "always":
                return f"the {self._without_uploads} gateway has no uploads"
            return (
                f"{most}, and the {self._without_uploads} gateway has no uploads, so give a URL "
                "instead"
            )
        if size_bytes > self._limit_bytes:
            return f"{most}, so let it be uploaded ('auto') or give a URL instead"
        return ""

    def _hash(self, argument: str, name: str) -> LocalFile:
        location, facts = self._find(argument, name)
        stamp = facts.st_mtime_ns, facts.st_size
        known = self._known.get(str(location))
        if known is None or known.stamp != stamp:
            try:
                known = _Known(stamp, _hash_file(location))
            except OSError as error:
                raise BadFieldError(argument, f"cannot be read: {error.strerror}") from None
            if len(self._known) >= _MOST_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[str(location)] = known
        return LocalFile(
            argument=argument,
            location=str(location),
            media_type=type_by_name(location),
            size_bytes=facts.st_size,
            sha256=known.sha256,
            is_uploaded=self._is_uploaded(facts.st_size),
        )


def _hash_file(location: Path) -> str:
    digest = hashlib.sha256()
    with location.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def resolve_files(arguments: Mapping[str, Any], files: Sequence[LocalFile]) -> dict[str, Any]:
    """Return `arguments` as a session takes them: data URLs, and `Upload` for larger files.

    It reads files: call it in a worker thread, when the row is about to be sent. Of
    those that are uploaded it reads nothing; the session does, and refuses one whose
    content is not what was hashed.

    Args:
        arguments: As the row has them.
        files: What `FileShelf.look_up` found for them.

    Raises:
        ArgumentError: A file is gone, or no longer what was hashed.
    """
    by_argument = {file.argument: file for file in files}

    def read(argument: str, name: str) -> str | Upload:
        if argument not in by_argument:
            raise _refusal(argument, name, "is not among the files of the row")
        file = by_argument[argument]
        return _as_upload(file, name) if file.is_uploaded else _data_url(file, name)

    resolved: dict[str, Any] = _swap(arguments, read)
    return resolved


def as_sent(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return `arguments` by the names that they are sent under, each file as its path."""
    named: dict[str, Any] = _swap(arguments, lambda _, name: Path(name))
    return named


def _as_upload(file: LocalFile, name: str) -> Upload:
    path = Path(file.location)
    try:
        size_bytes = path.stat().st_size
    except OSError as error:
        raise _refusal(file.argument, name, f"cannot be read: {error.strerror}") from None
    if size_bytes != file.size_bytes:
        raise _refusal(file.argument, name, "has changed since the batch was planned")
    return Upload(path, file.media_type, sha256=file.sha256)


def _data_url(file: LocalFile, name: str) -> str:
    try:
        with Path(file.location).open("rb") as stream:
            data = stream.read(file.size_bytes + 1)
    except OSError as error:
        raise _refusal(file.argument, name, f"cannot be read: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise _refusal(file.argument, name, "has changed since the batch was planned")
    return encode(data, file.media_type)


def _refusal(argument: str, name: str, reason: str) -> ArgumentError:
    return ArgumentError(
        f"{printable(argument, limit=80)}: {printable(name, limit=120)} {reason}; nothing was sent",
        argument=argument,
    )


def _swap(value: Any, take: Callable[[str, str], Any], place: str = "") -> Any:
    """Return `value` in which what `take` makes of each file stands under its plain name."""
    if isinstance(value, list | tuple):
        return [_swap(child, take, f"{place}[{index}]") for index, child in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    swapped: dict[str, Any] = {}
    for key, child in value.items():
        here = f"{place}.{key}" if place else str(key)
        if not isinstance(key, str) or not key.endswith(FILE_MARK):
            swapped[key] = _swap(child, take, here)
            continue
        plain = key.removesuffix(FILE_MARK)
        if not plain or plain in value:
            raise BadFieldError(here, "names a file for an argument that is given too, or for none")
        swapped[plain] = _take_named(child, take, here)
    return swapped


def _take_named(names: Any, take: Callable[[str, str], Any], place: str) -> Any:
    if isinstance(names, str):
        return take(place, names)
    if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
        return [take(f"{place}[{index}]", name) for index, name in enumerate(names)]
    raise BadFieldError(place, "ends in @ and so takes the path of a file, or a list of paths")
