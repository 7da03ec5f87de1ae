"""A session on an emulator in memory and virtual time, for actions to run on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

import falq
from falq.emulator import Scenario
from falq.testing import LoopbackEmulator, VirtualTimeLoop


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": VirtualTimeLoop}


@pytest.fixture
def scenario() -> Scenario:
    """How the emulator behaves; tests override it."""
    return Scenario(run_s=10.0)


@pytest.fixture
def emulator(scenario: Scenario) -> LoopbackEmulator:
    return LoopbackEmulator(scenario)


@pytest.fixture
async def session(emulator: LoopbackEmulator) -> AsyncIterator[falq.Session]:
    opened = falq.Session(emulator.gateway, transport=emulator.transport(), seed=1)
    async with opened:
        yield opened
