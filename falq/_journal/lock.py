"""One writer at a time: a lock on a file beside the journal.

Owns the side file `NAME.lock`, which says who holds it. The lock is `flock`'s:
it ends with its process, however that ends, and needs no clock. The file stays
when the lock is released: removing it would race with the next holder.

A child made by `fork()` shares its parent's lock, and would keep it when the
parent is killed; the child therefore closes its copy at once. Closing does not
release the parent's.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import weakref
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from falq.errors import JournalError, JournalLockedError
from falq.text import printable

if sys.platform != "win32":
    import fcntl

ROUNDS = 4
ROUND_S = 0.05
"""A lock is asked for `ROUNDS` times, `ROUND_S` apart: a holder that was killed
this moment is gone by then, and a new one has written its name."""

_LONGEST_NOTE_BYTES = 4096


def read_boot_id() -> str | None:
    """Return the id of this boot of the machine, None where it has none (Linux only)."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None


class JournalLock:
    """The lock of one journal.

    Args:
        path: The journal's path; the side file stands beside it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        self._journal = path
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock; blocks for up to `ROUNDS` times `ROUND_S`.

        Raises:
            JournalLockedError: Another holder has it.
            JournalError: The side file cannot be made, or is a link.
        """
        if sys.platform == "win32":
            raise JournalError("a journal needs flock, which this system lacks; use Linux or macOS")
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise JournalError(
                f"the journal's lock {self._path} cannot be opened: {error.strerror}; put the "
                "journal into a folder that you can write, and do not make it a link"
            ) from None
        try:
            self._flock(fd)
            note = {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "boot_id": read_boot_id(),
                "started_at": datetime.now(UTC).isoformat(),
            }
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(note).encode(), 0)
        except BaseException as error:
            os.close(fd)
            if isinstance(error, OSError):
                raise JournalError(
                    f"the journal's lock {self._path} cannot be taken: {error.strerror}; put the "
                    "journal on a local disk with room"
                ) from None
            raise
        self._fd = fd
        this = weakref.ref(self)

        def forget_in_child() -> None:
            lock = this()
            if lock is not None:
                lock.release()

        os.register_at_fork(after_in_child=forget_in_child)

    def release(self) -> None:
        """Let go of the lock; safe to call twice."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _flock(self, fd: int) -> None:
        for left in reversed(range(ROUNDS)):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not left:
                    raise self._locked_error(fd) from None
                time.sleep(ROUND_S)
            else:
                return

    def _locked_error(self, fd: int) -> JournalLockedError:
        note = _read_note(fd)
        pid, host, started = note.get("pid"), note.get("host"), note.get("started_at")
        at = None
        if isinstance(started, str):
            try:
                at = datetime.fromisoformat(started)
            except ValueError:
                at = None
        who = f"process {pid} on {host}" if pid is not None else "another process"
        since = "" if at is None else f" since {at:%Y-%m-%d %H:%M:%S} UTC"
        return JournalLockedError(
            printable(
                f"the journal {self._journal} is in use by {who}{since}; wait for it, stop it, "
                "or use another journal"
            ),
            pid=pid if isinstance(pid, int) else None,
            host=host if isinstance(host, str) else None,
            started_at=at,
        )


def _read_note(fd: int) -> dict[str, Any]:
    try:
        note = json.loads(os.pread(fd, _LONGEST_NOTE_BYTES, 0))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}
