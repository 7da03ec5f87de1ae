"""pytest fixtures that come with falq, for users' tests and its own.

Owns two fixtures. They are async and run by anyio's pytest plugin; mark tests
with `pytest.mark.anyio` or set `anyio_mode = "auto"`.

    falq_emulator    a running `Emulator`; override `falq_scenario` to script it
    falq_session     a `Session` open on that emulator
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from falq import Session
    from falq.emulator import Emulator

# pytest loads this module in every run of every project that has falq installed:
# falq itself is imported when a fixture is used.


@pytest.fixture
def falq_scenario() -> Any:
    """How `falq_emulator` behaves; override it to return a `Scenario`.

    Jobs run a thousand times as fast as real ones by default.
    """
    from falq.emulator import Scenario

    return Scenario(speed=1000.0)


@pytest.fixture
async def falq_emulator(falq_scenario: Any) -> AsyncIterator[Emulator]:
    """A running emulator on a free port of 127.0.0.1."""
    from falq.emulator import Emulator

    async with Emulator(falq_scenario) as emulator:
        yield emulator


@pytest.fixture
async def falq_session(falq_emulator: Emulator) -> AsyncIterator[Session]:
    """A session open on `falq_emulator`."""
    from falq import Session

    async with Session(falq_emulator.gateway) as session:
        yield session
