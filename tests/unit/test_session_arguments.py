"""What a session refuses before anything is sent."""

from __future__ import annotations

import pytest

import falq
from falq.testing import LoopbackEmulator

WRONG_SETTINGS = {
    "gateway": "fal",
    "poll": 5,
    "retry": "often",
    "call_timeouts": 30.0,
    "call_limits": 8,
    "max_jobs": 0,
    "on_event": "print",
}
WRONG_CALLS = {
    "a misspelt on_cancel": {"on_cancel": "kill"},
    "a limit as text": {"client_timeout": "5"},
    "an endless limit": {"client_timeout": float("inf")},
    "a limit of yes": {"client_timeout": True},
    "a limit beyond any float": {"client_timeout": 10**400},
    "half a character as a key": {"key": "order \ud800"},
    "a path of a number": {"path": 5},
    "an unknown option": {"seed": 1},
}


async def start_map(session, options):
    session.map("acme/echo", [{}], **options)


WRONG_CALLBACKS = [{"on_enqueue": "print"}, {"on_queue_update": 5}]

CALLS = {
    "submit": lambda session, options: session.submit("acme/echo", {}, **options),
    "subscribe": lambda session, options: session.subscribe("acme/echo", {}, **options),
    "map": start_map,
}


@pytest.mark.parametrize("setting", WRONG_SETTINGS)
def test_a_setting_of_another_kind_is_refused_by_its_name(setting):
    settings = {"gateway": falq.Fal(key="id:secret")} | {setting: WRONG_SETTINGS[setting]}
    with pytest.raises(falq.ConfigError, match=setting):
        falq.Session(**settings)


@pytest.mark.parametrize("wrong", WRONG_CALLS)
@pytest.mark.parametrize("verb", CALLS)
async def test_an_option_of_another_kind_is_refused_and_nothing_is_sent(wrong, verb):
    emulator = LoopbackEmulator()
    transport = emulator.transport()
    async with falq.Session(emulator.gateway, transport=transport) as session:
        with pytest.raises(falq.ArgumentError):
            await CALLS[verb](session, WRONG_CALLS[wrong])
    assert transport.calls == []


@pytest.mark.parametrize("wrong", WRONG_CALLBACKS, ids=str)
async def test_a_callback_that_cannot_be_called_is_refused_and_nothing_is_sent(wrong):
    emulator = LoopbackEmulator()
    transport = emulator.transport()
    async with falq.Session(emulator.gateway, transport=transport) as session:
        with pytest.raises(falq.ArgumentError, match=next(iter(wrong))):
            await session.subscribe("acme/echo", {}, **wrong)
    assert transport.calls == []


async def test_a_limit_below_one_is_refused_while_running():
    emulator = LoopbackEmulator()
    async with falq.Session(emulator.gateway, transport=emulator.transport()) as session:
        with pytest.raises(falq.ConfigError, match="max_jobs"):
            session.set_limits(max_jobs=0)


@pytest.mark.parametrize("inputs", [{"prompt": "a cat"}, "a cat", b"a", 7])
async def test_a_single_input_is_no_iterable_of_inputs(inputs):
    emulator = LoopbackEmulator()
    async with falq.Session(emulator.gateway, transport=emulator.transport()) as session:
        with pytest.raises(falq.ArgumentError, match="subscribe"):
            session.map("acme/echo", inputs)


async def test_an_endless_limit_of_a_session_is_none():
    emulator = LoopbackEmulator()
    transport = emulator.transport()
    async with falq.Session(emulator.gateway, transport=transport, timeout=float("inf")) as session:
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}


def test_a_session_that_was_never_opened_has_no_statistics():
    with pytest.raises(falq.SessionClosedError, match="not open"):
        falq.Session(falq.Fal(key="id:secret")).statistics()
