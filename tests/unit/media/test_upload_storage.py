"""The calls around an upload, without sockets: tokens, hosts, parts and their order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq._core.messages import Call, Origin, Reply, Verb
from falq._core.retry import RetrySettings
from falq.errors import ServerError, TransportError, WireError
from falq.media import multipart
from falq.media.multipart import send_in_parts
from falq.media.storage import StorageCall, may_have_token, origin_of
from falq.media.upload_api import UploadApi
from falq.media.upload_progress import Meter
from falq.media.upload_source import BytesSource

CDN = "https://v3.fal.media"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
IN_AN_HOUR = "2026-01-01T01:00:00+00:00"


class FalAndItsStorage:
    """Answers both kinds of calls as fal does, and keeps them."""

    def __init__(self) -> None:
        self.now = NOW
        self.expires_at: Any = IN_AN_HOUR
        self.base_url: Any = CDN
        self.asked: list[Call] = []
        self.sent: list[tuple[StorageCall, bytes]] = []
        self.answer: Callable[[StorageCall, int], Reply | None] = lambda _call, _number: None

    async def ask(self, call: Call) -> Reply:
        self.asked.append(call)
        told = {
            "token": f"t{len(self.asked)}",
            "token_type": "Bearer",
            "base_url": self.base_url,
            "expires_at": self.expires_at,
        }
        return Reply(200, {}, json.dumps(told).encode())

    async def send(self, call: StorageCall) -> Reply:
        body = b"" if call.pieces is None else b"".join([one async for one in call.pieces()])
        self.sent.append((call, body))
        await asyncio.sleep(0)
        scripted = self.answer(call, len(self.sent))
        if scripted is not None:
            return scripted
        told = {"access_url": f"{CDN}/files/a.bin", "uploadId": "up/1"}
        tag = f'"tag-{call.url.rpartition("/")[2]}"'
        return Reply(200, {"ETag": tag}, json.dumps(told).encode())

    async def aclose(self) -> None:
        """Nothing is held."""

    def api(self) -> UploadApi:
        return UploadApi(
            self.ask,
            self,
            cdn_url=CDN,
            retry=RetrySettings(base_s=1e-6, cap_s=1e-6),
            draw=Random(1).random,
            wall_clock=lambda: self.now,
        )

    @property
    def credentials(self) -> list[str]:
        return [call.headers["Authorization"] for call, _ in self.sent]


@pytest.fixture
def fal():
    return FalAndItsStorage()


async def post(api, url="/files/upload"):
    return await api.send_to_cdn(StorageCall(method="POST", url=url, headers={}), doing="upload")


async def test_the_token_is_asked_of_fals_api_and_used_at_the_cdn(fal):
    await post(fal.api())
    (asked,) = fal.asked
    assert (asked.verb, asked.method, asked.origin) == (Verb.STORAGE, "POST", Origin.REST)
    assert asked.target == "/storage/auth/token?storage_type=fal-cdn-v3"
    assert asked.body == b"{}"
    ((call, _),) = fal.sent
    assert call.url == f"{CDN}/files/upload"
    assert str(call.headers["Authorization"]) == "Bearer t1"
    assert "t1" not in repr(call)


async def test_a_token_is_shared_and_renewed_a_little_before_its_end(fal):
    api = fal.api()
    await asyncio.gather(*(post(api) for _ in range(5)))
    fal.now = NOW + timedelta(minutes=59)
    await post(api)
    assert len(fal.asked) == 1
    fal.now = NOW + timedelta(minutes=59, seconds=31)
    await post(api)
    assert len(fal.asked) == 2


@pytest.mark.parametrize("expires_at", ["2026-01-01T01:00:00Z", "2026-01-01T01:00:00"])
async def test_an_end_is_read_with_a_z_or_without_a_zone(fal, expires_at):
    fal.expires_at = expires_at
    api = fal.api()
    await post(api)
    fal.now = NOW + timedelta(minutes=58)
    await post(api)
    assert len(fal.asked) == 1
    fal.now = NOW + timedelta(minutes=60)
    await post(api)
    assert len(fal.asked) == 2


async def test_a_token_of_a_few_seconds_is_used_for_half_of_them(fal):
    fal.expires_at = "2026-01-01T00:00:10+00:00"
    api = fal.api()
    await post(api)
    fal.now = NOW + timedelta(seconds=4)
    await post(api)
    assert len(fal.asked) == 1
    fal.now = NOW + timedelta(seconds=5)
    await post(api)
    assert len(fal.asked) == 2


@pytest.mark.parametrize("expires_at", [None, "soon", 5])
async def test_a_token_whose_end_cannot_be_read_is_used_until_it_is_refused(fal, expires_at):
    fal.expires_at = expires_at
    fal.answer = lambda _, number: Reply(401, {}, b"{}") if number == 2 else None
    api = fal.api()
    for _ in range(2):
        await post(api)
    assert fal.credentials == ["Bearer t1", "Bearer t1", "Bearer t2"]


@pytest.mark.parametrize(
    ("base_url", "used"),
    [
        (CDN, CDN),
        ("https://v3b.fal.media", "https://v3b.fal.media"),
        ("https://fal.media.evil.example", CDN),
        ("https://evilfal.media", CDN),
        ("http://v3.fal.media", CDN),
        ("https://me@v3.fal.media", CDN),
        ("https://v3.fal.media:8443", CDN),
        (None, CDN),
    ],
)
async def test_parts_go_to_the_base_that_the_token_names_if_it_is_fals(fal, base_url, used):
    fal.base_url = base_url
    call = StorageCall(method="POST", url="/files/upload/multipart", headers={})
    await fal.api().send_to_cdn(call, doing="begin", below_base=True)
    assert fal.sent[0][0].url == f"{used}/files/upload/multipart"


@given(host=st.from_regex(r"[a-z.@:/\\-]{0,20}", fullmatch=True))
def test_no_host_but_fals_own_ever_has_a_token(host):
    url = f"https://{host}"
    allowed = origin_of(url)[1]
    if may_have_token(url, CDN):
        assert allowed == "fal.media" or allowed.endswith(".fal.media")


def test_a_cdn_elsewhere_trusts_its_own_origin_alone():
    own = "http://127.0.0.1:8000/_cdn"
    assert may_have_token("http://127.0.0.1:8000/files/a", own)
    for other in ("http://127.0.0.1:8001/", "https://127.0.0.1:8000/", CDN, "", "x", "http://["):
        assert not may_have_token(other, own)
    assert not may_have_token("", "")


@pytest.mark.parametrize("answer", [{}, {"token": ""}, {"token": "a\nb", "token_type": "Bearer"}])
async def test_an_answer_without_a_token_is_an_error_and_nothing_is_sent(fal, answer):
    async def ask(call):
        fal.asked.append(call)
        return Reply(200, {}, json.dumps(answer).encode())

    fal.ask = ask
    with pytest.raises(WireError):
        await post(fal.api())
    assert (len(fal.asked), fal.sent) == (1, [])


async def test_calls_with_bytes_are_made_five_times_and_small_ones_three(fal):
    fal.answer = lambda _call, _number: Reply(503, {}, b"{}")
    with pytest.raises(ServerError):
        await post(fal.api())
    assert len(fal.sent) == 5

    async def ask(call):
        fal.asked.append(call)
        raise TransportError("the connection broke")

    fal.asked.clear()
    fal.sent.clear()
    fal.ask = ask
    with pytest.raises(TransportError):
        await post(fal.api())
    assert (len(fal.asked), fal.sent) == (3, [])
    fal.asked.clear()
    with pytest.raises(TransportError):
        await fal.api().initiate("a.png", "image/png", {})
    assert len(fal.asked) == 3


async def test_a_signed_address_is_asked_for_with_name_type_and_life(fal):
    async def ask(call):
        fal.asked.append(call)
        told = {"upload_url": "https://storage.example/a?sig=1", "file_url": f"{CDN}/files/a"}
        return Reply(200, {}, json.dumps(told).encode())

    fal.ask = ask
    place = await fal.api().initiate("a.png", "image/png", {"X-Fal-Object-Lifecycle": "{}"})
    assert (place.upload_url, place.file_url) == (
        "https://storage.example/a?sig=1",
        f"{CDN}/files/a",
    )
    assert "sig=1" not in repr(place)
    (asked,) = fal.asked
    assert asked.target == "/storage/upload/initiate?storage_type=gcs"
    assert json.loads(asked.body) == {"file_name": "a.png", "content_type": "image/png"}
    assert asked.headers["X-Fal-Object-Lifecycle"] == "{}"


# Parts.


async def send_parts(fal, data, *, part_bytes=10, at_once=3):
    source = BytesSource(data, "a.bin", "application/octet-stream")
    return await send_in_parts(
        fal.api(), source, {}, part_bytes=part_bytes, at_once=at_once, meter=Meter("a.bin", 0)
    )


def completed(fal):
    ((_, body),) = [one for one in fal.sent if one[0].url.endswith("/complete")]
    return json.loads(body)["parts"]


async def test_parts_are_named_in_order_with_their_tags_letter_by_letter(fal):
    data = bytes(range(95))
    assert await send_parts(fal, data) == f"{CDN}/files/a.bin"
    assert completed(fal) == [
        {"partNumber": number, "etag": f'"tag-{number}"'} for number in range(1, 11)
    ]
    parts = {
        int(call.url.rpartition("/")[2]): body for call, body in fal.sent if call.method == "PUT"
    }
    assert b"".join(parts[number] for number in sorted(parts)) == data
    assert fal.sent[1][0].url.startswith(f"{CDN}/files/a.bin/multipart/up%2F1/")


async def test_a_part_that_comes_late_is_named_in_its_place_all_the_same(fal):
    fal.answer = lambda call, number: (
        Reply(500, {}, b"{}") if call.url.endswith("/1") and number < 6 else None
    )
    await send_parts(fal, bytes(60), at_once=6)
    assert [part["partNumber"] for part in completed(fal)] == [1, 2, 3, 4, 5, 6]


async def test_no_more_parts_are_under_way_than_allowed(fal):
    under_way = peak = 0
    send = fal.send

    async def counting(call):
        nonlocal under_way, peak
        under_way += 1
        peak = max(peak, under_way)
        try:
            return await send(call)
        finally:
            under_way -= 1

    fal.send = counting
    await send_parts(fal, bytes(200), at_once=4)
    assert peak == 4


async def test_a_file_of_very_many_parts_has_larger_ones(fal):
    await send_parts(fal, bytes(multipart.MOST_PARTS * 2), part_bytes=1, at_once=1)
    sizes = {call.size_bytes for call, _ in fal.sent if call.method == "PUT"}
    assert sizes == {2}


async def test_a_part_without_a_tag_completes_nothing(fal):
    fal.answer = lambda call, _: Reply(200, {}, b"") if call.url.endswith("/2") else None
    with pytest.raises(WireError, match="part 2"):
        await send_parts(fal, bytes(30))
    assert not [call for call, _ in fal.sent if call.url.endswith("/complete")]


@pytest.mark.parametrize(
    "told", [{}, {"access_url": f"{CDN}/a", "uploadId": ""}, {"uploadId": "1"}]
)
async def test_a_start_that_names_no_upload_is_an_error(fal, told):
    fal.answer = lambda _call, _number: Reply(200, {}, json.dumps(told).encode())
    with pytest.raises(WireError):
        await send_parts(fal, bytes(30))
    assert len(fal.sent) == 1


async def test_a_start_that_names_another_host_gets_no_part_and_no_token(fal):
    told = {"access_url": "https://elsewhere.example/a", "uploadId": "1"}
    fal.answer = lambda _call, _number: Reply(200, {}, json.dumps(told).encode())
    with pytest.raises(WireError, match="another host"):
        await send_parts(fal, bytes(30))
    assert len(fal.sent) == 1
