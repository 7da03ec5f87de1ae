"""A journal that is in use is read from a copy of one moment."""

from __future__ import annotations

import pytest

from falq._journal.snapshot import copy_journal
from falq._journal.sqlite import SqliteJournal
from falq.errors import JournalError


@pytest.mark.parametrize("name", ["journal.sqlite", "100% of #1? now.sqlite"])
async def test_a_copy_has_what_was_there_and_nothing_of_later(tmp_path, a_job, name):
    path, copy = tmp_path / name, tmp_path / "copy.sqlite"
    async with SqliteJournal(path) as journal:
        await journal.plan([a_job("a"), a_job("b")])
        copy_journal(path, copy)
        await journal.plan([a_job("c")])
        async with SqliteJournal(copy) as copied:
            assert sum((await copied.load_counts()).values()) == 2
        # The copy is a journal of its own: what is written there stays there.
        assert sum((await journal.load_counts()).values()) == 3


def test_what_is_no_database_is_not_copied(tmp_path):
    (tmp_path / "notes.txt").write_text("no journal " * 100)
    with pytest.raises(JournalError, match="cannot be copied"):
        copy_journal(tmp_path / "notes.txt", tmp_path / "copy.sqlite")
