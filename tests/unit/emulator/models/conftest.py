"""A shelf that draws at once, for the models' tests."""

import base64
from collections.abc import Callable

import pytest

from falq.emulator.models.base import StoredFile


class Shelf:
    """A `FileShelf` in memory; `drawn` lists what was really drawn."""

    def __init__(self) -> None:
        self.promises: dict[str, tuple[str, Callable[[], bytes]]] = {}
        self.drawn: list[str] = []

    def add(self, *, name: str, content_type: str, draw: Callable[[], bytes]) -> str:
        url = f"http://127.0.0.1/files/{len(self.promises)}/{name}"
        self.promises[url] = (content_type, draw)
        return url

    def find(self, url: str) -> StoredFile | None:
        if url.startswith("data:image/png;base64,"):
            data = base64.b64decode(url.partition(",")[2])
            return StoredFile(data=data, content_type="image/png")
        if url not in self.promises:
            return None
        self.drawn.append(url)
        content_type, draw = self.promises[url]
        return StoredFile(data=draw(), content_type=content_type)

    def read(self, url: str) -> bytes:
        stored = self.find(url)
        assert stored is not None
        return stored.data


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()
