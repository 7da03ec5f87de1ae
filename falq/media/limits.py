"""What downloads may cost: bytes, time and room on the disk.

Owns the limits and the count of what a run has used of them. It never stops a
download itself: `downloader` asks before it takes bytes and obeys.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from threading import Lock

from attrs import define, field, frozen, validators

from falq.errors import ResponseTooLargeError

MIB = 1024**2
GIB = 1024**3


@frozen(kw_only=True)
class DownloadLimits:
    """What downloads may cost.

    Attributes:
        file_bytes: Largest file, in bytes; 2 GiB by default.
        run_bytes: All files of one `Downloader`, in bytes; 20 GiB by default.
        keep_free_bytes: Room that stays free on the disk, in bytes; 64 MiB by default.
        connect_s: To make a connection, in seconds.
        read_s: Between two pieces, in seconds.
        total_s: For a whole file with all its attempts, in seconds.
        floor_bytes_per_s: Slowest pace over `floor_s`, in bytes a second; a
            slower connection is given up and a new one goes on.
        floor_s: Over how long the pace is taken, in seconds.
        attempts: Attempts in a row that bring no byte before a file is given up.
        checkpoint_bytes: How much is fetched twice at most when a process or
            machine died, in bytes; 8 MiB by default.
    """

    file_bytes: int = field(default=2 * GIB, validator=validators.gt(0))
    run_bytes: int = field(default=20 * GIB, validator=validators.gt(0))
    keep_free_bytes: int = field(default=64 * MIB, validator=validators.ge(0))
    connect_s: float = field(default=10.0, validator=validators.gt(0))
    read_s: float = field(default=30.0, validator=validators.gt(0))
    total_s: float = field(default=3600.0, validator=validators.gt(0))
    floor_bytes_per_s: float = field(default=1024.0, validator=validators.ge(0))
    floor_s: float = field(default=60.0, validator=validators.gt(0))
    attempts: int = field(default=5, validator=validators.ge(1))
    checkpoint_bytes: int = field(default=8 * MIB, validator=validators.gt(0))


@define
class Share:
    """What one download has of the run's allowance.

    Attributes:
        claimed_bytes: Size of its file, as far as known.
        written_bytes: What of it is on the disk.
    """

    claimed_bytes: int = 0
    written_bytes: int = 0


class Allowance:
    """Counts what the downloads of a run claim. Used from many threads.

    Args:
        limits: What is allowed.
        free_bytes: Tells the room on the disk.
    """

    def __init__(self, limits: DownloadLimits, *, free_bytes: Callable[[], int]) -> None:
        self._limits = limits
        self._free_bytes = free_bytes
        self._lock = Lock()
        self._claimed_bytes = 0
        self._written_bytes = 0

    def claim(self, share: Share, size_bytes: int, *, shown: str, is_announced: bool) -> None:
        """Let a file grow to `size_bytes`.

        Args:
            share: The download's share; it remembers the claim.
            size_bytes: Size of the file, known or so far.
            shown: The URL as errors may show it.
            is_announced: Whether the host told the size, so that the room for
                it can be asked of the disk in advance.

        Raises:
            ResponseTooLargeError: The file, or the run with it, is above its limit.
            OSError: The disk has no room for it.
        """
        if size_bytes > self._limits.file_bytes:
            raise ResponseTooLargeError(
                f"{shown} is larger than {self._limits.file_bytes} bytes; raise file_bytes in "
                "DownloadLimits if that is right"
            )
        with self._lock:
            grown_bytes = max(size_bytes - share.claimed_bytes, 0)
            if self._claimed_bytes + grown_bytes > self._limits.run_bytes:
                raise ResponseTooLargeError(
                    f"with {shown} the files of this run would be larger than "
                    f"{self._limits.run_bytes} bytes; raise run_bytes in DownloadLimits if that "
                    "is right"
                )
            awaited_bytes = self._claimed_bytes + grown_bytes - self._written_bytes
            kept_bytes = self._limits.keep_free_bytes
            if is_announced and awaited_bytes + kept_bytes > self._free_bytes():
                raise no_room(shown, kept_bytes)
            self._claimed_bytes += grown_bytes
            share.claimed_bytes += grown_bytes

    def record(self, share: Share, written_bytes: int) -> None:
        """Note how much of a file is on the disk now."""
        with self._lock:
            self._written_bytes += written_bytes - share.written_bytes
            share.written_bytes = written_bytes

    def release(self, share: Share) -> None:
        """Give back the share of a download that brought no file."""
        with self._lock:
            self._claimed_bytes -= share.claimed_bytes
            self._written_bytes -= share.written_bytes
            share.claimed_bytes = share.written_bytes = 0


def no_room(shown: str, kept_bytes: int = 0) -> OSError:
    """Return the error of a file that the disk has no room for.

    Args:
        shown: The file's URL, as it may be shown.
        kept_bytes: Room that had to stay free beside it.
    """
    beside = f" with {kept_bytes // MIB} MiB left free" if kept_bytes >= MIB else ""
    return OSError(
        errno.ENOSPC,
        f"no room on the disk for {shown}{beside}; free some and run again, what arrived is kept",
    )


@define
class Pace:
    """Tells whether bytes come too slowly.

    Attributes:
        limits: With the slowest pace.
        since: Loop instant at which the present span began.
        count_bytes: What came in it.
    """

    limits: DownloadLimits
    since: float
    count_bytes: int = 0

    def is_too_slow(self, now: float, more_bytes: int) -> bool:
        """Count bytes that came, and judge the span if it is over.

        Args:
            now: Loop time in seconds.
            more_bytes: How many came.
        """
        self.count_bytes += more_bytes
        passed_s = now - self.since
        if passed_s < self.limits.floor_s:
            return False
        is_slow = self.count_bytes < passed_s * self.limits.floor_bytes_per_s
        self.since, self.count_bytes = now, 0
        return is_slow
