"""The catalogue: what is asked, what of an entry is read, and what is passed over."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from falq.errors import ArgumentError, RequestNotFoundError, WireError
from falq.model import EndpointId
from falq.platform.catalogue import load_model, search_models

SCHNELL = EndpointId.parse("fal-ai/flux/schnell")
ENTRY = {
    "endpoint_id": "fal-ai/flux/schnell",
    "metadata": {
        "display_name": "FLUX.1 [schnell]",
        "category": "text-to-image",
        "description": "Draws.",
        "status": "active",
        "tags": ["fast", 3, "picture"],
        "updated_at": "2026-05-01T12:00:00Z",
        "thumbnail_url": "https://x/y.png",
        "model_url": "https://fal.run/fal-ai/flux/schnell",
        "is_favorited": False,
    },
}


def page(*entries, **more):
    return {"models": list(entries), "next_cursor": None, "has_more": False} | more


async def search(send, tries, *words, **wishes):
    return [model async for model in search_models(send, *words, tries=tries, **wishes)]


async def test_a_search_asks_for_what_was_said_and_nothing_else(script, tries):
    send = script(page(), page())
    await search(send, tries)
    await search(send, tries, "a cat", category="text-to-image", status="active", limit=3)
    assert [call.target for call in send.calls] == [
        "/models?",
        "/models?q=a+cat&category=text-to-image&status=active&limit=3",
    ]


async def test_an_entry_is_read_and_the_rest_of_it_kept(script, tries):
    [model] = await search(script(page(ENTRY)), tries)
    assert (model.endpoint, model.name) == ("fal-ai/flux/schnell", "FLUX.1 [schnell]")
    assert (model.category, model.status) == ("text-to-image", "active")
    assert model.tags == ("fast", "picture")
    assert model.updated_at == datetime(2026, 5, 1, 12, tzinfo=UTC)
    assert model.thumbnail_url == "https://x/y.png"
    assert model.extra == {"is_favorited": False}
    assert model.openapi is None


@pytest.mark.parametrize("odd", [{}, {"metadata": None}, {"metadata": {"tags": 3, "status": 4}}])
async def test_an_entry_that_tells_little_is_an_entry(script, tries, odd):
    [model] = await search(script(page({"endpoint_id": "a/b"} | odd)), tries)
    assert (model.endpoint, model.name, model.tags, model.status) == ("a/b", "a/b", (), None)


@pytest.mark.parametrize("entry", [3, {}, {"endpoint_id": ""}, {"endpoint_id": None}])
async def test_an_entry_without_an_id_is_left_out(script, tries, entry):
    assert len(await search(script(page(entry, ENTRY)), tries)) == 1


async def test_a_model_on_two_pages_comes_once(script, tries):
    other = {"endpoint_id": "a/b"}
    send = script(page(ENTRY, next_cursor="c", has_more=True), page(ENTRY, other))
    assert [model.endpoint for model in await search(send, tries)] == ["fal-ai/flux/schnell", "a/b"]


async def test_a_limit_ends_the_search_without_another_call(script, tries):
    entries = [{"endpoint_id": f"a/{n}"} for n in range(50)]
    send = script(
        page(*entries, next_cursor="c", has_more=True),
        page({"endpoint_id": "a/x"}, next_cursor="d", has_more=True),
    )
    assert len(await search(send, tries, limit=51)) == 51
    assert [call.target for call in send.calls] == [
        "/models?limit=50",
        "/models?limit=50&cursor=c",
    ]


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "3"])
def test_a_limit_that_is_none_is_refused_at_once(script, limit):
    with pytest.raises(ArgumentError, match="limit"):
        search_models(script(), limit=limit)


@pytest.mark.parametrize("models", [None, {}, "x"])
async def test_a_page_without_a_list_is_an_error(script, tries, models):
    with pytest.raises(WireError, match="no list of models"):
        await search(script(page() | {"models": models}), tries)


async def test_one_model_is_asked_for_by_its_full_id(script, tries):
    send = script(page({"endpoint_id": "fal-ai/flux"}, ENTRY), page(ENTRY | {"openapi": {"a": 1}}))
    assert (await load_model(send, SCHNELL, tries=tries)).endpoint == SCHNELL.full
    model = await load_model(send, SCHNELL, with_openapi=True, tries=tries)
    assert model.openapi == {"a": 1}
    assert [call.target for call in send.calls] == [
        "/models?endpoint_id=fal-ai%2Fflux%2Fschnell",
        "/models?endpoint_id=fal-ai%2Fflux%2Fschnell&expand=openapi-3.0",
    ]


async def test_a_model_that_is_not_there_is_not_found(script, tries):
    send = script(page({"endpoint_id": "fal-ai/flux"}))
    with pytest.raises(RequestNotFoundError, match="no model fal-ai/flux/schnell") as caught:
        await load_model(send, SCHNELL, tries=tries)
    assert caught.value.endpoint == SCHNELL.full
