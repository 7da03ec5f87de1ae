"""The output folder of a batch: its lines, its media, its list of bad rows.

Owns what is called how in it, and the opening and closing of what writes there.
The journal lies there too, and is not its business. It never decides what a row
came to. The runner calls it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Container
from pathlib import Path
from urllib.parse import urlsplit

from falq._journal.base import Journal
from falq._journal.states import RecordState
from falq.batch.budget import Budget
from falq.batch.downloads import MEDIA_FOLDER, NAME_TEMPLATE, RowDownloads
from falq.batch.entries import ManifestReport
from falq.batch.lines import ResultLines, write_line
from falq.batch.outcomes import RowOutcome
from falq.batch.reading import SETTLED, load_outcomes
from falq.gateways import Gateway, is_loopback
from falq.media import Downloader, NameTemplate
from falq.proxies import Proxy

RESULTS_NAME = "results.jsonl"
BAD_ROWS_NAME = "bad-rows.jsonl"
JOURNAL_NAME = "journal.sqlite"


class OutFolder:
    """An output folder, open or not yet.

    Args:
        path: Where it is; made by `open` if it is not there.
        is_rebuilt: Whether a journal on disk knows all that its lines say.
    """

    def __init__(self, path: str | os.PathLike[str], *, is_rebuilt: bool = False) -> None:
        self.path = Path(path).absolute()
        self.lines = ResultLines(self.path / RESULTS_NAME, is_rebuilt=is_rebuilt)
        self._downloader: Downloader | None = None

    async def make(self, report: ManifestReport | None) -> None:
        """Make the folder, and list the bad rows of a manifest in it.

        Raises:
            OSError: It cannot be written.
        """
        await asyncio.to_thread(self._make, report)

    def _make(self, report: ManifestReport | None) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        if report is None:
            return
        path = self.path / BAD_ROWS_NAME
        if not report.bad_rows:
            path.unlink(missing_ok=True)
            return
        facts = (
            {"line": bad.line, "id": bad.id, "field": bad.field, "reason": bad.reason}
            for bad in report.bad_rows
        )
        path.write_bytes(b"".join(write_line(fact) for fact in facts))

    async def open_downloads(
        self,
        template: str | None,
        *,
        allow_loopback: bool,
        proxy: Proxy | None = None,
        journal: Journal | None,
        with_hashes: bool = False,
    ) -> RowDownloads:
        """Get ready to fetch media into the folder.

        Args:
            template: How they are called; None is `NAME_TEMPLATE`.
            allow_loopback: Whether they may lie on this machine.
            proxy: Through whom to go; it must be filtering.
            journal: Where each file is noted; None if there is none.
            with_hashes: Whether a file that is there is compared by its hash.

        Raises:
            OSError: The folder of the media cannot be made.
        """
        downloader = Downloader(
            self.path / MEDIA_FOLDER,
            allow_loopback=allow_loopback,
            proxy=proxy,
            name_template=NameTemplate.parse(template or NAME_TEMPLATE),
            # Fetched before and not noted, because a crash came between: the
            # same file is not kept twice.
            if_taken="same",
        )
        self._downloader = await downloader.__aenter__()
        return RowDownloads(self._downloader, self.path, journal=journal, with_hashes=with_hashes)

    async def aclose(self) -> None:
        """Write what waits and close everything; safe to call twice."""
        downloader, self._downloader = self._downloader, None
        if downloader is not None:
            await downloader.__aexit__(None, None, None)
        await self.lines.aclose()

    async def rebuild_lines(
        self, journal: Journal, budget: Budget, *, without: Container[str] = ()
    ) -> None:
        """Write the lines of all rows that have ended, in the order of the rows.

        Args:
            journal: Where they are.
            budget: Knows prices.
            without: Ids of rows whose line comes later.

        Raises:
            JournalError: It cannot be read.
            OSError: The lines cannot be written; the old ones stay.
        """
        await self.lines.rebuild(_lines_of(load_outcomes(journal, budget, without=without)))

    async def sort_lines(self, journal: Journal, budget: Budget) -> None:
        """Write the lines of all rows that have one, in the order of the rows.

        Raises:
            JournalError: It cannot be read.
            OSError: The lines cannot be written; the old ones stay.
        """
        states = SETTLED | {RecordState.FETCHED, RecordState.UNKNOWN}
        await self.lines.rebuild(_lines_of(load_outcomes(journal, budget, states=states)))

    async def clear_lines(self) -> None:
        """Begin with no lines, as a batch without a journal does.

        Raises:
            OSError: It cannot be written.
        """
        await self.lines.rebuild(_no_lines())


def is_on_loopback(gateway: Gateway) -> bool:
    """Return whether a gateway is on this machine, so that its media may be too."""
    return is_loopback(urlsplit(gateway.queue_root).hostname or "")


async def _no_lines() -> AsyncIterator[list[bytes]]:
    return
    yield


async def _lines_of(pages: AsyncIterator[list[RowOutcome]]) -> AsyncIterator[list[bytes]]:
    async for page in pages:
        yield [write_line(outcome.as_json()) for outcome in page]
