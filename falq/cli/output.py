"""Where a command's words go: data to stdout, everything else to stderr.

Owns the two streams, color and the JSON form. It never decides what to say.
Text from outside is made printable here or before; JSON on a terminal escapes
every character that could steer it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from attrs import Factory, define, field
from rich.console import Console
from rich.text import Text

from falq.text import printable

LINE_LIMIT = 4096
"""Characters of one untrusted line shown at most (promises C33)."""


def _stderr_console() -> Console:
    # rich reads NO_COLOR, FORCE_COLOR and TERM itself. Markup stays off: log
    # lines and error details may hold brackets of their own.
    return Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)


@define
class Output:
    """The streams of one command.

    Attributes:
        is_json: Data as one line of JSON each, errors too.
        is_quiet: Nothing on stderr but errors.
        console: stderr.
    """

    is_json: bool = False
    is_quiet: bool = False
    console: Console = field(default=Factory(_stderr_console), repr=False)

    @property
    def is_live(self) -> bool:
        """Whether stderr is a terminal that can be drawn on."""
        # rich counts FORCE_COLOR as a terminal; a log file with colors is still a file.
        is_terminal = sys.stderr.isatty() and not self.console.is_dumb_terminal
        return is_terminal and not self.is_quiet

    @property
    def is_pretty(self) -> bool:
        """Whether data are laid out for a reader."""
        return sys.stdout.isatty() and not self.is_json

    def data(self, value: Any) -> None:
        """Print one JSON value on stdout: laid out on a terminal, else on one line."""
        self.line(dump_json(value, indent=2 if self.is_pretty else None))

    def line(self, text: str) -> None:
        """Print a line of data on stdout."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def raw(self, data: bytes) -> None:
        """Write bytes to stdout, as they are."""
        sys.stdout.buffer.write(data)
        sys.stdout.flush()

    def note(self, text: str, *, style: str = "") -> None:
        """Tell the reader something on stderr, unless quiet."""
        if not self.is_quiet:
            self.console.print(Text(text, style=style))

    def log_line(self, message: str) -> None:
        """Show a line that a job printed on stderr, made safe, unless quiet."""
        self.note(f"  │ {printable(message, limit=LINE_LIMIT)}", style="dim")

    def error(self, text: str) -> None:
        """Tell of a failure on stderr, quiet or not."""
        self.console.print(Text.assemble(("falq: ", "bold red"), printable(text)))


def dump_json(value: Any, *, indent: int | None = None) -> str:
    r"""Return `value` as JSON whose characters are all harmless on a terminal.

    Args:
        value: A JSON value.
        indent: Spaces for each level; None for one line.

    Example:
        >>> print(dump_json({"text": "\x9b"}))
        {"text": "\u009b"}
    """
    encoding = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "")
    text = json.dumps(value, indent=indent, ensure_ascii=encoding != "utf8", default=str)
    return "".join(
        char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text
    )


def describe_count(count: int, noun: str) -> str:
    """Return a count for a reader, such as `1 row` or `2,000 rows`.

    Args:
        count: How many.
        noun: Of what, as one.
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def describe_size(size_bytes: int) -> str:
    """Return a size for a reader, such as `45 KiB`."""
    size, units = float(size_bytes), ["bytes", "KiB", "MiB", "GiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return (
        f"{size:.0f} {units[0]}" if size >= 10 or units[0] == "bytes" else f"{size:.1f} {units[0]}"
    )


def describe_time(seconds: float) -> str:
    """Return a length of time for a reader, such as `0:07` or `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
