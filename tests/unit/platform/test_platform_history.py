"""Reading the request history: its query, its rows, and what is refused."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from falq.emulator import Fault, Scenario
from falq.errors import ApiError, ArgumentError, UnsupportedError, WireError
from falq.gateways import Fal
from falq.model import EndpointId
from falq.platform import HistoryItem, find_requests
from falq.testing import LoopbackEmulator
from tests.support import a_reply, a_submission

ENDPOINT = EndpointId.parse("acme/echo/fast")
START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(hours=1)
URL = "http://127.0.0.1:1"


async def read(send, *, with_payloads=False, start=START, end=END, endpoint=ENDPOINT, **more):
    items = find_requests(send, endpoint, start, end, with_payloads=with_payloads, **more)
    return [item async for item in items]


class World:
    """An emulator in memory, and the way to both of its sides."""

    def __init__(self, scenario=None):
        self.emulator = LoopbackEmulator(scenario, latency_s=0.0)
        gateway = Fal(key=self.emulator.gateway.key, queue_url=URL, api_url=f"{URL}/_platform")
        self.transport = self.emulator.transport(gateway)
        self.send = self.transport.send

    async def submit(self, arguments):
        from falq._core.protocol import build_submit, read_ticket

        submission = a_submission(str(ENDPOINT), arguments)
        reply = await self.send(build_submit(submission))
        return read_ticket(ENDPOINT, reply).request_id


async def test_the_query_names_endpoint_window_and_page(script):
    plus_two = timezone(timedelta(hours=2))
    send = script({"items": []}, {"items": []})
    await read(send, start=datetime(2026, 1, 1, 2, 0, 0, 5, tzinfo=plus_two))
    await read(send, with_payloads=True)
    first, second = (call.target for call in send.calls)
    assert first == (
        "/models/requests/by-endpoint?endpoint_id=acme%2Fecho%2Ffast"
        "&start=2026-01-01T00%3A00%3A00.000005Z&end=2026-01-01T01%3A00%3A00.000000Z&limit=100"
    )
    assert second.endswith("&limit=100&expand=payloads")


async def test_a_row_is_read_into_an_item(script):
    row = {
        "request_id": "r-1",
        "endpoint_id": "acme/echo/fast",
        "sent_at": "2026-01-01T00:00:01Z",
        "started_at": "2026-01-01T02:00:02.5+02:00",
        "ended_at": "2026-01-01T00:00:04",
        "status_code": 200,
        "duration": 1.5,
        "json_input": {"prompt": "private"},
        "json_output": {"n": 1},
        "more": "ignored",
    }
    [item] = await read(script({"items": [row]}))
    assert item == HistoryItem(
        request_id="r-1",
        endpoint="acme/echo/fast",
        sent_at=START + timedelta(seconds=1),
        started_at=START + timedelta(seconds=2.5),
        ended_at=START + timedelta(seconds=4),
        status_code=200,
        duration_s=1.5,
        input={"prompt": "private"},
        output={"n": 1},
    )
    assert "private" not in repr(item)


@pytest.mark.parametrize("odd", [None, "x", True, [], {"a": 1}])
async def test_odd_fields_are_nothing_told(script, odd):
    names = ("sent_at", "started_at", "ended_at", "status_code", "duration")
    [item] = await read(script({"items": [{"request_id": "r-1"} | dict.fromkeys(names, odd)]}))
    assert item == HistoryItem(request_id="r-1", endpoint="acme/echo/fast")


@pytest.mark.parametrize(
    "items",
    [None, {}, "x", [None], ["r-1"], [{}], [{"request_id": 5}], [{"request_id": "../r"}]],
    ids=repr,
)
async def test_a_page_with_a_row_that_cannot_be_read_is_an_error_and_gives_nothing(script, items):
    good = [{"request_id": "r-1"}] if isinstance(items, list) else []
    body = {"items": good + items} if isinstance(items, list) else {"items": items}
    with pytest.raises(WireError):
        await anext(find_requests(script(body), ENDPOINT, START, END, with_payloads=True))


async def test_a_row_that_comes_on_two_pages_is_given_once(script):
    row = {"request_id": "r-1"}
    send = script({"items": [row], "next_cursor": "c", "has_more": True}, {"items": [row]})
    assert len(await read(send)) == 1


@pytest.mark.parametrize(
    ("start", "end"), [(START, START), (END, START), (START.replace(tzinfo=None), END)]
)
def test_a_window_that_is_none_is_refused_before_anything_is_sent(script, start, end):
    send = script()
    with pytest.raises(ArgumentError):
        find_requests(send, ENDPOINT, start, end, with_payloads=False)
    assert send.calls == []


async def test_nothing_is_sent_before_the_first_item_is_asked_for(script):
    send = script({"items": []})
    find_requests(send, ENDPOINT, START, END, with_payloads=False)
    assert send.calls == []


async def test_two_hundred_and_fifty_requests_come_in_three_pages():
    world = World(Scenario(run_s=1.0, runners=300))
    made = {await world.submit({"n": number}) for number in range(250)}
    await asyncio.sleep(2.0)
    world.transport.calls.clear()
    items = await read(world.send, with_payloads=True)
    assert {item.request_id for item in items} == made
    assert sorted(item.input["n"] for item in items) == list(range(250))
    assert len(items) == 250
    assert len(world.transport.calls) == 3


async def test_the_end_of_the_window_is_not_in_it():
    world = World(Scenario(run_s=1.0, runners=9))
    for _ in range(3):
        await world.submit({})
        await asyncio.sleep(10.0)
    [third, second, first] = await read(world.send)
    assert await read(world.send, start=first.sent_at, end=third.sent_at) == [second, first]


async def test_a_row_that_is_late_comes_later():
    world = World(Scenario(run_s=1.0, history_delay_s=60.0))
    request_id = await world.submit({})
    await asyncio.sleep(30.0)
    assert await read(world.send) == []
    await asyncio.sleep(31.0)
    assert [item.request_id for item in await read(world.send)] == [request_id]


async def test_what_still_waits_is_told_only_by_a_history_that_lists_it():
    for is_listed in (False, True):
        world = World(Scenario(runners=0, history_lists_queued=is_listed))
        await world.submit({"n": 1})
        await asyncio.sleep(1.0)
        items = await read(world.send, with_payloads=True)
        assert [(item.input, item.ended_at) for item in items] == [({"n": 1}, None)] * is_listed


async def test_inputs_that_were_not_stored_are_none():
    world = World(Scenario(run_s=1.0, history_stores_payloads=False))
    await world.submit({"n": 1})
    await asyncio.sleep(2.0)
    [item] = await read(world.send, with_payloads=True)
    assert (item.input, item.output, item.status_code) == (None, None, 200)


async def test_a_stalling_history_is_tried_again(tries):
    world = World(Scenario(run_s=1.0, faults=(Fault("stall", "history", times=2),)))
    await world.submit({})
    await asyncio.sleep(2.0)
    assert len(await read(world.send, tries=tries)) == 1
    assert world.emulator.stats().calls["history"] == 3


async def test_an_account_without_the_right_is_told_so():
    world = World(Scenario(faults=(Fault("json_error", "history", status_code=403),)))
    with pytest.raises(ApiError, match="Forbidden") as caught:
        await read(world.send)
    assert caught.value.error_type == "authorization_error"
    assert caught.value.request_id is not None


async def test_maton_is_refused_before_anything_is_sent():
    emulator = LoopbackEmulator()
    transport = emulator.transport(emulator.maton)
    with pytest.raises(UnsupportedError, match="platform"):
        await read(transport.send)
    assert transport.calls == []
    assert emulator.stats().calls == {}


async def test_a_cut_page_is_read_again(script, tries):
    whole = a_reply(200, {"items": [{"request_id": "r-1"}]})
    cut = a_reply(200, whole.body[:10])
    assert len(await read(script(cut, whole), tries=tries)) == 1
