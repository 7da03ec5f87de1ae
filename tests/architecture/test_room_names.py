"""What the rooms that are imported by name offer, and nothing else."""

from __future__ import annotations

import falq.batch
import falq.journal


def test_the_names_of_the_journal_are_these():
    assert falq.journal.__all__ == [
        "AttemptRecord",
        "EndpointUsage",
        "FileRecord",
        "JobRecord",
        "Journal",
        "JournalStatistics",
        "JournalTotals",
        "MemoryJournal",
        "PlannedJob",
        "RecordState",
        "RunRecord",
        "SqliteJournal",
        "WebhookRecord",
    ]


def test_the_names_of_batches_are_these():
    assert falq.batch.__all__ == [
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


def test_a_type_that_a_session_takes_or_gives_is_importable_without_an_underscore():
    assert falq.journal.JobRecord.__name__ in str(falq.Session.resume.__annotations__["record"])
