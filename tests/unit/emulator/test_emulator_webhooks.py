from __future__ import annotations

import base64
import hashlib
import json

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from falq.emulator.webhooks import MOST_ATTEMPTS

HERE = "http://127.0.0.1:9/hook?token=a%20b&x=1"
QUERY = "fal_webhook=http%3A%2F%2F127.0.0.1%3A9%2Fhook%3Ftoken%3Da%2520b%26x%3D1"
WALL_S = 1_767_225_600


def published_keys(client):
    reply = client.call("GET", "/_rest/.well-known/jwks.json", headers={"authorization": ""})
    assert reply.status_code == 200
    entries = json.loads(reply.body)["keys"]
    assert all((one["kty"], one["crv"]) == ("OKP", "Ed25519") for one in entries)
    assert all(len(one["x"]) == 43 for one in entries)
    return [Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(one["x"] + "="))
            for one in entries]  # fmt: skip


def is_signed(client, post):
    headers = dict(post.headers)
    digest = hashlib.sha256(post.body).hexdigest()
    names = ("Request-Id", "User-Id", "Timestamp")
    parts = [headers.get(f"X-Fal-Webhook-{name}", "") for name in names]
    try:
        signature = bytes.fromhex(headers.get("X-Fal-Webhook-Signature", ""))
    except ValueError:
        return False
    for key in published_keys(client):
        try:
            key.verify(signature, "\n".join([*parts, digest]).encode())
        except InvalidSignature:
            continue
        return True
    return False


def one_post(client, *, at=20.0, body=None, query=QUERY):
    client.submit({"run_s": 5.0} if body is None else body, query=query)
    (post,) = client.app.take_webhooks(at)
    return post


def test_a_job_that_ends_is_posted_to_the_address_that_its_submit_named(make_app):
    client = make_app()
    request_id = client.submit({"run_s": 5.0}, query=QUERY)["request_id"]
    assert client.app.next_webhook() == 5.0
    assert client.app.take_webhooks(4.9) == []
    (post,) = client.app.take_webhooks(5.0)
    assert (post.url, post.attempt, post.timeout_s) == (HERE, 1, 15.0)
    assert json.loads(post.body) == {
        "request_id": request_id,
        "gateway_request_id": request_id,
        "status": "OK",
        "payload": {"run_s": 5.0},
    }
    headers = dict(post.headers)
    assert headers["content-type"] == "application/json"
    assert headers["X-Fal-Webhook-Timestamp"] == str(WALL_S + 5)
    assert is_signed(client, post)


def test_a_submit_that_names_no_address_is_posted_nowhere(make_app):
    client = make_app()
    client.submit({"run_s": 1.0})
    assert client.app.next_webhook() is None
    assert client.app.take_webhooks(99.0) == []


def test_a_model_s_error_is_told_with_its_body(make_app):
    client = make_app()
    post = one_post(client, body={"run_s": 1.0, "is_wrong": True})
    told = json.loads(post.body)
    assert (told["status"], told["error"]) == ("ERROR", "Invalid status code: 422")
    assert told["payload"]["detail"][0]["type"] == "missing"
    assert list(told) == ["request_id", "gateway_request_id", "status", "error", "payload"]


def test_a_platform_s_error_is_told_in_its_words(make_app):
    post = one_post(make_app(), body={"_emulator": {"fail": "runner_disconnected"}})
    assert json.loads(post.body)["error"] == "Runner disconnected"


def test_a_payload_can_be_missing(make_app):
    told = json.loads(one_post(make_app(webhook_payload="null")).body)
    assert (told["status"], told["payload"]) == ("OK", None)
    assert told["payload_error"].startswith("Response payload is not JSON serializable")


def test_what_is_refused_is_posted_again_ever_later_and_then_given_up(make_app):
    client = make_app()
    post = one_post(client)
    waits = []
    now = 20.0
    while True:
        client.app.webhooks.record_answer(post, 503, now)
        due = client.app.webhooks.next_due()
        if due is None:
            break
        waits.append(due - now)
        now = due
        (post,) = client.app.take_webhooks(now)
        assert post.timeout_s == 120.0
        assert dict(post.headers)["X-Fal-Webhook-Timestamp"] == str(WALL_S + int(now))
        assert is_signed(client, post)
    assert waits[:5] == [10.0, 20.0, 40.0, 80.0, 120.0]
    assert post.attempt == len(waits) + 1 == MOST_ATTEMPTS
    assert sum(waits) == pytest.approx(3600.0, rel=0.1)
    counts = client.app.statistics().deliveries
    assert counts == {"sent": 31, "refused": 31, "given_up": 1}


@pytest.mark.parametrize(
    ("code", "word"), [(200, "accepted"), (204, "accepted"), (302, "redirected")]
)
def test_an_answer_of_2xx_or_3xx_is_the_last(make_app, code, word):
    client = make_app()
    client.app.webhooks.record_answer(one_post(client), code, 20.0)
    assert not client.app.webhooks.is_busy
    assert client.app.statistics().deliveries == {"sent": 1, word: 1}


@pytest.mark.parametrize("speed", [10.0, float("inf")])
def test_the_waits_go_by_the_speed_and_are_never_none(make_app, speed):
    client = make_app(speed=speed)
    post = one_post(client)
    client.app.webhooks.record_answer(post, None, 20.0)
    assert client.app.webhooks.next_due() == pytest.approx(20.0 + max(10.0 / speed, 0.01))


def test_no_attempt_is_made_after_the_result_is_gone(make_app):
    client = make_app(result_life_s=12.0)
    post = one_post(client, at=5.0)
    client.app.webhooks.record_answer(post, 500, 8.0)
    assert client.app.statistics().deliveries["given_up"] == 1


@pytest.mark.parametrize(
    ("forgery", "is_good_signature", "shift_s"),
    [
        ("wrong_key", False, 0),
        ("other_body", False, 0),
        ("bad_hex", False, 0),
        ("unsigned", False, None),
        ("old_timestamp", True, -3600),
        ("future_timestamp", True, 3600),
    ],
)
def test_first_attempts_can_be_forged_and_later_ones_are_good(
    make_app, forgery, is_good_signature, shift_s
):
    client = make_app(webhook_forgery=forgery)
    post = one_post(client)
    assert is_signed(client, post) is is_good_signature
    if shift_s is not None:
        told = int(dict(post.headers)["X-Fal-Webhook-Timestamp"])
        assert told == WALL_S + 20 + shift_s
    client.app.webhooks.record_answer(post, 401, 20.0)
    (again,) = client.app.take_webhooks(30.0)
    assert is_signed(client, again)
    assert json.loads(again.body) == json.loads(post.body)


def test_all_attempts_can_be_forged(make_app):
    client = make_app(webhook_forgery="wrong_key", webhook_forged_attempts=None)
    client.app.webhooks.record_answer(one_post(client), 401, 20.0)
    (again,) = client.app.take_webhooks(30.0)
    assert not is_signed(client, again)


def test_deliveries_come_in_copies_late_and_out_of_order(make_app):
    client = make_app(webhook_copies=3, webhook_delay_s=1.0, webhook_jitter_s=50.0)
    ids = [client.submit({"run_s": float(n)}, query=QUERY)["request_id"] for n in range(8)]
    came = []
    for tenth in range(800):
        posts = client.app.take_webhooks(tenth / 10)
        came += [json.loads(post.body)["request_id"] for post in posts]
        assert tenth >= 10 or not posts
    assert sorted(came) == sorted(ids * 3)
    firsts = list(dict.fromkeys(came))
    assert firsts != ids


def test_some_never_come(make_app):
    client = make_app(webhook_loss_probability=0.5)
    for _ in range(40):
        client.submit({"run_s": 0.0}, query=QUERY)
    posts = client.app.take_webhooks(9.0)
    assert len(posts) + client.app.statistics().deliveries["lost"] == 40
    assert 5 < len(posts) < 35
    assert not client.app.webhooks.is_busy


@pytest.mark.parametrize(
    "url",
    ["https://example.com/x", "http://10.0.0.1/", "http://127.0.0.1.example/", "x", "http://["],
)
def test_only_this_machine_is_called_unless_the_scenario_says_otherwise(make_app, url):
    query = f"fal_webhook={url}"
    client = make_app()
    client.submit({"run_s": 0.0}, query=query)
    assert client.app.take_webhooks(1.0) == []
    assert client.app.statistics().deliveries == {"dropped": 1}
    client = make_app(webhook_targets="any")
    assert one_post(client, query=query).url == url


def test_a_cancelled_job_is_told_of_as_well(make_app):
    client = make_app(runners=0)
    request_id = client.submit({}, query=QUERY)["request_id"]
    assert client.app.next_webhook() is None
    client.about(request_id, "/cancel", now=1.0)
    (post,) = client.app.take_webhooks(1.0)
    assert json.loads(post.body)["status"] == "ERROR"


def test_a_reset_forgets_what_was_to_be_posted(make_app):
    client = make_app()
    client.submit({"run_s": 1.0}, query=QUERY)
    client.app.reset()
    assert client.app.take_webhooks(99.0) == []
    assert client.app.statistics().deliveries == {}


def test_the_keys_go_by_the_seed(make_app):
    one, same, other = make_app(), make_app(), make_app(seed=7)
    assert one.app.webhooks.key_set() == same.app.webhooks.key_set()
    assert one.app.webhooks.key_set() != other.app.webhooks.key_set()
