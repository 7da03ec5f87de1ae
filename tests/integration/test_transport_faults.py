"""What aiohttp's failures become over real sockets: not sent, sent, or cut short."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

import falq
from falq._core.messages import Call, CallLimits, CallTimeouts, Verb
from falq._core.submission import SubmitOutcome, classify_submit
from falq._transport.aio import AioTransport
from falq.emulator import Emulator, Fault, Scenario
from falq.model import EndpointId
from tests.support.web_servers import free_port

KEY = "id:secret"
QUICK = {"connect_s": 0.1, "read_s": 0.15, "total_s": 0.2, "submit_s": 0.2, "cancel_s": 0.2}
SLACK_S = 0.5


def a_submit():
    return Call(Verb.SUBMIT, "POST", "/acme/echo", b'{"a":1}', {"Content-Type": "application/json"})


def a_status():
    return Call(Verb.STATUS, "GET", "/acme/echo/requests/r/status")


@contextlib.asynccontextmanager
async def transport_to(url, *, ssl_context=None, is_lean=None, **timeouts):
    carrier = AioTransport(
        falq.Fal(key=KEY, queue_url=url),
        timeouts=CallTimeouts(**(QUICK | timeouts)),
        limits=CallLimits(),
        ssl_context=ssl_context,
        is_lean=is_lean,
    )
    await carrier.open()
    try:
        yield carrier
    finally:
        await carrier.aclose()


async def failure_of(url, call=None, **settings):
    async with transport_to(url, **settings) as carrier:
        with pytest.raises(falq.TransportError) as caught:
            await carrier.send(call or a_submit())
    error = caught.value
    assert error.__context__ is None
    assert error.__cause__ is None
    return error


@pytest.fixture
def closed_port():
    """A port that nobody listens on while the test holds it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


# Nothing was sent.


async def test_a_host_that_resolves_nowhere_is_not_sent():
    error = await failure_of("https://queue.invalid")
    assert isinstance(error, falq.ConnectError)
    assert not error.request_sent


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example"])
def test_a_host_that_no_look_up_can_take_is_refused_with_the_gateway(host):
    with pytest.raises(falq.ConfigError):
        falq.Fal(key=KEY, queue_url=f"https://{host}")


async def test_a_refused_connection_is_not_sent(closed_port):
    error = await failure_of(f"http://127.0.0.1:{closed_port}")
    assert isinstance(error, falq.ConnectError)
    assert not error.request_sent


async def test_tls_to_a_plain_port_is_not_sent():
    async with Emulator() as emulator:
        error = await failure_of(emulator.url.replace("http:", "https:"))
        assert isinstance(error, falq.ConnectError)
        assert not error.request_sent
        assert emulator.stats().submits == 0


async def test_a_certificate_that_is_not_trusted_is_not_sent():
    async with Emulator(tls=True) as emulator:
        error = await failure_of(emulator.url)
        assert isinstance(error, falq.ConnectError)
        assert not error.request_sent
        assert "certificate" in str(error).lower()
        assert emulator.stats().submits == 0


async def test_a_certificate_for_another_name_is_not_sent():
    async with Emulator(tls=True) as emulator:
        other = emulator.url.replace("127.0.0.1", "127.0.0.2")
        error = await failure_of(other, ssl_context=emulator.ssl_context)
        assert isinstance(error, falq.ConnectError)
        assert not error.request_sent


@pytest.fixture
def full_backlog():
    """A port that takes no more connections: packets to it are dropped."""
    with contextlib.ExitStack() as held:
        listener = held.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            one = held.enter_context(socket.socket())
            one.settimeout(0)
            one.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def test_a_full_backlog_is_a_connect_time_out_and_not_sent(full_backlog):
    error = await failure_of(f"http://127.0.0.1:{full_backlog}")
    assert isinstance(error, falq.TransportTimeoutError)
    assert not error.request_sent


async def test_a_tls_handshake_that_stalls_is_a_connect_time_out_and_not_sent(raw_server):
    async with raw_server(lambda connection: connection.wait_gone()) as server:
        error = await failure_of(server.url.replace("http:", "https:"))
        assert isinstance(error, falq.TransportTimeoutError)
        assert not error.request_sent


@pytest.mark.parametrize("submit_s", [0.05, 0.3])
async def test_a_total_time_out_while_connecting_is_not_sent(full_backlog, submit_s):
    error = await failure_of(f"http://127.0.0.1:{full_backlog}", connect_s=0.2, submit_s=submit_s)
    assert isinstance(error, falq.TransportTimeoutError)
    assert not error.request_sent


# Something was sent: nobody can know what became of it.


async def reset(connection):
    connection.reset()


async def fin(connection):
    connection.writer.close()


async def stall(connection):
    await connection.wait_gone()


async def no_http(connection):
    connection.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


async def half_a_head(connection):
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-ty")
    connection.writer.close()


async def a_bad_length(connection):
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: minus one\r\n\r\n")


async def two_lengths(connection):
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}")


async def continue_for_ever(connection):
    while not connection.writer.is_closing():
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await connection.writer.drain()
        await asyncio.sleep(0)


async def a_head_byte_by_byte(connection):
    for byte in b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 1000:
        connection.send(bytes([byte]))
        await asyncio.sleep(0.01)


async def many_headers(connection):
    connection.send(b"HTTP/1.1 200 OK\r\n" + b"x-flood: 1\r\n" * 100_000 + b"\r\n{}")
    await connection.wait_gone()


async def a_giant_header(connection):
    connection.send(b"HTTP/1.1 200 OK\r\nx-flood: " + b"1" * 10_000_000 + b"\r\n\r\n{}")
    await connection.wait_gone()


async def headers_without_end(connection):
    connection.send(b"HTTP/1.1 200 OK\r\n")
    while not connection.writer.is_closing():
        connection.send(b"x-flood: 1\r\n" * 100)
        await connection.writer.drain()


AFTER_SEND = [
    reset,
    fin,
    stall,
    no_http,
    half_a_head,
    a_bad_length,
    two_lengths,
    continue_for_ever,
    a_head_byte_by_byte,
    many_headers,
    a_giant_header,
    headers_without_end,
]


def after_a_request(misbehave):
    async def script(connection):
        if await connection.read_request():
            await misbehave(connection)

    return script


WAYS = {
    "submit": (a_submit(), True),
    "submit_through_a_client_session": (a_submit(), False),
    "status": (a_status(), True),
    "status_through_a_client_session": (a_status(), False),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("misbehave", AFTER_SEND, ids=lambda one: one.__name__)
async def test_whatever_breaks_after_the_request_counts_as_sent(raw_server, misbehave, way):
    call, is_lean = WAYS[way]
    loop = asyncio.get_running_loop()
    async with raw_server(after_a_request(misbehave)) as server:
        started = loop.time()
        error = await failure_of(server.url, call, is_lean=is_lean)
        assert error.request_sent
        assert loop.time() - started < QUICK["total_s"] + SLACK_S
        assert server.connections


async def test_a_reset_before_the_request_was_read_still_counts_as_sent(raw_server):
    async with raw_server(reset) as server:
        error = await failure_of(server.url)
        # The bytes were handed to the system: that nobody read them is not known.
        assert error.request_sent


# The head came, the body did not: the reply says so, and its head can be used.


async def half_a_body(connection):
    connection.answer(b'{"request_', headers={"content-length": "99", "x-fal-request-id": "r1"})
    connection.writer.close()


async def a_body_that_stalls(connection):
    connection.answer(b'{"request_', headers={"content-length": "99", "x-fal-request-id": "r1"})
    await connection.wait_gone()


async def a_body_byte_by_byte(connection):
    connection.answer(b"", headers={"content-length": "9999", "x-fal-request-id": "r1"})
    for _ in range(9999):
        connection.send(b" ")
        await asyncio.sleep(0.01)


async def broken_chunks(connection):
    connection.send(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-fal-request-id: r1\r\n\r\n"
        b'5\r\n{"a":\r\n'
    )
    # aiohttp drops a head whose broken body comes in the same piece; the submit
    # is then unknown, which is safe, and its id is lost, which cannot be helped.
    await asyncio.sleep(0.02)
    connection.send(b"nonsense\r\n")


async def broken_gzip(connection):
    more = {"content-encoding": "gzip", "x-fal-request-id": "r1"}
    connection.answer(b"this is no gzip at all", headers=more)


async def trailers_without_end(connection):
    connection.send(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-fal-request-id: r1\r\n\r\n0\r\n"
    )
    await asyncio.sleep(0.02)
    while not connection.writer.is_closing():
        connection.send(b"x-flood: 1\r\n" * 100)
        await connection.writer.drain()


@pytest.mark.parametrize(
    "misbehave",
    [
        half_a_body,
        a_body_that_stalls,
        a_body_byte_by_byte,
        broken_chunks,
        broken_gzip,
        trailers_without_end,
    ],
    ids=lambda one: one.__name__,
)
@pytest.mark.parametrize("way", WAYS)
async def test_a_broken_body_keeps_the_head_of_its_reply(raw_server, misbehave, way):
    call, is_lean = WAYS[way]
    loop = asyncio.get_running_loop()
    async with (
        raw_server(after_a_request(misbehave)) as server,
        transport_to(server.url, is_lean=is_lean) as carrier,
    ):
        started = loop.time()
        reply = await carrier.send(call)
        assert loop.time() - started < QUICK["total_s"] + SLACK_S
    assert reply.status_code == 200
    assert reply.headers["X-Fal-Request-Id"] == "r1"
    assert isinstance(reply.fault, falq.TransportError)
    assert reply.fault.request_sent


RECEIPT = b'{"status":"IN_QUEUE","request_id":"019f72e4-5e1e-7143-8a50-9d1f0f3c2b11","respon'
CUT_RECEIPTS = {
    "announced longer": b"Content-Length: 700\r\n\r\n" + RECEIPT,
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(RECEIPT), RECEIPT),
    "until the close": b"\r\n" + RECEIPT,
}


@pytest.mark.parametrize("cut", CUT_RECEIPTS)
@pytest.mark.parametrize("is_lean", [True, False])
async def test_a_receipt_that_was_cut_still_names_its_job(raw_server, cut, is_lean):
    async def send_a_piece(connection):
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        connection.send(head + CUT_RECEIPTS[cut])
        connection.writer.close()

    async with (
        raw_server(after_a_request(send_a_piece)) as server,
        transport_to(server.url, is_lean=is_lean) as carrier,
    ):
        reply = await carrier.send(a_submit())
    verdict = classify_submit(EndpointId.parse("acme/echo"), reply)
    assert verdict.outcome is SubmitOutcome.ACCEPTED
    assert verdict.ticket.request_id == "019f72e4-5e1e-7143-8a50-9d1f0f3c2b11"


async def test_an_answer_that_was_given_up_leaves_no_connection_in_the_pool(raw_server):
    async def script(connection):
        await connection.read_request()
        if connection.number == 0:
            await a_body_that_stalls(connection)
        else:
            connection.answer({"second": True})

    async with raw_server(script) as server, transport_to(server.url) as carrier:
        assert (await carrier.send(a_status())).fault is not None
        assert (await carrier.send(a_status())).body == b'{"second": true}'
        await server.connections[0].wait_gone()


@pytest.mark.parametrize("is_lean", [True, False])
@pytest.mark.parametrize("call", [a_submit(), a_status()], ids=lambda one: one.verb)
async def test_fals_own_headers_may_be_as_long_as_its_pages_say(raw_server, call, is_lean):
    async def script(connection):
        await connection.read_request()
        connection.answer({"request_id": "r"}, headers={"x-fal-runner-hints": "a" * 16_000})

    async with (
        raw_server(script) as server,
        transport_to(server.url, is_lean=is_lean, total_s=2.0, submit_s=2.0) as carrier,
    ):
        reply = await carrier.send(call)
    assert reply.fault is None
    assert len(reply.headers["X-Fal-Runner-Hints"]) == 16_000


# Answers that nobody asked for. Those that come while a connection idles: `test_stale_answers`.


async def test_a_second_answer_to_one_call_is_not_the_next_ones(raw_server):
    async def one_too_many(connection):
        while await connection.read_request():
            connection.answer({"number": connection.number})
            if connection.number == 0:
                connection.answer({"stray": True})

    async with raw_server(one_too_many) as server, transport_to(server.url) as carrier:
        assert (await carrier.send(a_status())).body == b'{"number": 0}'
        assert (await carrier.send(a_status())).body == b'{"number": 1}'
        await server.connections[0].wait_gone()


# The age of connections.


async def keep_answering(connection):
    while await connection.read_request():
        connection.answer({"request_id": f"r{connection.number}"})


@pytest.mark.slow
async def test_a_submit_never_rides_a_connection_that_idled_for_two_seconds(raw_server):
    async with raw_server(keep_answering) as server, transport_to(server.url) as carrier:
        await carrier.send(a_submit())
        await asyncio.sleep(1.0)
        assert (await carrier.send(a_submit())).body == b'{"request_id": "r0"}'
        await asyncio.sleep(2.05)
        assert (await carrier.send(a_submit())).body == b'{"request_id": "r1"}'


async def test_a_status_rides_on_and_survives_a_server_that_closes_idle_connections(raw_server):
    async def one_answer_each(connection):
        await connection.read_request()
        connection.answer({"number": connection.number})
        # Idle for no time at all: the next request meets the end of the connection.

    async with raw_server(one_answer_each) as server, transport_to(server.url) as carrier:
        for _ in range(20):
            assert (await carrier.send(a_status())).fault is None


@pytest.mark.slow
async def test_submits_to_a_server_that_drops_idle_connections_are_never_sent_twice(raw_server):
    seen = []

    async def drop_when_idle(connection):
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(0.1):
                    request = await connection.read_request()
                if not request:
                    return
                if request.startswith(b"POST"):
                    seen.append(request.split(b"\r\n\r\n")[1])
                connection.answer({"request_id": f"r{len(seen)}"})

    async def submit_ten(session, number):
        unknown = 0
        for turn in range(10):
            try:
                await session.submit("acme/echo", {"n": [number, turn]})
            except falq.SubmissionUnknownError:
                unknown += 1
            # The very moment at which the server drops the connection.
            await asyncio.sleep(0.1)
        return unknown

    async with (
        raw_server(drop_when_idle) as server,
        falq.Session(falq.Fal(key=KEY, queue_url=server.url)) as session,
    ):
        unknown = sum(await asyncio.gather(*(submit_ten(session, one) for one in range(20))))
    assert len(seen) == len(set(seen)), "an input was sent twice"
    assert len(seen) >= 200 - unknown
    # A request that crosses the server's close is lost, and nobody can tell.
    assert unknown <= 100, unknown


@pytest.mark.parametrize("kind", ["reset", "fin", "cut", "stall", "nginx", "truncated_json"])
async def test_a_lost_answer_to_a_submit_makes_exactly_one_job(kind):
    fault = Fault(kind, "submit", when="after", has_request_id=False)
    scenario = Scenario(faults=[fault], run_s=0)
    async with (
        Emulator(scenario) as emulator,
        falq.Session(emulator.gateway, call_timeouts=CallTimeouts(submit_s=0.2)) as session,
    ):
        ends = await asyncio.gather(
            *(session.submit("acme/echo", {"n": number}) for number in range(20)),
            return_exceptions=True,
        )
        counts = emulator.stats()
    assert counts.submits == counts.jobs == 20
    assert counts.duplicates == 0
    for end in ends:
        if isinstance(end, falq.SubmissionUnknownError):
            assert end.intent_id
            assert end.sent_at is not None
        else:
            # The id came in the head, so the job was found in spite of its body.
            assert end.request_id


async def test_a_submit_that_cannot_be_sent_is_tried_three_times_and_then_raised(closed_port):
    told = []
    async with falq.Session(
        falq.Fal(key=KEY, queue_url=f"http://127.0.0.1:{closed_port}"),
        retry=falq.RetrySettings(base_s=0.001),
        on_event=told.append,
    ) as session:
        with pytest.raises(falq.ConnectError) as caught:
            await session.submit("acme/echo", {})
        assert caught.value.intent_id
        assert not caught.value.possibly_billed
        assert session.statistics().calls == {"submit": 3}
    assert [event.attempt for event in told if hasattr(event, "attempt")] == [1, 2]


async def test_a_server_that_comes_up_meanwhile_gets_the_submit_once():
    port = free_port()
    emulator = Emulator(Scenario(run_s=0), port=port)
    started = None

    def start_the_server(event):
        nonlocal started
        if hasattr(event, "attempt") and started is None:
            started = asyncio.create_task(emulator.start())

    async with falq.Session(
        falq.Fal(key=emulator.key, queue_url=f"http://127.0.0.1:{port}"),
        retry=falq.RetrySettings(submit_attempts=200, base_s=0.02, cap_s=0.02, budget=200),
        poll=falq.PollSettings(initial_s=0.01),
        on_event=start_the_server,
    ) as session:
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
        assert emulator.stats().submits == 1
    await emulator.aclose()
