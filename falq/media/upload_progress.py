"""What can be told of uploads: while they run, and afterwards.

Owns the values that a progress hook and `Uploader.statistics` give, and the
counting of one upload's bytes. It never sends; `upload` and `multipart` do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from attrs import frozen


@frozen(kw_only=True)
class UploadProgress:
    """How far one upload is.

    Attributes:
        file_name: What the file is called at the storage.
        sent_bytes: How much was handed to the network. It goes back when a part
            is sent again.
        total_bytes: How much the file has.
    """

    file_name: str
    sent_bytes: int
    total_bytes: int


OnProgress: TypeAlias = Callable[[UploadProgress], None]
"""Hears of each piece of an upload, on the session's loop."""


@frozen(kw_only=True)
class UploadStatistics:
    """Counts of a session's uploads.

    Attributes:
        files: Files that were uploaded.
        failures: Files that were given up.
        in_flight: Files under way or in line.
        sent_bytes: What was handed to the network, also what was sent again.
        retries: Calls after the first of each step.
        reused: Times that equal content was there, or on its way, already.
    """

    files: int = 0
    failures: int = 0
    in_flight: int = 0
    sent_bytes: int = 0
    retries: int = 0
    reused: int = 0


class Meter:
    """Counts the bytes of one upload and tells of them.

    Args:
        file_name: What the file is called at the storage.
        total_bytes: How much it has.
        on_progress: Who hears of it, if anybody.
    """

    def __init__(
        self, file_name: str, total_bytes: int, on_progress: OnProgress | None = None
    ) -> None:
        self._file_name = file_name
        self._total_bytes = total_bytes
        self._on_progress = on_progress
        self._sent_bytes = 0

    def add(self, size_bytes: int) -> None:
        """Count bytes that are on their way, or with a minus those that did not arrive."""
        self._sent_bytes += size_bytes
        if self._on_progress is not None:
            self._on_progress(
                UploadProgress(
                    file_name=self._file_name,
                    sent_bytes=self._sent_bytes,
                    total_bytes=self._total_bytes,
                )
            )
