"""What a file is, by the ending of its name.

Owns the table. It never looks into a file, and it never asks the operating
system, whose tables differ from machine to machine. `upload_source` and `encode`
ask it.
"""

from __future__ import annotations

import os
from pathlib import PurePath

UNKNOWN_TYPE = "application/octet-stream"

_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".svg": "image/svg+xml",
    ".heic": "image/heic",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".mov": "video/quicktime",
    ".mkv": "video/x-matroska",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".flac": "audio/flac",
    ".glb": "model/gltf-binary",
    ".obj": "model/obj",
    ".zip": "application/zip",
    ".pdf": "application/pdf",
    ".json": "application/json",
    ".txt": "text/plain",
}


def type_by_name(name: str | os.PathLike[str]) -> str:
    """Return the content type of a file, `application/octet-stream` if its name tells none.

    Args:
        name: Its name or path; only the ending counts.

    Example:
        >>> type_by_name("Cat.PNG"), type_by_name("cat")
        ('image/png', 'application/octet-stream')
    """
    return _TYPES.get(PurePath(name).suffix.lower(), UNKNOWN_TYPE)
