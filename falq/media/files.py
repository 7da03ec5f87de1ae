"""Put a file under its final name whole, or not at all.

Owns the file while it grows: `.part`, then fsync, then the final name, which is
never overwritten and never followed if it is a link. It never decides a name
and never awaits: `download` calls it in worker threads.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import threading
from pathlib import Path

from falq.media.names import numbered

_MOST_CLASHES = 100_000


class PartFile:
    """A file on its way to `folder / name`.

    Args:
        folder: An existing folder.
        name: The wanted name, made safe.

    Raises:
        OSError: It cannot be created.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._path = folder / f".{name}.{secrets.token_hex(4)}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(self._path, flags, 0o644)
        self._digest = hashlib.sha256()
        # A cancelled download discards the file while its last step may still run
        # in a thread. The lock keeps the descriptor from being reused there, and
        # the file from being removed between its two names.
        self._lock = threading.Lock()
        self._is_open = True
        self.size_bytes = 0

    @property
    def sha256(self) -> str:
        """Digest of what was written so far, in hex."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        """Append `data`; does nothing after `discard`.

        Raises:
            OSError: The disk is full, or the like.
        """
        with self._lock:
            if not self._is_open:
                return
            self._digest.update(data)
            self.size_bytes += len(data)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def keep(self) -> Path:
        """Flush to the disk and give it its final name, numbered if that is taken.

        Raises:
            OSError: It cannot be flushed or named; `discard` it then.
        """
        with self._lock:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._is_open = False
            path = self._settle_name()
            self._sync_folder()
        return path

    def discard(self) -> None:
        """Remove it, if it was not kept."""
        with self._lock:
            if self._is_open:
                self._is_open = False
                os.close(self._descriptor)
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    def _settle_name(self) -> Path:
        for number in range(_MOST_CLASHES):
            path = self._folder / numbered(self._name, number)
            with contextlib.suppress(FileExistsError):
                self._claim(path)
                return path
        raise FileExistsError(f"{self._folder} holds too many files named {self._name}")

    def _claim(self, path: Path) -> None:
        try:
            # A link fails where the name is taken, also by a link; a rename
            # would replace what is there.
            os.link(self._path, path)
        except FileExistsError:
            raise
        except OSError:
            # No hard links on this file system: hold the name, then replace it.
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
            self._path.replace(path)
        else:
            self._path.unlink()

    def _sync_folder(self) -> None:
        if os.name != "posix":
            return
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
