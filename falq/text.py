"""Make text from outside safe to show: in a terminal, a log line, an error.

Owns the one rule for it. It never cuts or changes a value that a program
reads: only what a person is shown passes through here.
"""

from __future__ import annotations

ERROR_LIMIT = 2048
"""Characters of untrusted text that an error or a log line shows at most."""


def printable(text: str, *, limit: int = ERROR_LIMIT) -> str:
    r"""Return `text` on one line, with control and direction characters escaped.

    A job's log can hold terminal escapes, forged log lines and right-to-left
    overrides; none of them reaches a terminal through falq.

    Args:
        text: Any text, also one that a server sent.
        limit: Longest text returned, in characters; a cut ends in an ellipsis.

    Example:
        >>> printable("ok\x1b[2J\nroot: fine")
        'ok\\x1b[2J\\nroot: fine'
    """
    # An escape only lengthens the text: what lies beyond the limit now is never shown.
    start = text[: limit + 1]
    if not start.isprintable():
        start = "".join(
            char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
            for char in start
        )
    return start if len(start) <= limit else start[: limit - 1] + "…"
