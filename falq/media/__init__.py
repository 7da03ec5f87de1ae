"""Media that results point to.

    found       which media a result names
    addresses   which addresses a download may connect to
    download    connections to storage hosts
    answers     what a storage host's answer means
    names       file names made safe
    naming      file names by a template
    folder      one folder, and nothing outside it
    files       a file that grows and survives its process
    limits      what downloads may cost
    progress    what can be told of them
    transfer    the bytes of one file, over as many attempts as it takes
    downloader  from a result's URLs to files on disk

    types            what a file is, by its name
    encode           data URLs
    upload           files to fal's storage
    upload_source    what is uploaded, piece by piece
    upload_api       the calls around an upload: tokens, addresses, attempts
    upload_progress  what can be told of them
    multipart        a large file in parts
    storage          connections to storage hosts for uploads

Owns what lies outside the queue: storage hosts, files and their names. Nothing
here ever sees a key. Programs and the command line call it.
"""

from __future__ import annotations

from falq.media.downloader import DownloadedFile as DownloadedFile
from falq.media.downloader import Downloader as Downloader
from falq.media.downloader import download_media as download_media
from falq.media.encode import encode as encode
from falq.media.encode import encode_file as encode_file
from falq.media.encode import encode_image as encode_image
from falq.media.found import MediaRef as MediaRef
from falq.media.found import find_media as find_media
from falq.media.limits import DownloadLimits as DownloadLimits
from falq.media.naming import NameTemplate as NameTemplate
from falq.media.progress import DownloadProgress as DownloadProgress
from falq.media.progress import DownloadStatistics as DownloadStatistics
from falq.media.upload import UploadKeywords as UploadKeywords
from falq.media.upload_progress import UploadProgress as UploadProgress
from falq.media.upload_progress import UploadStatistics as UploadStatistics

__all__ = [
    "DownloadLimits",
    "DownloadProgress",
    "DownloadStatistics",
    "DownloadedFile",
    "Downloader",
    "MediaRef",
    "NameTemplate",
    "UploadKeywords",
    "UploadProgress",
    "UploadStatistics",
    "download_media",
    "encode",
    "encode_file",
    "encode_image",
    "find_media",
]
