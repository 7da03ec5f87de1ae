"""Data URLs: a file as part of a request, for what is too small to be worth an upload.

Owns how bytes, files and Pillow images become `data:` URLs, which every model
takes where it takes a URL (fal-wire 8.5). It never sends anything. Its functions
block while they read and encode; from a coroutine, call them in a thread.
"""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import Any

from falq.errors import ArgumentError
from falq.media.types import type_by_name


def encode(data: str | bytes, content_type: str) -> str:
    """Return `data` as a data URL.

    Args:
        data: Bytes, or text that becomes UTF-8.
        content_type: What it is, such as `image/png`.

    Example:
        >>> encode("hi", "text/plain")
        'data:text/plain;base64,aGk='
    """
    plain = data.encode() if isinstance(data, str) else data
    return f"data:{content_type};base64,{base64.b64encode(plain).decode()}"


def encode_file(path: str | os.PathLike[str]) -> str:
    """Return a file as a data URL, its type by the ending of its name.

    Args:
        path: Which file; it is read whole.

    Raises:
        OSError: It cannot be read.
    """
    return encode(Path(path).read_bytes(), type_by_name(path))


def encode_image(image: Any, format: str = "jpeg") -> str:  # noqa: A002  fal_client's name
    """Return a Pillow image as a data URL.

    Args:
        image: The image.
        format: `jpeg`, which has no transparency, `png`, `webp` or another of
            Pillow's.

    Raises:
        ArgumentError: It is no image, or cannot be written in that format.
    """
    return encode(image_bytes(image, format), f"image/{format.lower()}")


def image_bytes(image: Any, format: str) -> bytes:  # noqa: A002  fal_client's name
    """Return a Pillow image as the bytes of a file.

    Args:
        image: The image.
        format: One of Pillow's formats.

    Raises:
        ArgumentError: It is no image, or cannot be written in that format.
    """
    if not isinstance(format, str) or not callable(getattr(image, "save", None)):
        raise ArgumentError(
            f"a Pillow image and the name of a format are needed, not {type(image).__name__} and "
            f"{format!r}; nothing was sent",
            argument="image",
        )
    buffer = io.BytesIO()
    try:
        image.save(buffer, format=format)
    except (OSError, ValueError, KeyError) as error:
        raise ArgumentError(
            f"the image cannot be written as {format} ({error}); try format='png'",
            argument="format",
        ) from None
    return buffer.getvalue()
