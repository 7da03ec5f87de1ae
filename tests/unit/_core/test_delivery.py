from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq._core.delivery import RecentIds, address_for, intent_of, read_delivery
from falq.errors import WebhookError

INTENT = "0123456789abcdef" * 2


def body_of(**fields):
    return json.dumps({"request_id": "r-1", "status": "OK", "payload": {"n": 1}} | fields).encode()


def test_a_good_delivery_is_the_result():
    delivery = read_delivery(
        body_of(gateway_request_id="g-1"),
        request_id="r-1",
        user_id="u",
        signed_at=7,
        intent_id=INTENT,
    )
    assert delivery.has_result
    assert delivery.payload == {"n": 1}
    assert (delivery.request_id, delivery.gateway_request_id) == ("r-1", "g-1")
    assert (delivery.user_id, delivery.signed_at, delivery.intent_id) == ("u", 7, INTENT)
    assert delivery.body == body_of(gateway_request_id="g-1")


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "ERROR", "error": "Invalid status code: 422", "payload": {"detail": []}},
        {"status": "ERROR"},
        {"status": "COMPLETED"},
        {"status": None},
        {"payload": None},
        {"payload": None, "payload_error": "Response payload is not JSON serializable."},
        {"payload_error": "cut"},
        {"error": "odd"},
        {"payload": [1]},
        {"payload": "text"},
    ],
)
def test_anything_else_is_a_hint_to_fetch(fields):
    assert not read_delivery(body_of(**fields)).has_result


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"r-1"', b"{}", b'{"request_id":1}', b'{"request_id":""}', b"\xff",
     b"[" * 5000],
)  # fmt: skip
def test_what_is_no_delivery_is_refused(body):
    with pytest.raises(WebhookError, match="no JSON object"):
        read_delivery(body)


def test_a_body_about_another_request_is_refused():
    with pytest.raises(WebhookError, match="different requests"):
        read_delivery(body_of(), request_id="r-2")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_delivery_or_refused(body):
    with contextlib.suppress(WebhookError):
        assert read_delivery(body).request_id


@pytest.mark.parametrize("base_url", ["https://x.example/fal", "https://x.example/fal/"])
def test_an_address_carries_its_intent_there_and_back(base_url):
    address = address_for(base_url, INTENT)
    assert address == f"https://x.example/fal/{INTENT}"
    assert intent_of(address) == intent_of(f"{address}/") == INTENT


@pytest.mark.parametrize(
    "path", ["", "/", "/fal", f"/{INTENT[:-1]}", f"/{INTENT.upper()}", "/../x"]
)
def test_a_path_without_an_intent_names_none(path):
    assert intent_of(path) is None


def test_an_id_is_new_once_until_it_is_forgotten():
    recent = RecentIds(most=2)
    assert [recent.note(one) for one in "aabba"] == [True, False, True, False, False]
    assert recent.note("c")
    assert len(recent) == 2
    assert recent.note("a")
