"""Downloads over real sockets: what is fetched, what is refused, what is left on disk."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from falq._core.backoff import Backoff
from falq.emulator import Emulator
from falq.errors import (
    ApiError,
    ArgumentError,
    ConnectError,
    ResponseTooLargeError,
    TransportError,
    TransportTimeoutError,
    UnexpectedRedirectError,
    WireError,
)
from falq.media import Downloader, DownloadLimits, download_media
from falq.session import Session


@pytest.fixture
def anyio_backend() -> str:
    """Sockets are real here: a virtual clock would run ahead of them."""
    return "asyncio"


AT_ONCE = Backoff(base_s=1e-4, cap_s=1e-4)


class OneAnswer:
    """A server that gives every request the same bytes, and keeps what was asked."""

    def __init__(self) -> None:
        self.answer = b""
        self.heard: list[bytes] = []
        self.url = ""
        self.has_end = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                self.heard.append(request)
                writer.write(self.answer.replace(b"SELF", self.url.encode()))
                if self.has_end:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def body(self, data: bytes, *, length: int | None = None, head: str = "") -> None:
        """Answer 200 with `data`, announced as `length` bytes."""
        told = len(data) if length is None else length
        self.answer = f"HTTP/1.1 200 OK\r\ncontent-length: {told}\r\n{head}\r\n".encode() + data

    def redirect(self, location: str) -> None:
        self.answer = (
            f"HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode()
        )


@pytest.fixture
async def host() -> AsyncIterator[OneAnswer]:
    made = OneAnswer()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    server.close()


@pytest.fixture
def fetch(host: OneAnswer, tmp_path: Path) -> Callable:
    async def fetch(url: str | None = None, **options):
        result = {"image": {"url": url or f"{host.url}/a%20cat.png"}}
        settings = {"allow_loopback": True, "backoff": AT_ONCE} | options
        async with Downloader(tmp_path, **settings) as downloader:
            return await downloader.fetch(result)

    return fetch


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_file_arrives_with_its_size_digest_and_type(fetch, host, tmp_path):
    host.body(b"\x89PNG", head="content-type: image/png\r\n")
    [file] = await fetch()
    assert file.path == tmp_path / "a cat.png"
    assert file.path.read_bytes() == b"\x89PNG"
    assert (file.size_bytes, file.content_type) == (4, "image/png")
    assert file.sha256 == hashlib.sha256(b"\x89PNG").hexdigest()


async def test_a_storage_host_gets_no_key_no_cookie_and_no_referrer(fetch, host, monkeypatch):
    monkeypatch.setenv("FAL_KEY", "canary:canary")
    host.body(b"x", head="set-cookie: a=b\r\n")
    await fetch()
    await fetch()
    heard = b"".join(host.heard).lower()
    assert len(host.heard) == 2
    for word in (b"authorization", b"cookie", b"canary", b"referer"):
        assert word not in heard


async def test_an_answer_that_ends_early_leaves_no_file(fetch, host, tmp_path):
    host.body(b"half", length=100)
    with pytest.raises(TransportError):
        await fetch()
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("code", [206, 403, 404, 500])
async def test_any_answer_but_200_is_an_error_and_no_file(fetch, host, tmp_path, code):
    host.answer = f"HTTP/1.1 {code} Whatever\r\ncontent-length: 4\r\n\r\nnope".encode()
    with pytest.raises(ApiError) as caught:
        await fetch()
    assert caught.value.status_code == code
    assert names_in(tmp_path) == []


async def test_a_file_above_the_limit_is_refused_announced_or_not(fetch, host, tmp_path):
    limits = DownloadLimits(file_bytes=10)
    host.body(b"x" * 11)
    with pytest.raises(ResponseTooLargeError):
        await fetch(limits=limits)
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    host.answer = head + b"186a0\r\n" + b"x" * 100_000 + b"\r\n0\r\n\r\n"
    with pytest.raises(ResponseTooLargeError):
        await fetch(limits=limits)
    assert names_in(tmp_path) == []


async def test_a_host_that_stalls_is_given_up(fetch, host, tmp_path):
    host.body(b"half", length=100)
    host.has_end = False
    with pytest.raises(TransportTimeoutError):
        await fetch(limits=DownloadLimits(read_s=0.02, attempts=2))
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 10, 20, 40, 80, 160, 320])
async def test_a_download_cancelled_at_any_turn_leaves_no_part_of_a_file(
    fetch, host, tmp_path, turns
):
    host.body(b"half", length=100)
    host.has_end = False
    download = asyncio.ensure_future(fetch())
    for _ in range(turns):
        await asyncio.sleep(0)
    download.cancel()
    with pytest.raises(asyncio.CancelledError):
        await download
    assert names_in(tmp_path) == []


async def test_a_download_cancelled_with_a_part_on_disk_removes_it(fetch, host, tmp_path):
    host.body(b"half", length=100)
    host.has_end = False
    download = asyncio.ensure_future(fetch())
    for _ in range(1_000_000):
        await asyncio.sleep(0)
        if names_in(tmp_path):
            break
    assert names_in(tmp_path)[0].endswith(".part")
    download.cancel()
    with pytest.raises(asyncio.CancelledError):
        await download
    assert names_in(tmp_path) == []


async def test_redirects_are_followed_three_times_at_most(fetch, host):
    host.redirect("SELF/again")
    with pytest.raises(UnexpectedRedirectError):
        await fetch()
    assert len(host.heard) == 4


@pytest.mark.parametrize(
    "location", ["http://example.com/a.png", "file:///etc/passwd", "https://10.0.0.1/a.png"]
)
async def test_a_redirect_is_checked_like_the_first_url(fetch, host, tmp_path, location):
    host.redirect(location)
    with pytest.raises(ArgumentError):
        await fetch()
    assert names_in(tmp_path) == []


PRIVATE = [
    "10.0.0.1",
    "169.254.169.254",
    "192.168.1.1",
    "0.0.0.0",
    "100.64.0.1",
    "[::ffff:10.0.0.1]",
    "[64:ff9b::a00:1]",
    "[2002:a00:1::]",
    "[fe80::1]",
]
# Nine ways to write this machine's address; some pass for a name, and the
# resolver turns them into it.
SPELLINGS = [
    "127.0.0.1",
    "localhost",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0.0.0.0",
    "[::1]",
    "[::ffff:127.0.0.1]",
]


@pytest.mark.parametrize("host_text", PRIVATE)
async def test_an_address_that_is_not_public_is_refused_before_any_connection(fetch, host_text):
    # The guard of the test run raises something else if a connection is tried.
    with pytest.raises(ArgumentError, match="not public"):
        await fetch(f"https://{host_text}/a.png")


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_loopback_is_refused_in_every_spelling_unless_allowed(fetch, host, spelling):
    port = host.url.rpartition(":")[2]
    host.body(b"secret")
    with pytest.raises(ArgumentError):
        await fetch(f"https://{spelling}:{port}/a.png", allow_loopback=False)
    assert host.heard == []


async def test_a_private_network_is_reached_only_if_it_is_named(fetch, host):
    port = host.url.rpartition(":")[2]
    # Loopback by another name: the network decides, and only TLS is spoken.
    url = f"https://0x7f000001:{port}/a.png"
    with pytest.raises(ArgumentError, match="not public"):
        await fetch(url, allow_private=["10.0.0.0/8"])
    assert host.heard == []
    impatient = DownloadLimits(attempts=1, connect_s=0.05)
    with pytest.raises(TransportError):
        await fetch(url, allow_private=["127.0.0.0/8"], limits=impatient)


async def test_a_refused_connection_is_a_connect_error(fetch):
    with pytest.raises(ConnectError):
        await fetch("http://127.0.0.1:9/a.png")


async def test_media_of_an_emulated_job_are_saved(tmp_path):
    async with Emulator(speed=1e6) as emulator, Session(emulator.gateway) as session:
        arguments = {"prompt": "a cat", "image_size": "square", "num_images": 2}
        result = await session.subscribe("fal-ai/flux/schnell", arguments)
        files = await download_media(result, tmp_path / "new" / "folder", allow_loopback=True)
    assert [file.url for file in files] == [image["url"] for image in result["images"]]
    assert all(file.path.read_bytes()[:3] == b"\xff\xd8\xff" for file in files)


async def test_an_answer_without_an_end_is_not_trusted(fetch, host, tmp_path):
    host.answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nmaybe half"
    with pytest.raises(WireError):
        await fetch()
    assert names_in(tmp_path) == []


async def test_a_data_url_is_decoded_into_a_file(tmp_path):
    url = f"data:image/png;base64,{base64.b64encode(b'pixels').decode()}"
    result = {"images": [{"url": url, "file_name": "../x"}, {"url": "data:,hi%21"}]}
    files = await download_media(result, tmp_path)
    assert [file.path.name for file in files] == ["x.png", "file.txt"]
    assert [file.path.read_bytes() for file in files] == [b"pixels", b"hi!"]
