"""The emulated catalogue, usage and deletion: what is told, and what is then gone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from jsonschema import Draft202012Validator

from falq.emulator import App, Request, Scenario
from falq.emulator.catalogue import ENTRIES
from falq.emulator.models import MODELS, find_model
from tests.unit.emulator.conftest import Client

MODELS_PATH = "/_platform/models"
USAGE = "/_platform/models/usage"
SCHNELL = "fal-ai/flux/schnell"


@pytest.fixture
def client():
    """The emulator with its own models, whose jobs end at once."""
    return Client(App(Scenario(speed=float("inf")), find_model=find_model))


def ask(client, path=MODELS_PATH, *, now=0.0, code=200, **query):
    reply = client.call("GET", path, now=now, query=urlencode(query, doseq=True))
    assert reply.status_code == code, reply
    return json.loads(reply.body)


def ids(page):
    return [model["endpoint_id"] for model in page["models"]]


def delete(client, request_id, *, now=9.0, **headers):
    path = f"{MODELS_PATH}/requests/{request_id}/payloads"
    return client.call("DELETE", path, now=now, headers=headers)


def test_every_model_is_in_the_catalogue_and_the_echo_is_not(client):
    assert ids(ask(client)) == sorted(MODELS)
    assert ids(ask(client, endpoint_id="acme/echo")) == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"q": "SPEECH"}, ["fal-ai/f5-tts", "fal-ai/whisper"]),
        ({"q": "picture lora"}, ["fal-ai/fast-sdxl"]),
        ({"category": "text-to-video"}, ["fal-ai/minimax/video-01"]),
        ({"status": "deprecated"}, []),
        ({"endpoint_id": [SCHNELL, "fal-ai/whisper,acme/x"]}, [SCHNELL, "fal-ai/whisper"]),
        ({"q": "nothing has this"}, []),
    ],
)
def test_a_search_finds_what_fits(client, query, found):
    assert ids(ask(client, **query)) == found


def test_the_pages_together_hold_every_model_once(client):
    first = ask(client, limit=4)
    second = ask(client, limit=4, cursor=first["next_cursor"])
    assert ids(first) + ids(second) == sorted(MODELS)
    assert (first["has_more"], second["has_more"], second["next_cursor"]) == (True, False, None)


@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": 101}, {"limit": "x"}, {"status": "new"}, {"expand": "all"}],
)
def test_a_query_that_cannot_be_used_is_a_validation_error(client, query):
    assert ask(client, code=400, **query)["error"]["type"] == "validation_error"


def test_the_catalogue_needs_no_key_but_no_wrong_one_either(client):
    reply = client.app.handle(_request({}), 0.0)
    assert reply.status_code == 200
    wrong = client.app.handle(_request({"authorization": "Key a:b"}), 0.0)
    assert wrong.status_code == 401
    prices = client.app.handle(_request({}, f"{MODELS_PATH}/pricing"), 0.0)
    assert prices.status_code == 401


def _request(headers, path=MODELS_PATH):
    return Request(method="GET", path=path, headers=headers)


@pytest.mark.parametrize("endpoint", ENTRIES)
def test_a_document_has_fals_paths_and_schemas_that_are_valid(client, endpoint):
    page = ask(client, endpoint_id=endpoint, expand="openapi-3.0,enterprise_status")
    [model] = page["models"]
    openapi = model["openapi"]
    assert openapi["info"]["x-fal-metadata"]["endpointId"] == endpoint
    assert f"/{endpoint}/requests/{{request_id}}" in openapi["paths"]
    schemas = openapi["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
        assert set(schema.get("x-fal-order-properties", [])) <= schema["properties"].keys()
    [source] = [name for name in schemas if name.endswith("Input")]
    known = {one.name: one for one in ENTRIES[endpoint].source.fields}
    assert schemas[source]["properties"].keys() == known.keys()
    required = {name for name, one in known.items() if one.required}
    assert set(schemas[source]["required"]) == required
    assert "openapi" not in ask(client, endpoint_id=endpoint)["models"][0]


def test_what_a_model_answers_fits_the_document_that_it_publishes(client):
    request_id = client.submit({"prompt": "a cat"}, endpoint=SCHNELL)["request_id"]
    reply = client.call("GET", f"/fal-ai/flux/requests/{request_id}", now=5.0)
    [model] = ask(client, endpoint_id=SCHNELL, expand="openapi-3.0")["models"]
    schema = {"$ref": "#/components/schemas/FalAiFluxSchnellOutput"} | model["openapi"]
    Draft202012Validator(schema).validate(json.loads(reply.body))


def at(second):
    return datetime.fromtimestamp(1767225600 + second, UTC).isoformat()


def test_usage_adds_up_the_units_of_jobs_that_ended_well(client):
    for number in range(3):
        client.submit({"prompt": "a", "num_images": 2}, endpoint=SCHNELL, now=number * 3600.0)
    client.submit({}, endpoint=SCHNELL, now=7200.0)
    told = ask(client, USAGE, now=9000.0, timeframe="hour", expand=["time_series", "summary"])
    [row] = told["summary"]
    assert (row["endpoint_id"], row["unit"], row["currency"]) == (SCHNELL, "megapixels", "USD")
    assert row["cost"] == pytest.approx(row["quantity"] * row["unit_price"])
    assert [bucket["bucket"] for bucket in told["time_series"]] == [
        "2026-01-01T00:00:00Z",
        "2026-01-01T01:00:00Z",
        "2026-01-01T02:00:00Z",
    ]
    each = [bucket["results"][0]["quantity"] for bucket in told["time_series"]]
    assert sum(each) == row["quantity"] > 0


def test_usage_keeps_to_its_window_and_its_endpoints(client):
    client.submit({"n": 1}, endpoint="acme/echo", now=10.0)
    client.submit({"prompt": "a"}, endpoint=SCHNELL, now=20.0)
    window = {"start": at(15), "end": at(30), "expand": "summary,auth_method"}
    [row] = ask(client, USAGE, now=60.0, **window)["summary"]
    assert (row["endpoint_id"], row["auth_method"]) == (SCHNELL, "api_key")
    narrow = window | {"start": at(0), "endpoint_id": "acme/echo"}
    [row] = ask(client, USAGE, now=60.0, **narrow)["summary"]
    assert (row["endpoint_id"], row["quantity"], row["cost"]) == ("acme/echo", 1.0, 0.0)
    for frame in ("minute", "day", "week", "month"):
        told = ask(client, USAGE, now=60.0, timeframe=frame)
        assert len(told["time_series"]) == 1
        assert "summary" not in told


@pytest.mark.parametrize("query", [{"timeframe": "year"}, {"expand": "all"}, {"start": "x"}])
def test_usage_of_a_window_that_is_none_is_refused(client, query):
    ask(client, USAGE, code=400, **query)


def test_a_deletion_takes_input_output_and_output_files(client):
    request_id = client.submit({"prompt": "a"}, endpoint=SCHNELL)["request_id"]
    path = f"/fal-ai/flux/requests/{request_id}"
    [image] = json.loads(client.call("GET", path, now=5.0).body)["images"]
    file_path = "/files/" + image["url"].partition("/files/")[2]
    assert client.call("GET", file_path, now=5.0).status_code == 200

    reply = delete(client, request_id)
    assert json.loads(reply.body) == {
        "cdn_delete_results": [{"link": image["url"], "exception": None}]
    }
    assert client.call("GET", file_path, now=9.0).status_code == 404
    assert client.call("GET", path, now=9.0).status_code == 404
    history = ask(
        client,
        f"{MODELS_PATH}/requests/by-endpoint",
        now=9.0,
        endpoint_id=SCHNELL,
        expand="payloads",
    )
    [item] = history["items"]
    assert (item["status_code"], item["json_input"], item["json_output"]) == (200, None, None)


def test_a_file_that_came_in_stays(client):
    first = client.submit({"prompt": "a"}, endpoint=SCHNELL)["request_id"]
    body = json.loads(client.call("GET", f"/fal-ai/flux/requests/{first}", now=5.0).body)
    url = body["images"][0]["url"]
    second = client.submit({"image": {"url": url}}, endpoint="acme/echo", now=5.0)["request_id"]
    assert json.loads(delete(client, second).body) == {"cdn_delete_results": []}
    file_path = "/files/" + url.partition("/files/")[2]
    assert client.call("GET", file_path, now=9.0).status_code == 200


def test_the_same_key_deletes_once_and_is_told_the_same(client):
    request_id = client.submit({"prompt": "a"}, endpoint=SCHNELL)["request_id"]
    first = delete(client, request_id, **{"idempotency-key": "k"})
    again = delete(client, request_id, **{"idempotency-key": "k"})
    assert first.body == again.body
    assert delete(client, request_id, **{"idempotency-key": "other"}).status_code == 404
    assert delete(client, request_id).status_code == 404


def test_what_has_not_ended_or_is_not_known_cannot_be_deleted():
    client = Client(App(Scenario(runners=0), find_model=find_model))
    request_id = client.submit({}, endpoint="acme/echo")["request_id"]
    assert delete(client, request_id).status_code == 400
    assert delete(client, "nobody").status_code == 404


def test_a_file_after_a_deletion_gets_an_address_of_its_own(client):
    made = []
    for _ in range(3):
        request_id = client.submit({"prompt": "a"}, endpoint=SCHNELL, now=9.0)["request_id"]
        reply = client.call("GET", f"/fal-ai/flux/requests/{request_id}", now=9.0)
        made.append(json.loads(reply.body)["images"][0]["url"])
        delete(client, request_id)
    assert len({url.rpartition("/")[0] for url in made}) == 3


def test_the_new_calls_are_known_to_faults_by_name(client):
    ask(client)
    ask(client, USAGE)
    delete(client, "nobody")
    assert client.app.statistics().calls == {"catalogue": 1, "usage": 1, "payloads": 1}
