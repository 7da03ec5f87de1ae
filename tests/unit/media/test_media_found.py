"""What media a result names, and what `data:` URLs hold."""

from __future__ import annotations

import pytest

from falq.errors import ResponseTooLargeError, WireError
from falq.media.found import MediaRef, find_media, read_data_url


@pytest.mark.parametrize(
    "url", ["data:image/png;base64", "data:image/png;base64,!!!!", "data:;base64,abc"]
)
def test_a_damaged_data_url_is_a_wire_error(url):
    with pytest.raises(WireError):
        read_data_url(url, limit_bytes=100)


@pytest.mark.parametrize("url", ["data:,xxxxxx", "data:;base64,eHh4eHh4", "data:," + "x" * 100])
def test_a_data_url_above_the_limit_is_refused(url):
    with pytest.raises(ResponseTooLargeError):
        read_data_url(url, limit_bytes=5)


def test_media_are_found_at_any_depth_in_order_and_once():
    result = {
        "video": {"url": "https://h/1.mp4", "content_type": "video/mp4"},
        "deep": [{"list": [{"url": "https://h/2.png", "file_name": "two.png"}]}],
        "again": {"url": "https://h/1.mp4"},
        "no": {"url": 7},
        "neither": {"url": "ftp://h/3"},
        "prompt": "https://h/not-media",
    }
    assert find_media(result) == (
        MediaRef(url="https://h/1.mp4", content_type="video/mp4", json_path="video.url"),
        MediaRef(url="https://h/2.png", file_name="two.png", json_path="deep[0].list[0].url"),
    )
    assert find_media("https://h/1.mp4") == find_media(None) == ()


def test_a_signed_url_is_not_in_the_repr():
    assert "secret" not in repr(MediaRef(url="https://h/a.png?sig=secret"))
