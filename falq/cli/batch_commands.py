"""The commands about batches and journals, their options and their help.

Owns names, types and help texts, and nothing of what the commands do: each
imports its room when it runs. `app` makes them commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from falq.cli.arguments import STDIN_WORD
from falq.cli.flags import (
    PLAIN_OUTPUT,
    PLAIN_ROWS,
    PLAIN_RUN,
    Flag,
    OutputFlags,
    RowFlags,
    RunFlags,
    Words,
)
from falq.cli.running import run_command


def batch(
    manifest: str,
    /,
    *,
    out: Path = Path("falq-batch"),
    dry_run: Annotated[bool, Flag] = False,
    rows: RowFlags = PLAIN_ROWS,
    run: RunFlags = PLAIN_RUN,
    output: OutputFlags = PLAIN_OUTPUT,
) -> int:
    """Run a file of jobs; run it again to go on where it was.

    Args:
        manifest: JSONL, CSV, TSV, plain text or Parquet; - reads standard input.
        out: Folder for results.jsonl, media, report.html and journal.sqlite.
        dry_run: Only check and count the rows and estimate their cost.
        rows: What the rows are.
        run: How it runs.
        output: How it speaks.
    """
    from falq.cli import batch as room
    from falq.cli.batch_check import dry_run as check
    from falq.cli.batch_words import ManifestWords, read_typed_rows

    how, streams = run.words(), output.open()
    is_stdin = manifest == STDIN_WORD
    words = ManifestWords(
        manifest="-" if is_stdin else manifest,
        stdin=read_typed_rows(streams) if is_stdin else None,
        endpoint=rows.endpoint,
        format=rows.format,
        set=rows.set,
        grid=rows.grid,
        drop=rows.drop,
        dedupe=rows.dedupe,
        on_bad_row=rows.on_bad_row,
        validate=rows.validate,
        upload=rows.upload,
    )
    if dry_run:
        return run_command(lambda: check(words, how, streams), streams)
    return run_command(lambda: room.run_manifest(words, how, out, streams), streams)


def resume(
    journal: Path,
    /,
    *,
    run: RunFlags = PLAIN_RUN,
    output: OutputFlags = PLAIN_OUTPUT,
) -> int:
    """Go on with a batch that was stopped or killed.

    Args:
        journal: Its journal, such as pictures/journal.sqlite.
        run: How it runs.
        output: How it speaks.
    """
    from falq.cli import batch as room

    how, streams = run.words(), output.open()
    return run_command(lambda: room.resume(journal, how, streams), streams)


def retry(
    journal: Path,
    /,
    *,
    error_type: Words = (),
    run: RunFlags = PLAIN_RUN,
    output: OutputFlags = PLAIN_OUTPUT,
) -> int:
    """Run the failed rows of a batch again.

    Args:
        journal: Its journal, such as pictures/journal.sqlite.
        error_type: Only rows with this error type, class, status code or status; may be repeated.
        run: How it runs.
        output: How it speaks.
    """
    from falq.cli import batch as room

    how, streams = run.words(), output.open()
    return run_command(lambda: room.retry(journal, how, error_type, streams), streams)


def report(
    journal: Path,
    /,
    *,
    to: Path | None = None,
    no_inputs: Annotated[bool, Flag] = False,
    output: OutputFlags = PLAIN_OUTPUT,
) -> int:
    """Write the page of a batch.

    Args:
        journal: Its journal, such as pictures/journal.sqlite.
        to: The file; report.html beside the journal if not given.
        no_inputs: Leave arguments and prompts out of the page.
        output: How it speaks.
    """
    from falq.cli import batch as room

    streams = output.open()
    return run_command(lambda: room.report(journal, to, streams, has_inputs=not no_inputs), streams)


def journal(
    action: Literal["show", "export", "verify", "fetch"],
    journal: Path,
    /,
    *,
    hashes: bool = True,
    output: OutputFlags = PLAIN_OUTPUT,
) -> int:
    """Look into a journal: counts, every job as JSON lines, a check, files fetched again.

    Args:
        action: show, export, verify, or fetch files that are gone.
        journal: Such as pictures/journal.sqlite.
        hashes: verify reads every file; with --no-hashes it compares sizes.
        output: How it speaks.
    """
    from falq.cli import journal as room

    streams = output.open()
    actions = {"show": room.show, "export": room.export, "fetch": room.fetch}
    if action == "verify":
        return run_command(lambda: room.verify(journal, streams, with_hashes=hashes), streams)
    return run_command(lambda: actions[action](journal, streams), streams)
