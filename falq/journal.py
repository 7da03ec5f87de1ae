"""The journal, for programs that open, read or keep one themselves.

Owns the public names of what `falq._journal` does: `Session(journal=...)` takes
a path or one of these, and `JobRecord` is what `Session.resume` goes on with. It
adds nothing of its own.
"""

from __future__ import annotations

from falq._journal.base import Journal as Journal
from falq._journal.memory import MemoryJournal as MemoryJournal
from falq._journal.records import AttemptRecord as AttemptRecord
from falq._journal.records import EndpointUsage as EndpointUsage
from falq._journal.records import FileRecord as FileRecord
from falq._journal.records import JobRecord as JobRecord
from falq._journal.records import JournalStatistics as JournalStatistics
from falq._journal.records import JournalTotals as JournalTotals
from falq._journal.records import PlannedJob as PlannedJob
from falq._journal.records import RunRecord as RunRecord
from falq._journal.records import WebhookRecord as WebhookRecord
from falq._journal.sqlite import SqliteJournal as SqliteJournal
from falq._journal.states import RecordState as RecordState

__all__ = [
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
