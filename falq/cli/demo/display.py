"""The live picture of the demonstration.

Owns the table that is drawn on a terminal and the lines printed elsewhere. It
only reads the ledger.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from falq.cli.demo.ledger import ENDS, Ledger
from falq.cli.output import Output, describe_time
from falq.cli.picture import Picture

PLAIN_BEAT_S = 2.0
_BAR_WIDTH = 26


class DemoDisplay(Picture):
    """Draws the ledger while jobs run. Use it as a context manager.

    Args:
        ledger: What to draw.
        output: Where to.
    """

    def __init__(self, ledger: Ledger, output: Output) -> None:
        self._ledger = ledger
        self._output = output
        self._since = time.monotonic()
        super().__init__(output, refresh_per_second=8)

    async def beat(self) -> None:
        """Print a line now and then, for ever, where nothing is drawn."""
        while True:
            await asyncio.sleep(PLAIN_BEAT_S)
            if self._live is None:
                self._output.note(self._summary())

    def _summary(self) -> str:
        counts = self._ledger.counts
        elapsed_s = time.monotonic() - self._since
        files = sum(len(entry.files) for entry in self._ledger.entries)
        rate = self._ledger.settled / max(elapsed_s, 0.001)
        return (
            f"{self._ledger.settled}/{len(self._ledger.entries)} ended · "
            f"{counts['running']} running · {counts['queued']} queued · {counts['done']} done · "
            f"{_bad(counts)} failed · {rate:.1f} jobs/s · {files} files · "
            f"{describe_time(elapsed_s)}"
        )

    def _draw(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        table.add_row(
            *(Text(word, style="dim") for word in ("model", "", "ended", "run", "queue", "failed"))
        )
        for endpoint, counts in self._ledger.per_endpoint().items():
            total = sum(counts.values())
            ended = sum(counts[phase] for phase in ENDS)
            failed = _bad(counts)
            table.add_row(
                Text(endpoint, style="bold" if ended < total else "green"),
                ProgressBar(total=total, completed=ended, width=_BAR_WIDTH),
                Text(f"{ended}/{total}"),
                Text(str(counts["running"]), style="cyan" if counts["running"] else "dim"),
                Text(str(counts["queued"]), style="yellow" if counts["queued"] else "dim"),
                Text(str(failed), style="red" if failed else "dim"),
            )
        return Group(table, Text(self._summary(), style="bold"))


def _bad(counts: Counter[str]) -> int:
    return counts["failed"] + counts["cancelled"]
