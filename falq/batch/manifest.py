"""Turn a manifest into rows that can be run: checked, completed, hashed.

Owns the order of what happens to a line: its own values, then the grid's, then
what is set, then what is dropped; then endpoint, options, arguments and local
files are checked, and ids compared. Everything is lazy: a million rows pass
through in the memory of one, but for some dozen bytes each that remember ids.
It never submits and never awaits; call it in a worker thread where blocking
matters. The batch runner and the command line call it.

Ids: a row that has no id of its own is called by its place, `row-000001` for
the first. Bad rows have a place, blank lines have none. So a manifest can be
appended to and resumed. A row that was changed in its place keeps its id and
gets another `input_sha256`, by which a journal notices.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

from attrs import evolve, frozen

from falq._core import codec
from falq._core.canonical import canonical_json, hash_canonical
from falq.batch.drafts import LONGEST_ROW_ID, Draft
from falq.batch.entries import MOST_BAD_ROWS, ManifestReport, Row
from falq.batch.grid import Grid
from falq.batch.keys import KeyPath, is_in, parse_key, with_value, without
from falq.batch.localfiles import FILE_LIMIT_BYTES, FileShelf, LocalFile, UploadMode, as_sent
from falq.batch.options import submit_keywords
from falq.batch.problems import BadFieldError, BadRow
from falq.batch.rows import Format
from falq.batch.seen import SeenTable
from falq.batch.settings import Setting
from falq.batch.sources import open_source, stopped_error
from falq.errors import ArgumentError
from falq.model import EndpointId
from falq.text import printable

OnBadRow: TypeAlias = Literal["stop", "skip"]
Check: TypeAlias = Callable[[str, Mapping[str, Any]], None]

# In canonical JSON no text can hold these three bytes: its quotes are escaped.
_FILE_KEY = b'@":'


class Manifest:
    """Rows of a file, of standard input or of a program.

    Args:
        source: A path, `-` for standard input, or items: mappings in the form
            of JSON lines, or text as prompts.
        endpoint: For rows that name none.
        format: How to read it; None tells by the ending, see `sources`.
        set_words: `key=template` or `key:=json`, applied to every row in order.
        grid_words: `key=values`; each row becomes one row for each combination.
        drop: Names that templates may use and that are not sent.
        options: For every row; a row's own come first.
        dedupe: Whether equal rows run once.
        on_bad_row: `"stop"` refuses the manifest, `"skip"` runs the others.
        file_limit_bytes: Largest local file that is sent inside a request.
        upload: Which local files are uploaded: `"auto"` those above that limit,
            `"always"` all, `"never"` none, which refuses those above it.
        stdin: Stands for standard input.

    Raises:
        ArgumentError: A setting, an axis or the format cannot be read, one
            argument is both set and swept, or there is no such `upload`.

    Example:
        >>> rows = Manifest(["a cat", "a dog"], endpoint="fal-ai/flux", grid_words=["seed=1..2"])
        >>> [row.id for row in rows.rows()]
        ['row-000001#seed=1', 'row-000001#seed=2', 'row-000002#seed=1', 'row-000002#seed=2']
    """

    def __init__(
        self,
        source: str | Path | Iterable[Any],
        *,
        endpoint: str | None = None,
        format: Format | None = None,  # noqa: A002  the command line's word
        set_words: Sequence[str] = (),
        grid_words: Sequence[str] = (),
        drop: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
        dedupe: bool = False,
        on_bad_row: OnBadRow = "stop",
        file_limit_bytes: int = FILE_LIMIT_BYTES,
        upload: UploadMode = "auto",
        stdin: BinaryIO | None = None,
    ) -> None:
        if endpoint is not None:
            EndpointId.parse(endpoint)
        self._source = open_source(source, format=format, stdin=stdin)
        self._grid = Grid.parse(grid_words)
        settings = [Setting.parse(word) for word in set_words]
        both = {axis.path for axis in self._grid.axes} & {setting.path for setting in settings}
        if both:
            name = ".".join(min(both))
            raise ArgumentError(f"{name} is set and swept; leave one of them out", argument="grid")
        dropped = tuple(parse_key(name, what="drop") for name in drop)
        self._maker = _RowMaker(
            endpoint=endpoint,
            settings=tuple(settings),
            dropped=dropped,
            undropped=set(dropped),
            options=dict(options or {}),
            shelf=FileShelf(self._source.folder, limit_bytes=file_limit_bytes, upload=upload),
            checks=[],
        )
        self._dedupe = dedupe
        self._on_bad_row = on_bad_row

    def refuse_uploads(self, gateway: str) -> None:
        """Count rows as bad from now on whose files would have to be uploaded.

        Args:
            gateway: Name of the gateway that has no uploads.
        """
        self._maker.shelf.refuse_uploads(gateway)

    def refuse_by(self, check: Check) -> None:
        """Count rows as bad from now on whose arguments `check` does not let pass.

        Args:
            check: Called with the full endpoint id and the arguments as they will be
                sent, each local file as its path, in whichever thread reads the
                manifest. It raises an `ArgumentError` with the problems.
        """
        self._maker.checks.append(check)

    def check(self, *, stopped: threading.Event | None = None) -> ManifestReport:
        """Read the whole manifest and say what is in it; nothing is kept or sent.

        With `on_bad_row="stop"` it gives up after `MOST_BAD_ROWS` bad rows.
        Contents of local files are not read, only whether they can be.

        Args:
            stopped: Set it from another thread to end the reading, also one that
                waits for a silent pipe.

        Raises:
            ArgumentError: The manifest cannot be read, or not twice, or it was stopped; or
                what is to be dropped is in no row.
            ConfigError: A package is missing; the message names the extra.
        """
        count = duplicates = bad_count = 0
        bad_rows: list[BadRow] = []
        endpoints: Counter[str] = Counter()
        digest = hashlib.sha256()
        is_whole = True
        for entry in self._entries(keep=True, with_hashes=False, stopped=stopped):
            if isinstance(entry, BadRow):
                bad_count += 1
                if len(bad_rows) < MOST_BAD_ROWS:
                    bad_rows.append(entry)
                elif self._on_bad_row == "stop":
                    bad_count, is_whole = bad_count - 1, False
                    break
                continue
            count += 1
            digest.update(f"{entry.id}\n{entry.input_sha256}\n".encode("utf-8", "surrogatepass"))
            if entry.duplicate_of is None:
                endpoints[entry.endpoint] += 1
            else:
                duplicates += 1
        if count and not bad_count:
            self._maker.refuse_undropped()
        return ManifestReport(
            count=count,
            duplicates=duplicates,
            bad_count=bad_count,
            bad_rows=tuple(bad_rows),
            endpoints=dict(endpoints),
            digest=digest.hexdigest(),
            is_whole=is_whole,
        )

    def rows(self, *, keep: bool = False) -> Iterator[Row]:
        """Yield the rows that can be run, in order.

        Args:
            keep: Whether they will be read once more.

        Raises:
            ArgumentError: A row is bad and `on_bad_row` is `"stop"`, or the
                manifest cannot be read.
            ConfigError: A package is missing; the message names the extra.
        """
        for entry in self._entries(keep=keep, with_hashes=True):
            if isinstance(entry, Row):
                yield entry
            elif self._on_bad_row == "stop":
                raise ArgumentError(f"bad row, stopped there: {entry}", argument="manifest")

    def entries(self) -> Iterator[Row | BadRow]:
        """Yield every row in order, bad ones as `BadRow` whatever `on_bad_row` says.

        Raises:
            ArgumentError: The manifest cannot be read.
            ConfigError: A package is missing; the message names the extra.
        """
        return self._entries(keep=False, with_hashes=True)

    def _entries(
        self, *, keep: bool, with_hashes: bool, stopped: threading.Event | None = None
    ) -> Iterator[Row | BadRow]:
        ids, inputs = _Ids(), _FirstIds() if self._dedupe else None
        seq = 0
        drafts = self._source.drafts(keep=keep, stopped=stopped)
        for position, draft in enumerate(drafts, start=1):
            if stopped is not None and stopped.is_set():
                raise stopped_error()
            base_id = f"row-{position:06}"
            if isinstance(draft, BadRow):
                yield BadRow(line=draft.line, id=base_id, field=draft.field, reason=draft.reason)
                continue
            base_id = draft.id or base_id
            for suffix, swept in self._grid.combinations():
                row_id = base_id + suffix
                try:
                    ids.claim(row_id, draft.line)
                    row = self._maker.make(draft, row_id, seq, swept, with_hashes=with_hashes)
                except BadFieldError as error:
                    yield BadRow(line=draft.line, id=row_id, field=error.field, reason=error.reason)
                    continue
                yield row if inputs is None else inputs.marked(row)
                seq += 1


@frozen(kw_only=True)
class _RowMaker:
    """Makes rows of drafts: completes them and checks every field.

    `undropped` has what is to be dropped and stood in no row so far.
    """

    endpoint: str | None
    settings: tuple[Setting, ...]
    dropped: tuple[KeyPath, ...]
    undropped: set[KeyPath]
    options: Mapping[str, Any]
    shelf: FileShelf
    checks: list[Check]

    def make(
        self,
        draft: Draft,
        row_id: str,
        seq: int,
        swept: Sequence[tuple[KeyPath, Any]],
        *,
        with_hashes: bool,
    ) -> Row:
        endpoint = _full_endpoint(draft.endpoint or self.endpoint)
        arguments = self._complete(draft.arguments, swept)
        options = draft.options
        if self.options:
            options = {**self.options, **options}
        submit_keywords(options)
        canonical = _canonical(arguments)
        for check in self.checks:
            _apply(check, endpoint, arguments)
        files: tuple[LocalFile, ...] = ()
        if _FILE_KEY in canonical:
            if with_hashes:
                files = self.shelf.look_up(arguments)
            else:
                self.shelf.check(arguments)
        return Row(
            seq=seq,
            id=row_id,
            line=draft.line,
            endpoint=endpoint,
            arguments=arguments,
            options=options,
            source=draft.source,
            files=files,
            input_sha256=hash_canonical(endpoint, arguments, canonical),
        )

    def refuse_undropped(self) -> None:
        if self.undropped:
            name = ".".join(min(self.undropped))
            raise ArgumentError(
                f"drop: no row has {printable(name, limit=80)!r}; write it as the column is called",
                argument="drop",
            )

    def _complete(
        self, arguments: Mapping[str, Any], swept: Sequence[tuple[KeyPath, Any]]
    ) -> Mapping[str, Any]:
        for path, value in swept:
            arguments = with_value(arguments, path, value)
        for setting in self.settings:
            arguments = setting.apply(arguments)
        for path in self.dropped:
            if path in self.undropped and is_in(arguments, path):
                self.undropped.discard(path)
            arguments = without(arguments, path)
        return arguments


def _apply(check: Check, endpoint: str, arguments: Mapping[str, Any]) -> None:
    try:
        check(endpoint, as_sent(arguments))
    except ArgumentError as error:
        if not error.problems:
            raise BadFieldError("arguments", str(error)) from None
        (path, text), *others = error.problems
        more = "".join(f"; {path} {text}" for path, text in others)
        raise BadFieldError(path, f"{text}{more}") from None


def _full_endpoint(text: str | None) -> str:
    if not text:
        raise BadFieldError("endpoint", "is missing; name one in the row or give --endpoint")
    return _parsed_endpoint(text)


@functools.lru_cache(maxsize=1024)
def _parsed_endpoint(text: str) -> str:
    try:
        return EndpointId.parse(text).full
    except ArgumentError as error:
        raise BadFieldError("endpoint", f"cannot be used: {error}") from None


def _canonical(arguments: Mapping[str, Any]) -> bytes:
    try:
        return canonical_json(arguments)
    except (TypeError, ValueError):
        pass
    try:
        codec.dump_arguments(arguments)
    except ArgumentError as error:
        raise BadFieldError("arguments", f"cannot be sent: {error}") from None
    raise BadFieldError("arguments", "have a name that is not text; JSON has no other names")


class _Ids:
    """Every id so far, with the line of the row that has it."""

    def __init__(self) -> None:
        self._seen = SeenTable()

    def claim(self, row_id: str, line: int) -> None:
        first = self._seen.add(row_id.encode("utf-8", "surrogatepass"), line)
        if first is not None:
            raise BadFieldError(
                "id", f"is that of line {first} too; give each row its own, or none"
            )
        if len(row_id) > 2 * LONGEST_ROW_ID:
            raise BadFieldError("id", "is too long with the grid's values; give a shorter one")


class _FirstIds:
    """The id of the first row of each input, packed: a million take few megabytes."""

    def __init__(self) -> None:
        self._seen = SeenTable()
        self._ids = bytearray()

    def marked(self, row: Row) -> Row:
        """Return `row`, pointing to the first that is equal if it is not the first."""
        key = row.input_sha256.encode() + (canonical_json(row.options) if row.options else b"")
        start = self._seen.add(key, len(self._ids))
        if start is None:
            self._ids += row.id.encode("utf-8", "surrogatepass") + b"\0"
            return row
        end = self._ids.index(b"\0", start)
        first = self._ids[start:end].decode("utf-8", "surrogatepass")
        return evolve(row, duplicate_of=first)
