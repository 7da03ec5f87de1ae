from __future__ import annotations

import random

import pytest
from hypothesis import settings

from falq.errors import SignatureError, StaleDeliveryError, WebhookError
from falq.webhooks import read_keys, verify, verify_signature

NOW = 1_767_225_600
FUZZ = 100_000 if settings.get_current_profile_name() == "deep" else 20_000
VECTOR_BODY = (
    b'{"request_id":"019f0000-0000-7000-8000-000000000001",'
    b'"gateway_request_id":"019f0000-0000-7000-8000-000000000001",'
    b'"status":"OK","payload":{"images":[]}}'
)
VECTOR_HEADERS = {
    "X-Fal-Webhook-Request-Id": "019f0000-0000-7000-8000-000000000001",
    "X-Fal-Webhook-User-Id": "user_123",
    "X-Fal-Webhook-Timestamp": "1767225600",
    "X-Fal-Webhook-Signature": (
        "70b9b0321223f8e0dab6453c06f4f066db45d4642f1d33ad6eb648bbe49e13fe"
        "320ef0d3f3c4219c95b58d20c62e7f9b65fc81eb97feccbcf5cc334fd78c3a0f"
    ),
}
VECTOR_KEYS = (
    b'{"keys":[{"kty":"OKP","crv":"Ed25519","x":"A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"}]}'
)


def test_the_vector_of_the_reference_is_verified():
    delivery = verify(VECTOR_HEADERS, VECTOR_BODY, keys=VECTOR_KEYS, now=NOW, intent_id="i")
    assert delivery.request_id == "019f0000-0000-7000-8000-000000000001"
    assert delivery.payload == {"images": []}
    assert (delivery.user_id, delivery.signed_at, delivery.intent_id) == ("user_123", NOW, "i")


def test_a_signature_is_verified_without_a_look_at_what_is_signed(signer, stranger):
    body = b"[no JSON"
    headers = signer.headers(body)
    head = verify_signature(headers, body, keys=[signer.key], now=NOW)
    assert (head.request_id, head.signed_at) == ("r-1", NOW)
    with pytest.raises(WebhookError, match="no JSON object"):
        verify(headers, body, keys=[signer.key], now=NOW)
    with pytest.raises(SignatureError, match="no known key"):
        verify_signature(headers, body, keys=[stranger.key], now=NOW)
    with pytest.raises(StaleDeliveryError):
        verify_signature(headers, body, keys=[signer.key], now=NOW + 301)


def test_the_system_s_clock_is_read_if_no_time_is_given():
    with pytest.raises(StaleDeliveryError):
        verify(VECTOR_HEADERS, VECTOR_BODY, keys=VECTOR_KEYS)


def test_every_key_is_tried(signer, stranger):
    body = signer.body()
    headers = signer.headers(body)
    for keys in ([signer.key], [stranger.key, bytes(31), b"\xff" * 32, signer.key]):
        assert verify(headers, body, keys=keys, now=NOW).payload == {"n": 1}
    for keys in ([], [stranger.key], [bytes(32)]):
        with pytest.raises(SignatureError, match="no known key"):
            verify(headers, body, keys=keys, now=NOW)


def test_pairs_show_a_header_that_a_mapping_would_fold(signer):
    body = signer.body()
    pairs = [*signer.headers(body).items(), ("x-fal-webhook-request-id", "r-1")]
    with pytest.raises(SignatureError, match="more than once"):
        verify(pairs, body, keys=[signer.key], now=NOW)


def test_a_signed_body_about_another_request_is_refused(signer):
    body = signer.body(request_id="r-2")
    with pytest.raises(WebhookError, match="different requests"):
        verify(signer.headers(body), body, keys=[signer.key], now=NOW)


def test_a_wrong_signature_is_told_before_the_body_is_read(signer, stranger):
    headers = stranger.headers(b"no json")
    with pytest.raises(SignatureError):
        verify(headers, b"no json", keys=[signer.key], now=NOW)


def _mutate(chance, headers, body):
    """Change one thing that the signature covers, or the signature."""
    headers = dict(headers)
    name = chance.choice([*headers, "body", "body"])
    if name == "body":
        place = chance.randrange(len(body))
        kind = chance.randrange(3)
        if kind == 0:
            return headers, body[:place] + bytes([body[place] ^ 1 << chance.randrange(8)]) + body[
                place + 1 :
            ]
        if kind == 1:
            return headers, body[:place] + body[place + 1 :]
        return headers, body[:place] + bytes([chance.randrange(256)]) + body[place:]
    value = headers[name]
    place = chance.randrange(len(value))
    letter = chance.choice("0123456789abcdefABCXYZ-_.~: \n\x00é")
    headers[name] = value[:place] + letter + value[place + chance.randrange(2) :]
    return headers, body


@pytest.mark.slow
def test_no_mutation_of_a_delivery_is_accepted(signer):
    chance = random.Random(4)
    body = signer.body(payload={"images": [{"url": "https://x.example/1.png"}]})
    headers = signer.headers(body)
    accepted = []
    tried = 0
    while tried < FUZZ:
        changed_headers, changed_body = _mutate(chance, headers, body)
        if (changed_headers, changed_body) == (headers, body):
            continue
        tried += 1
        try:
            verify(changed_headers, changed_body, keys=[signer.key], now=NOW)
        except WebhookError:
            continue
        accepted.append((changed_headers, changed_body))
    assert accepted == []


def test_a_key_set_in_bytes_is_read_first():
    with pytest.raises(WebhookError, match="no set"):
        verify(VECTOR_HEADERS, VECTOR_BODY, keys=b"[]", now=NOW)
    assert read_keys(VECTOR_KEYS)[0].hex().startswith("03a107bff3ce10be")
