"""Find the media that a result names, and read those it holds itself.

Owns the walk over a result and the decoding of `data:` URLs. It never fetches
and never names a file; `downloader` does, and programs ask it what there is.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from attrs import field, frozen

from falq.errors import ResponseTooLargeError, WireError
from falq.text import printable

_DEEPEST_NESTING = 60


@frozen(kw_only=True)
class MediaRef:
    """A media URL found in a result.

    Attributes:
        url: An https or `data:` URL, as the model wrote it.
        file_name: What the model called it, if it did.
        content_type: What the model said it is, if it did.
        json_path: Where the URL stands in the result, such as `images[0].url`.
    """

    url: str = field(repr=lambda url: printable(repr(url.partition("?")[0]), limit=120))
    file_name: str | None = None
    content_type: str | None = None
    json_path: str = "url"


def find_media(result: object) -> tuple[MediaRef, ...]:
    """Return the media of a result, in its order, each URL once.

    Args:
        result: A JSON value. Media are objects with a text `url`, at any depth,
            as fal's models answer.

    Example:
        >>> find_media({"images": [{"url": "https://example.com/a.png"}], "seed": 7})[0].json_path
        'images[0].url'
    """
    found: dict[str, MediaRef] = {}
    for path, item in _objects(result, "", 0):
        url = item.get("url")
        if isinstance(url, str) and url.startswith(("https://", "http://", "data:")):
            name, kind = item.get("file_name"), item.get("content_type")
            ref = MediaRef(
                url=url,
                file_name=name if isinstance(name, str) else None,
                content_type=kind if isinstance(kind, str) else None,
                json_path=f"{path}.url" if path else "url",
            )
            found.setdefault(url, ref)
    return tuple(found.values())


def _objects(value: object, path: str, depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
    if depth > _DEEPEST_NESTING:
        return
    inner: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        yield path, value
        inner = [(f"{path}.{key}" if path else str(key), one) for key, one in value.items()]
    elif isinstance(value, list):
        inner = [(f"{path}[{number}]", one) for number, one in enumerate(value)]
    for where, one in inner:
        if isinstance(one, dict | list):
            yield from _objects(one, where, depth + 1)


def read_data_url(url: str, *, limit_bytes: int) -> tuple[str, bytes]:
    """Return content type and bytes of a `data:` URL.

    Args:
        url: The URL.
        limit_bytes: Most bytes to decode to.

    Raises:
        WireError: It is damaged.
        ResponseTooLargeError: It is above the limit.

    Example:
        >>> read_data_url("data:text/plain;base64,aGk=", limit_bytes=10)
        ('text/plain', b'hi')
    """
    head, comma, payload = url[len("data:") :].partition(",")
    if not comma:
        raise WireError("a data: URL in the result has no comma, so no data", excerpt=url[:80])
    content_type, *parameters = head.split(";")
    is_base64 = parameters[-1:] == ["base64"]
    # Base64 makes four letters of three bytes; other letters may each be escaped.
    if len(payload) > limit_bytes * (3 if not is_base64 else 1.34) + 4:
        raise ResponseTooLargeError(f"a data: URL in the result is above {limit_bytes} bytes")
    try:
        data = (
            base64.b64decode(unquote(payload), validate=True)
            if is_base64
            else unquote_to_bytes(payload)
        )
    except (binascii.Error, ValueError):
        raise WireError("a data: URL in the result is damaged", excerpt=url[:80]) from None
    if len(data) > limit_bytes:
        raise ResponseTooLargeError(f"a data: URL in the result is above {limit_bytes} bytes")
    return content_type or "text/plain", data
