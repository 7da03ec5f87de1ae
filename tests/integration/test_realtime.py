"""Realtime conversations and raw sockets between a session and the emulator, on real sockets."""

from __future__ import annotations

import asyncio
import logging
import traceback

import msgpack
import pytest
from aiohttp import web

import falq
from falq.emulator import Emulator, Fault, Scenario
from falq.testing import LoopbackEmulator

pytestmark = pytest.mark.slow

APP = "acme/echo/fast"


def running(*faults, **settings):
    return Emulator(Scenario(speed=1000, faults=faults, **settings))


def session_on(emulator, **settings):
    return falq.Session(emulator.gateway, retry=falq.RetrySettings(base_s=0.01), **settings)


@pytest.mark.parametrize("encoding", ["msgpack", "json"])
@pytest.mark.parametrize("use_jwt", [True, False])
async def test_messages_go_there_and_results_come_back_in_order(encoding, use_jwt, until):
    async with running() as emulator, session_on(emulator) as session:
        async with session.realtime(APP, encoding=encoding, use_jwt=use_jwt) as live:
            for n in range(20):
                await live.send({"n": n})
            results = [await live.recv() for _ in range(20)]
        assert results == [{"n": n} for n in range(20)]
        await until(lambda: emulator.stats().sockets_open == 0)
        seen = emulator.stats()
    assert (seen.socket_messages, seen.socket_results, seen.sockets) == (20, 20, 1)
    assert seen.tokens == (1 if use_jwt else 0)


async def test_bytes_travel_in_messages_and_a_picture_comes_in_the_result():
    async with running() as emulator, session_on(emulator) as session:
        async with session.realtime(APP) as live:
            await live.send({"image": b"\x00\xff"})
            assert await live.recv() == {"image": b"\x00\xff"}
        async with session.realtime("fal-ai/flux/schnell") as live:
            await live.send({"prompt": "a cat", "image_size": "square", "request_id": "mine"})
            result = await live.recv()
    assert result["request_id"] == "mine"
    assert result["images"][0]["content"][:2] == b"\xff\xd8"


async def test_iterating_ends_when_the_connection_is_closed():
    async with running() as emulator, session_on(emulator) as session:
        live = session.realtime(APP)
        seen = []
        async with live:
            await live.send({"n": 1})
            async for message in live:
                seen.append(message)
                await live.aclose()
        assert seen == [{"n": 1}]
        assert await live.recv() is None
        with pytest.raises(falq.SocketClosedError) as caught:
            await live.send({"n": 2})
        assert caught.value.request_sent is False
        assert emulator.stats().socket_messages == 1


@pytest.mark.slow
async def test_an_idle_socket_is_put_away_and_the_next_message_opens_another(until):
    async with running(realtime_idle_s=0.3) as emulator, session_on(emulator) as session:
        async with session.realtime(APP) as live:
            await live.send({"n": 1})
            assert await live.recv() == {"n": 1}
            waiting = asyncio.ensure_future(live.recv())
            await until(lambda: not live.statistics().is_open)
            assert not waiting.done()
            assert "idle" in repr(live)
            await live.send({"n": 2})
            assert await waiting == {"n": 2}
            now = live.statistics()
        assert (now.sent, now.received, now.sockets, now.tokens) == (2, 2, 2, 1)
        assert emulator.stats().socket_messages == 2


@pytest.mark.slow
async def test_a_message_without_an_answer_is_told_of_at_a_timeout_and_not_sent_again():
    stall = Fault("stall", "message", nth=1)
    async with (
        running(stall, realtime_idle_s=0.3) as emulator,
        session_on(emulator) as session,
        session.realtime(APP) as live,
    ):
        await live.send({"n": 1})
        with pytest.raises(falq.RealtimeError) as caught:
            await live.recv()
        assert caught.value.error == "TIMEOUT"
        assert caught.value.possibly_billed
        assert caught.value.retryable
        await live.send({"n": 2})
        assert await live.recv() == {"n": 2}
        assert emulator.stats().socket_messages == 2


async def test_an_apps_error_is_typed_and_the_conversation_goes_on():
    async with (
        running() as emulator,
        session_on(emulator) as session,
        session.realtime(APP) as live,
    ):
        await live.send({"_emulator": {"fail": 500}})
        with pytest.raises(falq.RealtimeError) as caught:
            await live.recv()
        assert (caught.value.error, caught.value.reason) == ("INTERNAL_ERROR", "500")
        assert caught.value.endpoint == APP
        await live.send({"n": 2})
        assert await live.recv() == {"n": 2}
        assert live.statistics().sockets == 1


async def test_a_result_that_cannot_be_decoded_is_an_error_of_its_own():
    cut = Fault("truncated_json", "message", nth=1)
    async with (
        running(cut) as emulator,
        session_on(emulator) as session,
        session.realtime(APP) as live,
    ):
        await live.send({"words": "some text"})
        with pytest.raises(falq.WireError, match="cannot be decoded"):
            await live.recv()
        await live.send({"n": 2})
        assert await live.recv() == {"n": 2}


@pytest.mark.parametrize("kind", ["reset", "fin"])
async def test_a_broken_connection_is_an_error_for_good_and_nothing_is_sent_again(kind):
    async with (
        running(Fault(kind, "message", nth=2)) as emulator,
        session_on(emulator) as session,
        session.realtime(APP) as live,
    ):
        await live.send({"n": 1})
        await live.send({"n": 2})
        assert await live.recv() == {"n": 1}
        for _ in range(2):
            with pytest.raises(falq.SocketClosedError) as caught:
                await live.recv()
            assert caught.value.request_sent
            assert caught.value.possibly_billed
        with pytest.raises(falq.SocketClosedError):
            await live.send({"n": 3})
        assert emulator.stats().socket_messages == 2
        assert emulator.stats().sockets == 1


async def test_a_message_above_the_limit_is_refused_on_either_way():
    giant = Fault("giant", "message", size_bytes=5000)
    async with (
        running(giant) as emulator,
        session_on(emulator) as session,
        session.realtime(APP, max_message_bytes=1000) as live,
    ):
        with pytest.raises(falq.ArgumentError, match="max_message_bytes"):
            await live.send({"text": "x" * 1000})
        assert emulator.stats().socket_messages == 0
        await live.send({"text": "x"})
        with pytest.raises(falq.ResponseTooLargeError):
            await live.recv()


async def test_a_refused_token_is_replaced_and_what_was_sent_is_not_sent_again():
    said = []

    async def refuse_the_second(frames, request):
        async for message in frames:
            said.append(msgpack.unpackb(message.data))
            if len(said) == 2:
                await frames.send_str('{"status":"error","error":"Unauthorized"}')
                await frames.close()
            else:
                await frames.send_bytes(message.data)

    async with (
        _OtherServer(refuse_the_second) as server,
        falq.Session(server.gateway) as session,
        session.realtime(APP) as live,
    ):
        await live.send({"n": 1})
        assert await live.recv() == {"n": 1}
        await live.send({"n": 2})
        with pytest.raises(falq.RealtimeError, match="Unauthorized") as caught:
            await live.recv()
        assert caught.value.possibly_billed
        await live.send({"n": 3})
        assert await live.recv() == {"n": 3}
        assert live.statistics().tokens == server.tokens == 2
    assert said == [{"n": 1}, {"n": 2}, {"n": 3}]


async def test_a_token_that_is_refused_at_once_costs_no_message(until):
    refusing = Fault("replace_body", "token", body='"not.a.token"', nth=1)
    async with (
        running(refusing) as emulator,
        session_on(emulator) as session,
        session.realtime(APP) as live,
    ):
        await until(lambda: not live.statistics().is_open)
        await live.send({"n": 1})
        assert await live.recv() == {"n": 1}
        assert emulator.stats().socket_messages == 1
        assert live.statistics().sockets == 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("rate_limited", "socket"), falq.RateLimitError),
        (Fault("nginx", "socket"), falq.ServerError),
        (Fault("redirect", "socket"), falq.UnexpectedRedirectError),
        (Fault("json_error", "socket", status_code=403), falq.AuthenticationError),
        (Fault("reset", "socket"), falq.TransportError),
        (Fault("rate_limited", "token", retry_after_s=3600), falq.RateLimitError),
        (Fault("replace_body", "token", body="{}"), falq.WireError),
    ],
    ids=lambda one: f"{one.kind} {one.verb}" if isinstance(one, Fault) else None,
)
async def test_what_refuses_a_socket_is_raised_where_it_is_opened(fault, error):
    async with running(fault) as emulator, session_on(emulator) as session:
        with pytest.raises(error):
            async with session.realtime(APP):
                pass
        assert emulator.stats().sockets == 0
        assert emulator.stats().calls.get("socket", 0) <= 1


async def test_a_gateway_without_uploads_opens_sockets_with_tokens():
    async with running() as emulator:
        gateway = falq.Fal(
            key=emulator.key,
            queue_url=emulator.url,
            run_url=f"{emulator.url}/_run",
            rest_url=f"{emulator.url}/_rest",
        )
        async with falq.Session(gateway) as session, session.realtime(APP) as live:
            await live.send({"n": 1})
            assert await live.recv() == {"n": 1}
        assert emulator.stats().tokens == 1


async def test_a_wrong_key_is_told_of_on_either_way():
    async with running() as emulator:
        gateway = falq.Fal(
            key="nobody:nothing",
            queue_url=emulator.url,
            run_url=f"{emulator.url}/_run",
            rest_url=f"{emulator.url}/_rest",
            cdn_url=f"{emulator.url}/_cdn",
        )
        async with falq.Session(gateway) as session:
            for use_jwt in (True, False):
                with pytest.raises(falq.AuthenticationError, match="No user found"):
                    async with session.realtime(APP, use_jwt=use_jwt):
                        pass


@pytest.mark.parametrize("form", ["text", "token", "detail"])
@pytest.mark.parametrize("address", ["classic", "realtime"])
async def test_every_form_and_address_of_a_token_opens_a_socket(form, address):
    async with (
        running(jwt_form=form, jwt_address=address) as emulator,
        session_on(emulator) as session,
        session.realtime(APP) as live,
    ):
        await live.send({"n": 1})
        assert await live.recv() == {"n": 1}


async def test_of_more_than_max_buffering_the_oldest_are_dropped_by_the_server(until):
    slow = {"_emulator": {"run_s": 200}}
    async with (
        running() as emulator,
        session_on(emulator) as session,
        session.realtime(APP, max_buffering=1) as live,
    ):
        await live.send(slow)
        await until(lambda: emulator.stats().calls.get("message") == 1)
        for n in range(5):
            await live.send({"n": n})
        assert await live.recv() == slow
        assert await live.recv() == {"n": 4}
        assert emulator.stats().socket_dropped == 4


async def test_a_slow_reader_holds_no_more_than_max_unread(until):
    async with (
        running() as emulator,
        session_on(emulator) as session,
        session.realtime(APP, max_unread=3) as live,
    ):
        for n in range(40):
            await live.send({"n": n})
        await until(lambda: emulator.stats().socket_results == 40)
        assert live.statistics().unread == 3
        assert [(await live.recv())["n"] for _ in range(40)] == list(range(40))


async def test_throttled_messages_keep_their_distance():
    async with (
        running() as emulator,
        session_on(emulator) as session,
        session.realtime(APP, throttle_s=0.05) as live,
    ):
        loop = asyncio.get_running_loop()
        started = loop.time()
        await asyncio.gather(*(live.send({"n": n}) for n in range(3)))
        assert loop.time() - started >= 0.1
        assert [(await live.recv())["n"] for _ in range(3)] == [0, 1, 2]


async def test_a_closed_session_ends_its_sockets_and_everyone_who_waits(until):
    async with running() as emulator:
        session = session_on(emulator)
        await session.open()
        live, raw = session.realtime(APP), session.ws_connect("acme/raw")
        await live.__aenter__()
        await raw.__aenter__()
        waiting = [asyncio.ensure_future(live.recv()), asyncio.ensure_future(raw.recv())]
        await asyncio.sleep(0)
        await session.aclose()
        with pytest.raises(falq.SessionClosedError):
            await waiting[0]
        assert await waiting[1] is None
        with pytest.raises(falq.SessionClosedError):
            await live.send({"n": 1})
        await until(lambda: emulator.stats().sockets_open == 0)
        await live.aclose()
        await raw.aclose()


async def test_a_cancelled_opening_leaves_no_connection(until):
    stall = Fault("stall", "socket", times=1)
    async with running(stall) as emulator, session_on(emulator) as session:
        opening = asyncio.ensure_future(session.realtime(APP).__aenter__())
        await until(lambda: emulator.stats().calls.get("socket") == 1)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        async with session.realtime(APP) as live:
            await live.send({"n": 1})
            assert await live.recv() == {"n": 1}


async def test_a_handshake_without_an_answer_ends_by_itself():
    async with running(Fault("stall", "socket")) as emulator, session_on(emulator) as session:
        with pytest.raises(falq.TransportTimeoutError, match="starting"):
            async with session.realtime(APP, open_s=0.05):
                pass


async def test_where_nothing_listens_nothing_was_sent(raw_server):
    async with raw_server(lambda _: asyncio.sleep(0)) as gone:
        pass
    gateway = falq.Fal(
        key="a:b", queue_url=gone.url, run_url=gone.url, rest_url=gone.url, cdn_url=gone.url
    )
    retry = falq.RetrySettings(base_s=0.001)
    async with falq.Session(gateway, retry=retry) as session:
        for use_jwt in (True, False):
            with pytest.raises(falq.ConnectError) as caught:
                async with session.realtime(APP, use_jwt=use_jwt):
                    pass
            assert caught.value.request_sent is False


async def test_what_is_no_websocket_is_told_of(raw_server):
    async def switch_to_something_else(connection):
        await connection.read_request()
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\n\r\n")
        await connection.wait_gone()

    async with raw_server(switch_to_something_else) as server:
        gateway = falq.Fal(key="a:b", queue_url=server.url, run_url=server.url, rest_url=server.url)
        async with falq.Session(gateway) as session:
            with pytest.raises(falq.SocketClosedError, match="no websocket"):
                async with session.ws_connect(APP, use_jwt=False):
                    pass
        assert len(server.connections) == 1


async def test_a_connection_is_opened_once_and_not_after_it_was_closed():
    async with running() as emulator, session_on(emulator) as session:
        live = session.realtime(APP)
        with pytest.raises(falq.ArgumentError, match="async with"):
            await live.recv()
        async with live:
            with pytest.raises(falq.SocketClosedError, match="once"):
                await live.__aenter__()
        never = session.realtime(APP)
        await never.aclose()
        with pytest.raises(falq.SocketClosedError, match="closed"):
            await never.__aenter__()


async def test_a_session_that_is_closed_meanwhile_leaves_no_socket(until):
    async with running(Fault("delay", "token", delay_s=0.1)) as emulator:
        session = await session_on(emulator).open()
        opening = asyncio.ensure_future(session.realtime(APP).__aenter__())
        await until(lambda: emulator.stats().calls.get("token") == 1)
        await session.aclose()
        with pytest.raises(falq.FalqError):
            await opening
        assert emulator.stats().sockets_open == 0


async def test_the_emulator_ends_a_socket_with_its_token_if_it_is_asked_to():
    late = Fault("delay", "message", nth=1, delay_s=1.0)
    async with (
        running(late, checks_jwt_always=True) as emulator,
        session_on(emulator) as session,
        session.realtime(APP, token_expiration=1) as live,
    ):
        await live.send({"n": 1})
        assert await live.recv() == {"n": 1}
        await live.send({"n": 2})
        with pytest.raises(falq.RealtimeError, match="Unauthorized"):
            await live.recv()
        await live.send({"n": 3})
        assert await live.recv() == {"n": 3}
        assert (emulator.stats().tokens, emulator.stats().socket_messages) == (2, 2)


@pytest.mark.slow
async def test_a_busy_app_is_not_idle_and_an_unreadable_message_is_an_error():
    async with (
        running(realtime_idle_s=0.3) as emulator,
        session_on(emulator) as session,
        session.realtime(APP, encode_message=lambda _: b"\xc1") as live,
    ):
        await live.send({})
        with pytest.raises(falq.RealtimeError, match="decoded"):
            await live.recv()
        slow = {"_emulator": {"run_s": 600}}
        async with session.realtime(APP, encoding="json") as other:
            await other.send(slow)
            assert await other.recv() == slow


@pytest.mark.parametrize("kind", ["json_error", "replace_body", "delay"])
async def test_a_fault_strikes_one_message(kind):
    fault = Fault(kind, "message", nth=1, error_type="TEAPOT", body="hello", delay_s=0.01)
    async with (
        running(fault) as emulator,
        session_on(emulator) as session,
        session.realtime(APP) as live,
    ):
        await live.send({"n": 1})
        if kind == "json_error":
            with pytest.raises(falq.RealtimeError) as caught:
                await live.recv()
            assert caught.value.error == "TEAPOT"
        else:
            answer = {"type": "text", "payload": "hello"} if kind == "replace_body" else {"n": 1}
            assert await live.recv() == answer
        assert emulator.stats().faults == {kind: 1}


async def test_raw_frames_come_as_they_are():
    async with running() as emulator, session_on(emulator) as session:
        async with session.ws_connect("acme/raw", path="ws/v1") as socket:
            await socket.send("text")
            await socket.send(b"\x00")
            assert [await socket.recv(), await socket.recv()] == ["text", b"\x00"]
            assert "open" in repr(socket)
            await socket.aclose()
            assert [frame async for frame in socket] == []
        with pytest.raises(falq.ArgumentError, match="async with"):
            await session.ws_connect("acme/raw").send("early")


async def test_sockets_need_a_gateway_and_a_transport_that_have_them():
    async with running() as emulator, falq.Session(emulator.maton) as session:
        with pytest.raises(falq.UnsupportedError, match="realtime"):
            session.realtime(APP)
        with pytest.raises(falq.UnsupportedError):
            session.ws_connect(APP, use_jwt=False)
    world = LoopbackEmulator()
    async with falq.Session(world.gateway, transport=world.transport()) as session:
        with pytest.raises(falq.UnsupportedError, match="transport"):
            session.realtime(APP)


@pytest.mark.parametrize(
    "options",
    [
        {"max_buffering": 61},
        {"token_expiration": 0},
        {"max_message_bytes": 0},
        {"throttle_s": -1},
        {"max_unread": 0},
        {"ping_s": 0},
        {"open_s": float("inf")},
        {"path": "../other"},
        {"encoding": "yaml"},
    ],
    ids=lambda options: next(iter(options)),
)
async def test_a_wrong_option_is_refused_before_anything_is_sent(options):
    async with running() as emulator, session_on(emulator) as session:
        with pytest.raises(falq.ArgumentError) as caught:
            session.realtime(APP, **options)
        assert caught.value.argument == next(iter(options))
        assert emulator.stats().connections == 0


class _OtherServer:
    """A websocket server that behaves in a way the emulator does not."""

    def __init__(self, talk):
        self.talk = talk
        self.tokens = 0

    async def answer(self, request):
        if request.path.startswith("/_rest/tokens"):
            self.tokens += 1
            return web.json_response(f"a.secret.token-{self.tokens}")
        frames = web.WebSocketResponse(autoping=False, timeout=0.1)
        await frames.prepare(request)
        await self.talk(frames, request)
        return frames

    async def __aenter__(self):
        self.runner = web.ServerRunner(
            web.Server(self.answer, access_log=None), shutdown_timeout=0.01
        )
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        self.gateway = falq.Fal(
            key="an-id:a-secret-key",
            queue_url=url,
            run_url=url,
            rest_url=f"{url}/_rest",
            cdn_url=url,
        )
        return self

    async def __aexit__(self, *_):
        await self.runner.cleanup()


async def test_a_peer_that_answers_no_ping_is_given_up():
    async def ignore(frames, request):
        await asyncio.get_running_loop().create_future()

    async with (
        _OtherServer(ignore) as server,
        falq.Session(server.gateway) as session,
        session.realtime(APP, ping_s=0.05) as live,
    ):
        with pytest.raises(falq.SocketClosedError, match="ping"):
            await live.recv()


async def test_a_peer_that_answers_pings_may_be_silent():
    async def answer_pings(frames, request):
        pings = 0
        async for message in frames:
            if message.type is web.WSMsgType.PING:
                await frames.pong(message.data)
                await frames.ping(b"you too")
                pings += 1
            if pings == 3:
                await frames.send_bytes(msgpack.packb({"pings": pings}))
                await frames.close()

    async with (
        _OtherServer(answer_pings) as server,
        falq.Session(server.gateway) as session,
        session.realtime(APP, ping_s=0.05) as live,
    ):
        assert [message async for message in live] == [{"pings": 3}]


@pytest.mark.parametrize("code", [1001, 1011])
async def test_only_a_close_in_good_order_is_an_end(code):
    async def close(frames, request):
        await frames.close(code=code, message=b"so long")

    async with (
        _OtherServer(close) as server,
        falq.Session(server.gateway) as session,
        session.realtime(APP) as live,
    ):
        if code == 1001:
            assert await live.recv() is None
        else:
            with pytest.raises(falq.SocketClosedError) as caught:
                await live.recv()
            assert (caught.value.code, caught.value.reason) == (1011, "so long")


async def test_a_refused_new_token_is_an_error_for_good(until):
    async def refuse(frames, request):
        await frames.send_str('{"status":"error","error":"Unauthorized"}')
        await frames.close()

    async with (
        _OtherServer(refuse) as server,
        falq.Session(server.gateway) as session,
        session.realtime(APP) as live,
    ):
        await until(lambda: not live.statistics().is_open)
        await live.send({"n": 1})
        for _ in range(2):
            with pytest.raises(falq.AuthenticationError):
                await live.recv()
        assert server.tokens == 2


async def test_neither_key_nor_token_is_shown_by_anything(caplog):
    caplog.set_level(logging.DEBUG)
    shown = []

    async def drop(frames, request):
        await frames.send_str('{"type":"x-fal-error","error":"INTERNAL_ERROR"}')
        request.transport.abort()

    async with _OtherServer(drop) as server, falq.Session(server.gateway) as session:
        for use_jwt in (True, False):
            async with session.realtime(APP, use_jwt=use_jwt) as live:
                shown += [repr(live), repr(vars(live)), repr(vars(live._opener))]
                for _ in range(2):
                    shown.append(await _whole_error(live.recv))
    faults = [Fault("redirect", "socket", nth=1), Fault("reset", "socket", nth=2)]
    async with running(*faults) as emulator, session_on(emulator) as session:
        for _ in faults:
            shown.append(await _whole_error(session.realtime(APP).__aenter__))
        assert emulator.stats().faults == {"redirect": 1, "reset": 1}
        tokens, key = list(emulator._app.realtime._tokens), emulator.key
    text = "\n".join([*shown, caplog.text])
    assert len(tokens) == 2
    for secret in ("a.secret.token", "a-secret-key", key, *tokens):
        assert secret not in text


async def _whole_error(work):
    """Return everything that a traceback with its locals shows of an error."""
    try:
        await work()
    except falq.FalqError as error:
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        return "".join(told.format())
    pytest.fail("no error came")
