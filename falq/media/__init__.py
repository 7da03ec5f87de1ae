"""Media that results point to.

    addresses   which addresses a download may connect to
    names       file names made safe
    download    from a result's URLs to files on disk

Owns what lies outside the queue: storage hosts, files and their names. Nothing
here ever sees a key. Programs and the command line call it.
"""

from __future__ import annotations

from falq.media.download import DownloadedFile as DownloadedFile
from falq.media.download import Downloader as Downloader
from falq.media.download import DownloadLimits as DownloadLimits
from falq.media.download import MediaRef as MediaRef
from falq.media.download import download_media as download_media
from falq.media.download import find_media as find_media

__all__ = [
    "DownloadLimits",
    "DownloadedFile",
    "Downloader",
    "MediaRef",
    "download_media",
    "find_media",
]
