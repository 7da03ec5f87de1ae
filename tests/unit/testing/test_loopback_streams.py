"""Direct runs and streams in memory, in virtual time: the same as over sockets."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

import falq
from falq.emulator import Fault, Scenario
from falq.testing import LoopbackEmulator
from falq.testing.loopback import LoopbackTransport


@contextlib.asynccontextmanager
async def a_session(*, limits=None, **settings):
    emulator = LoopbackEmulator(Scenario(**{"run_s": 60, **settings}))
    transport = LoopbackTransport(emulator.app, emulator.gateway, limits=limits)
    async with falq.Session(
        emulator.gateway,
        transport=transport,
        seed=1,
        call_limits=limits or falq.CallLimits(),
    ) as session:
        yield session, transport


async def test_a_run_takes_its_time():
    async with a_session() as (session, _):
        began = asyncio.get_running_loop().time()
        assert await session.run("acme/echo", {"n": 1}) == {"n": 1}
        assert asyncio.get_running_loop().time() - began == pytest.approx(60)


async def test_a_run_is_given_up_in_time():
    async with a_session() as (session, transport):
        with pytest.raises(falq.TransportTimeoutError) as caught:
            await session.run("acme/echo", {"n": 1}, timeout=5)
        assert caught.value.possibly_billed
        assert len(transport.calls) == 1


@pytest.mark.parametrize("kind", ["reset", "fin", "stall", "cut"])
@pytest.mark.parametrize("verb", ["run", "stream"])
async def test_a_broken_connection_is_an_error_and_no_second_run(kind, verb):
    fault = Fault(kind, verb, when="before" if kind != "cut" else None)
    async with a_session(faults=(fault,)) as (session, transport):
        work = session.run if verb == "run" else lambda *given: session.stream(*given).done()
        with pytest.raises(falq.TransportError):
            await work("acme/echo", {"n": 1})
        assert len(transport.calls) == 1


async def test_refused_connections_are_tried_again():
    async with a_session() as (session, transport):
        transport.refusals = 2
        assert await session.run("acme/echo", {"n": 1}) == {"n": 1}
        transport.refusals = 2
        assert await session.stream("acme/echo", {"n": 1}).done() == {"n": 1}
        assert len(transport.calls) == 2


async def test_parts_come_at_their_time():
    async with a_session(run_s=4, stream_piece_bytes=5) as (session, _):
        began, seen = asyncio.get_running_loop().time(), []
        stream = session.stream("acme/echo", {"n": 1})
        assert repr(stream) == "<falq.OutputStream acme/echo/stream not open>"
        async for part in stream:
            seen.append((asyncio.get_running_loop().time() - began, part.get("part")))
            if part.get("part") == 1:
                assert repr(stream) == "<falq.OutputStream acme/echo/stream open>"
        assert seen == [
            (pytest.approx(1.0), 1),
            (pytest.approx(2.0), 2),
            (pytest.approx(3.0), 3),
            (pytest.approx(4.0), None),
        ]
        assert repr(stream) == "<falq.OutputStream acme/echo/stream over>"


async def test_silence_is_an_error():
    async with a_session() as (session, _):
        with pytest.raises(falq.TransportTimeoutError):
            await session.stream("acme/echo", {"n": 1}, timeout=14).done()


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("event", falq.JobInputError),
        ("cut", falq.TransportError),
        ("head", falq.InvalidInputError),
    ],
)
async def test_a_failed_run_ends_its_stream_in_every_way(form, kind):
    async with a_session(stream_error=form) as (session, _):
        with pytest.raises(kind):
            await session.stream("acme/echo", {"_emulator": {"fail": "image_too_large"}}).done()


async def test_a_body_above_the_limit_is_refused():
    limits = falq.CallLimits(result_bytes=100, error_bytes=100)
    async with a_session(limits=limits) as (session, _):
        with pytest.raises(falq.ResponseTooLargeError):
            await session.run("acme/echo", {"n": "x" * 200})
        with pytest.raises(falq.ResponseTooLargeError):
            await session.stream("acme/echo", {"n": "x" * 200}).done()


async def test_a_refusal_is_read_whole():
    async with a_session(runners=0) as (session, _):
        for work in (
            session.run("acme/echo", {}),
            session.stream("acme/echo", {}).done(),
        ):
            with pytest.raises(falq.ConcurrencyLimitError) as caught:
                await work
            assert caught.value.limit == 0
