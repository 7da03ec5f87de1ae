"""What a failure says and which exit code it ends with.

Owns the table of exit codes and the lines beside an error's own message. It
never prints. No traceback is ever shown unless `FALQ_LOG=debug` asks for it: an
error's message says what to do next.
"""

from __future__ import annotations

from typing import Any

from falq.errors import (
    ArgumentError,
    AuthenticationError,
    ConfigError,
    FalqError,
    SubmissionUnknownError,
)
from falq.text import printable

OK = 0
FAILED = 1
USAGE = 2
SETUP = 3
INTERRUPTED = 130


def exit_code_of(error: BaseException) -> int:
    """Return the exit code that `error` ends the command with."""
    if isinstance(error, ConfigError | AuthenticationError):
        return SETUP
    return USAGE if isinstance(error, ArgumentError) else FAILED


def describe_failure(error: BaseException) -> list[str]:
    """Return the lines to print for an error, the message first."""
    if isinstance(error, OSError) and not isinstance(error, FalqError):
        name = f": {printable(str(error.filename), limit=200)}" if error.filename else ""
        return [f"{error.strerror or type(error).__name__}{name}"]
    if not isinstance(error, FalqError):
        return [
            f"a bug in falq: {type(error).__name__}: {printable(str(error), limit=300)}",
            "  please report it with what FALQ_LOG=debug shows",
        ]
    lines = [str(error)]
    if isinstance(error, ArgumentError) and error.argument == "manifest":
        # The message has the first of the bad rows.
        lines += [
            printable(f"  {line}: {reason}", limit=400) for line, reason in error.problems[1:]
        ]
    if isinstance(error, SubmissionUnknownError):
        lines.append(f"  intent {error.intent_id}: it was not sent again; look for it first")
    if error.possibly_billed:
        lines.append("  it may have been billed")
    return lines


def failure_as_data(error: BaseException, *, exit_code: int | None = None) -> dict[str, Any]:
    """Return an error as the JSON that `--json` prints.

    Args:
        error: What went wrong.
        exit_code: What the command ends with, if that is not the error's own.
    """
    facts: dict[str, Any] = {
        "kind": type(error).__name__,
        "message": printable(str(error)),
        "exit_code": exit_code_of(error) if exit_code is None else exit_code,
    }
    names: tuple[str, ...] = ("endpoint", "request_id", "intent_id", "retryable", "possibly_billed")
    names += ("status_code", "error_type", "problems", "retry_after_s", "cancel_outcome")
    names += ("setting", "argument")
    for name in names:
        value = getattr(error, name, None)
        if value not in (None, ()):
            facts[name] = value
    return {"error": facts}
