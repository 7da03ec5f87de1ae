"""A large file in parts: some at once, each tried again by itself, ended as one.

Owns the division and the order (fal-wire 8.3). It never reads a file by itself
and never sees a key: `upload_source` gives the bytes, `upload_api` carries them.

Rules:
    1. A part that fails for good ends the others at once, and nothing is completed.
    2. Parts are named in ascending order, each with its tag letter by letter.
    3. In memory are a few pieces for each part on its way, however large a part is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from urllib.parse import quote

from attrs import frozen

from falq.errors import WireError
from falq.media.storage import StorageCall
from falq.media.upload_api import UploadApi, read_told
from falq.media.upload_progress import Meter
from falq.media.upload_source import Source, Span

MOST_PARTS = 10_000
"""What storages of this kind take; a larger file has larger parts."""


@frozen
class _Begun:
    """An upload that the CDN is ready for."""

    access_url: str
    upload_url: str


async def send_in_parts(
    api: UploadApi,
    source: Source,
    headers: dict[str, str],
    *,
    part_bytes: int,
    at_once: int,
    meter: Meter,
) -> str:
    """Upload a source in parts and return its URL.

    Args:
        api: Carries the calls.
        source: What to upload.
        headers: Of the start: type, name and life.
        part_bytes: Size of a part.
        at_once: Parts on their way at once.
        meter: Counts the bytes.

    Raises:
        FalqError: One part, or the start or the end, failed for good.

    If it is cancelled or fails, no part stays on its way and nothing is completed;
    fal knows no call that takes back the parts that arrived.
    """
    size_bytes = max(part_bytes, -(-source.size_bytes // MOST_PARTS))
    begun = await _begin(api, headers)
    starts = range(0, source.size_bytes, size_bytes)
    waiting = iter(list(enumerate(starts, start=1)))
    tags: dict[int, str] = {}

    async def send_some(parts: Iterator[tuple[int, int]]) -> None:
        for number, start in parts:
            count = min(size_bytes, source.size_bytes - start)
            tags[number] = await _send_part(
                api, source, begun, number=number, start=start, count=count, meter=meter
            )

    failure: Exception | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(starts))):
                group.create_task(send_some(waiting))
    except ExceptionGroup as failures:
        failure = failures.exceptions[0]
    if failure is not None:
        raise failure
    await source.check_unchanged()
    await _complete(api, begun, tags)
    return begun.access_url


async def _begin(api: UploadApi, headers: dict[str, str]) -> _Begun:
    doing = "begin an upload in parts"
    call = StorageCall(method="POST", url="/files/upload/multipart", headers=headers)
    told = read_told(await api.send_to_cdn(call, doing=doing, below_base=True), doing)
    access_url, upload_id = told.get("access_url"), told.get("uploadId")
    if not isinstance(access_url, str) or not isinstance(upload_id, str) or not upload_id:
        raise WireError(f"could not {doing}: the answer has no access_url and uploadId")
    plain_url = access_url.partition("?")[0].partition("#")[0]
    return _Begun(access_url, f"{plain_url}/multipart/{quote(upload_id, safe='')}")


async def _send_part(
    api: UploadApi,
    source: Source,
    begun: _Begun,
    *,
    number: int,
    start: int,
    count: int,
    meter: Meter,
) -> str:
    call = StorageCall(
        method="PUT",
        url=f"{begun.upload_url}/{number}",
        headers={"Content-Type": source.content_type},
        size_bytes=count,
        pieces=Span(source, start, count, meter).pieces,
    )
    reply = await api.send_to_cdn(call, doing=f"upload part {number}")
    tag = reply.headers.get("ETag")
    if not tag:
        raise WireError(f"part {number} of an upload arrived without a tag; try again later")
    return tag


async def _complete(api: UploadApi, begun: _Begun, tags: dict[int, str]) -> None:
    parts = [{"partNumber": number, "etag": tags[number]} for number in sorted(tags)]
    body = json.dumps({"parts": parts}).encode()

    async def whole() -> AsyncIterator[bytes]:
        yield body

    call = StorageCall(
        method="POST",
        url=f"{begun.upload_url}/complete",
        headers={"Content-Type": "application/json"},
        size_bytes=len(body),
        pieces=whole,
    )
    await api.send_to_cdn(call, doing="complete an upload")
