"""What every test of the whole engine has: virtual time, a session on an emulator, no leftovers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

import falq
from falq.testing import LoopbackEmulator, VirtualTimeLoop


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": VirtualTimeLoop}


@pytest.fixture(autouse=True)
async def no_task_is_left(anyio_backend: object) -> AsyncIterator[None]:
    yield
    left = {str(task.get_coro()) for task in asyncio.all_tasks()}
    assert not {coroutine for coroutine in left if "TestRunner" not in coroutine}


@pytest.fixture
def a_session() -> Callable[..., falq.Session]:
    """Return what makes a session at an emulator, with seeded jitter."""

    def make(emulator: LoopbackEmulator, **settings: object) -> falq.Session:
        chosen = {"transport": emulator.transport(), "seed": 1, **settings}
        return falq.Session(emulator.gateway, **chosen)

    return make
