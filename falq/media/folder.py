"""Work inside one folder and never outside it.

Owns the open directory: every file is reached relative to it, no link below it
is followed, and no name that is taken is written over unless asked. It never
decides a name (`naming`) and never awaits: `files` and `downloader` call it in
worker threads.

Where the system cannot open relative to a directory (Windows), paths are used.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import os
import shutil
import stat
import sys
import unicodedata
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Literal, Self

from attrs import define, field

from falq.media.names import numbered

IfTaken = Literal["number", "same", "replace"]

HAS_DIRECTORY_FDS = os.open in os.supports_dir_fd
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_MOST_CLASHES = 1_000_000
_FOLDERS_REMEMBERED = 64
_READ_BYTES = 1024 * 1024
_RENAME_NOREPLACE = 1
_CANNOT_RENAME = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM})


class Directory:
    """One open directory.

    Args:
        path: Where it is; it must exist. A link is followed here only: it is
            the user's own word.
        parent: The directory that holds it, if falq made it: then it is opened
            relative to that one and must be no link.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path, *, parent: Directory | None = None) -> None:
        self.path = path
        self.fd: int | None = None
        if HAS_DIRECTORY_FDS:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            if parent is None:
                self.fd = os.open(path, flags)
            else:
                self.fd = os.open(path.name, flags | os.O_NOFOLLOW, dir_fd=parent.fd)
        elif parent is not None and path.is_symlink():
            raise OSError(errno.ELOOP, "a folder for media is a link", str(path))

    def close(self) -> None:
        """Close it; safe to call twice."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _at(self, name: str) -> str:
        return name if self.fd is not None else str(self.path / name)

    def open(self, name: str, flags: int) -> int:
        """Return a descriptor of a file in it; a link is an error."""
        return os.open(self._at(name), flags | _NO_FOLLOW, 0o644, dir_fd=self.fd)

    def stat(self, name: str) -> os.stat_result:
        """Return the facts of an entry, not of what a link points to."""
        return os.stat(self._at(name), dir_fd=self.fd, follow_symlinks=False)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            os.unlink(self._at(name), dir_fd=self.fd)

    def names(self) -> list[str]:
        """Return the names of its entries."""
        with os.scandir(self.path if self.fd is None else self.fd) as entries:
            return [entry.name for entry in entries]

    def child(self, name: str) -> Directory:
        """Return a folder in it, made if it is not there."""
        with suppress(FileExistsError):
            os.mkdir(self._at(name), 0o755, dir_fd=self.fd)
            self.sync()
        return Directory(self.path / name, parent=self)

    def move_over(self, name: str, other: Directory, new_name: str) -> None:
        """Move a file; what has the new name is replaced, a link by name only."""
        os.replace(self._at(name), other._at(new_name), src_dir_fd=self.fd, dst_dir_fd=other.fd)

    def move_new(self, name: str, other: Directory, new_name: str) -> None:
        """Move a file to a name that nothing has.

        Raises:
            FileExistsError: Something has it.
        """
        if os.name == "nt":
            # There a rename refuses a taken name by itself.
            Path(self._at(name)).rename(other._at(new_name))
        elif not _rename_exclusively(self, name, other, new_name):
            os.link(
                self._at(name),
                other._at(new_name),
                src_dir_fd=self.fd,
                dst_dir_fd=other.fd,
                follow_symlinks=False,
            )
            self.remove(name)

    def sync(self) -> None:
        """Make its entries survive a loss of power."""
        if self.fd is not None:
            os.fsync(self.fd)

    def free_bytes(self) -> int:
        """Return the room on its disk."""
        if self.fd is None:
            return shutil.disk_usage(self.path).free
        facts = os.fstatvfs(self.fd)
        return facts.f_bavail * facts.f_frsize


def _rename_exclusively(source: Directory, name: str, target: Directory, new_name: str) -> bool:
    """Rename in one step where the system can; False if it cannot.

    A link and an unlink would do the same in two, and a process killed between
    them leaves both names.
    """
    if sys.platform != "linux":
        return False
    # Late: loading it takes a tenth of what a session loads, for files alone.
    ctypes = importlib.import_module("ctypes")
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    places = (source.fd, os.fsencode(name), target.fd, os.fsencode(new_name))
    if rename(*places, _RENAME_NOREPLACE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT_RENAME:
        return False
    raise OSError(code, os.strerror(code), name, None, new_name)


@define
class _Known:
    """Names that a folder has, as a system that ignores case sees them."""

    folded: set[str]
    next_numbers: dict[str, int] = field(factory=dict)


class MediaFolder:
    """The folder of a run, and how a whole file gets its name in it.

    Safe to use from several threads.

    Args:
        path: Where it is; made if it is not there.

    Raises:
        OSError: It cannot be made or opened.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.root = Directory(path)
        self._lock = Lock()
        self._known: OrderedDict[tuple[str, ...], _Known] = OrderedDict()

    def close(self) -> None:
        """Close it; safe to call twice."""
        self.root.close()

    def settle(self, name: str, parts: tuple[str, ...], *, if_taken: IfTaken, sha256: str) -> Path:
        """Give a whole file of the folder its final name and return its path.

        Args:
            name: What it is called so far.
            parts: Folders and name wanted, each safe.
            if_taken: What to do if the name is taken: number the new one; keep
                the old one if its bytes are the same, else number; or replace.
            sha256: Digest of its bytes.

        Raises:
            OSError: It cannot be named.
        """
        *folders, wanted = parts
        with _Walk(self.root, folders) as place:
            if if_taken == "replace":
                self.root.move_over(name, place, wanted)
                final = wanted
            elif if_taken == "same" and _has_bytes(place, wanted, sha256):
                self.root.remove(name)
                final = wanted
            else:
                final = self._number(name, place, tuple(folders), wanted)
            place.sync()
            return place.path / final

    def _number(self, name: str, place: Directory, key: tuple[str, ...], wanted: str) -> str:
        for _ in range(_MOST_CLASHES):
            candidate = self._reserve(place, key, wanted)
            with suppress(FileExistsError):
                self.root.move_new(name, place, candidate)
                return candidate
        raise FileExistsError(errno.EEXIST, "too many files have this name", wanted)

    def _reserve(self, place: Directory, key: tuple[str, ...], wanted: str) -> str:
        with self._lock:
            known = self._known.get(key)
            if known is None:
                known = _Known({_fold(name) for name in place.names()})
                self._known[key] = known
                if len(self._known) > _FOLDERS_REMEMBERED:
                    self._known.popitem(last=False)
            self._known.move_to_end(key)
            number = known.next_numbers.get(_fold(wanted), 0)
            while _fold(candidate := numbered(wanted, number)) in known.folded:
                number += 1
            known.folded.add(_fold(candidate))
            # Thousands of files of one name would otherwise count from 0 each.
            known.next_numbers[_fold(wanted)] = number + 1
            return candidate


class _Walk:
    """Opens folders below a directory one by one, and closes them."""

    def __init__(self, root: Directory, folders: list[str]) -> None:
        self._root = root
        self._folders = folders
        self._opened: Directory | None = None

    def __enter__(self) -> Directory:
        place = self._root
        for name in self._folders:
            try:
                inner = place.child(name)
            finally:
                if place is not self._root:
                    place.close()
            place = self._opened = inner
        return place

    def __exit__(self, *_: object) -> None:
        if self._opened is not None:
            self._opened.close()


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _has_bytes(place: Directory, name: str, sha256: str) -> bool:
    try:
        if not stat.S_ISREG(place.stat(name).st_mode):
            return False
        descriptor = place.open(name, os.O_RDONLY)
    except OSError:
        return False
    try:
        return read_digest(descriptor).hexdigest() == sha256
    finally:
        os.close(descriptor)


def read_digest(descriptor: int) -> hashlib._Hash:
    """Return the running SHA-256 of what a file holds from its position on."""
    digest = hashlib.sha256()
    while data := os.read(descriptor, _READ_BYTES):
        digest.update(data)
    return digest
