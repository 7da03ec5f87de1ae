"""The command line: `falq`.

    app            commands, their options and help
    job_commands   those about single jobs
    batch_commands those about batches and journals
    flags          the options that commands share
    own_flags      those that single commands have for themselves
    arguments      key=value words -> a job's arguments
    running        run a command: Ctrl-C, failures, exit codes
    loops          the event loop that a command runs on
    failures       an error -> lines to read and an exit code
    output         stdout for data, stderr for people
    live           what a job does, as it does it
    picture        what the live displays share
    jobs           submit, subscribe, status, logs, result, cancel
    direct         run, stream
    results        what a model answered: to stdout, and its media to a folder
    emulate        the emulator
    models         what models there are, their schemas and prices
    doctor         is everything in place?
    connections    Maton's connections
    mcp            the queue as an agent's tools
    batch          batch, resume, retry, report
    batch_words    what is said of rows and runs, as values
    batch_check    batch --dry-run
    batch_display  what a batch does, as it does it
    batch_reasons  why rows failed, each reason once
    journal        show, export and verify a journal, fetch its files again
    journals       which journal a command means, opened to be read
    demo           two hundred jobs without an account

Owns what a person types and reads. It never speaks HTTP: sessions do. Results go
to stdout as JSON, everything else to stderr.

Exit codes: 0 all went well, 1 a job did not, 2 usage, 3 configuration or
credentials, 4 budget reached, 5 stopped with work left, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections.abc import Sequence

_EXTRA = frozenset({"cyclopts", "rich"})
_INTERRUPTED = 130


def main(tokens: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        tokens: What follows `falq`; None for the process's own arguments.
    """
    try:
        from falq.cli.app import run_app
    except KeyboardInterrupt:
        # It takes a moment to load, and nothing has begun.
        return _INTERRUPTED
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.stderr.write("falq: the command line needs its extra: pip install 'falq[cli]'\n")
        return 3
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.encoding.lower() != "utf-8":
        # Help has lines and dots that an ASCII terminal has not.
        sys.stdout.reconfigure(errors="backslashreplace")
    code = run_app(list(sys.argv[1:] if tokens is None else tokens))
    if tokens is None and code == _INTERRUPTED and _has_reader():
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    return code


def _has_reader() -> bool:
    # Whatever reads a terminal in a thread cannot be woken, and the interpreter
    # would wait for the next line that somebody types.
    main = threading.main_thread()
    return any(not one.daemon for one in threading.enumerate() if one is not main)
