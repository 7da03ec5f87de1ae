"""A key with a marker in it: after every kind of failure the marker is nowhere but on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import io
import logging
import pickle
import secrets
import traceback

import attrs
import pytest

import falq
from falq._core.messages import CallTimeouts
from falq.emulator import Emulator, Fault, Scenario

pytestmark = pytest.mark.slow

# Drawn at import and looked for by content: no test holds it in a local, which a
# traceback with locals would show.
_MARKER = secrets.token_hex(12)
_FAL_KEY = f"keyid-{_MARKER}:{_MARKER}"
_MATON_KEY = f"maton-{_MARKER}"

FAULTS = [
    *(Fault(kind, verb, probability=0.5)
      for kind in ("reset", "cut", "json_error", "nginx", "html", "truncated_json", "redirect")
      for verb in ("submit", "status", "result", "cancel")),
    Fault("stall", "any", every=7),
    Fault("rate_limited", "any", every=5),
]  # fmt: skip


class Evidence:
    """Everything that a careless program could show, as one text."""

    def __init__(self):
        self.text = io.StringIO()
        self.pieces = 0

    def add(self, *things):
        for thing in things:
            self.pieces += 1
            print(thing, file=self.text)

    def add_error(self, error):
        """Render as `TracebackException(capture_locals=True)` does, half-made values and all."""
        self.add(*traceback.format_exception(error))
        for one in (error, error.__context__, error.__cause__):
            for frame, _ in traceback.walk_tb(None if one is None else one.__traceback__):
                for value in dict(frame.f_locals).values():
                    # A copy that a refusal broke off half-way has no repr at all.
                    with contextlib.suppress(AttributeError):
                        self.add(repr(value))
        self.add(repr(error), str(error), vars(error), error.args)
        if isinstance(error, falq.FalqError):
            self.add(pickle.dumps(error), vars(copy.deepcopy(error)))
        if isinstance(error, BaseExceptionGroup):
            for one in error.exceptions:
                self.add_error(one)

    def add_value(self, value, depth=4):
        """Look into a value as a crash reporter does."""
        self.add(repr(value), str(value), f"{value}")
        if depth == 0:
            return
        inside = dict(getattr(value, "__dict__", {}))
        for name in getattr(type(value), "__slots__", ()):
            inside[name] = getattr(value, name, None)
        if attrs.has(type(value)):
            inside |= {one.name: getattr(value, one.name) for one in attrs.fields(type(value))}
        if isinstance(value, dict):
            inside |= value
        for name, one in inside.items():
            self.add(name)
            if type(one).__module__.startswith("falq") or isinstance(one, dict):
                self.add_value(one, depth - 1)
            else:
                self.add(repr(one))
        if type(value).__module__.startswith("falq"):
            self.add_copies(value)

    def add_copies(self, value):
        # A deep copy of a live object would copy its event loop half-way.
        makers = [copy.copy, pickle.dumps]
        if isinstance(value, falq.Gateway | falq.FalqError):
            makers.append(copy.deepcopy)
        for make in makers:
            try:
                made = make(value)
            except (TypeError, AttributeError, pickle.PicklingError) as error:
                self.add_error(error)
            else:
                self.add(repr(made))

    def count(self):
        return self.text.getvalue().count(_MARKER)


@pytest.fixture
def evidence(caplog, capfd):
    """Collects; logging, asyncio's debug mode and both output streams included."""
    found = Evidence()
    caplog.set_level(logging.DEBUG)
    for name in ("falq", "asyncio", "aiohttp.client", "aiohttp.internal"):
        caplog.set_level(logging.DEBUG, logger=name)
    yield found
    for record in caplog.records:
        found.add(record.getMessage(), vars(record))
    out, err = capfd.readouterr()
    found.add(out, err)
    assert found.pieces > 20
    assert found.count() == 0


def gateway_for(emulator, way):
    if way == "maton":
        return attrs.evolve(emulator.maton, key=_MATON_KEY)
    return attrs.evolve(emulator.gateway, key=_FAL_KEY)


async def break_everything(session, evidence, rounds):
    async def one(number):
        try:
            handle = await session.submit("acme/echo", {"n": number}, client_timeout=0.4)
            evidence.add_value(handle)
            for call in (handle.status, handle.cancel, handle.result):
                try:
                    evidence.add(await call())
                except falq.FalqError as error:
                    evidence.add_error(error)
        except falq.FalqError as error:
            evidence.add_error(error)

    await asyncio.gather(*(one(number) for number in range(rounds)))


async def cancel_at_every_stage(session, evidence):
    for delay_s in (0.0, 0.001, 0.003, 0.01, 0.03, 0.1):
        task = asyncio.create_task(session.subscribe("acme/echo", {"_emulator": {"run_s": 60}}))
        await asyncio.sleep(delay_s)
        evidence.add(repr(task), *map(repr, asyncio.all_tasks()))
        frames = io.StringIO()
        for running in asyncio.all_tasks():
            running.print_stack(file=frames)
        evidence.add(frames.getvalue())
        task.cancel()
        try:
            await task
        except asyncio.CancelledError as error:
            evidence.add_error(error)
        except falq.FalqError as error:
            evidence.add_error(error)


@pytest.mark.parametrize("way", ["fal", "maton"])
async def test_the_key_shows_nowhere_after_failures_of_every_kind(evidence, way):
    asyncio.get_running_loop().set_debug(True)
    scenario = Scenario(
        keys=(_FAL_KEY,), maton_keys=(_MATON_KEY,), faults=FAULTS, run_s=0.01, seed=5
    )
    async with Emulator(scenario) as emulator:
        session = falq.Session(
            gateway_for(emulator, way),
            poll=falq.PollSettings(initial_s=0.01),
            retry=falq.RetrySettings(
                base_s=0.001, throttle_base_s=0.001, cap_s=0.01, result_for_s=0.05
            ),
            call_timeouts=CallTimeouts(submit_s=0.2, total_s=0.2, read_s=0.2, cancel_s=0.2),
            calls_per_s=10_000.0,
            exit_grace_s=0.5,
            on_event=lambda event: evidence.add(event),
        )
        evidence.add_value(session)
        async with session:
            # The key does arrive: what is refused is not refused for the key. A busy
            # machine lets most jobs time out before they are sent.
            while emulator.stats().jobs <= 10:
                await break_everything(session, evidence, rounds=60)
            await cancel_at_every_stage(session, evidence)
            evidence.add_value(session)
            evidence.add(session.statistics(), session.unfinished)
        evidence.add_value(session)
        evidence.add(session.unfinished)
        assert "401" not in emulator.stats().replies


@pytest.mark.parametrize("way", ["fal", "maton"])
async def test_a_refused_key_shows_nowhere(evidence, way):
    async with Emulator() as emulator, falq.Session(gateway_for(emulator, way)) as session:
        for call in (
            session.submit("acme/echo", {}),
            session.subscribe("acme/echo", {}),
            session.status("acme/echo", "r-1"),
            session.result("acme/echo", "r-1"),
        ):
            with pytest.raises(falq.AuthenticationError) as caught:
                await call
            evidence.add_error(caught.value)
            evidence.add_value(caught.value)
        evidence.add_value(session)
        assert emulator.stats().replies["401"] >= 3


async def test_a_server_that_sends_the_key_back_is_told_of_without_it(evidence, raw_server):
    """A debugging proxy answers with the request's own headers."""

    async def mirror(connection):
        while request := await connection.read_request():
            connection.answer(request, code=500, headers={"content-type": "text/plain"})

    async with raw_server(mirror) as server:
        session = falq.Session(falq.Fal(key=_FAL_KEY, queue_url=server.url))
        async with session:
            for call in (session.submit("acme/echo", {}), session.status("acme/echo", "r-1")):
                with pytest.raises(falq.FalqError) as caught:
                    await call
                evidence.add_error(caught.value)
                evidence.add_value(caught.value)
            evidence.add_value(session)
        assert server.heard.decode().count(_MARKER) == 4


BAD_KEYS = ["{key}\n{key}", "{key} {key}", "{key}\u00e9", "{key}\x00", "\u202e{key}"]


@pytest.mark.parametrize("bad", BAD_KEYS)
@pytest.mark.parametrize("kind", [falq.Fal, falq.Maton])
def test_a_bad_key_is_refused_without_being_echoed(kind, bad):
    with pytest.raises(falq.ConfigError) as caught:
        kind(key=bad.replace("{key}", _FAL_KEY))
    error = caught.value
    assert _MARKER not in f"{error} {error!r} {error.args} {vars(error)} {pickle.dumps(error)}"
    assert error.__context__ is None


def fail_with_the_key_in_sight():
    shown = _FAL_KEY
    raise ValueError(len(shown))


def test_the_collector_would_find_a_key_that_shows():
    found = Evidence()
    with pytest.raises(ValueError, match=r"\d+") as caught:
        fail_with_the_key_in_sight()
    found.add_error(caught.value)
    assert found.count() >= 2
