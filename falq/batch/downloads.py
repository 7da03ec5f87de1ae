"""Fetch the media of a row's result, and note each file in the journal.

Owns the order of the two (a file is noted once it stands under its final name)
and the rule that a failed download costs nothing but itself: the result stays,
the job is never submitted again, and a later run fetches what is missing. It
never decides how a file is fetched: `falq.media` does. The runner calls it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from falq._journal.base import Journal
from falq._journal.records import FileRecord
from falq.batch.outcomes import RowOutcome, SavedFile
from falq.errors import FalqError
from falq.media import Downloader, MediaRef, find_media
from falq.text import printable

MEDIA_FOLDER = "media"

NAME_TEMPLATE = "{id}-{index}.{ext}"
"""How media are called below `media`, unless told otherwise; see `falq.media.naming`."""

_DATA_URL_START = 40


class RowDownloads:
    """Fetches what results point to into a folder.

    Args:
        downloader: Open; its folder is the one of the media.
        out: The output folder, by which files are named.
        journal: Where each file is noted; None if there is none.
    """

    def __init__(self, downloader: Downloader, out: Path, *, journal: Journal | None) -> None:
        self._downloader = downloader
        self._out = out
        self._journal = journal

    async def fetch(
        self, outcome: RowOutcome, *, number: int | None, known: Sequence[FileRecord] = ()
    ) -> tuple[SavedFile, ...]:
        """Fetch every media file of a row's result that is not there yet.

        Args:
            outcome: How the row ended, with its result.
            number: The job in the journal.
            known: What the journal knows of its files.

        Raises:
            OSError: The disk refused.
            JournalError: A file could not be noted.
        """
        saved = {file.json_path: file for file in known if file.state == "saved"}
        seed = outcome.result.get("seed") if isinstance(outcome.result, dict) else None
        values = {
            "id": outcome.id,
            "endpoint": outcome.endpoint,
            "request_id": outcome.request_id,
            "seed": seed,
        }
        files: list[SavedFile] = []
        for index, ref in enumerate(find_media(outcome.result)):
            before = saved.get(ref.json_path)
            if before is not None and await asyncio.to_thread(self._is_there, before):
                files.append(_as_saved(before))
                continue
            file = await self._fetch_one(ref, values | {"index": index})
            files.append(file)
            if self._journal is not None and number is not None:
                await self._journal.record_file(_as_record(file, ref, number))
        return tuple(files)

    async def _fetch_one(self, ref: MediaRef, values: Mapping[str, object]) -> SavedFile:
        try:
            file = await self._downloader.fetch_one(ref, values=values)
        except FalqError as error:
            reason = printable(str(error), limit=300)
            return SavedFile(name=None, url=_without_data(ref.url), error=reason)
        return SavedFile(
            name=file.path.relative_to(self._out).as_posix(),
            url=file.url,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
            content_type=(file.content_type or "").partition(";")[0] or None,
        )

    def _is_there(self, file: FileRecord) -> bool:
        if file.name is None:
            return False
        try:
            return (self._out / file.name).stat().st_size == file.size_bytes
        except OSError:
            return False


def _as_saved(file: FileRecord) -> SavedFile:
    return SavedFile(
        name=file.name,
        url=file.url,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        content_type=file.content_type,
    )


def _as_record(file: SavedFile, ref: MediaRef, number: int) -> FileRecord:
    return FileRecord(
        job=number,
        json_path=ref.json_path,
        url=file.url,
        state="failed" if file.error is not None else "saved",
        name=file.name,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        content_type=file.content_type,
    )


def _without_data(url: str) -> str:
    return url[:_DATA_URL_START] if url.startswith("data:") else url
