"""A file that grows, survives its process, and is named when it is whole.

Owns the part `.falq-KEY.part` and the note beside it, which says of which
version of the file the bytes are. It never knows a URL, never decides a name
and never awaits: `downloader` calls it in worker threads.

Rules:
    1. Who writes holds a lock that dies with its process.
    2. Bytes without a note are dropped; the note is there before the first byte
       of a file that is larger than a checkpoint.
    3. After a loss of power only synced bytes count: others may be holes.
    4. A whole file is synced, then named in one step, then its folder is synced.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
import sys
import threading
from pathlib import Path
from typing import Any

from falq._journal.lock import read_boot_id
from falq.media.answers import Held
from falq.media.folder import Directory, IfTaken, MediaFolder, read_digest

if sys.platform != "win32":
    import fcntl

_MOST_WRITERS = 1000
_LONGEST_NOTE_BYTES = 4096
# Given back by a full disk so that the note still fits.
_NOTE_ROOM_BYTES = 64 * 1024


class PartFile:
    """A file on its way.

    Args:
        folder: Where it goes.
        key: Names the part; the same for the same file, in any process.
        checkpoint_bytes: How much may be fetched twice after a crash.

    Raises:
        OSError: It cannot be created.
    """

    def __init__(self, folder: MediaFolder, key: str, *, checkpoint_bytes: int) -> None:
        self._folder = folder
        self._root = folder.root
        self._checkpoint_bytes = checkpoint_bytes
        self._boot_id = read_boot_id()
        self._descriptor, self._name = _open_free_part(self._root, key)
        # A cancelled download puts the file away while its last step may still
        # run in a thread. The lock keeps the descriptor from being reused there,
        # and the file from being removed between its two names.
        self._lock = threading.Lock()
        self._is_open = True
        self._is_noted = False
        self._synced_bytes = 0
        self._total_bytes: int | None = None
        self._validator: str | None = None
        try:
            self.size_bytes = self._take_up()
            self._digest = read_digest(self._descriptor)
        except BaseException:
            os.close(self._descriptor)
            raise

    @property
    def sha256(self) -> str:
        """Digest of what is there, in hex."""
        return self._digest.hexdigest()

    @property
    def held(self) -> Held:
        """What is there."""
        return Held(
            size_bytes=self.size_bytes, total_bytes=self._total_bytes, validator=self._validator
        )

    def begin(self, *, start: int, total_bytes: int | None, validator: str | None) -> None:
        """Get ready for a body.

        Args:
            start: Where it begins: at the end of what is there, or at 0, which drops that.
            total_bytes: Size of the whole file, if known.
            validator: Names its version, if anything does.

        Raises:
            OSError: The disk refused.
        """
        with self._lock:
            if not self._is_open:
                return
            if start != self.size_bytes or validator != self._validator:
                self._drop()
            self._total_bytes, self._validator = total_bytes, validator
            is_large = total_bytes is None or total_bytes > self._checkpoint_bytes
            if is_large and validator is not None and not self._is_noted:
                self._write_note()

    def write(self, data: bytes | bytearray) -> None:
        """Append `data`; does nothing once the file was put away.

        Raises:
            OSError: The disk is full, or the like; what fitted is counted.
        """
        with self._lock:
            if not self._is_open:
                return
            rest = memoryview(data)
            while rest:
                count = os.write(self._descriptor, rest)
                self._digest.update(rest[:count])
                self.size_bytes += count
                rest = rest[count:]
            if self._is_noted and self.size_bytes - self._synced_bytes >= self._checkpoint_bytes:
                os.fsync(self._descriptor)
                self._synced_bytes = self.size_bytes
                self._write_note()

    def restart(self) -> None:
        """Drop what is there."""
        with self._lock:
            if self._is_open:
                self._drop()

    def keep(self, parts: tuple[str, ...], *, if_taken: IfTaken) -> Path:
        """Flush to the disk and give it its final name.

        Args:
            parts: Folders and name, each safe.
            if_taken: What to do if the name is taken; see `MediaFolder.settle`.

        Raises:
            OSError: It cannot be flushed or named; put it away then.
        """
        with self._lock:
            if not self._is_open:
                raise OSError(errno.EBADF, "the part was put away")
            os.fsync(self._descriptor)
            if sys.platform == "win32":
                self._close()
            path = self._folder.settle(
                self._name, parts, if_taken=if_taken, sha256=self._digest.hexdigest()
            )
            self._remove_note()
            if self._is_open:
                self._close()
            return path

    def suspend(self) -> None:
        """Put it away so that a later download goes on, or remove it if none could."""
        with self._lock:
            if not self._is_open:
                return
            can_go_on = self._validator is not None and self.size_bytes > 0
            if can_go_on and (self._is_noted or self._note_at_last()):
                self._close()
            else:
                self._discard()

    def discard(self) -> None:
        """Remove it, if it was not kept."""
        with self._lock:
            if self._is_open:
                self._discard()

    def _take_up(self) -> int:
        """Cut the part to what can be trusted and return its size."""
        note = _read_note(self._root, self._note_name)
        size_bytes = 0
        if note is not None:
            size_bytes = os.fstat(self._descriptor).st_size
            if self._boot_id is None or note["boot_id"] != self._boot_id:
                size_bytes = min(size_bytes, note["synced_bytes"])
            self._total_bytes, self._validator = note["total_bytes"], note["validator"]
            if self._total_bytes is not None:
                # One byte is asked for again even if all are there: the answer
                # tells whether the file is still the same.
                size_bytes = max(min(size_bytes, self._total_bytes - 1), 0)
            self._synced_bytes = min(note["synced_bytes"], size_bytes)
            self._is_noted = True
        else:
            self._root.remove(self._note_name)
        os.ftruncate(self._descriptor, size_bytes)
        return size_bytes

    @property
    def _note_name(self) -> str:
        return f"{self._name}.json"

    def _write_note(self) -> None:
        note = {
            "validator": self._validator,
            "total_bytes": self._total_bytes,
            "synced_bytes": self._synced_bytes,
            "boot_id": self._boot_id,
        }
        new_name = f"{self._note_name}.new"
        self._root.remove(new_name)
        descriptor = self._root.open(new_name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            os.write(descriptor, json.dumps(note).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._root.move_over(new_name, self._root, self._note_name)
        self._is_noted = True

    def _note_at_last(self) -> bool:
        for _ in range(2):
            try:
                self._write_note()
            except OSError:
                self.size_bytes = max(self.size_bytes - _NOTE_ROOM_BYTES, 0)
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, self.size_bytes)
            else:
                return True
        return False

    def _remove_note(self) -> None:
        if self._is_noted:
            self._root.remove(self._note_name)
            self._is_noted = False

    def _drop(self) -> None:
        # First the bytes: a note of the old version must not stand beside new ones.
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._remove_note()
        self.size_bytes = self._synced_bytes = 0
        self._total_bytes = self._validator = None
        self._digest = read_digest(self._descriptor)

    def _discard(self) -> None:
        if sys.platform == "win32":
            self._close()
        self._remove_note()
        with contextlib.suppress(OSError):
            self._root.remove(f"{self._note_name}.new")
        self._root.remove(self._name)
        self._close()

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            os.close(self._descriptor)


def _open_free_part(root: Directory, key: str) -> tuple[int, str]:
    """Open and lock the part of a key; a further one if somebody writes to it."""
    for number in range(_MOST_WRITERS):
        mark = f"-{number}" if number else ""
        # Without a lock nobody may find the part of another.
        mark += f"-{secrets.token_hex(8)}" if sys.platform == "win32" else ""
        name = f".falq-{key}{mark}.part"
        descriptor = _open_part(root, name)
        if descriptor is not None:
            return descriptor, name
    raise OSError(errno.EBUSY, "too many downloads of one file at once", str(root.path))


def _open_part(root: Directory, name: str) -> int | None:
    """Return a locked descriptor of a part; None if somebody writes to it."""
    while True:
        try:
            descriptor = root.open(name, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            # Whoever made a link or the like of this name did not mean well.
            if error.errno not in {errno.ELOOP, errno.ENXIO, errno.EMLINK}:
                raise
            root.remove(name)
            continue
        try:
            if not _lock(descriptor):
                os.close(descriptor)
                return None
            if _is_own(descriptor, root, name):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _is_own(descriptor: int, root: Directory, name: str) -> bool:
    """Return whether the locked file is still the one of this name, and has no other."""
    mine = os.fstat(descriptor)
    try:
        named = root.stat(name)
    except FileNotFoundError:
        return False
    if not os.path.samestat(mine, named):
        return False
    if stat.S_ISREG(mine.st_mode) and mine.st_nlink == 1:
        return True
    root.remove(name)
    return False


def _read_note(root: Directory, name: str) -> dict[str, Any] | None:
    try:
        descriptor = root.open(name, os.O_RDONLY)
    except OSError:
        return None
    try:
        note = json.loads(os.read(descriptor, _LONGEST_NOTE_BYTES))
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)
    is_note = (
        isinstance(note, dict)
        and isinstance(note.get("validator"), str)
        and _is_size(note.get("synced_bytes"))
        and (note.get("total_bytes") is None or _is_size(note["total_bytes"]))
        and "boot_id" in note
    )
    return note if is_note else None


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
