"""What a manifest yields, and what a check of it says.

Owns the row that can be run, how its files become data, and the report. It
never reads a manifest: `manifest` makes rows, the batch runner submits them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from falq.batch.localfiles import LocalFile, resolve_files
from falq.batch.options import submit_keywords
from falq.batch.problems import BadRow
from falq.errors import ArgumentError

MOST_BAD_ROWS = 20
"""Bad rows that a report names: enough to see what is wrong with a file."""


@frozen(kw_only=True)
class Row:
    """One row of a manifest, ready to be submitted.

    Attributes:
        seq: Its place among the rows that can be run, from 0.
        id: Its name, unique in the manifest.
        line: Where it begins in the manifest, from 1.
        endpoint: Full id of its endpoint.
        arguments: Its arguments; local files are named in them, not held.
        options: What it asks of the queue beside them, as JSON values.
        source: The columns or the object that it was made of, as read.
        files: The local files that the arguments name.
        input_sha256: Hash of endpoint and arguments, files by name.
        content_sha256: The same with the contents of the files.
        duplicate_of: Id of the first row that is equal to it, if equal rows
            are to run once and this is a later one.
    """

    seq: int
    id: str
    line: int
    endpoint: str
    arguments: Mapping[str, Any] = field(repr=False)
    options: Mapping[str, Any] = field(factory=dict, repr=False)
    source: Mapping[str, Any] = field(factory=dict, repr=False)
    files: tuple[LocalFile, ...] = field(default=(), repr=False)
    input_sha256: str
    duplicate_of: str | None = None

    @property
    def content_sha256(self) -> str:
        """Hash that changes with the input and with the contents of its files."""
        if not self.files:
            return self.input_sha256
        facts = [f"{file.argument}\n{file.sha256}" for file in self.files]
        return hashlib.sha256("\n".join([self.input_sha256, *facts]).encode()).hexdigest()

    def submit_keywords(self) -> dict[str, Any]:
        """Return the options as `Session.submit` takes them."""
        return submit_keywords(self.options)


def resolve_arguments(row: Row) -> dict[str, Any]:
    """Return a row's arguments as a session takes them; see `localfiles.resolve_files`.

    It reads files: call it in a worker thread, when the row is about to be sent.

    Raises:
        ArgumentError: A file is gone, or no longer what it was when the row was read.
    """
    return resolve_files(row.arguments, row.files)


@frozen(kw_only=True)
class ManifestReport:
    """What a check found. Nothing was sent.

    Attributes:
        count: Rows that can be run, those that equal an earlier one among them.
        duplicates: Those of them that equal an earlier one and will not run.
        bad_count: Rows that cannot be run.
        bad_rows: The first of these, at most `MOST_BAD_ROWS`.
        endpoints: Rows that will run, by endpoint.
        digest: Hash of all ids and inputs, in order: equal for equal manifests.
        is_whole: False if the check gave up after `MOST_BAD_ROWS` bad rows.
        unchecked: Endpoints without a schema, whose arguments could not be checked,
            if that was asked for.
    """

    count: int
    duplicates: int
    bad_count: int
    bad_rows: tuple[BadRow, ...]
    endpoints: Mapping[str, int]
    digest: str
    is_whole: bool = True
    unchecked: tuple[str, ...] = ()

    def raise_for_bad_rows(self) -> None:
        """Return if there are none.

        Raises:
            ArgumentError: There are; the message has the first of them, and `problems`
                has each that is named here, by its line.
        """
        if self.bad_count:
            more = "" if self.is_whole else " or more"
            rows = "bad row" if self.bad_count == 1 else "bad rows"
            raise ArgumentError(
                f"{self.bad_count}{more} {rows}, nothing was sent. The first: {self.bad_rows[0]}",
                argument="manifest",
                problems=tuple(
                    (f"line {row.line}", f"{row.field} {row.reason}".strip())
                    for row in self.bad_rows
                ),
            )
