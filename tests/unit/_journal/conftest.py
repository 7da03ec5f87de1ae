"""Both journals, open, on the ordinary loop: a thread is real, virtual time is not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from falq._journal.memory import MemoryJournal
from falq._journal.records import PlannedJob
from falq._journal.sqlite import SqliteJournal


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture(params=["sqlite", "memory"])
async def journal(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[object]:
    kept: SqliteJournal | MemoryJournal = (
        SqliteJournal(path) if request.param == "sqlite" else MemoryJournal()
    )
    async with kept:
        yield kept


@pytest.fixture
def a_job() -> Callable[..., PlannedJob]:
    def build(key: str | None = None, **changes: object) -> PlannedJob:
        facts: dict[str, object] = {"endpoint": "fal-ai/flux", "input_sha256": "00", "input": b"{}"}
        return PlannedJob(key=key, **(facts | changes))  # type: ignore[arg-type]  # by name

    return build
