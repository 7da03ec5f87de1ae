"""What is wrong with a row, said so that a person finds and mends it.

Owns the record of a bad row and the error that carries one field's trouble up
to it. It never decides whether a batch stops for it: the manifest is told.
"""

from __future__ import annotations

from attrs import frozen

from falq.text import printable


class BadFieldError(Exception):
    """One field of a row cannot be used. Never leaves the batch's rooms.

    Attributes:
        field: Its name as the user wrote it; the empty text for the row itself.
        reason: What is wrong and what to do, to be read after the name.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason


@frozen(kw_only=True)
class BadRow:
    """A row of which no job can be made. Nothing was sent for it.

    Attributes:
        line: Where it begins, from 1: the line of a text file, the row of a
            Parquet file, the place of an item.
        id: Its id, given or derived; None if it could not be read.
        field: What is wrong in it; the empty text for the row as a whole.
        reason: What is wrong and what to do.
    """

    line: int
    id: str | None
    field: str
    reason: str

    def __str__(self) -> str:
        name = "" if self.id is None else f" ({printable(self.id, limit=80)})"
        field = f" {printable(self.field, limit=80)}" if self.field else ""
        return f"line {self.line}{name}:{field} {printable(self.reason, limit=400)}"
