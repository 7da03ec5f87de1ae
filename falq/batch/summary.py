"""What a batch came to.

Owns the final counts, which cover the whole batch and not only the last
invocation, and the words for them. It never decides an exit code: the command
line does.
"""

from __future__ import annotations

from html import escape

from attrs import frozen


@frozen(kw_only=True)
class BatchSummary:
    """The counts of a batch.

    Attributes:
        rows: Rows that can be run, duplicates among them.
        succeeded: Rows with a result.
        failed: Rows that ended with an error.
        cancelled: Rows that were cancelled.
        timed_out: Rows whose time limit passed.
        unknown: Rows whose submit may or may not have made a job.
        left: Rows that were not started, or run on at the server.
        bad_rows: Rows of the manifest that were skipped as bad.
        failed_files: Media files that could not be fetched, this time.
        files: Media files fetched, this time.
        file_bytes: Their size.
        spent_usd: What was spent where prices are known, in US dollars; None if
            none is.
        elapsed_s: How long this invocation took.
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
    bad_rows: int = 0
    failed_files: int = 0
    files: int = 0
    file_bytes: int = 0
    spent_usd: float | None = None
    elapsed_s: float = 0.0
    is_over_budget: bool = False
    is_stopped: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether every row has a result, and every file is on disk."""
        return self.succeeded == self.rows and not self.failed_files and not self.bad_rows

    def figures(self) -> list[tuple[str, str]]:
        """Return the counts that are worth showing, as words."""
        counts = [
            ("rows", self.rows),
            ("succeeded", self.succeeded),
            ("failed", self.failed),
            ("cancelled", self.cancelled),
            ("timed out", self.timed_out),
            ("unknown", self.unknown),
            ("left", self.left),
            ("bad rows", self.bad_rows),
            ("files", self.files),
            ("files not fetched", self.failed_files),
        ]
        shown = [(name, f"{count:,}") for name, count in counts if count or name == "rows"]
        if self.spent_usd is not None:
            shown.append(("spent", f"${self.spent_usd:,.4f}"))
        return shown

    def __str__(self) -> str:
        (_, rows), *rest = self.figures()
        return f"{rows} rows: " + (", ".join(f"{value} {name}" for name, value in rest) or "none")

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
            for name, value in self.figures()
        )
        return f"<table>{cells}</table>"
