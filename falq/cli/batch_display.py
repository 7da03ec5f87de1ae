"""Show a batch while it runs.

Owns the picture on a terminal and the plain line elsewhere. It never counts:
the batch does, and is asked.
"""

from __future__ import annotations

import asyncio
from itertools import zip_longest

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from falq.batch import Batch, BatchProgress
from falq.cli.failures import describe_failure
from falq.cli.output import Output, describe_count, describe_size, describe_time
from falq.cli.picture import Picture
from falq.text import printable

BEAT_S = 5.0
"""Seconds between two plain lines."""

_DRAW_S = 0.2
"""Seconds between two pictures."""

_LOOKS_A_BEAT = 10
"""How often it is looked between two plain lines whether something stopped the batch."""


class BatchDisplay(Picture):
    """What a batch does, as it does it. Use it as a context manager around the run.

    Args:
        batch: Open.
        output: Where to.
    """

    def __init__(self, batch: Batch, output: Output) -> None:
        self._batch = batch
        self._output = output
        self._has_told = False
        self._has_told_lost = False
        # Drawn by `beat`: the batch may only be asked in its own event loop, and rich
        # would draw in a thread.
        super().__init__(output, auto_refresh=False, transient=True)

    async def beat(self) -> None:
        """Draw the picture anew, or say where the batch stands, now and then."""
        while self._live is not None:
            self._live.refresh()
            self._tell_news()
            await asyncio.sleep(_DRAW_S)
        self._output.note(describe_start(self._batch.progress()))
        while True:
            for _ in range(_LOOKS_A_BEAT):
                await asyncio.sleep(BEAT_S / _LOOKS_A_BEAT)
                self._tell_news()
            self._output.note(describe_progress(self._batch.progress()))

    def _tell_news(self) -> None:
        self._tell_failure()
        lost = self._batch.progress().lost
        if lost and not self._has_told_lost:
            self._has_told_lost = True
            self._output.note(describe_lost(lost, self._batch.settle_s), style="yellow")

    def _tell_failure(self) -> None:
        failure = self._batch.failure
        if failure is None or self._has_told:
            return
        self._has_told = True
        self._output.error(f"stopping, jobs on the way end first: {describe_failure(failure)[0]}")

    def _draw(self) -> Group:
        now = self._batch.progress()
        table = Table.grid(padding=(0, 2))
        places = [(name, f"{count:,}") for name, count in now.counts()]
        facts = [
            ("done", f"{now.done:,} of {now.total:,}"),
            *places,
            ("pace", f"{now.jobs_per_s:.1f} jobs/s"),
            ("time left", _describe_left(now.left_s)),
        ]
        for left, right in zip_longest(facts[::2], facts[1::2], fillvalue=("", "")):
            table.add_row(*left, *right)
        if now.limit_usd is not None or now.spent_usd:
            table.add_row("money", _describe_money(now))
        lines = [Text(f"  {printable(name, limit=100)}", style="dim") for name in now.last_files]
        # A bar alone ends no line; as the cell of a grid it does.
        bar = Table.grid()
        bar.add_row(ProgressBar(total=max(now.total, 1), completed=now.done, width=60))
        return Group(bar, table, *lines)


def describe_start(now: BatchProgress) -> str:
    """Return where a batch begins, as one line."""
    to_run = now.total - now.before
    words = f"{describe_count(to_run, 'row')} to run"
    return f"{words}, {now.before:,} of {now.total:,} done before" if now.before else words


def describe_lost(rows: int, settle_s: float) -> str:
    """Return what is done about rows whose submit was not answered, as one line."""
    answers = "the answer to a submit was" if rows == 1 else f"the answers to {rows:,} submits were"
    return (
        f"{answers} lost: what became of it is looked up in fal's request history, for "
        f"{describe_time(settle_s)} at most (--settle-s)"
    )


def describe_progress(now: BatchProgress) -> str:
    """Return where a batch stands, as one line."""
    parts = [str(now)]
    if now.done > now.before and now.left_s is not None and now.done < now.total:
        parts.append(f"{_describe_left(now.left_s)} left")
    if now.files:
        parts.append(f"{describe_count(now.files, 'file')} ({describe_size(now.file_bytes)})")
    if now.limit_usd is not None or now.spent_usd:
        parts.append(_describe_money(now))
    return ", ".join(parts)


def _describe_left(left_s: float | None) -> str:
    return "unknown" if left_s is None else describe_time(left_s)


def _describe_money(now: BatchProgress) -> str:
    limit = "" if now.limit_usd is None else f" of ${now.limit_usd:,.2f}"
    return f"${now.spent_usd:,.4f}{limit} spent"
