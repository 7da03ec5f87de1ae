"""What can be told of downloads while they run.

Owns the values that a progress hook and `Downloader.statistics` give. It never
counts by itself: `transfer` and `downloader` do.
"""

from __future__ import annotations

from attrs import asdict, define, frozen

from falq.media.found import MediaRef


@frozen(kw_only=True)
class DownloadProgress:
    """How far one download is.

    Attributes:
        ref: What is fetched.
        received_bytes: How much is there.
        total_bytes: How much it will be; None if the host did not say.
        attempt: Which attempt, counted from 1.
    """

    ref: MediaRef
    received_bytes: int
    total_bytes: int | None
    attempt: int


@frozen(kw_only=True)
class DownloadStatistics:
    """Counts of one `Downloader`.

    Attributes:
        files: Files that arrived.
        failures: Files that were given up.
        in_flight: Files under way.
        received_bytes: What came from hosts, also what was dropped again.
        resumed_bytes: What was there already when an attempt went on.
        retries: Attempts after the first of a file.
    """

    files: int = 0
    failures: int = 0
    in_flight: int = 0
    received_bytes: int = 0
    resumed_bytes: int = 0
    retries: int = 0


@define
class Tally:
    """The counts of `DownloadStatistics` while they grow."""

    files: int = 0
    failures: int = 0
    in_flight: int = 0
    received_bytes: int = 0
    resumed_bytes: int = 0
    retries: int = 0

    def frozen(self) -> DownloadStatistics:
        """Return the counts as they are now."""
        return DownloadStatistics(**asdict(self))
