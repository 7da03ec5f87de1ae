from __future__ import annotations

import asyncio
import json

import pytest

from falq._core.messages import Origin, Reply
from falq._core.retry import RetrySettings
from falq.errors import AuthenticationError, RateLimitError, TransportError, WireError
from falq.live.tokens import TokenKeeper
from falq.model import EndpointId

ENDPOINT = EndpointId.parse("acme/fast")


class Server:
    """Answers calls for tokens from a script; numbers its tokens."""

    def __init__(self, *script, absent=()):
        self.script = list(script)
        self.absent = absent
        self.calls = []
        self.now = 0.0

    async def send(self, call):
        self.calls.append(call)
        await asyncio.sleep(0)
        if call.target in self.absent:
            return Reply(404, {}, b'{"detail":"Not Found"}')
        answer = self.script.pop(0) if self.script else None
        if isinstance(answer, Exception):
            raise answer
        return answer or Reply(200, {}, json.dumps(f"token-{len(self.calls)}").encode())

    def keeper(self, life_s=100):
        return TokenKeeper(
            self.send,
            ENDPOINT,
            life_s=life_s,
            retry=RetrySettings(base_s=0.01),
            clock=lambda: self.now,
            draw=lambda: 0.0,
        )


async def test_a_token_is_used_for_nine_tenths_of_its_life_and_then_renewed():
    server = Server()
    keeper = server.keeper(life_s=100)
    first = await keeper.get()
    server.now = 89.9
    assert (await keeper.get()).reveal() == first.reveal() == "token-1"
    server.now = 90.0
    assert (await keeper.get()).reveal() == "token-2"
    assert keeper.fetched == 2


async def test_many_who_need_a_token_at_once_share_one_call():
    server = Server()
    keeper = server.keeper()
    tokens = await asyncio.gather(*(keeper.get() for _ in range(10)))
    assert {token.reveal() for token in tokens} == {"token-1"}
    assert len(server.calls) == 1


async def test_a_dropped_token_is_not_given_out_again():
    keeper = Server().keeper()
    first = await keeper.get()
    keeper.drop()
    assert (await keeper.get()).reveal() != first.reveal()


async def test_the_second_address_is_asked_where_the_first_is_absent_and_remembered():
    server = Server(absent={"/tokens/"})
    keeper = server.keeper(life_s=60)
    await keeper.get()
    keeper.drop()
    await keeper.get()
    assert [call.target for call in server.calls] == [
        "/tokens/",
        "/tokens/realtime",
        "/tokens/realtime",
    ]
    assert json.loads(server.calls[1].body) == {"allowed_apps": ["fast"], "duration": 60}
    assert {call.origin for call in server.calls} == {Origin.REST}


@pytest.mark.parametrize(
    "trouble",
    [
        TransportError("reset"),
        Reply(503, {}, b""),
        Reply(429, {"retry-after": "nonsense"}, b"{}"),
        Reply(408, {}, b"{}"),
    ],
    ids=["reset", "503", "429", "408"],
)
async def test_a_passing_trouble_is_tried_again(trouble):
    server = Server(trouble, trouble)
    assert (await server.keeper().get()).reveal() == "token-3"


async def test_a_trouble_that_stays_is_raised_after_three_tries():
    server = Server(*[Reply(429, {}, b'{"detail":"slow down"}')] * 4)
    with pytest.raises(RateLimitError):
        await server.keeper().get()
    assert len(server.calls) == 3


async def test_a_server_that_asks_for_a_long_wait_is_not_waited_for():
    server = Server(Reply(429, {"retry-after": "86400"}, b"{}"))
    with pytest.raises(RateLimitError) as caught:
        await server.keeper().get()
    assert caught.value.retry_after_s == 86400
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Reply(401, {}, b'{"detail":"No user found for Key ID and Secret"}'), AuthenticationError),
        (Reply(200, {}, b"{}"), WireError),
        (Reply(200, {}, b'"half', TransportError("cut")), TransportError),
    ],
    ids=["401", "no token", "cut"],
)
async def test_what_will_not_change_is_raised(answer, error):
    server = Server(answer, answer, answer)
    with pytest.raises(error):
        await server.keeper().get()


async def test_a_token_is_shown_nowhere():
    keeper = Server().keeper()
    token = await keeper.get()
    shown = [repr(token), str(token), f"{token}", repr(vars(keeper))]
    assert not any("token-1" in one for one in shown)


async def test_a_cancelled_wait_leaves_the_keeper_usable():
    server = Server()
    keeper = server.keeper()
    waiting = asyncio.ensure_future(keeper.get())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await keeper.get()).reveal()
