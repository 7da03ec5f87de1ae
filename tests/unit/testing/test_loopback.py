"""The way between a session and an emulator in memory."""

from __future__ import annotations

import asyncio

import pytest

from falq._core.messages import Call, CallLimits, CallTimeouts, Verb
from falq.emulator import Fault, Scenario
from falq.errors import (
    ConnectError,
    ResponseTooLargeError,
    TransportError,
    TransportTimeoutError,
)
from falq.testing import LoopbackEmulator, LoopbackTransport


def a_submit() -> Call:
    return Call(Verb.SUBMIT, "POST", "/acme/echo", b'{"n":1}')


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_call_takes_the_latency_and_brings_the_answer():
    emulator = LoopbackEmulator(latency_s=0.25)
    transport = emulator.transport()
    reply = await transport.send(a_submit())
    assert (reply.status_code, reply.fault, now()) == (200, None, 0.25)
    assert reply.headers["X-Fal-Request-Id"] in emulator.app.queue.jobs
    assert transport.calls == [a_submit()]


async def test_the_key_is_put_on_by_the_transport_and_checked():
    emulator = LoopbackEmulator(Scenario(keys=("good:key",)))
    other = LoopbackEmulator(Scenario(keys=("other:key",)))
    assert (await emulator.transport().send(a_submit())).status_code == 200
    assert (await emulator.transport(other.gateway).send(a_submit())).status_code == 401


async def test_the_maton_gateway_is_reached_under_its_own_prefix():
    emulator = LoopbackEmulator()
    transport = emulator.transport(emulator.maton)
    call = Call(Verb.SUBMIT, "POST", "/fal-ai/flux/dev", b"{}")
    reply = await transport.send(call)
    assert reply.status_code == 200
    assert b"https://queue.fal.run/" in reply.body


async def test_a_refused_connection_reaches_nobody():
    emulator = LoopbackEmulator()
    transport = emulator.transport()
    transport.refusals = 1
    with pytest.raises(ConnectError) as caught:
        await transport.send(a_submit())
    assert not caught.value.request_sent
    assert emulator.stats().submits == 0
    assert (await transport.send(a_submit())).status_code == 200


@pytest.mark.parametrize("kind", ["reset", "fin"])
@pytest.mark.parametrize(("when", "jobs"), [("before", 0), ("after", 1)])
async def test_a_broken_connection_may_have_made_a_job(kind, when, jobs):
    emulator = LoopbackEmulator(Scenario(faults=(Fault(kind, "submit", when=when),)))
    with pytest.raises(TransportError) as caught:
        await emulator.transport().send(a_submit())
    assert caught.value.request_sent
    assert emulator.stats().jobs == jobs


@pytest.mark.parametrize(
    "fault",
    [Fault("stall", "submit"), Fault("delay", "submit", delay_s=500.0)],
    ids=["stall", "delay"],
)
async def test_no_call_lasts_longer_than_its_time_out(fault):
    emulator = LoopbackEmulator(Scenario(faults=(fault,)))
    transport = LoopbackTransport(
        emulator.app, emulator.gateway, timeouts=CallTimeouts(submit_s=7.0)
    )
    with pytest.raises(TransportTimeoutError):
        await transport.send(a_submit())
    assert now() == 7.0


async def test_a_cut_answer_has_a_head_and_a_fault():
    emulator = LoopbackEmulator(Scenario(faults=(Fault("cut", "submit"),)))
    reply = await emulator.transport().send(a_submit())
    assert reply.status_code == 200
    assert isinstance(reply.fault, TransportError)
    assert reply.headers["x-fal-request-id"] in emulator.app.queue.jobs


async def test_a_body_that_drips_too_slowly_has_a_fault():
    drip = Fault("drip", "submit", delay_s=1.0)
    emulator = LoopbackEmulator(Scenario(faults=(drip,)))
    transport = LoopbackTransport(
        emulator.app, emulator.gateway, timeouts=CallTimeouts(submit_s=5.0)
    )
    reply = await transport.send(a_submit())
    assert isinstance(reply.fault, TransportTimeoutError)
    assert now() == pytest.approx(5.0)


@pytest.mark.parametrize("kind", ["giant", "bomb"])
async def test_a_body_above_its_limit_is_not_kept(kind):
    fault = Fault(kind, "submit", size_bytes=2_000_000)
    emulator = LoopbackEmulator(Scenario(faults=(fault,)))
    transport = LoopbackTransport(
        emulator.app, emulator.gateway, limits=CallLimits(status_bytes=1_000_000)
    )
    reply = await transport.send(a_submit())
    assert isinstance(reply.fault, ResponseTooLargeError)
    assert reply.body == b""


async def test_the_wall_clock_follows_the_loop():
    transport = LoopbackEmulator().transport()
    before = transport.wall_clock()
    await asyncio.sleep(90)
    assert (transport.wall_clock() - before).total_seconds() == 90
