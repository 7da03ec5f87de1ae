"""What a batch came to.

Owns the final counts, of the whole batch and of the run that has just ended, and
the words for them. It never decides an exit code: the command line does.
"""

from __future__ import annotations

from html import escape

from attrs import field, frozen


@frozen(kw_only=True)
class RunFigures:
    """What one run of a batch did.

    Attributes:
        succeeded: Rows that ended with a result.
        failed: Rows that ended in any other way.
        unknown: Rows whose submit may or may not have made a job.
        files: Media files fetched.
        file_bytes: Their size.
        failed_files: Media files that could not be fetched.
        spent_usd: What the jobs cost that it sent, where prices are known, in US
            dollars; None if none is. Jobs that an earlier run sent are paid by that one.
        elapsed_s: How long it took, in seconds.
    """

    succeeded: int = 0
    failed: int = 0
    unknown: int = 0
    files: int = 0
    file_bytes: int = 0
    failed_files: int = 0
    spent_usd: float | None = None
    elapsed_s: float = 0.0

    @property
    def rows(self) -> int:
        """Rows that ended, or were given up as unknown."""
        return self.succeeded + self.failed + self.unknown

    def figures(self) -> list[tuple[str, str]]:
        """Return the counts that are worth showing, as words."""
        counts = [
            ("rows", self.rows),
            ("failed", self.failed),
            ("unknown", self.unknown),
            ("files", self.files),
            ("files not fetched", self.failed_files),
        ]
        return _shown(counts, self.spent_usd)


@frozen(kw_only=True)
class BatchSummary:
    """The counts of a whole batch, whatever run they come from.

    Attributes:
        rows: Rows that can be run, duplicates among them.
        succeeded: Rows with a result.
        failed: Rows that ended with an error.
        cancelled: Rows that were cancelled.
        timed_out: Rows whose time limit passed.
        unknown: Rows whose submit may or may not have made a job.
        left: Rows that were not started, or run on at the server.
        left_out: Rows that were not started because the manifest has them no more;
            they count as nothing else.
        duplicates: Rows that share the end of an equal one, counted above by that end.
        bad_rows: Rows of the manifest that were skipped as bad.
        failed_files: Media files that could not be fetched.
        files: Media files that are on disk.
        file_bytes: Their size.
        spent_usd: What was spent where prices are known, in US dollars; None if
            none is.
        this_run: What the run that has just ended did.
        has_earlier_runs: Whether another run came before it.
        is_over_budget: Whether it stopped because the budget was reached.
        is_stopped: Whether it was asked to stop.
    """

    rows: int
    succeeded: int
    failed: int
    cancelled: int
    timed_out: int
    unknown: int
    left: int
    left_out: int = 0
    duplicates: int = 0
    bad_rows: int = 0
    failed_files: int = 0
    files: int = 0
    file_bytes: int = 0
    spent_usd: float | None = None
    this_run: RunFigures = field(factory=RunFigures)
    has_earlier_runs: bool = False
    is_over_budget: bool = False
    is_stopped: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether every row has a result, and every file is on disk."""
        return self.succeeded == self.rows and not self.failed_files and not self.bad_rows

    def figures(self) -> list[tuple[str, str]]:
        """Return the counts of the whole batch that are worth showing, as words."""
        counts = [
            ("rows", self.rows),
            ("succeeded", self.succeeded),
            ("failed", self.failed),
            ("cancelled", self.cancelled),
            ("timed out", self.timed_out),
            ("unknown", self.unknown),
            ("left", self.left),
            ("left out", self.left_out),
            ("bad rows", self.bad_rows),
            ("files", self.files),
            ("files not fetched", self.failed_files),
        ]
        return _shown(counts, self.spent_usd)

    def __str__(self) -> str:
        lines = [_line(self.figures())]
        if self.has_earlier_runs:
            lines = [f"this run: {_line(self.this_run.figures())}", f"in all: {lines[0]}"]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        figures = self.figures()
        if self.has_earlier_runs:
            figures += [(f"{name}, this run", value) for name, value in self.this_run.figures()]
        cells = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in figures
        )
        return f"<table>{cells}</table>"


def _shown(counts: list[tuple[str, int]], spent_usd: float | None) -> list[tuple[str, str]]:
    shown = [(name, f"{count:,}") for name, count in counts if count or name == "rows"]
    if spent_usd is not None:
        shown.append(("spent", f"${spent_usd:,.4f}"))
    return shown


def _line(figures: list[tuple[str, str]]) -> str:
    rows, *rest = [f"{value} {_one(name) if value == '1' else name}" for name, value in figures]
    return f"{rows}: {', '.join(rest)}" if rest else rows


def _one(name: str) -> str:
    return name.replace("rows", "row").replace("files", "file")
