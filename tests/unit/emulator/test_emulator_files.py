"""The shelf of media and its serving."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.emulator.files import MediaShelf
from falq.emulator.messages import Request
from falq.emulator.models.base import StoredFile
from falq.emulator.ranges import serve_range

BASE = "http://127.0.0.1:9"


class Painter:
    def __init__(self, data=b"0123456789"):
        self.data = data
        self.drawn = 0

    def __call__(self):
        self.drawn += 1
        return self.data


def test_a_file_is_drawn_when_it_is_first_read_and_once():
    shelf, painter = MediaShelf(BASE), Painter()
    url = shelf.add(name="cat 1.png", content_type="image/png", draw=painter)
    assert url.startswith(f"{BASE}/files/")
    assert url.endswith("/cat%201.png")
    assert painter.drawn == 0
    for _ in range(2):
        assert shelf.find(url) == StoredFile(data=painter.data, content_type="image/png")
    assert painter.drawn == 1


@given(st.lists(st.integers(0, 9), max_size=60))
def test_the_cache_is_bounded_and_gives_the_same_bytes(reads):
    shelf = MediaShelf(BASE, cache_bytes=100)
    data = [bytes([number]) * 30 for number in range(10)]
    urls = [shelf.add(name="x", content_type="image/png", draw=lambda one=one: one) for one in data]
    for number in reads:
        assert shelf.find(urls[number]).data == data[number]
        assert shelf.drawn_bytes <= 100


@pytest.mark.parametrize(
    "url", [f"{BASE}/files/nothing/x", "https://elsewhere.example/files/0/x", "", "data:;base64,*"]
)
def test_what_is_not_on_the_shelf_is_not_found(url):
    assert MediaShelf(BASE).find(url) is None


@pytest.mark.parametrize(
    ("url", "data", "content_type"),
    [
        ("data:image/png;base64,AAEC", b"\x00\x01\x02", "image/png"),
        ("data:text/plain;charset=utf-8,a%20b", b"a b", "text/plain"),
        ("data:,hello", b"hello", "text/plain"),
    ],
)
def test_data_urls_are_read(url, data, content_type):
    assert MediaShelf(BASE).find(url) == StoredFile(data=data, content_type=content_type)


FILE = StoredFile(data=b"0123456789", content_type="audio/wav")


@pytest.mark.parametrize(
    ("wanted", "code", "content", "part"),
    [
        (None, 200, b"0123456789", None),
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=5-2", 416, b"", "bytes */10"),
        ("bytes=1-2,4-5", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
    ],
)
def test_a_range_is_served_as_asked(wanted, code, content, part):
    headers = {} if wanted is None else {"range": wanted}
    reply = serve_range(FILE, Request(method="GET", path="/x", headers=headers))
    assert (reply.status_code, reply.body) == (code, content)
    assert dict(reply.headers).get("content-range") == part
    assert dict(reply.headers)["content-type"] == "audio/wav"


def test_a_changed_file_is_sent_whole_whatever_the_range():
    etag = dict(serve_range(FILE, Request(method="GET", path="/x")).headers)["etag"]
    for tag, code in ((etag, 206), ('"other"', 200)):
        asked = Request(method="GET", path="/x", headers={"range": "bytes=1-", "if-range": tag})
        assert serve_range(FILE, asked).status_code == code


def test_files_need_no_key_and_unknown_ones_are_404(make_app):
    client = make_app()
    url = client.app.files.add(name="a.wav", content_type="audio/wav", draw=Painter())
    path = url.removeprefix("http://127.0.0.1:9")
    reply = client.call("GET", path, headers={"authorization": ""})
    assert (reply.status_code, reply.body) == (200, b"0123456789")
    assert client.call("GET", "/files/none/a.wav").status_code == 404
