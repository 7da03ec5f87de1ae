"""Make a file name from what a server says, without believing it.

Owns the rule of promises C28 for names: one plain part of a path, printable,
not reserved anywhere, of bounded length. It never touches a file system;
`folder` does, and resolves clashes; `naming` puts names into templates.
"""

from __future__ import annotations

import unicodedata
from urllib.parse import unquote, urlsplit

LONGEST_NAME_BYTES = 150
"""Of a name in UTF-8. File systems take 255; a suffix for clashes must still fit."""

_LONGEST_EXTENSION = 12
_RESERVED_MARKS = frozenset('<>:"/\\|?*')
_RESERVED_STEMS = frozenset(
    {"con", "prn", "aux", "nul", "clock$", "conin$", "conout$"}
    | {f"{device}{digit}" for device in ("com", "lpt") for digit in "0123456789¹²³"}
)
_EXTENSIONS = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/svg+xml": ".svg",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
    "video/quicktime": ".mov",
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/flac": ".flac",
    "application/json": ".json",
    "text/plain": ".txt",
    "model/gltf-binary": ".glb",
    "application/zip": ".zip",
}


def safe_name(hint: str, *, content_type: str | None = None) -> str:
    """Return a file name that is safe in any folder of any system.

    Args:
        hint: What a server called it, such as `../x` or a 300-letter title.
        content_type: Gives the extension if the hint has none.

    Example:
        >>> safe_name("../../etc/passwd")
        'passwd'
        >>> safe_name("con.png"), safe_name("", content_type="image/png")
        ('_con.png', 'file.png')
    """
    last = hint.replace("\\", "/").rpartition("/")[2]
    plain = "".join(
        "_" if char in _RESERVED_MARKS or not char.isprintable() else char
        for char in unicodedata.normalize("NFC", last)
    )
    # No hidden files, nothing that a command takes for an option, and no end
    # that Windows would drop.
    plain = plain.lstrip(".-~ ").rstrip(". ") or "file"
    stem, extension = split_extension(plain)
    if not extension:
        extension = _EXTENSIONS.get((content_type or "").partition(";")[0].strip().lower(), "")
    if stem.partition(".")[0].rstrip(" ").lower() in _RESERVED_STEMS:
        stem = f"_{stem}"
    room = LONGEST_NAME_BYTES - len(extension.encode())
    return f"{_cut(stem, room)}{extension}"


def name_from_url(url: str) -> str:
    """Return the last part of a URL's path, decoded once; the empty text if it has none."""
    try:
        return unquote(urlsplit(url).path).rpartition("/")[2]
    except ValueError:
        return ""


def numbered(name: str, number: int) -> str:
    """Return `name` with a number before its extension; 0 leaves it.

    Example:
        >>> numbered("cat.png", 2)
        'cat-2.png'
    """
    if number == 0:
        return name
    stem, extension = split_extension(name)
    return f"{stem}-{number}{extension}"


def split_extension(name: str) -> tuple[str, str]:
    """Return stem and extension of a name; the extension has its dot, or is empty.

    Example:
        >>> split_extension("cat.png"), split_extension("v1. a cat")
        (('cat', '.png'), ('v1. a cat', ''))
    """
    stem, dot, extension = name.rpartition(".")
    is_one = dot and stem and extension.isascii() and extension.isalnum()
    if is_one and len(extension) <= _LONGEST_EXTENSION:
        return stem, f".{extension}"
    return name, ""


def _cut(text: str, limit_bytes: int) -> str:
    cut = text.encode("utf-8", "replace")[:limit_bytes].decode("utf-8", "ignore")
    return cut.rstrip(". ") or "file"
