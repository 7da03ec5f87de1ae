"""Reading prices, and what units cost."""

from __future__ import annotations

import math
from urllib.parse import parse_qs

import pytest

from falq.emulator import Scenario
from falq.emulator.models import MODELS
from falq.emulator.prices import PRICES
from falq.errors import ArgumentError, RequestNotFoundError, UnsupportedError, WireError
from falq.gateways import Fal
from falq.model import EndpointId
from falq.platform import Price, estimate_cost, load_prices
from falq.testing import LoopbackEmulator
from tests.support import a_reply

URL = "http://127.0.0.1:1"


def endpoints(*names):
    return [EndpointId.parse(name) for name in names]


def entry(name="acme/a", **changes):
    usual = {"endpoint_id": name, "unit_price": 0.5, "unit": "images", "currency": "USD"}
    return usual | changes


def send_to(**settings):
    emulator = LoopbackEmulator(Scenario(**settings), latency_s=0.0)
    gateway = Fal(key=emulator.gateway.key, queue_url=URL, api_url=f"{URL}/_platform")
    return emulator.transport(gateway)


async def test_a_price_is_read_from_its_entry(script):
    send = script({"prices": [entry()]})
    assert await load_prices(send, endpoints("acme/a")) == {"acme/a": Price(0.5, "images", "USD")}
    assert send.calls[0].target == "/models/pricing?endpoint_id=acme%2Fa"


async def test_no_endpoints_need_no_call(script):
    send = script()
    assert await load_prices(send, []) == {}
    assert send.calls == []


async def test_each_endpoint_is_asked_for_once_and_fifty_at_a_time(script):
    names = [f"acme/m{number:03}" for number in range(120)]
    send = script(*({"prices": [entry(name) for name in names]} for _ in range(3)))
    prices = await load_prices(send, endpoints(*names, *names))
    assert list(prices) == names
    asked = [parse_qs(call.target.partition("?")[2])["endpoint_id"] for call in send.calls]
    assert [len(one) for one in asked] == [50, 50, 20]
    assert [name for one in asked for name in one] == names


@pytest.mark.parametrize(
    "odd",
    [
        None,
        "x",
        entry(unit_price=None),
        entry(unit_price="0.5"),
        entry(unit_price=True),
        entry(unit_price=-1),
        entry(unit_price=math.nan),
        entry(unit_price=math.inf),
        entry(unit=None),
        entry(currency=3),
        entry("acme/other"),
        entry(["acme/a"]),
    ],
    ids=repr,
)
async def test_a_price_that_cannot_be_used_is_left_out_and_never_zero(script, odd):
    send = script({"prices": [odd, entry("acme/b")]})
    assert list(await load_prices(send, endpoints("acme/a", "acme/b"))) == ["acme/b"]


@pytest.mark.parametrize("body", [{}, {"prices": None}, {"prices": {"acme/a": 1}}])
async def test_an_answer_that_is_no_list_of_prices_is_an_error(script, body):
    with pytest.raises(WireError):
        await load_prices(script(body), endpoints("acme/a"))


@pytest.mark.parametrize("way", ["absent", "not_found"])
async def test_every_model_is_priced_and_an_unknown_endpoint_is_left_out(way):
    prices = await load_prices(
        send_to(unpriced=way).send, endpoints(*MODELS, "acme/echo", "acme/other")
    )
    assert prices == {name: Price(tag.unit_price, tag.unit, "USD") for name, tag in PRICES.items()}


async def test_a_404_that_is_not_the_apis_own_is_a_wrong_address(script):
    with pytest.raises(RequestNotFoundError):
        await load_prices(script(a_reply(404, {"detail": "Not Found"})), endpoints("acme/a"))


async def test_maton_is_refused_before_anything_is_sent():
    emulator = LoopbackEmulator()
    transport = emulator.transport(emulator.maton)
    with pytest.raises(UnsupportedError):
        await load_prices(transport.send, endpoints("acme/a"))
    assert transport.calls == []


@pytest.mark.parametrize(("units", "cost"), [(0, 0.0), (3, 1.5), (0.25, 0.125)])
def test_a_cost_is_the_units_times_their_price(units, cost):
    assert estimate_cost(Price(0.5, "images"), units) == cost


@pytest.mark.parametrize("units", [-1, -0.001, math.nan, math.inf])
def test_a_number_of_units_that_is_none_is_refused(units):
    with pytest.raises(ArgumentError, match="billable_units"):
        estimate_cost(Price(0.5, "images"), units)
