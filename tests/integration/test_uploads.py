"""Uploads over real sockets: ways in, parts, attempts, and where no key may go."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from PIL import Image

import falq
from falq.emulator import Emulator, Fault, Scenario
from falq.errors import (
    ApiError,
    ArgumentError,
    AuthenticationError,
    ConnectError,
    SessionClosedError,
    TransportError,
    TransportTimeoutError,
    UnsupportedError,
    WireError,
)
from falq.media.storage import HttpStorageHosts, StorageCall

AT_ONCE = falq.RetrySettings(base_s=1e-4, throttle_base_s=1e-4, cap_s=1e-4)
BODY = Random(3).randbytes(1_000_003)
IN_PARTS = {"multipart_threshold": 100_000, "chunk_size": 100_000}


@asynccontextmanager
async def storage(*faults: Fault, **settings: Any) -> AsyncIterator[tuple[Emulator, falq.Session]]:
    scenario = Scenario(speed=1000.0, faults=faults, **settings)
    async with (
        Emulator(scenario) as emulator,
        falq.Session(emulator.gateway, retry=AT_ONCE, seed=1) as session,
    ):
        yield emulator, session
        assert emulator.stats().keys_at_storage == 0


@pytest.fixture
def path(tmp_path):
    place = tmp_path / "cat.png"
    place.write_bytes(BODY)
    return place


async def fetched(session, url, folder):
    (file,) = await session.download({"url": url}, folder, allow_loopback=True)
    return file.path.read_bytes(), file.content_type


async def test_bytes_come_back_as_what_they_were(tmp_path):
    async with storage() as (emulator, session):
        url = await session.upload(b"hello", "text/plain", "a.txt")
        assert await fetched(session, url, tmp_path / "back") == (b"hello", "text/plain")
        assert url.endswith("/a.txt")
        assert emulator.stats().uploads == 1


async def test_a_file_of_no_bytes_is_a_file():
    async with storage() as (emulator, session):
        for way in ("fal_v3", "fal"):
            assert await session.upload("", "text/plain", repository=way)
        assert emulator.stats().uploads == 2


async def test_an_image_is_uploaded_in_the_format_that_is_asked_for(tmp_path):
    async with storage() as (_, session):
        url = await session.upload_image(Image.new("RGB", (4, 4)))
        data, content_type = await fetched(session, url, tmp_path / "back")
        assert (data[:2], content_type) == (b"\xff\xd8", "image/jpeg")
        assert (await session.upload_image(Image.new("RGBA", (4, 4)), "PNG")).endswith(".png")


async def test_a_large_file_goes_in_parts_and_comes_back_whole(path, tmp_path):
    async with storage() as (emulator, session):
        url = await session.upload_file(path, **IN_PARTS)
        assert await fetched(session, url, tmp_path / "back") == (BODY, "image/png")
        seen = emulator.stats()
        assert (seen.upload_parts, seen.uploaded_bytes, seen.uploads_open) == (11, len(BODY), 0)


async def test_a_file_at_the_threshold_goes_in_one_piece(path):
    async with storage() as (emulator, session):
        await session.upload_file(path, multipart_threshold=len(BODY))
        assert emulator.stats().calls.get("upload_part") is None
        await session.upload_file(path, multipart_threshold=len(BODY) - 1)
        assert emulator.stats().calls["upload_part"] == 1


async def test_each_part_is_tried_again_by_itself(path, tmp_path):
    faults = (
        Fault("reset", "upload_part", nth=2),
        Fault("nginx", "upload_part", nth=4, status_code=503),
        Fault("rate_limited", "upload_part", nth=6),
        Fault("fin", "upload_part", nth=8),
    )
    async with storage(*faults) as (emulator, session):
        url = await session.upload_file(path, **IN_PARTS)
        assert (await fetched(session, url, tmp_path / "back"))[0] == BODY
        assert emulator.stats().calls["upload_part"] == 11 + 4


async def test_a_part_that_fails_for_good_ends_the_others_and_completes_nothing(path):
    fault = Fault("json_error", "upload_part", nth=3, status_code=400)
    async with storage(fault) as (emulator, session):
        with pytest.raises(ApiError, match="part"):
            await session.upload_file(path, **IN_PARTS, max_concurrency=2, fallback_repository=[])
        seen = emulator.stats()
        assert seen.uploads == 0
        assert seen.calls["upload_part"] < 6
        assert "upload_complete" not in seen.calls


async def test_a_part_that_never_gets_through_is_given_up(path):
    fault = Fault("json_error", "upload_part", every=1, status_code=500)
    async with storage(fault) as (emulator, session):
        with pytest.raises(falq.ServerError):
            await session.upload_file(path, **IN_PARTS, max_concurrency=1, fallback_repository=[])
        assert emulator.stats().calls["upload_part"] == 5


async def test_a_token_is_asked_for_once_and_used_until_shortly_before_its_end(path):
    async with storage() as (emulator, session):
        await asyncio.gather(*(session.upload(b"x", "text/plain") for _ in range(5)))
        await session.upload_file(path, **IN_PARTS)
        assert emulator.stats().calls["upload_token"] == 1


async def test_a_token_that_is_refused_midway_is_replaced(path, tmp_path):
    fault = Fault("json_error", "upload_part", nth=(4, 5, 6), status_code=401)
    async with storage(fault) as (emulator, session):
        url = await session.upload_file(path, **IN_PARTS, fallback_repository=[])
        assert (await fetched(session, url, tmp_path / "back"))[0] == BODY
        assert 2 <= emulator.stats().calls["upload_token"] <= 4


async def test_a_token_whose_life_is_over_is_not_used_again():
    async with storage(upload_token_life_s=0.0) as (emulator, session):
        for _ in range(2):
            with pytest.raises(AuthenticationError):
                await session.upload(b"x", "text/plain")
        # Each asks for one, is refused, and asks once more.
        assert emulator.stats().calls["upload_token"] == 4


async def test_a_refused_key_is_said_at_once_and_no_other_way_is_tried():
    async with Emulator() as emulator:
        gateway = falq.Fal(
            key="a:b",
            **{name: getattr(emulator.gateway, name)
               for name in ("queue_url", "run_url", "rest_url", "cdn_url", "api_url")},
        )  # fmt: skip
        async with falq.Session(gateway, retry=AT_ONCE) as session:
            with pytest.raises(AuthenticationError):
                await session.upload(b"x", "text/plain")
        calls = emulator.stats().calls
        assert (calls["upload_token"], calls.get("upload_initiate")) == (1, None)


async def test_a_signed_address_takes_what_the_cdn_does_not(path, tmp_path):
    async with storage(Fault("json_error", "upload", nth=(1, 2, 3, 4, 5))) as (emulator, session):
        url = await session.upload_file(path)
        assert (await fetched(session, url, tmp_path / "back"))[0] == BODY
        assert emulator.stats().calls["upload_initiate"] == 1


async def test_the_older_name_of_the_cdn_is_the_cdn():
    async with storage() as (emulator, session):
        await session.upload(b"x", "text/plain", repository="cdn", fallback_repository="cdn")
        assert emulator.stats().calls == {"upload_token": 1, "upload": 1}


async def test_without_a_fall_back_the_first_way_decides():
    async with storage(Fault("json_error", "upload", every=1)) as (emulator, session):
        with pytest.raises(falq.ServerError):
            await session.upload(b"x", "text/plain", fallback_repository=[])
        assert emulator.stats().calls == {"upload_token": 1, "upload": 5}


async def test_a_completed_upload_is_not_completed_twice_for_a_late_answer(path):
    async with storage(Fault("delay", "upload_complete", delay_s=0.05)) as (emulator, session):
        await session.upload_file(path, **IN_PARTS)
        assert emulator.stats().calls["upload_complete"] == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault("truncated_json", "upload", every=1),
        Fault("replace_body", "upload", every=1, body='{"access_url": 5}'),
        Fault("replace_body", "upload", every=1, body='{"access_url": "javascript:alert(1)"}'),
        Fault("html", "upload", every=1),
        Fault("redirect", "upload", every=1),
        Fault("giant", "upload", every=1, size_bytes=2_000_000),
    ],
    ids=["cut", "no text", "no address", "html", "redirect", "giant"],
)
async def test_an_answer_without_a_url_is_an_error(fault):
    async with storage(fault) as (_, session):
        with pytest.raises(WireError):
            await session.upload(b"x", "text/plain", fallback_repository=[])


async def test_nothing_but_falqs_errors_comes_out_of_a_connection_that_breaks():
    for kind in ("reset", "fin", "cut"):
        async with storage(Fault(kind, "upload", every=1)) as (emulator, session):
            with pytest.raises(TransportError):
                await session.upload(b"x", "text/plain", fallback_repository=[])
            assert emulator.stats().calls["upload"] == 5


async def test_life_and_readers_of_a_file_are_what_was_asked_for(tmp_path):
    hidden = falq.ObjectLifecycle(expiration_s=3600, initial_acl={"default": "hide"})
    async with storage() as (_, session):
        for way in ("fal_v3", "fal"):
            url = await session.upload(b"x", "text/plain", repository=way, lifecycle=hidden)
            with pytest.raises(ApiError) as caught:
                await fetched(session, url, tmp_path / "back")
            assert caught.value.status_code == 404


@pytest.mark.parametrize(
    "options",
    [
        {"repository": "gcs"},
        {"fallback_repository": ["elsewhere"]},
        {"chunk_size": 0},
        {"max_concurrency": "10"},
        {"multipart_threshold": -1},
        {"lifecycle": {"expires_in": "1d"}},
        {"lifecycle": falq.ObjectLifecycle(expiration_s=0)},
        {"file": "x"},
    ],
    ids=lambda options: str(next(iter(options.items())))[:40],
)
async def test_a_wrong_option_is_refused_before_anything_is_sent(options):
    async with storage() as (emulator, session):
        with pytest.raises(ArgumentError):
            await session.upload(b"x", "text/plain", **options)
        assert emulator.stats().calls == {}


async def test_content_that_is_not_what_was_promised_is_refused_before_a_byte_is_sent(path):
    digest = hashlib.sha256(BODY).hexdigest()
    async with storage() as (emulator, session):
        good = falq.Upload(path, sha256=digest)
        assert "a" in await session.subscribe("acme/echo", {"a": good})
        path.write_bytes(BODY[:-1] + b"!")
        for given in (path, path.read_bytes()):
            changed = falq.Upload(given, "text/plain", sha256=digest)
            with pytest.raises(ArgumentError, match="has changed"):
                await session.subscribe("acme/echo", {"a": changed})
        assert (emulator.stats().uploads, emulator.stats().jobs) == (1, 1)


async def test_progress_tells_of_every_byte_and_ends_with_the_whole(path):
    told: list[Any] = []
    async with storage(Fault("reset", "upload_part", nth=3)) as (_, session):
        await session.upload_file(path, **IN_PARTS, on_progress=told.append)
    assert told[-1].sent_bytes == told[-1].total_bytes == len(BODY)
    assert told[0].file_name == "cat.png"
    assert max(one.sent_bytes for one in told) == len(BODY)


async def test_a_cancelled_upload_leaves_nothing_under_way(path, until):
    async with storage(Fault("stall", "upload_part", every=1)) as (emulator, session):
        uploading = asyncio.create_task(session.upload_file(path, **IN_PARTS, max_concurrency=3))
        await until(lambda: emulator.stats().calls.get("upload_part") == 3)
        uploading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await uploading
        assert session.statistics().in_flight == 0
        assert emulator.stats().calls["upload_part"] == 3
        assert emulator.stats().uploads == 0


async def test_closing_the_session_ends_an_upload(path, until):
    async with Emulator(Scenario(faults=(Fault("stall", "upload", every=1),))) as emulator:
        async with falq.Session(emulator.gateway) as session:
            uploading = asyncio.create_task(session.upload_file(path))
            await until(lambda: emulator.stats().calls.get("upload"))
        with pytest.raises(SessionClosedError):
            await uploading
        with pytest.raises(SessionClosedError):
            await session.upload(b"x", "text/plain")


async def test_a_gateway_without_uploads_says_so_before_anything_is_sent():
    async with Emulator() as emulator, falq.Session(emulator.maton) as session:
        with pytest.raises(UnsupportedError):
            await session.upload(b"x", "text/plain")
        assert emulator.stats().calls == {}


async def test_a_file_that_changes_under_way_is_an_error_and_not_half_of_each(path, until):
    async with storage(Fault("delay", "upload_initiate", delay_s=0.05)) as (emulator, session):
        uploading = asyncio.create_task(session.upload_file(path, **IN_PARTS))
        await until(lambda: emulator.stats().calls.get("upload_initiate"))
        path.write_bytes(BODY[:500_000])
        with pytest.raises(ArgumentError, match="changed"):
            await uploading
        assert emulator.stats().uploads == 0


async def test_a_file_that_is_written_over_under_way_is_not_completed(path, until):
    async with storage(Fault("delay", "upload_part", nth=1, delay_s=0.05)) as (emulator, session):
        uploading = asyncio.create_task(session.upload_file(path, **IN_PARTS))
        await until(lambda: emulator.stats().calls.get("upload_part"))
        path.write_bytes(BODY[::-1])
        with pytest.raises(ArgumentError, match="changed"):
            await uploading
        assert emulator.stats().calls.get("upload_complete") is None


async def test_uploads_work_over_tls():
    async with (
        Emulator(tls=True) as emulator,
        falq.Session(emulator.gateway, ssl_context=emulator.ssl_context) as session,
    ):
        assert await session.upload(b"x", "text/plain", repository="fal")
        assert (await session.upload(b"x", "text/plain")).startswith("https://")


# What carries the bytes.


def gateway_at(url):
    names = ("queue_url", "run_url", "rest_url", "cdn_url", "api_url")
    return falq.Fal(key="a:b", **dict.fromkeys(names, url))


def put(url, data=b"x"):
    async def pieces():
        yield data

    return StorageCall(method="PUT", url=url, headers={}, size_bytes=len(data), pieces=pieces)


@pytest.fixture
async def hosts_at():
    opened = []

    def make(url, **settings):
        opened.append(HttpStorageHosts(gateway_at(url), **settings))
        return opened[-1]

    yield make
    for hosts in opened:
        await hosts.aclose()


@pytest.mark.parametrize("does_read", [True, False])
async def test_a_host_that_stops_to_move_is_given_up(raw_server, hosts_at, does_read):
    async def stop(connection):
        if does_read:
            await connection.read_request()
        await asyncio.Event().wait()

    async with raw_server(stop) as server, asyncio.timeout(8):
        with pytest.raises(TransportTimeoutError, match="nothing moved"):
            await hosts_at(server.url, stall_s=0.05).send(put(server.url, bytes(20_000_000)))


async def test_no_host_is_an_error_that_says_nothing_was_sent(raw_server, hosts_at):
    async with raw_server(None) as server:
        url = server.url
    with pytest.raises(ConnectError) as caught:
        await hosts_at(url).send(put(f"{url}/a?signature"))
    assert not caught.value.request_sent
    assert "signature" not in str(caught.value)


async def test_what_was_closed_sends_nothing(spy, hosts_at):
    hosts = hosts_at(spy.url)
    await hosts.aclose()
    with pytest.raises(TransportError, match="closed"):
        await hosts.send(put(spy.url))
    assert spy.heard == b""


async def test_a_file_that_cannot_be_read_any_more_is_what_the_error_says(spy, hosts_at):
    async def broken():
        yield b"x"
        raise ArgumentError("the file changed")

    call = StorageCall(method="PUT", url=spy.url, headers={}, size_bytes=2, pieces=broken)
    with pytest.raises(ArgumentError, match="the file changed"):
        await hosts_at(spy.url).send(call)


async def test_a_body_is_announced_and_not_sent_in_chunks(spy, hosts_at):
    reply = await hosts_at(spy.url).send(put(f"{spy.url}/a%2Fb?x=%20y", b"four"))
    assert reply.status_code == 200
    assert spy.heard.startswith(b"PUT /a%2Fb?x=%20y HTTP/1.1\r\n")
    assert b"Content-Length: 4\r\n" in spy.heard
    assert b"Accept-Encoding: identity\r\n" in spy.heard
    assert b"transfer-encoding" not in spy.heard.lower()


# Where nothing may go.


async def test_a_signed_host_gets_the_file_and_no_credential(raw_server, path):
    async def take(connection):
        while await connection.read_request():
            connection.answer({})

    async with raw_server(take, host="127.0.0.2") as elsewhere:
        async with storage(storage_url=elsewhere.url) as (emulator, session):
            url = await session.upload_file(path, repository="fal")
            assert url.startswith(emulator.url)
        heard = elsewhere.heard
    head, _, body = heard.partition(b"\r\n\r\n")
    assert body == BODY
    assert b"X-Goog-Signature=" in head
    for word in (b"authorization", b"cookie", Scenario().keys[0].encode(), b"key "):
        assert word not in head.lower()


async def test_a_token_goes_to_the_cdn_alone_whatever_an_answer_names(spy):
    name_spy = Fault(
        "replace_body",
        "upload_initiate",
        every=1,
        body=json.dumps({"access_url": f"{spy.url}/files/a", "uploadId": "1"}),
    )
    async with storage(name_spy) as (_, session):
        with pytest.raises(WireError, match="another host"):
            await session.upload(
                b"x" * 10, "text/plain", multipart_threshold=5, fallback_repository=[]
            )
    async with storage(storage_url=spy.url) as (emulator, session):
        # The token names the spy as its base; the CDN's own address is used.
        await session.upload(b"x" * 10, "text/plain", multipart_threshold=5)
        assert emulator.stats().uploads == 1
    assert spy.heard == b""


@pytest.mark.parametrize(
    "url",
    ["http://10.0.0.1/a", "https://10.0.0.1/a", "https://me@storage.example/a", "file:///etc/x"],
)
async def test_a_file_is_sent_to_no_private_or_plain_address(url, contacted_hosts):
    body = json.dumps({"upload_url": url, "file_url": "https://v3.fal.media/files/a"})
    fault = Fault("replace_body", "upload_initiate", every=1, body=body)
    async with storage(fault) as (_, session):
        with pytest.raises((WireError, TransportError)):
            await session.upload(b"x", "text/plain", repository="fal", fallback_repository=[])
    assert set(contacted_hosts) == {"127.0.0.1"}


class Revealing:
    """Everything that errors could show, as one text."""

    def __init__(self) -> None:
        self.shown = ""

    def add(self, error: BaseException | None) -> None:
        # The test's own frame knows the fault, which spells out what is looked for.
        if error is not None and error.__traceback__ is not None:
            error = error.with_traceback(error.__traceback__.tb_next)
        while error is not None:
            told = traceback.TracebackException.from_exception(error, capture_locals=True)
            self.shown += "".join(told.format()) + repr(vars(error))
            error = error.__context__


@pytest.mark.parametrize(
    "fault",
    [
        Fault("reset", "upload", every=1),
        Fault("json_error", "upload", every=1, status_code=400),
        Fault("json_error", "upload", every=1, status_code=401),
        Fault("html", "upload", every=1),
        Fault("redirect", "upload", every=1),
        Fault("reset", "upload_initiate", every=1),
        Fault("replace_body", "upload_initiate", every=1, body='{"upload_url": "http://x/?cdn-"}'),
        Fault("replace_body", "upload_initiate", every=1,
              body='{"upload_url": "http://x/?cdn-", "file_url": "https://x/"}'),
        Fault("replace_body", "upload_initiate", every=1,
              body='{"upload_url": "https://[x/?cdn-", "file_url": "https://x/"}'),
        Fault("replace_body", "upload_token", every=1, body='{"token": "cdn-"}'),
        Fault("reset", "upload_token", every=1),
    ],
    ids=lambda fault: f"{fault.verb} {fault.kind} {fault.status_code or ''}{len(fault.body)}",
)  # fmt: skip
@pytest.mark.parametrize("way", ["fal_v3", "fal"])
async def test_no_error_shows_key_token_or_signature_even_with_its_locals(fault, way, path, caplog):
    caplog.set_level(logging.DEBUG)
    seen = Revealing()
    async with storage(fault) as (emulator, session):
        for options in ({}, IN_PARTS):
            try:
                await session.upload_file(path, repository=way, fallback_repository=[], **options)
            except falq.FalqError as error:
                seen.add(error)
        key = emulator.key
    # Tokens of the emulator begin with "cdn-"; signatures stand in a query.
    for secret in (key, "cdn-", "X-Goog-Signature=", "?cdn"):
        assert secret not in seen.shown
        assert secret not in caplog.text


async def test_what_a_signed_host_says_is_not_repeated_in_the_error(raw_server):
    async def echo(connection):
        while request := await connection.read_request():
            connection.answer({"detail": request.decode("latin-1")}, code=403)

    async with (
        raw_server(echo, host="127.0.0.2") as elsewhere,
        storage(storage_url=elsewhere.url) as (_, session),
    ):
        with pytest.raises(AuthenticationError) as caught:
            await session.upload(b"x", "text/plain", repository="fal", fallback_repository=[])
    assert "Signature" not in f"{caught.value} {vars(caught.value)}"
