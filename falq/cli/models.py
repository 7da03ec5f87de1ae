"""The command about models: search, show, schema, price, stub.

Owns what each prints. The calls are the Platform API's (`session.models`); nothing
is submitted and nothing spent. On a terminal a reader gets columns, everybody else
JSON.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from attrs import asdict, frozen

from falq.cli.failures import FAILED, OK
from falq.cli.output import Output
from falq.errors import ArgumentError
from falq.platform import ModelInfo, Models, ModelSchema, SchemaField
from falq.platform.catalogue import ModelStatus
from falq.platform.stub import write_stub
from falq.session import Session
from falq.text import printable

Action = Literal["search", "show", "schema", "price", "stub"]

STUB_MARK = '"""Typed input and output of '
"""How a file begins that `stub` may write over."""


@frozen(kw_only=True)
class ModelWords:
    """What the command line says.

    Attributes:
        action: What to do.
        words: What to search for, or the endpoints.
        category: Only those of this category, for `search`.
        status: Only those of this status, for `search`.
        limit: Most models, for `search`.
        to: File that `stub` writes.
    """

    action: Action
    words: tuple[str, ...]
    category: str | None
    status: ModelStatus | None
    limit: int
    to: Path | None


async def models(words: ModelWords, output: Output) -> int:
    """Do what `words` say and return the exit code."""
    if words.action not in {"search", "price"} and len(words.words) != 1:
        raise ArgumentError(f"{words.action} takes one endpoint", argument="words")
    if words.action == "price" and not words.words:
        raise ArgumentError("price takes one endpoint or more", argument="words")
    async with Session() as session:
        if words.action == "search":
            return await _search(session.models, words, output)
        if words.action == "price":
            return await _price(session.models, words.words, output)
        endpoint = words.words[0]
        if words.action == "show":
            _show(await session.models.get(endpoint), output)
            return OK
        schema = await session.models.schema(endpoint)
    if words.action == "schema":
        _show_schema(schema, output)
    else:
        _write_stub(schema, words.to, output)
    return OK


async def _search(models: Models, words: ModelWords, output: Output) -> int:
    found = models.search(
        " ".join(words.words) or None,
        category=words.category,
        status=words.status,
        limit=words.limit,
    )
    count = 0
    async for model in found:
        count += 1
        if output.is_pretty:
            _columns([(model.endpoint, model.category or "", model.name)], output, widths=(44, 18))
        else:
            output.data(_as_json(model))
    if not count:
        output.note("no model fits; fewer words find more")
    return OK


def _show(model: ModelInfo, output: Output) -> None:
    if not output.is_pretty:
        output.data(_as_json(model) | {"more": dict(model.extra)})
        return
    rows = [
        ("endpoint", model.endpoint),
        ("name", model.name),
        ("category", model.category or "not told"),
        ("status", model.status or "not told"),
        ("tags", ", ".join(model.tags)),
        ("description", model.description),
    ]
    _columns(rows, output, widths=(12,))


def _as_json(model: ModelInfo) -> dict[str, Any]:
    return {
        "endpoint": model.endpoint,
        "name": model.name,
        "category": model.category,
        "description": model.description,
        "status": model.status,
        "tags": list(model.tags),
        "updated_at": None if model.updated_at is None else model.updated_at.isoformat(),
        "model_url": model.model_url,
    }


def _show_schema(schema: ModelSchema, output: Output) -> None:
    if not output.is_pretty:
        output.data(
            {
                "endpoint": schema.endpoint,
                "input": dict(schema.input),
                "output": dict(schema.output),
            }
        )
        return
    for title, fields in (("input", schema.input_fields()), ("output", schema.output_fields())):
        output.line(f"{schema.endpoint} {title}")
        _columns((_row_of(one) for one in fields), output, widths=(26, 26))


def _row_of(one: SchemaField) -> tuple[str, str, str]:
    default = "" if one.default is None else f"default {one.default!r}"
    return f"  {one.name}", "required" if one.is_required else default, one.kind


async def _price(models: Models, endpoints: tuple[str, ...], output: Output) -> int:
    prices = await models.prices(endpoints)
    for endpoint, price in prices.items():
        if output.is_pretty:
            text = f"{price.unit_price:g} {price.currency} for one of {price.unit}"
            _columns([(endpoint, text)], output, widths=(44,))
        else:
            output.data({"endpoint": endpoint, **asdict(price)})
    unknown = [endpoint for endpoint in endpoints if endpoint.strip("/") not in prices]
    for endpoint in unknown:
        output.error(f"fal tells no price of {endpoint}")
    return FAILED if unknown else OK


def _write_stub(schema: ModelSchema, path: Path | None, output: Output) -> None:
    text = write_stub(schema)
    if path is None:
        output.line(text.rstrip("\n"))
        return
    if path.exists() and not _is_stub(path):
        raise ArgumentError(f"{path} is there and no stub; give another name", argument="to")
    path.write_text(text, encoding="utf-8")
    output.note(f"wrote {path}")


def _is_stub(path: Path) -> bool:
    # A device may have no end, so no more than the mark is read, and of files alone.
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(STUB_MARK.encode())) == STUB_MARK.encode()


def _columns(rows: Iterable[tuple[str, ...]], output: Output, *, widths: tuple[int, ...]) -> None:
    """Print rows in columns; what a stranger wrote is made safe."""
    for row in rows:
        *fixed, last = (printable(cell) for cell in row)
        cells = [cell.ljust(width) for cell, width in zip(fixed, widths, strict=True)]
        output.line(" ".join([*cells, last]).rstrip())
