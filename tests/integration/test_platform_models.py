"""Models, schemas and typed inputs over real sockets: where the key goes and what is sent."""

from __future__ import annotations

import secrets

import pytest

import falq
from falq.emulator import Emulator, Fault, Scenario
from falq.gateways import Fal
from falq.models import ClarityUpscaler, FluxSchnell

SCHNELL, CLARITY = "fal-ai/flux/schnell", "fal-ai/clarity-upscaler"
_MARKER = secrets.token_hex(12)
_KEY = f"keyid-{_MARKER}:{_MARKER}"

pytestmark = pytest.mark.slow


async def test_a_session_finds_prices_checks_runs_and_forgets():
    async with (
        Emulator(Scenario(speed=1000.0)) as emulator,
        falq.Session(emulator.gateway, validate=True) as session,
    ):
        found = [model.endpoint async for model in session.models.search("flux schnell")]
        assert found == [SCHNELL]
        schema = await session.models.schema(SCHNELL)
        assert schema.input_fields()[0].name == "prompt"
        price = await session.models.price(SCHNELL)
        assert price is not None
        estimate = await session.models.estimate(units={SCHNELL: 10})
        assert estimate.total_cost == pytest.approx(10 * price.unit_price)

        with pytest.raises(falq.ArgumentError, match="upscale_factor"):
            await session.subscribe(CLARITY, {"image_url": "https://x.example/y.png", "scale": 2})
        handle = await session.submit(FluxSchnell(prompt="a tiny cute cat", image_size="square"))
        output = await handle
        assert output.images[0].width == 512

        [item] = [item async for item in session.models.history(SCHNELL, with_payloads=True)]
        assert (item.request_id, item.input["prompt"]) == (handle.request_id, "a tiny cute cat")
        usage = await session.models.usage()
        assert [row.endpoint for row in usage.summary] == [SCHNELL]
        [deleted] = await session.models.delete_payloads(handle.request_id)
        assert (deleted.url, deleted.error) == (output.images[0].url, None)
        with pytest.raises(falq.RequestNotFoundError):
            await session.result(SCHNELL, handle.request_id)
        assert emulator.stats().submits == 1


async def test_a_file_in_a_typed_input_is_checked_and_then_uploaded(tmp_path):
    path = tmp_path / "cat.png"
    path.write_bytes(b"no picture at all")
    async with (
        Emulator(Scenario(speed=1000.0)) as emulator,
        falq.Session(emulator.gateway, validate=True) as session,
    ):
        with pytest.raises(falq.JobInputError, match="image_url"):
            await session.subscribe(ClarityUpscaler(image_url=path))
        assert (emulator.stats().uploads, emulator.stats().submits) == (1, 1)


@pytest.mark.parametrize("kind", ["reset", "nginx", "truncated_json", "cut"])
async def test_trouble_on_the_way_to_the_catalogue_is_survived(kind):
    scenario = Scenario(speed=1000.0, faults=(Fault(kind, "catalogue", times=2),))
    async with (
        Emulator(scenario) as emulator,
        falq.Session(emulator.gateway, validate=True, seed=1) as session,
    ):
        await session.subscribe(SCHNELL, {"prompt": "a"})
        assert emulator.stats().calls["catalogue"] == 3


async def test_a_deletion_whose_answer_was_lost_is_carried_out_once():
    fault = Fault("reset", "payloads", when="after", times=1)
    async with (
        Emulator(Scenario(speed=1000.0, faults=(fault,))) as emulator,
        falq.Session(emulator.gateway, seed=1) as session,
    ):
        handle = await session.submit(SCHNELL, {"prompt": "a"})
        await handle
        assert len(await session.models.delete_payloads(handle.request_id)) == 1
        assert emulator.stats().calls["payloads"] == 2


async def test_the_key_goes_to_the_gateways_own_address_and_into_no_error(raw_server, spy):
    """A document names other hosts in every place where a URL can stand."""
    evil = {"$ref": f"{spy.url}/schema.json", "$id": spy.url, "$schema": spy.url}
    source = {"type": "object", "properties": {"prompt": evil, "size": {"$dynamicRef": spy.url}}}
    openapi = {"servers": [{"url": spy.url}], "components": {"schemas": {"SchnellInput": source}}}
    entry = {"endpoint_id": SCHNELL, "metadata": {"model_url": spy.url}, "openapi": openapi}

    async def answer(connection):
        while await connection.read_request():
            connection.answer({"models": [entry]})

    async with raw_server(answer) as server:
        gateway = Fal(key=_KEY, queue_url=spy.url, api_url=f"{server.url}/v1")
        async with falq.Session(gateway, validate=True) as session:
            with pytest.raises(falq.ArgumentError, match="seed") as caught:
                await session.submit(SCHNELL, {"prompt": {"a": 1}, "size": 3, "seed": 1})
        assert b"GET /v1/models?endpoint_id=" in server.heard
        assert _MARKER.encode() in server.heard
    assert _MARKER not in repr(caught.value) + repr(vars(caught.value))
    assert spy.connections == []


async def test_maton_is_refused_before_any_connection_is_made(contacted_hosts):
    async with Emulator() as emulator, falq.Session(emulator.maton) as session:
        contacted_hosts.clear()
        for ask in (session.models.get, session.models.schema, session.models.price):
            with pytest.raises(falq.UnsupportedError):
                await ask(SCHNELL)
        with pytest.raises(falq.UnsupportedError):
            await session.models.delete_payloads("r-1")
        assert contacted_hosts == []
