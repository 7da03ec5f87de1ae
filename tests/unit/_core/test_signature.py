from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq._core.signature import (
    TOLERANCE_S,
    SignedHead,
    check_fresh,
    read_head,
    signed_message,
)
from falq.errors import SignatureError, StaleDeliveryError

NOW = 1_767_225_600
GOOD = {
    "X-Fal-Webhook-Request-Id": "019f0000-0000-7000-8000-000000000001",
    "X-Fal-Webhook-User-Id": "user_123",
    "X-Fal-Webhook-Timestamp": str(NOW),
    "X-Fal-Webhook-Signature": "0f" * 64,
}


def head_of(**changes):
    return read_head((GOOD | changes).items())


def test_the_four_headers_are_read_in_any_case_among_others():
    pairs = [("Host", "x"), *((name.upper(), value) for name, value in GOOD.items())]
    head = read_head(pairs)
    assert head == SignedHead(
        request_id=GOOD["X-Fal-Webhook-Request-Id"],
        user_id="user_123",
        timestamp=str(NOW),
        signature=b"\x0f" * 64,
    )
    assert head.signed_at == NOW


@pytest.mark.parametrize("name", GOOD)
def test_each_header_comes_exactly_once(name):
    without = [pair for pair in GOOD.items() if pair[0] != name]
    with pytest.raises(SignatureError, match=f"{name.lower()} is missing"):
        read_head(without)
    with pytest.raises(SignatureError, match=f"{name.lower()} comes more than once"):
        read_head([*GOOD.items(), (name.lower(), GOOD[name])])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Fal-Webhook-Request-Id", ""),
        ("X-Fal-Webhook-Request-Id", "a\nb"),
        ("X-Fal-Webhook-Request-Id", "a b"),
        ("X-Fal-Webhook-Request-Id", "ä"),
        ("X-Fal-Webhook-Request-Id", "a" * 257),
        ("X-Fal-Webhook-Request-Id", "a\n"),
        ("X-Fal-Webhook-User-Id", "u\r"),
        ("X-Fal-Webhook-User-Id", ""),
        ("X-Fal-Webhook-Timestamp", "-1"),
        ("X-Fal-Webhook-Timestamp", "1e9"),
        ("X-Fal-Webhook-Timestamp", " 1"),
        ("X-Fal-Webhook-Timestamp", "1" * 13),
        ("X-Fal-Webhook-Timestamp", "١٧٦٧"),
        ("X-Fal-Webhook-Signature", "0f" * 63),
        ("X-Fal-Webhook-Signature", "0F" * 64),
        ("X-Fal-Webhook-Signature", "0f" * 63 + "0g"),
        ("X-Fal-Webhook-Signature", "0f" * 64 + "\n"),
    ],
)
def test_a_header_of_another_form_is_refused(name, value):
    with pytest.raises(SignatureError, match="malformed"):
        head_of(**{name: value})


def test_the_message_is_that_of_the_reference():
    body = (
        b'{"request_id":"019f0000-0000-7000-8000-000000000001",'
        b'"gateway_request_id":"019f0000-0000-7000-8000-000000000001",'
        b'"status":"OK","payload":{"images":[]}}'
    )
    message = signed_message(head_of(), body)
    assert len(body) == 151
    assert len(message) == 121
    assert message.decode().split("\n") == [
        "019f0000-0000-7000-8000-000000000001",
        "user_123",
        "1767225600",
        "88ed18b565ca8ef269f40760b371702b5e5885cc58f793057222a6dab3f4eb88",
    ]


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_two_bodies_sign_to_one_message_only_if_they_are_equal(one, other):
    same = signed_message(head_of(), one) == signed_message(head_of(), other)
    assert same == (one == other)
    assert signed_message(head_of(), one).endswith(hashlib.sha256(one).hexdigest().encode())


@pytest.mark.parametrize("apart_s", [0.0, 299.0, -299.0, TOLERANCE_S, -TOLERANCE_S])
def test_a_delivery_counts_for_five_minutes_to_both_sides(apart_s):
    check_fresh(head_of(), NOW + apart_s)


@pytest.mark.parametrize(
    ("apart_s", "words"), [(300.5, "old"), (86_400.0, "old"), (-300.5, "ahead"), (-9e9, "ahead")]
)
def test_a_delivery_of_another_time_is_stale(apart_s, words):
    with pytest.raises(StaleDeliveryError, match=words) as caught:
        check_fresh(head_of(), NOW + apart_s)
    assert caught.value.age_s == pytest.approx(apart_s)
    assert caught.value.request_id == GOOD["X-Fal-Webhook-Request-Id"]


def test_the_signature_is_not_shown():
    assert "0f0f" not in repr(head_of())
