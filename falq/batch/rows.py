"""Read manifests line by line: JSON lines, CSV, TSV, plain text, items of a program.

Owns the formats and their encoding, which is UTF-8, with or without a byte
order mark. One line is in memory at a time. A line that cannot be read is
yielded as a bad row and reading goes on behind it. It never decides what a
field means (`drafts` does) and never opens anything (`sources` does). Parquet
has a module of its own.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, Protocol, TypeAlias

from falq._core import codec
from falq.batch.drafts import Columns, Draft, draft_object
from falq.batch.problems import BadFieldError, BadRow
from falq.errors import ArgumentError

Format: TypeAlias = Literal["jsonl", "csv", "tsv", "text", "parquet"]
Drafts: TypeAlias = Iterator[Draft | BadRow]


class LineStream(Protocol):
    """What lines are read from: a binary file, or what stands for one."""

    def readline(self, limit: int, /) -> bytes:
        """Return the next line with its end, at most `limit` bytes; none at the end."""
        ...


LONGEST_LINE_BYTES = 64 * 1024 * 1024
"""Of one line. What is longer is no line: it would be held in memory whole."""

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_jsonl(stream: LineStream) -> Drafts:
    """Yield a draft for each line that is not blank."""
    lines = _Lines(stream)
    for text in lines:
        if text.isspace() and not lines.trouble:
            continue
        trouble = lines.take_trouble()
        if trouble:
            yield _bad(lines.number, trouble)
            continue
        try:
            yield draft_object(lines.number, codec.load_json(text.encode()))
        except ValueError as error:
            yield _bad(lines.number, f"is no JSON ({error}); write one object a line")
        except BadFieldError as error:
            yield _bad(lines.number, error.reason, error.field)


def read_text(stream: LineStream) -> Drafts:
    """Yield a prompt for each line that is not blank."""
    lines = _Lines(stream)
    for text in lines:
        if text.isspace() and not lines.trouble:
            continue
        trouble = lines.take_trouble()
        if trouble:
            yield _bad(lines.number, trouble)
            continue
        arguments = {"prompt": text.rstrip("\r\n")}
        yield Draft(lines.number, None, None, arguments, {}, arguments)


def read_table(stream: LineStream, *, delimiter: str) -> Drafts:
    """Yield a draft for each line of cells under the head.

    A line of empty cells is a blank one.

    Raises:
        ArgumentError: The head cannot be read, or has another separator; or a quote
            is opened and never closed: what follows it cannot be told apart.
    """
    lines = _Lines(stream)
    # strict, because a stray quote otherwise swallows rows without a word.
    table = csv.reader(lines, delimiter=delimiter, strict=True)
    columns: Columns | None = None
    while (found := _next_cells(table, lines)) is not None:
        line, cells, trouble = found
        if trouble and columns is None:
            raise ArgumentError(f"the manifest's head {trouble}", argument="manifest")
        if trouble:
            yield _bad(line, trouble)
        elif cells and columns is None:
            _refuse_other_separator(cells, delimiter)
            columns = Columns(cells)
        elif any(cells) and columns is not None:
            # Spreadsheets write empty lines as separators alone.
            yield _draft_or_bad(columns, line, cells)


def _refuse_other_separator(head: list[str], delimiter: str) -> None:
    # Read as one column, the file would be sent, and paid for, as nonsense.
    found = next((other for other in ";,\t" if other != delimiter and other in head[0]), None)
    if len(head) == 1 and found is not None:
        wanted = _SEPARATORS[delimiter]
        raise ArgumentError(
            f"the manifest's head has {_SEPARATORS[found]} between its columns, and "
            f"{wanted} are read; save the file with {wanted}",
            argument="manifest",
        )


def _next_cells(table: Iterator[list[str]], lines: _Lines) -> tuple[int, list[str], str] | None:
    """Return the next line of a table, its cells and what is wrong with it; None at the end."""
    line = lines.number + 1
    try:
        cells = next(table)
    except StopIteration:
        return None
    except csv.Error as error:
        advice = 'a quote that is part of a cell is written ""'
        if "field limit" in str(error):
            advice = "a cell that long goes into JSON lines"
        reason = f"({error}); {advice}"
        if lines.number > line or "end of data" in str(error):
            raise ArgumentError(
                f"the manifest cannot be read from line {line} on {reason}", argument="manifest"
            ) from None
        return line, [], lines.take_trouble() or f"cannot be read {reason}"
    return line, cells, lines.take_trouble()


def read_items(items: Iterable[Any]) -> Drafts:
    """Yield a draft for each item: a mapping as in JSON lines, or text as a prompt."""
    for number, item in enumerate(items, start=1):
        try:
            if isinstance(item, str):
                arguments = {"prompt": item}
                yield Draft(number, None, None, arguments, {}, arguments)
            else:
                yield draft_object(number, item)
        except BadFieldError as error:
            yield _bad(number, error.reason, error.field)


def read_records(records: Iterable[tuple[int, Mapping[str, Any]]]) -> Drafts:
    """Yield a draft for each numbered record of a table with typed cells."""
    columns: Columns | None = None
    for number, record in records:
        if columns is None:
            columns = Columns(record)
        yield _draft_or_bad(columns, number, list(record.values()))


def _draft_or_bad(columns: Columns, line: int, cells: list[Any]) -> Draft | BadRow:
    try:
        return columns.draft(line, cells)
    except BadFieldError as error:
        return _bad(line, error.reason, error.field)


def _bad(line: int, reason: str, field: str = "") -> BadRow:
    return BadRow(line=line, id=None, field=field, reason=reason)


class _Lines:
    """Decoded lines of a stream, each with its number and what is wrong with it.

    A bad line is handed on in a shape that parses, and `trouble` tells; so one
    bad byte costs its own row only, also within a quoted cell.
    """

    def __init__(self, stream: LineStream) -> None:
        self._stream = stream
        self.number = 0
        self.trouble = ""

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        raw = self._stream.readline(LONGEST_LINE_BYTES)
        if not raw:
            raise StopIteration
        self.number += 1
        if self.number == 1:
            raw = raw.removeprefix(_BYTE_ORDER_MARK) or b"\n"
        if len(raw) >= LONGEST_LINE_BYTES and not raw.endswith(b"\n"):
            self._skip_rest()
            self.trouble = f"is longer than {LONGEST_LINE_BYTES} bytes; give large files as URLs"
            return "\n"
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            self.trouble = (
                f"has byte 0x{raw[error.start]:02x} at place {error.start + 1} of line "
                f"{self.number}, which is not UTF-8; save the file as UTF-8"
            )
            return raw.decode(errors="replace")

    def take_trouble(self) -> str:
        trouble, self.trouble = self.trouble, ""
        return trouble

    def _skip_rest(self) -> None:
        while rest := self._stream.readline(LONGEST_LINE_BYTES):
            if rest.endswith(b"\n"):
                return
