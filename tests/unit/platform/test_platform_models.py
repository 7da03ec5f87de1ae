"""`session.models`: each question goes to its neighbor, and a schema is asked for once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from falq.errors import ArgumentError, ServerError
from falq.platform import Models, Price, Tries
from tests.support import a_reply

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
OPENAPI = {"components": {"schemas": {"BInput": {"properties": {"a": {}}}}}}
PAGE = {"models": [{"endpoint_id": "a/b", "openapi": OPENAPI}]}


def models(send):
    return Models(send, tries=Tries(draw=lambda: 0.0, wall_clock=lambda: NOW))


async def test_a_schema_is_asked_for_once_however_many_ask(script):
    send = script(PAGE)
    shelf = models(send)
    found = await asyncio.gather(*(shelf.schema("a/b") for _ in range(20)))
    assert len(send.calls) == 1
    assert all(one is found[0] for one in found)
    assert await shelf.schema("/a/b/") is found[0]
    assert repr(shelf) == "<falq.platform.Models schemas=1>"


async def test_those_who_waited_for_a_failure_have_it_and_the_next_one_asks(script):
    send = script(*[a_reply(500)] * 3, PAGE)
    shelf = models(send)
    found = await asyncio.gather(*(shelf.schema("a/b") for _ in range(9)), return_exceptions=True)
    assert {type(one) for one in found} == {ServerError}
    assert len(send.calls) == 3
    assert (await shelf.schema("a/b")).endpoint == "a/b"


async def test_a_cancelled_question_is_asked_by_the_next(script):
    gate = asyncio.Event()
    answers = script(PAGE)

    async def send(call):
        if not gate.is_set():
            gate.set()
            await asyncio.sleep(3600)
        return await answers(call)

    shelf = models(send)
    first, second = (asyncio.ensure_future(shelf.schema("a/b")) for _ in range(2))
    await gate.wait()
    first.cancel()
    assert (await second).endpoint == "a/b"


async def test_prices_are_asked_for_one_or_many(script):
    entry = {"endpoint_id": "a/b", "unit_price": 0.5, "unit": "images", "currency": "USD"}
    send = script({"prices": [entry]}, {"prices": []}, {"prices": [entry]})
    shelf = models(send)
    assert await shelf.price("a/b") == Price(0.5, "images")
    assert await shelf.price("a/b") is None
    assert await shelf.prices(["a/b", "a/c"]) == {"a/b": Price(0.5, "images")}


async def test_a_question_about_the_past_means_the_last_day(script):
    send = script({"items": []}, {"summary": []})
    shelf = models(send)
    assert [one async for one in shelf.history("a/b")] == []
    await shelf.usage(endpoints=["a/b"])
    window = "start=2026-11-20T12%3A00%3A00.000000Z&end=2026-11-21T12%3A00%3A00.000000Z"
    assert all(window in call.target for call in send.calls)


async def test_a_history_can_be_narrowed(script):
    send = script({"items": []})
    found = models(send).history(
        "a/b", NOW - timedelta(days=9), NOW, with_payloads=True, status="error", request_id="r-1"
    )
    assert [one async for one in found] == []
    assert send.calls[0].target.endswith("&expand=payloads&status=error&request_id=r-1")


async def test_what_is_no_endpoint_is_refused_and_nothing_sent(script):
    send = script()
    shelf = models(send)
    for ask in (shelf.get, shelf.schema, shelf.price):
        with pytest.raises(ArgumentError):
            await ask("flux")
    with pytest.raises(ArgumentError):
        shelf.history("flux")
    with pytest.raises(ArgumentError):
        await shelf.usage(endpoints=["flux"])
    with pytest.raises(ArgumentError):
        await shelf.prices(["flux"])
    with pytest.raises(ArgumentError):
        shelf.history("a/b", request_id="../x")
    assert send.calls == []


async def test_the_rest_goes_to_its_neighbors(script):
    estimate = {"total_cost": 1, "currency": "USD"}
    send = script(PAGE, PAGE, estimate, {"cdn_delete_results": []})
    shelf = models(send)
    assert [one.endpoint async for one in shelf.search("x", limit=1)] == ["a/b"]
    assert (await shelf.get("a/b")).endpoint == "a/b"
    assert (await shelf.estimate(calls={"a/b": 1})).total_cost == 1.0
    assert await shelf.delete_payloads("r-1") == ()
