"""The command line: `falq`.

    app            commands, their options and help
    batch_commands those about batches and journals
    flags          the options that commands share
    arguments      key=value words -> a job's arguments
    running        run a command: Ctrl-C, failures, exit codes
    failures       an error -> lines to read and an exit code
    output         stdout for data, stderr for people
    live           what a job does, as it does it
    picture        what the live displays share
    jobs           submit, subscribe, status, logs, result, cancel
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
    demo           two hundred jobs without an account

Owns what a person types and reads. It never speaks HTTP: sessions do. Results go
to stdout as JSON, everything else to stderr.

Exit codes: 0 all went well, 1 a job did not, 2 usage, 3 configuration or
credentials, 4 budget reached, 5 stopped with work left, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

_EXTRA = frozenset({"cyclopts", "rich"})


def main(tokens: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        tokens: What follows `falq`; None for the process's own arguments.
    """
    try:
        from falq.cli.app import run_app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.stderr.write("falq: the command line needs its extra: pip install 'falq[cli]'\n")
        return 3
    return run_app(list(sys.argv[1:] if tokens is None else tokens))
