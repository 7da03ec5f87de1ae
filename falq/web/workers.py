"""Which journal a worker process writes.

Owns the choice of one that is free, and what a worker is told that finds none: a
journal has one writer. `app_session` calls it at start-up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from falq.errors import ConfigError, JournalLockedError
from falq.session import Session
from falq.web.settings import SessionKeywords

MOST_WORKERS = 256
"""Journals that are tried in a folder: far more workers than a machine has processors."""


async def open_session(make: Callable[[], Session]) -> Session:
    """Open the session that `make` returns.

    Raises:
        JournalLockedError: Another process has its journal; it says what to do.
        FalqError: See `Session.open`.
    """
    try:
        return await make().open()
    except JournalLockedError as error:
        raise JournalLockedError(
            f"{error}; of an app with several worker processes each needs a journal of its own: "
            "AppSession(journal_folder='journals')",
            pid=error.pid,
            host=error.host,
            started_at=error.started_at,
        ) from None


async def open_with_free_journal(settings: SessionKeywords, folder: Path) -> Session:
    """Open a session on the first journal in a folder that no other process has.

    Args:
        settings: The session's arguments.
        folder: Where the journals are; made if it is not there.

    Raises:
        ConfigError: All of them are in use.
        FalqError: See `Session.open`.
    """
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    for number in range(MOST_WORKERS):
        own: SessionKeywords = {**settings, "journal": folder / f"worker-{number}.sqlite"}
        with contextlib.suppress(JournalLockedError):
            return await Session(**own).open()
    raise ConfigError(
        f"all {MOST_WORKERS} journals in {folder} are in use", setting="journal_folder"
    )
