"""What the command line says about a batch, as values.

Owns the words about the rows and about the running, and how they become a
`Manifest` and the settings of a `Batch`. It runs nothing.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Any, BinaryIO, Literal

from attrs import field, frozen

from falq.batch import Manifest
from falq.batch.budget import read_price_words
from falq.batch.localfiles import UploadMode
from falq.batch.manifest import OnBadRow
from falq.batch.rows import Format
from falq.cli.output import Output
from falq.errors import ArgumentError


@frozen(kw_only=True)
class ManifestWords:
    """What the command line says about the rows.

    Attributes:
        manifest: Path, or `-`.
        endpoint: For rows that name none.
        format: How to read it.
        set: `key=template` words.
        grid: `key=values` words.
        drop: Names that are not sent.
        dedupe: Whether equal rows run once.
        on_bad_row: Whether bad rows are skipped.
        validate: Whether arguments are checked against schemas.
        upload: Which local files are uploaded.
        stdin: What stands for standard input; None is that itself.
    """

    manifest: str
    endpoint: str | None = None
    format: Format | None = None
    set: tuple[str, ...] = ()
    grid: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    dedupe: bool = False
    on_bad_row: OnBadRow = "stop"
    validate: bool = False
    upload: UploadMode = "auto"
    stdin: BinaryIO | None = field(default=None, repr=False)

    def open(self) -> Manifest:
        """Return the rows."""
        return Manifest(
            self.manifest,
            endpoint=self.endpoint,
            format=self.format,
            set_words=self.set,
            grid_words=self.grid,
            drop=self.drop,
            dedupe=self.dedupe,
            on_bad_row=self.on_bad_row,
            upload=self.upload,
            stdin=self.stdin,
        )


def read_typed_rows(output: Output) -> BinaryIO | None:
    """Return what is typed on a terminal, up to its end; None if there is no terminal.

    Call it before there is an event loop: a loop would read in a thread, and end
    no sooner than that, whatever Ctrl-C says.

    Raises:
        ArgumentError: There is no standard input.
    """
    if sys.stdin is None:
        raise ArgumentError("there is no standard input; give a file", argument="manifest")
    if not sys.stdin.isatty():
        return None
    output.note("rows are read from this terminal, one a line; Ctrl-D ends them")
    try:
        return io.BytesIO(sys.stdin.buffer.read())
    except KeyboardInterrupt:
        output.error("interrupted before the batch began; nothing was sent")
        raise


@frozen(kw_only=True)
class RunWords:
    """What the command line says about the running.

    Attributes:
        max_jobs: Jobs on the way at once.
        per_endpoint: `ENDPOINT=N` words.
        timeout: Seconds for one job.
        budget_usd: Most that is spent.
        price: `ENDPOINT=USD` words.
        on_unknown: What to do with a submit whose answer stays lost.
        settle_s: Seconds until it counts as lost for good.
        download: Whether media are fetched.
        name_template: How media are called.
        sorted: Whether the lines are put into the order of the rows.
        has_inputs: Whether the page holds arguments.
        serve: Port of the live page; None serves none, 0 takes a free one.
    """

    max_jobs: int | None = None
    per_endpoint: tuple[str, ...] = ()
    timeout: float | None = None
    budget_usd: float | None = None
    price: tuple[str, ...] = ()
    on_unknown: Literal["hold", "resubmit"] = "hold"
    settle_s: float | None = None
    download: bool = True
    name_template: str | None = None
    sorted: bool = False
    has_inputs: bool = True
    serve: int | None = None

    def settings(self) -> dict[str, Any]:
        """Return what `Batch` takes."""
        return {
            "max_jobs": self.max_jobs,
            "per_endpoint": read_limits(self.per_endpoint),
            "timeout": self.timeout,
            "budget_usd": self.budget_usd,
            "prices": read_price_words(self.price),
            "on_unknown": self.on_unknown,
            "settle_s": self.settle_s,
            "download": self.download,
            "name_template": self.name_template,
            "sorted_lines": self.sorted,
        }


def read_limits(words: Sequence[str]) -> dict[str, int]:
    """Return limits given as `ENDPOINT=N`.

    Raises:
        ArgumentError: A word is none.
    """
    limits: dict[str, int] = {}
    for word in words:
        endpoint, _, number = word.rpartition("=")
        if not endpoint or not number.isdecimal() or int(number) < 1:
            raise ArgumentError(
                f"--per-endpoint {word!r} is no ENDPOINT=N, such as fal-ai/flux/dev=10",
                argument="per_endpoint",
            )
        limits[endpoint] = int(number)
    return limits
