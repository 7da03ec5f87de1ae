"""Where the models' media lie until somebody reads them.

Owns the promises of files (a name, a type, a function that draws) and a bounded
cache of drawn bytes. It never draws before a file is read and never serves HTTP:
`routes` reads from it, the server has it draw in a worker thread first.
"""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from urllib.parse import quote, unquote, unquote_to_bytes

from attrs import frozen

from falq.emulator.models.base import StoredFile

PREFIX = "/files/"
DEFAULT_CACHE_BYTES = 256 * 1024 * 1024


@frozen
class _Promise:
    content_type: str
    draw: Callable[[], bytes]


class MediaShelf:
    """Files that are drawn when they are first read.

    Safe to read from several threads, so that drawing can happen beside the loop.

    Args:
        base_url: Origin that the files' URLs start with.
        cache_bytes: How many drawn bytes to keep. A file that was dropped is
            drawn again; the same file is given whatever this is.
    """

    def __init__(self, base_url: str, *, cache_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self._base_url = base_url.rstrip("/")
        self._cache_bytes = cache_bytes
        self._promises: dict[str, _Promise] = {}
        self._drawn: OrderedDict[str, bytes] = OrderedDict()
        self._drawn_bytes = 0
        self._added = 0
        self._lock = Lock()

    def __len__(self) -> int:
        """Return how many files were promised."""
        return len(self._promises)

    @property
    def drawn_bytes(self) -> int:
        """Size of the cache in bytes."""
        return self._drawn_bytes

    def add(self, *, name: str, content_type: str, draw: Callable[[], bytes]) -> str:
        """Promise a file and return its absolute URL.

        Args:
            name: Last part of the URL.
            content_type: What it will be served as.
            draw: Makes the bytes. It may be called more than once, in any thread,
                and must give the same bytes each time.
        """
        path = f"{PREFIX}{self._added:08x}/{quote(name, safe='')}"
        self._added += 1
        self._promises[path] = _Promise(content_type, draw)
        return f"{self._base_url}{path}"

    def put(self, path: str, content_type: str, data: bytes) -> None:
        """Place a file that somebody brought.

        Args:
            path: Where, below `PREFIX`; none that `add` gives begins with `u`.
            content_type: What it will be served as.
            data: Its bytes.
        """
        self._promises[path] = _Promise(content_type, lambda: data)

    def find(self, url: str) -> StoredFile | None:
        """Return the file behind one of this shelf's URLs or a `data:` URL, else None."""
        if url.startswith("data:"):
            return _read_data_url(url)
        if not url.startswith(f"{self._base_url}{PREFIX}"):
            return None
        return self.read(url[len(self._base_url) :])

    def remove(self, url: str) -> bool:
        """Forget the file behind one of this shelf's URLs; False if there is none."""
        path = url.removeprefix(self._base_url)
        with self._lock:
            dropped = self._drawn.pop(path, b"")
            self._drawn_bytes -= len(dropped)
            return self._promises.pop(path, None) is not None

    def has(self, path: str) -> bool:
        """Return whether a file was promised at this path."""
        return path in self._promises

    def read(self, path: str) -> StoredFile | None:
        """Return the file at a path, drawn now if it was not before, else None."""
        promise = self._promises.get(path)
        if promise is None:
            return None
        with self._lock:
            data = self._drawn.get(path)
            if data is not None:
                self._drawn.move_to_end(path)
        if data is None:
            data = promise.draw()
            self._keep(path, data)
        return StoredFile(data=data, content_type=promise.content_type)

    def is_drawn(self, path: str) -> bool:
        """Return whether reading this path costs no drawing."""
        return path in self._drawn

    def clear(self) -> None:
        """Forget every file."""
        with self._lock:
            self._promises.clear()
            self._drawn.clear()
            self._drawn_bytes = 0
            self._added = 0

    def _keep(self, path: str, data: bytes) -> None:
        with self._lock:
            if path in self._drawn or path not in self._promises:
                return
            self._drawn[path] = data
            self._drawn_bytes += len(data)
            while self._drawn_bytes > self._cache_bytes:
                _, dropped = self._drawn.popitem(last=False)
                self._drawn_bytes -= len(dropped)


def _read_data_url(url: str) -> StoredFile | None:
    head, comma, payload = url[len("data:") :].partition(",")
    if not comma:
        return None
    content_type, *parameters = head.split(";")
    if "base64" not in parameters:
        data = unquote_to_bytes(payload)
    else:
        try:
            data = base64.b64decode(unquote(payload), validate=True)
        except (binascii.Error, ValueError):
            return None
    return StoredFile(data=data, content_type=content_type or "text/plain")
