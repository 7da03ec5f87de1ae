"""Find models: what there is, what each is for, and where its schema is.

Owns the catalogue call (fal-wire 9.1, 2026) and the fields of an entry. It never
reads a schema: `schemas` does. Entries that cannot be read are left out; a search
that shows fewer models than there are is better than none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, Literal, TypeAlias

from attrs import field, frozen

from falq.errors import ArgumentError, RequestNotFoundError, WireError
from falq.model import EndpointId
from falq.platform.calls import USUAL_TRIES, Send, Tries, fetch_pages
from falq.platform.history import read_time

PATH = "/models"

MOST_ON_A_PAGE = 50
"""Entries asked for at once: what fal's other lists give by default."""

ModelStatus: TypeAlias = Literal["active", "deprecated"]

_OWN = frozenset(
    {
        "display_name",
        "category",
        "description",
        "status",
        "tags",
        "updated_at",
        "thumbnail_url",
        "model_url",
    }
)


@frozen(kw_only=True)
class ModelInfo:
    """A model, as the catalogue tells it.

    Attributes:
        endpoint: Full endpoint id.
        name: What fal calls it.
        category: Such as `text-to-image`, if told.
        description: What it does, in fal's words.
        status: `active`, `deprecated`, or another word; None if not told.
        tags: Words that it goes with.
        updated_at: When it was changed, UTC, if told.
        thumbnail_url: A picture of it, if there is one.
        model_url: Its address, if told.
        extra: Whatever else the catalogue tells of it.
        openapi: Its OpenAPI document, if that was asked for.
    """

    endpoint: str
    name: str = ""
    category: str | None = None
    description: str = ""
    status: str | None = None
    tags: tuple[str, ...] = ()
    updated_at: datetime | None = None
    thumbnail_url: str | None = None
    model_url: str | None = None
    extra: Mapping[str, Any] = field(factory=dict, repr=False)
    openapi: Mapping[str, Any] | None = field(default=None, repr=False)


def search_models(
    send: Send,
    text: str | None = None,
    *,
    category: str | None = None,
    status: ModelStatus | None = None,
    limit: int | None = None,
    tries: Tries = USUAL_TRIES,
) -> AsyncIterator[ModelInfo]:
    """Return the models that fit, page by page as they are read.

    Args:
        send: Carries a call, as `Transport.send` does.
        text: Words to look for; None for every model.
        category: Such as `text-to-image`.
        status: `active` or `deprecated`; None for both.
        limit: Most models to return, 1 or more; None for all that fit.
        tries: How a page is tried again.

    Returns:
        An iterator. A cancelled or abandoned one leaves nothing behind.

    Raises:
        ArgumentError: The limit is none. Nothing was sent.
        UnsupportedError: The gateway does not reach the Platform API. Raised by
            the iterator, as are those below. Nothing was sent.
        ApiError: The API says no.
        WireError: A page cannot be read, or the list does not end.
        TransportError: There was no whole answer.
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ArgumentError("limit is a whole number of 1 or more, or None", argument="limit")
    wishes = {"q": text, "category": category, "status": status}
    query = [(name, value) for name, value in wishes.items() if value]
    if limit is not None:
        query.append(("limit", str(min(limit, MOST_ON_A_PAGE))))
    return _search(send, query, limit, tries)


async def _search(
    send: Send, query: list[tuple[str, str]], limit: int | None, tries: Tries
) -> AsyncIterator[ModelInfo]:
    pages = fetch_pages(send, PATH, query, doing="search the models", endpoint=None, tries=tries)
    seen: set[str] = set()
    async for page in pages:
        for model in _read_page(page.get("models")):
            if model.endpoint in seen:
                continue
            seen.add(model.endpoint)
            yield model
            if len(seen) == limit:
                return


async def load_model(
    send: Send,
    endpoint: EndpointId,
    *,
    with_openapi: bool = False,
    tries: Tries = USUAL_TRIES,
) -> ModelInfo:
    """Return one model.

    Args:
        send: Carries a call, as `Transport.send` does. A cancelled call leaves
            nothing behind.
        endpoint: Which, with its sub-path.
        with_openapi: Ask for its OpenAPI document.
        tries: How the call is tried again.

    Raises:
        RequestNotFoundError: The catalogue does not have it.
        UnsupportedError: The gateway does not reach the Platform API. Nothing
            was sent.
        ApiError: The API says no.
        WireError: The answer is no list of models.
        TransportError: There was no whole answer.
    """
    query = [("endpoint_id", endpoint.full)]
    if with_openapi:
        query.append(("expand", "openapi-3.0"))
    pages = fetch_pages(
        send, PATH, query, doing="look up the model", endpoint=endpoint, tries=tries
    )
    async for page in pages:
        for model in _read_page(page.get("models")):
            if model.endpoint == endpoint.full:
                return model
    raise RequestNotFoundError(
        f"the catalogue has no model {endpoint.full}; search for it with 'falq models search' "
        "(private apps and workflows are not listed)",
        status_code=404,
        endpoint=endpoint.full,
    )


def _read_page(entries: Any) -> list[ModelInfo]:
    if not isinstance(entries, list):
        raise WireError("could not read the catalogue: the answer is no list of models")
    read = [_read_entry(entry) for entry in entries if isinstance(entry, dict)]
    return [model for model in read if model is not None]


def _read_entry(entry: dict[str, Any]) -> ModelInfo | None:
    endpoint, told, openapi = (entry.get(key) for key in ("endpoint_id", "metadata", "openapi"))
    if not isinstance(endpoint, str) or not endpoint:
        return None
    about = told if isinstance(told, dict) else {}
    tags = about.get("tags")
    return ModelInfo(
        endpoint=endpoint,
        name=_text(about, "display_name") or endpoint,
        category=_text(about, "category"),
        description=_text(about, "description") or "",
        status=_text(about, "status"),
        tags=tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
        updated_at=read_time(about.get("updated_at")),
        thumbnail_url=_text(about, "thumbnail_url"),
        model_url=_text(about, "model_url"),
        extra={name: value for name, value in about.items() if name not in _OWN},
        openapi=openapi if isinstance(openapi, dict) else None,
    )


def _text(about: Mapping[str, Any], name: str) -> str | None:
    value = about.get(name)
    return value if isinstance(value, str) else None
