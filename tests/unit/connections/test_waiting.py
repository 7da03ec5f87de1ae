"""The wait until a connection is ACTIVE."""

from __future__ import annotations

import asyncio

import pytest

from falq.connections import create_connection, delete_connection, wait_active
from falq.emulator import Emulator, Fault, Scenario
from falq.errors import (
    ArgumentError,
    AuthenticationError,
    ConfigError,
    RequestNotFoundError,
    TransportTimeoutError,
)
from falq.gateways import Maton
from tests.unit.connections.test_control import enter_key


@pytest.fixture
def anyio_backend() -> str:
    """Sockets are real here: a virtual clock would run ahead of them."""
    return "asyncio"


@pytest.fixture
def scenario():
    return Scenario(maton_connection="NONE")


@pytest.fixture
async def emulator(scenario):
    async with Emulator(scenario) as emulator:
        yield emulator


async def wait_asked(emulator, calls):
    """Let the loop go round until the emulator was asked so often."""
    for _ in range(100_000):
        if emulator.stats().calls.get("connections", 0) >= calls:
            return
        await asyncio.sleep(0)
    raise AssertionError("nobody asked")


async def test_the_wait_ends_when_the_key_was_entered(emulator):
    made = await create_connection(emulator.maton)
    waiting = asyncio.create_task(
        wait_active(emulator.maton, made.connection_id, interval_s=0.005, timeout=20)
    )
    await wait_asked(emulator, 3)
    assert not waiting.done()
    await enter_key(made.url, emulator.key)
    assert (await waiting).is_active


async def test_a_connection_that_is_active_is_returned_at_once():
    async with Emulator() as emulator:
        connection_id = "7355bd0b-8aaf-4c58-9122-a1e3d454414d"
        assert (await wait_active(emulator.maton, connection_id, interval_s=60)).is_active


async def test_a_key_of_no_use_ends_the_wait(emulator):
    made = await create_connection(emulator.maton)
    await enter_key(made.url, "wrong")
    with pytest.raises(ConfigError, match="FAILED"):
        await wait_active(emulator.maton, made.connection_id)


async def test_the_wait_has_an_end_that_says_how_the_connection_stands(emulator):
    made = await create_connection(emulator.maton)
    with pytest.raises(TransportTimeoutError, match=r"not ACTIVE after 0\.05 s \(status: PENDING"):
        await wait_active(emulator.maton, made.connection_id, timeout=0.05, interval_s=0.01)


async def test_a_deleted_connection_ends_the_wait(emulator):
    made = await create_connection(emulator.maton)
    waiting = asyncio.create_task(
        wait_active(emulator.maton, made.connection_id, interval_s=0.005, timeout=20)
    )
    await wait_asked(emulator, 2)
    await delete_connection(emulator.maton, made.connection_id)
    with pytest.raises(RequestNotFoundError):
        await waiting


async def test_a_wrong_key_ends_the_wait(emulator):
    url = emulator.maton.control_url
    with pytest.raises(AuthenticationError):
        await wait_active(Maton(key="wrong", base_url=url, control_url=url), "id")


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(faults=(Fault(kind, "connections", times=2),))
        for kind in ("nginx", "reset", "rate_limited")
    ],
)
async def test_an_outage_does_not_end_the_wait(emulator):
    connection_id = "7355bd0b-8aaf-4c58-9122-a1e3d454414d"
    found = await wait_active(emulator.maton, connection_id, interval_s=0.001, draw=lambda: 0.5)
    assert found.is_active
    assert emulator.stats().calls["connections"] >= 3


async def test_a_cancelled_wait_is_cancelled(emulator):
    made = await create_connection(emulator.maton)
    waiting = asyncio.create_task(wait_active(emulator.maton, made.connection_id, interval_s=60))
    await wait_asked(emulator, 2)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize("settings", [{"timeout": 0}, {"timeout": True}, {"interval_s": -1}])
async def test_a_wait_of_no_length_is_refused(emulator, settings):
    with pytest.raises(ArgumentError, match="above 0"):
        await wait_active(emulator.maton, "id", **settings)
