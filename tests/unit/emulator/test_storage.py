"""The emulated storage: who may bring what, what becomes of it, and when it is gone."""

from __future__ import annotations

import json
from datetime import datetime
from urllib.parse import urlsplit

import pytest

from falq.emulator import Fault, Scenario

KEY = Scenario().keys[0]
TOKEN = "/_rest/storage/auth/token"
UPLOAD = "/_cdn/files/upload"
INITIATE = "/_rest/storage/upload/initiate"


def token_of(client, now=0.0):
    reply = client.call("POST", TOKEN, body={}, now=now)
    assert reply.status_code == 200, reply
    return json.loads(reply.body)


def with_token(client, **headers):
    return {"authorization": f"Bearer {token_of(client)['token']}", **headers}


def path_of(url):
    return urlsplit(url).path


def read(client, url, now=0.0):
    return client.call("GET", path_of(url), headers={"authorization": ""}, now=now)


def begin_parts(client, headers):
    told = json.loads(client.call("POST", f"{UPLOAD}/multipart", headers=headers).body)
    return told["access_url"], f"{path_of(told['access_url'])}/multipart/{told['uploadId']}"


def put_part(client, path, number, body, headers):
    reply = client.call("PUT", f"{path}/{number}", body=body, headers=headers)
    assert reply.status_code == 200, reply
    return {"partNumber": number, "etag": dict(reply.headers)["etag"]}


def test_a_token_names_its_kind_its_base_and_its_end(make_app):
    told = token_of(make_app(upload_token_life_s=60.0), now=5.0)
    assert list(told) == ["token", "token_type", "base_url", "expires_at"]
    assert told["token_type"] == "Bearer"
    assert datetime.fromisoformat(told["expires_at"]).timestamp() == 1767225600 + 65


def test_a_token_costs_a_key(make_app):
    client = make_app()
    assert client.call("POST", TOKEN, headers={"authorization": ""}).status_code == 401


def test_what_was_uploaded_is_read_by_everybody_as_what_it_was_said_to_be(make_app):
    client = make_app()
    headers = with_token(client, **{"content-type": "text/plain", "x-fal-file-name": "a b.txt"})
    reply = client.call("POST", UPLOAD, body=b"hello", headers=headers)
    url = json.loads(reply.body)["access_url"]
    assert url.endswith("/a%20b.txt")
    answer = read(client, url)
    assert answer.body == b"hello"
    assert dict(answer.headers)["content-type"] == "text/plain"


@pytest.mark.parametrize("credential", ["", f"Key {KEY}", "Bearer unknown", "Basic eDp5"])
def test_the_cdn_takes_its_tokens_and_nothing_else(make_app, credential):
    client = make_app()
    reply = client.call("POST", UPLOAD, body=b"x", headers={"authorization": credential})
    assert reply.status_code == 401
    assert client.app.statistics().uploads == 0


def test_an_expired_token_is_refused(make_app):
    client = make_app(upload_token_life_s=10.0)
    headers = with_token(client)
    assert client.call("POST", UPLOAD, body=b"x", headers=headers, now=9.9).status_code == 200
    assert client.call("POST", UPLOAD, body=b"x", headers=headers, now=10.0).status_code == 401


def test_a_key_that_reaches_a_storage_host_is_counted(make_app):
    client = make_app()
    headers = with_token(client, **{"x-note": f"see {KEY}"})
    client.call("POST", UPLOAD, body=b"x", headers=headers)
    client.call("GET", "/files/u0000001/upload.bin")
    assert client.app.statistics().keys_at_storage == 2


def test_parts_make_one_file_in_the_order_of_their_numbers(make_app):
    client = make_app()
    headers = with_token(client)
    url, path = begin_parts(client, headers)
    second = put_part(client, path, 2, b"world", headers)
    first = put_part(client, path, 1, b"hello ", headers)
    assert read(client, url).status_code == 404
    assert client.app.statistics().uploads_open == 1
    done = client.call("POST", f"{path}/complete", body={"parts": [first, second]}, headers=headers)
    assert done.status_code == 200
    assert read(client, url).body == b"hello world"
    seen = client.app.statistics()
    assert (seen.uploads, seen.uploads_open, seen.upload_parts, seen.uploaded_bytes) == (
        1,
        0,
        2,
        11,
    )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda parts: parts[::-1],
        lambda parts: parts[:1],
        lambda parts: [parts[0], {**parts[1], "etag": parts[1]["etag"].strip('"')}],
        lambda parts: [parts[0], parts[0]],
        lambda _: [{"partNumber": 1}],
        lambda _: None,
    ],
    ids=["unsorted", "one missing", "tag without quotes", "twice", "no tag", "no list"],
)
def test_a_wrong_list_of_parts_completes_nothing(make_app, spoil):
    client = make_app()
    headers = with_token(client)
    url, path = begin_parts(client, headers)
    parts = [put_part(client, path, number, b"x" * number, headers) for number in (1, 2)]
    reply = client.call("POST", f"{path}/complete", body={"parts": spoil(parts)}, headers=headers)
    assert reply.status_code == 400
    assert read(client, url).status_code == 404


def test_a_part_that_comes_again_takes_the_place_of_the_first(make_app):
    client = make_app()
    headers = with_token(client)
    url, path = begin_parts(client, headers)
    put_part(client, path, 1, b"old", headers)
    part = put_part(client, path, 1, b"new", headers)
    client.call("POST", f"{path}/complete", body={"parts": [part]}, headers=headers)
    assert read(client, url).body == b"new"


@pytest.mark.parametrize("number", ["0", "10001", "x"])
def test_a_part_has_a_number_of_1_to_10000(make_app, number):
    client = make_app()
    headers = with_token(client)
    _, path = begin_parts(client, headers)
    assert client.call("PUT", f"{path}/{number}", body=b"x", headers=headers).status_code == 400


def initiated(client, content_type="image/png", path=INITIATE):
    body = {"file_name": "a.png", "content_type": content_type}
    told = json.loads(client.call("POST", path, body=body).body)
    parts = urlsplit(told["upload_url"])
    return parts.path, parts.query, told["file_url"]


def put_signed(client, path, query, now=0.0, content_type="image/png"):
    headers = {"authorization": "", "content-type": content_type}
    return client.call("PUT", path, query=query, body=b"png", headers=headers, now=now)


def test_a_signed_address_takes_a_file_without_any_credential(make_app):
    client = make_app()
    path, query, url = initiated(client)
    assert put_signed(client, path, query).status_code == 200
    assert read(client, url).body == b"png"


def test_a_signed_address_holds_for_its_signature_its_type_and_its_time(make_app):
    client = make_app(signed_life_s=60.0)
    path, query, url = initiated(client)
    assert put_signed(client, path, "X-Goog-Signature=other").status_code == 403
    assert put_signed(client, path, query, content_type="image/jpeg").status_code == 403
    assert put_signed(client, path, query, now=60.0).status_code == 400
    assert read(client, url, now=60.0).status_code == 404


def test_an_initiated_upload_comes_in_parts_as_well(make_app):
    client = make_app()
    path, query, url = initiated(client, path="/_rest/storage/upload/initiate-multipart")
    headers = {"authorization": ""}
    parts = [
        json.loads(
            client.call("PUT", f"{path}/{n}", query=query, body=b"x" * n, headers=headers).body
        )
        for n in (1, 2)
    ]
    assert [part["partNumber"] for part in parts] == [1, 2]
    client.call("POST", f"{path}/complete", query=query, body={"parts": parts}, headers=headers)
    assert read(client, url).body == b"xxx"


@pytest.mark.parametrize("body", [b"no json", {}, [1]])
def test_an_upload_is_initiated_with_a_name_and_a_type(make_app, body):
    assert make_app().call("POST", INITIATE, body=body).status_code == 422


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", TOKEN, 405),
        ("POST", "/_rest/storage/elsewhere", 404),
        ("POST", "/_cdn/files/elsewhere", 404),
        ("PUT", "/files/u0000009/a.bin/multipart/unknown/1", 404),
        ("PUT", "/_signed/unknown", 403),
    ],
)
def test_other_calls_are_refused(make_app, method, path, code):
    client = make_app()
    key = {"authorization": f"Key {KEY}"}
    headers = key if path.startswith("/_rest") else with_token(client)
    assert client.call(method, path, body={}, headers=headers).status_code == code


def upload_with(client, wish, name="x-fal-object-lifecycle"):
    headers = with_token(client, **{name: json.dumps(wish)})
    return json.loads(client.call("POST", UPLOAD, body=b"x", headers=headers).body)["access_url"]


def test_a_file_is_gone_when_its_life_is_over(make_app):
    client = make_app()
    url = upload_with(client, {"expiration_duration_seconds": 60})
    assert read(client, url, now=59.0).status_code == 200
    assert read(client, url, now=60.0).status_code == 404


@pytest.mark.parametrize(("decision", "code"), [("hide", 404), ("forbid", 403), ("allow", 200)])
def test_a_file_is_read_by_whom_its_acl_lets(make_app, decision, code):
    client = make_app()
    assert (
        read(client, upload_with(client, {"initial_acl": {"default": decision}})).status_code
        == code
    )


def test_a_file_above_what_is_kept_is_counted_and_dropped(make_app):
    client = make_app(kept_upload_bytes=3)
    headers = with_token(client)
    url = json.loads(client.call("POST", UPLOAD, body=b"four", headers=headers).body)["access_url"]
    assert read(client, url).status_code == 404
    seen = client.app.statistics()
    assert (seen.uploads, seen.uploaded_bytes) == (1, 4)


def test_each_kind_of_call_has_a_word_that_faults_know_it_by(make_app):
    words = ["upload_token", "upload_initiate", "upload", "upload_part", "upload_complete"]
    client = make_app(faults=tuple(Fault("json_error", word, nth=2) for word in words))
    headers = with_token(client)
    _, path = begin_parts(client, headers)
    parts = [put_part(client, path, 1, b"x", headers)]
    client.call("POST", UPLOAD, body=b"x", headers=headers)
    client.call("POST", f"{path}/complete", body={"parts": parts}, headers=headers)
    calls = client.app.statistics().calls
    assert {word: calls.get(word) for word in words} == dict.fromkeys(words, 1)
    assert client.call("POST", TOKEN, body={}).status_code == 500
    assert client.call("POST", UPLOAD, body=b"x", headers=headers).status_code == 500


def test_upload_addresses_lie_where_the_scenario_puts_them(make_app):
    client = make_app(storage_url="https://storage.example")
    body = {"file_name": "a.png", "content_type": "image/png"}
    told = json.loads(client.call("POST", INITIATE, body=body).body)
    assert told["upload_url"].startswith("https://storage.example/")
    assert token_of(client)["base_url"] == "https://storage.example"


def test_a_reset_forgets_uploads_and_tokens(make_app):
    client = make_app()
    headers = with_token(client)
    url = json.loads(client.call("POST", UPLOAD, body=b"x", headers=headers).body)["access_url"]
    client.app.reset()
    assert read(client, url).status_code == 404
    assert client.call("POST", UPLOAD, body=b"x", headers=headers).status_code == 401
