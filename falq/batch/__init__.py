"""Run a file of jobs and show how they ended.

    manifest   rows of a file, checked and completed
      sources    a file, standard input or a program's items
      rows       JSON lines, CSV, TSV, text -> drafts
      parquet    the same of Parquet files
      drafts     a row as it was read
      settings   what is set in every row
      templates  text with columns in it
      grid       one row for each of several values
      keys       dotted names
      options    what a row asks of the queue
      localfiles files that arguments name
      seen       which ids and inputs there were
      entries    a row that can be run, and what a check says
      problems   a row that cannot
    planning   rows into the journal, before anything is sent
    work       which row is next
    row        one row: budget, job, files, line, mark
    runner     all of them, through one session
    budget     what it may cost
    pricing    what endpoints cost, and what was spent before
    validation rows against the schemas of their endpoints
    asking     how both ask, before there is a session
    folder     the output folder
    downloads  media of a result, noted in the journal
    refetch    media that are gone, fetched again
    lines      results.jsonl, durable and rebuilt
    outcomes   how a row ended
    reading    outcomes back from a journal
    tally      how many rows stand where
    progress   where a batch stands
    summary    what it came to
    report     a journal as a page
    withholding results and errors without the arguments that they repeat
    live       the page, served while the batch runs
    page       the page itself

Owns what a batch adds to a session: rows, a budget, files on disk and the
report that is left behind. It never speaks to the queue itself: the session
does. The command line and programs that run many jobs call it.
"""

from __future__ import annotations

from falq.batch.budget import Budget as Budget
from falq.batch.entries import ManifestReport as ManifestReport
from falq.batch.entries import Row as Row
from falq.batch.localfiles import LocalFile as LocalFile
from falq.batch.manifest import Manifest as Manifest
from falq.batch.outcomes import RowOutcome as RowOutcome
from falq.batch.outcomes import SavedFile as SavedFile
from falq.batch.problems import BadRow as BadRow
from falq.batch.progress import BatchProgress as BatchProgress
from falq.batch.refetch import Refetched as Refetched
from falq.batch.refetch import refetch_files as refetch_files
from falq.batch.runner import Batch as Batch
from falq.batch.summary import BatchSummary as BatchSummary
from falq.batch.summary import RunFigures as RunFigures

__all__ = [
    "BadRow",
    "Batch",
    "BatchProgress",
    "BatchSummary",
    "Budget",
    "LocalFile",
    "Manifest",
    "ManifestReport",
    "Refetched",
    "Row",
    "RowOutcome",
    "RunFigures",
    "SavedFile",
    "refetch_files",
]
