"""Where a call to the Platform API may go, and the lane that it has."""

from __future__ import annotations

import asyncio

import pytest
from attrs import frozen

from falq._core.messages import Call, CallLimits, CallTimeouts, Origin, Verb
from falq._engine.lanes import OTHER_LANES, Lanes, share_calls
from falq._transport.base import root_of
from falq.errors import UnsupportedError
from falq.gateways import PLATFORM, Fal, Gateway, Maton


@frozen(kw_only=True)
class Boastful(Gateway):
    """Says that it can and has no address for it."""

    @property
    def name(self):
        return "boastful"

    @property
    def queue_root(self):
        return "https://queue.example"

    @property
    def abilities(self):
        return frozenset({PLATFORM})


def test_each_origin_is_the_gateways_own():
    gateway = Fal(key="a:b", queue_url="https://q.example", api_url="https://p.example/v1")
    assert root_of(gateway, Origin.QUEUE) == "https://q.example"
    assert root_of(gateway, Origin.PLATFORM) == "https://p.example/v1"
    assert root_of(Fal(), Origin.PLATFORM) == "https://api.fal.ai/v1"


def test_tokens_of_sockets_need_no_address_for_uploads():
    addresses = {"run_url": "https://r.example", "rest_url": "https://t.example"}
    gateway = Fal(key="a:b", queue_url="https://q.example", **addresses)
    assert root_of(gateway, Origin.REST) == "https://t.example"
    with pytest.raises(UnsupportedError, match="cdn_url"):
        root_of(gateway, Origin.CDN)


def test_the_key_of_another_queue_fetches_no_token_at_fal():
    gateway = Fal(key="a:b", queue_url="https://q.example", run_url="https://r.example")
    with pytest.raises(UnsupportedError, match="rest_url"):
        root_of(gateway, Origin.REST)


@pytest.mark.parametrize("gateway", [Maton(key="k"), Boastful()])
def test_a_gateway_without_the_address_is_refused(gateway):
    with pytest.raises(UnsupportedError):
        root_of(gateway, Origin.PLATFORM)
    assert root_of(gateway, Origin.QUEUE).startswith("https://")


def test_a_call_goes_to_the_queue_unless_it_says_otherwise():
    assert Call(Verb.STATUS, "GET", "/a/b").origin is Origin.QUEUE


def test_a_page_may_be_as_large_as_a_result_and_takes_as_long_as_a_read():
    assert CallLimits().for_reply(Verb.PLATFORM, 200) == CallLimits().result_bytes
    assert CallLimits().for_reply(Verb.PLATFORM, 500) == CallLimits().error_bytes
    assert CallTimeouts().for_verb(Verb.PLATFORM) == CallTimeouts().total_s


async def test_the_platform_has_a_lane_of_its_own_that_no_pause_of_the_queue_holds_up():
    loop = asyncio.get_running_loop()
    lanes = Lanes(share_calls(8), rate=None, clock=loop.time)
    assert lanes.limit(Verb.PLATFORM) == OTHER_LANES[Verb.PLATFORM] == 4
    lanes.pause(60.0)
    await lanes.enter(Verb.PLATFORM)
    assert (loop.time(), lanes.in_flight(Verb.PLATFORM)) == (0.0, 1)
    await lanes.enter(Verb.STATUS)
    assert loop.time() > 0.0
