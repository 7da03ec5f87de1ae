"""What happens to arguments between the user and the submission.

Owns that one asynchronous step: files, bytes with a type and images that stand
inside arguments are uploaded, and their URLs take their place. It never submits
and never uploads by itself; `session` calls it before a job gets in line, and
whatever fails here was spent nothing on.

Rules:
    1. Arguments that are JSON already never come here: writing them as JSON is
       what finds out.
    2. What could not be sent with a URL in every place either is refused before
       anything is uploaded.
    3. Text stays text. A path is a `Path`.
    4. What the caller gave is not changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias

from falq._core.canonical import input_sha256
from falq._core.codec import dump_arguments, load_json
from falq._engine.job import Input
from falq.errors import ArgumentError, FalqError, JobTimeoutError, UnsupportedError
from falq.gateways import UPLOAD, Gateway
from falq.media.encode import encode
from falq.media.upload import Uploader
from falq.media.upload_source import (
    IN_PLACE_BYTES,
    Upload,
    as_upload,
    check_digest,
    digest_of,
    open_source,
)
from falq.model import EndpointId
from falq.text import printable

DATA_URL_LIMIT_BYTES = 8 * 1024 * 1024
"""Largest file that goes inside a request where the gateway has no uploads.

It grows by a third on its way, and models take 50 MiB at most where they say so.
"""

_DEEPEST = 100
# Most of what arguments hold: asked first, so that a look at plain ones is short.
_PLAIN = frozenset({str, int, float, bool, type(None)})

Check: TypeAlias = Callable[[EndpointId, Mapping[str, Any]], Awaitable[None]]
"""Raises if an endpoint cannot take arguments."""

Place: TypeAlias = tuple[str | int, ...]
"""The way to a value: names and positions, from the arguments down."""


def find_uploads(arguments: object) -> dict[Place, Upload]:
    """Return everything inside arguments that is to be uploaded, by its place.

    Args:
        arguments: As the user gave them.

    Raises:
        ArgumentError: They hold bytes of which nobody says what they are.
    """
    found: dict[Place, Upload] = {}
    _look(arguments, (), found, above=())
    return found


def _look(
    value: object, place: Place, found: dict[Place, Upload], *, above: tuple[int, ...]
) -> None:
    if type(value) in _PLAIN:
        return
    # What is inside itself has no end, and no JSON: the encoder says so.
    if id(value) in above or len(place) > _DEEPEST:
        return
    children = _children_of(value)
    if children is not None:
        for name, child in children:
            _look(child, (*place, name), found, above=(*above, id(value)))
        return
    if isinstance(value, bytes | bytearray | memoryview):
        raise ArgumentError(
            f"{shown_place(place)} holds bytes, and nothing says what they are; give "
            "falq.Upload(data, 'image/png'), or whatever they are",
            argument="arguments",
        )
    upload = as_upload(value)
    if upload is not None:
        found[place] = upload


def _children_of(value: object) -> Iterable[tuple[str | int, object]] | None:
    if isinstance(value, Mapping):
        return value.items()
    return enumerate(value) if isinstance(value, list | tuple) else None


def put_in_place(value: Any, texts: Mapping[Place, str], place: Place = ()) -> Any:
    """Return `value` with texts in the places that `find_uploads` named.

    Args:
        value: The arguments.
        texts: A URL for each place.
        place: Where `value` stands.
    """
    if place in texts:
        return texts[place]
    if not any(known[: len(place)] == place for known in texts):
        return value
    if isinstance(value, Mapping):
        return {name: put_in_place(child, texts, (*place, name)) for name, child in value.items()}
    return [put_in_place(child, texts, (*place, at)) for at, child in enumerate(value)]


def shown_place(place: Place) -> str:
    """Return a place as a person writes it.

    Example:
        >>> shown_place(("images", 0, "url"))
        'arguments.images[0].url'
    """
    text = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in place)
    return printable(f"arguments{text}", limit=160)


class Preparation:
    """Makes arguments ready to be sent.

    Args:
        gateway: Says whether files can be uploaded, or go inside the request.
        uploader: Gives the session's uploads, made at the first need.
    """

    def __init__(self, gateway: Gateway, uploader: Callable[[], Uploader]) -> None:
        self._can_upload = UPLOAD in gateway.abilities
        self._uploader = uploader

    async def prepare(
        self,
        endpoint: EndpointId,
        arguments: Mapping[str, Any],
        *,
        check: Check | None = None,
    ) -> Mapping[str, Any]:
        """Return arguments that JSON can hold, with all files uploaded.

        Args:
            endpoint: Where they go.
            arguments: As the user gave them.
            check: Looks at them before anything is uploaded, and raises if they
                cannot be sent.

        Raises:
            ArgumentError: Something in them cannot be sent. Nothing was spent.
            UnsupportedError: The gateway has no uploads, and a file is too large to
                go inside the request.
            FalqError: An upload failed. Nothing was submitted.

        If it is cancelled, uploads that nobody else waits for end, and nothing is
        submitted.
        """
        if check is not None:
            await check(endpoint, arguments)
        found = find_uploads(arguments)
        if not found:
            return arguments
        # What is no JSON even then is refused before it costs an upload.
        dump_arguments(put_in_place(arguments, dict.fromkeys(found, "")))
        make = self._uploader().share if self._can_upload else _write_inside
        texts = await _make_each(found, make)
        prepared: Mapping[str, Any] = put_in_place(arguments, texts)
        return prepared

    def hash_of(
        self, endpoint: EndpointId, arguments: Mapping[str, Any], ready: Mapping[str, Any]
    ) -> str | None:
        """Return a hash that stays the same whatever URLs the same files get.

        Args:
            endpoint: Where they go.
            arguments: As they were given to `prepare`.
            ready: What it returned for them.

        Returns:
            None if nothing in them was uploaded: their own hash does.
        """
        found = find_uploads(arguments) if self._can_upload else {}
        contents: dict[Place, str] = {}
        for place in found:
            content = self._uploader().content_of(_at(ready, place))
            if content is None:
                return None
            contents[place] = content
        if not contents:
            return None
        return _write(endpoint, put_in_place(arguments, contents)).sha256

    async def make_input(
        self,
        endpoint: EndpointId,
        arguments: Mapping[str, Any],
        *,
        check: Check | None = None,
    ) -> Input:
        """Return arguments as they are sent, with all files uploaded, and their hash.

        Args:
            endpoint: Where they go.
            arguments: As `prepare` takes them.
            check: As `prepare` takes it.

        Raises:
            FalqError: See `prepare`.
        """
        ready = await self.prepare(endpoint, arguments, check=check)
        # In a thread: they may hold megabytes of data URLs.
        return await asyncio.to_thread(_write, endpoint, ready)


def _at(value: Any, place: Place) -> Any:
    for name in place:
        value = value[name]
    return value


def _write(endpoint: EndpointId, arguments: Mapping[str, Any]) -> Input:
    body = dump_arguments(arguments)
    return Input(body, input_sha256(endpoint.full, load_json(body)))


async def prepare_in_time(
    prepare: Callable[[], Awaitable[Mapping[str, Any]]], timeout_s: float | None
) -> tuple[Mapping[str, Any], float | None]:
    """Prepare arguments within the time that their job gets; return what is left of it.

    Args:
        prepare: What prepares them.
        timeout_s: Seconds; None for no limit.

    Returns:
        The arguments, and the seconds that are left for the job.

    Raises:
        JobTimeoutError: The time passed; nothing was submitted.
        FalqError: See `Preparation.prepare`.
    """
    now = asyncio.get_running_loop().time
    started = now()
    try:
        async with asyncio.timeout(timeout_s):
            ready = await prepare()
        return ready, None if timeout_s is None else max(timeout_s + started - now(), 0.001)
    except TimeoutError as error:
        if isinstance(error, FalqError):
            raise
    raise JobTimeoutError(
        f"{timeout_s:g} s passed while files were uploaded; nothing was submitted",
        timeout_s=timeout_s,
        cancel_outcome="not_submitted",
        possibly_billed=False,
    )


async def _make_each(found: Mapping[Place, Upload], make: Any) -> dict[Place, str]:
    texts: dict[Place, str] = {}

    async def fill(place: Place, upload: Upload) -> None:
        texts[place] = await make(upload)

    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for place, upload in found.items():
                group.create_task(fill(place, upload))
    except ExceptionGroup as failures:
        failure = failures.exceptions[0]
    if failure is not None:
        raise failure
    return texts


async def _write_inside(upload: Upload) -> str:
    """Return a data URL."""
    source = await open_source(upload)
    try:
        if source.size_bytes > DATA_URL_LIMIT_BYTES:
            raise UnsupportedError(
                f"{source.file_name} has {source.size_bytes} bytes, and this gateway has no "
                f"uploads: {DATA_URL_LIMIT_BYTES} is the most that goes inside a request; give a "
                "URL instead, or use falq.Fal",
                setting="gateway",
            )
        data = await source.read_at(0, source.size_bytes)
        if upload.sha256 is not None:
            check_digest(upload, source, await digest_of(source))
        if source.size_bytes <= IN_PLACE_BYTES:
            return encode(data, source.content_type)
        return await asyncio.to_thread(encode, data, source.content_type)
    finally:
        source.close()
