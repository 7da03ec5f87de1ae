"""Run a file of jobs and show how they ended.

    manifest   rows of a file, checked and completed
    planning   rows into the journal, before anything is sent
    work       which row is next
    row        one row: budget, job, files, line, mark
    runner     all of them, through one session
    budget     what it may cost
    downloads  media of a result, noted in the journal
    lines      results.jsonl, durable and rebuilt
    outcomes   how a row ended
    reading    outcomes back from a journal
    progress   where a batch stands
    summary    what it came to
    report     a journal as a page
    live       the page, served while the batch runs
    page       the page itself

Owns what a batch adds to a session: rows, a budget, files on disk and the
report that is left behind. It never speaks to the queue itself: the session
does. The command line and programs that run many jobs call it.
"""

from __future__ import annotations

from falq.batch.budget import Budget as Budget
from falq.batch.manifest import Manifest as Manifest
from falq.batch.outcomes import RowOutcome as RowOutcome
from falq.batch.outcomes import SavedFile as SavedFile
from falq.batch.progress import BatchProgress as BatchProgress
from falq.batch.runner import Batch as Batch
from falq.batch.summary import BatchSummary as BatchSummary

__all__ = [
    "Batch",
    "BatchProgress",
    "BatchSummary",
    "Budget",
    "Manifest",
    "RowOutcome",
    "SavedFile",
]
