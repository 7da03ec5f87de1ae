"""Fetch the media of a row's result, and note each file in the journal.

Owns the order of the two (a file is noted once it stands under its final name)
and the rule that a failed download costs nothing but itself: the result stays,
the job is never submitted again, and a later run fetches what is missing. It
never decides how a file is fetched: `falq.media` does. The runner calls it.
"""

from __future__ import annotations

import asyncio
import hashlib
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
        with_hashes: Whether a file that is there counts only if its hash is right;
            its size does otherwise.
    """

    def __init__(
        self,
        downloader: Downloader,
        out: Path,
        *,
        journal: Journal | None,
        with_hashes: bool = False,
    ) -> None:
        self._downloader = downloader
        self._out = out
        self._journal = journal
        self._with_hashes = with_hashes

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
            if before is not None and await self._is_there(before):
                files.append(_as_saved(before))
                continue
            file = await self._fetch_one(ref, values | {"index": index})
            files.append(file)
            # A file that was saved once keeps its note, so that it is looked for again.
            is_news = file.error is None or before is None
            if self._journal is not None and number is not None and is_news:
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

    async def _is_there(self, file: FileRecord) -> bool:
        trouble = await asyncio.to_thread(
            trouble_with, file, self._out, with_hashes=self._with_hashes
        )
        return trouble is None


def trouble_with(file: FileRecord, out: Path, *, with_hashes: bool) -> str | None:
    """Return what is wrong with a saved file; None if nothing is. It blocks.

    Args:
        file: As the journal knows it.
        out: The output folder.
        with_hashes: Whether its bytes are read, and not only its size.
    """
    if file.name is None:
        return "has no name in the journal"
    path = out / file.name
    try:
        size_bytes = path.stat().st_size
        if size_bytes != file.size_bytes:
            return f"has {size_bytes:,} bytes and not {file.size_bytes:,}"
        if with_hashes and file.sha256 is not None:
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != file.sha256:
                return "was changed: its SHA-256 is not the one that was noted"
    except FileNotFoundError:
        return "is not there"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None


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
