"""Turn a journal into the report page.

Owns which rows the page shows, what it says of each and what to do next. It
reads the journal and never the service; `page` draws. The command line calls it
at the end of a batch, `live` while one runs, and programs whenever they like.

A page holds at most `MOST_ITEMS` rows: a browser opens no million of them. The
rows that need a look come first then.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shlex
from collections.abc import AsyncIterator, Callable, Container, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from falq._core.codec import load_json
from falq._journal.base import Journal
from falq._journal.records import JobRecord
from falq._journal.states import RecordState
from falq.batch.budget import Budget
from falq.batch.outcomes import RowOutcome, SavedFile, status_of_record
from falq.batch.page import MediaKind, Page, PageItem, PageMedia, render_page
from falq.batch.planning import BATCH_KIND
from falq.batch.reading import load_outcome, load_prices_used, original_of
from falq.batch.withholding import without_inputs

MOST_ITEMS = 20_000
"""Rows on one page."""

REPORT_NAME = "report.html"

_PAGE_JOBS = 500
_PROMPT_NAMES = ("prompt", "text", "gen_text", "input", "caption")
_FAMILIES: Mapping[str, MediaKind] = {"image": "image", "video": "video", "audio": "audio"}
_S = RecordState
_IN_TROUBLE = frozenset({_S.FAILED, _S.REFUSED, _S.GONE, _S.UNKNOWN, _S.CANCELLED})
_CAN_BE_RETRIED = frozenset({"failed", "timed_out", "cancelled"})
_STARTED = _IN_TROUBLE | {_S.FETCHED, _S.DELIVERED}


@frozen(kw_only=True)
class ReportSource:
    """What a page is made of.

    Attributes:
        journal: Open.
        path: Where the journal is, for commands; None names none.
        has_inputs: Whether the page holds the arguments of rows, also where a result
            repeats them.
        media_from: Path from the page's folder to the output folder, with a slash at
            its end; empty if it is that folder.
        is_running: Whether the batch runs: nothing that the page says then is to be
            done before its end, and what is left is told by its progress.
        in_flight: Returns the ids of rows that have not ended, whatever the journal
            has of them; they are not shown.
    """

    journal: Journal
    path: Path | None = None
    has_inputs: bool = True
    media_from: str = ""
    is_running: bool = False
    in_flight: Callable[[], Container[str]] = tuple


async def build_page(source: ReportSource) -> Page:
    """Return the page of a batch as its journal knows it.

    Raises:
        JournalError: It cannot be read.
    """
    journal = source.journal
    budget = Budget(None, await load_prices_used(journal))
    counts = await journal.load_counts()
    started = sum(counts.get(state, 0) for state in _STARTED)
    items: list[PageItem] = []
    async for record in _chosen(journal, is_cut=started > MOST_ITEMS):
        if record.key in source.in_flight():
            continue
        outcome = await load_outcome(journal, record, budget)
        items.append(_item(record, outcome, source))
        if len(items) == MOST_ITEMS:
            break
    items.sort(key=lambda item: item.index)
    subtitle = _subtitle(await journal.load_runs())
    if started > MOST_ITEMS:
        subtitle += f" Rows shown: {MOST_ITEMS:,} of {started:,}; results.jsonl has all."
    return Page(
        title="falq batch",
        subtitle=subtitle,
        items=_relative(items),
        facts=_facts(items, counts, is_running=source.is_running),
        next_steps=() if source.is_running else _next_steps(items, counts, source.path),
    )


async def write_report(source: ReportSource, path: str | os.PathLike[str]) -> Path:
    """Write the page of a batch, whole or not at all, and return where it is.

    Media are linked and not in it: `media_from` says where they are if the page is
    not in the output folder.

    Raises:
        ConfigError: jinja2 is not installed; the message names the extra.
        JournalError: The journal cannot be read.
        OSError: It cannot be written.
    """
    page = await build_page(source)
    return await asyncio.to_thread(_write, page, Path(path))


def _write(page: Page, path: Path) -> Path:
    data = render_page(page).encode()
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        # The hidden name is nothing that the reader gave.
        error.filename, error.filename2 = str(path), None
        raise
    return path


async def _chosen(journal: Journal, *, is_cut: bool) -> AsyncIterator[JobRecord]:
    orders = [_IN_TROUBLE, _STARTED - _IN_TROUBLE] if is_cut else [_STARTED]
    for states in orders:
        async for page in journal.load_jobs(states=states, page=_PAGE_JOBS):
            for record in page:
                yield record


def _item(record: JobRecord, outcome: RowOutcome, source: ReportSource) -> PageItem:
    given = _arguments(record)
    arguments = given if source.has_inputs else {}
    shapes = dict(_shapes(outcome.result))
    item = PageItem(
        index=record.seq,
        id=record.key or f"job-{record.number}",
        endpoint=record.endpoint,
        status=outcome.status,
        request_id=outcome.request_id,
        prompt=_prompt(arguments),
        arguments=arguments,
        result=_shown(outcome.result, given, source),
        seed=_seed(outcome.result, arguments),
        cost_usd=outcome.cost_usd,
        started_s=record.sent_at,
        running_s=_running_from(record),
        ended_s=record.completed_at or record.ended_at,
        media=tuple(
            _media(file, shapes, source) for file in outcome.files if file.name is not None
        ),
    )
    if outcome.is_success:
        return item
    error = outcome.error or {}
    return evolve(
        item,
        error=_shown(str(error.get("message", "")), given, source),
        error_type=str(error.get("error_type") or error.get("kind") or outcome.status),
        how_to_retry=_how_to_retry(record, source),
    )


def _shown(value: Any, given: Mapping[str, Any], source: ReportSource) -> Any:
    return value if source.has_inputs else without_inputs(value, given)


def _arguments(record: JobRecord) -> dict[str, Any]:
    if record.input is None:
        return {}
    value = load_json(record.input)
    return value if isinstance(value, dict) else {}


def _prompt(arguments: Mapping[str, Any]) -> str | None:
    for name in _PROMPT_NAMES:
        value = arguments.get(name)
        if isinstance(value, str):
            return value
    return None


def _seed(result: Any, arguments: Mapping[str, Any]) -> int | None:
    for holder in (result, arguments):
        seed = holder.get("seed") if isinstance(holder, Mapping) else None
        if isinstance(seed, int) and not isinstance(seed, bool):
            return seed
    return None


def _running_from(record: JobRecord) -> float | None:
    if record.completed_at is None or record.inference_s is None:
        return None
    started = record.completed_at - record.inference_s
    return max(started, record.accepted_at or started)


def _shapes(value: Any, depth: int = 0) -> Iterator[tuple[str, tuple[int, int]]]:
    if depth > 8:
        return
    if isinstance(value, Mapping):
        url, width, height = (value.get(name) for name in ("url", "width", "height"))
        if isinstance(url, str) and isinstance(width, int) and isinstance(height, int):
            yield url, (width, height)
        value = list(value.values())
    if isinstance(value, list):
        for child in value:
            yield from _shapes(child, depth + 1)


def _media(
    file: SavedFile, shapes: Mapping[str, tuple[int, int]], source: ReportSource
) -> PageMedia:
    content_type = file.content_type or "application/octet-stream"
    width, height = shapes.get(file.url, (None, None))
    name = file.name or ""
    return PageMedia(
        kind=_FAMILIES.get(content_type.partition("/")[0], "file"),
        content_type=content_type,
        name=name.rpartition("/")[2],
        href=source.media_from + name,
        width=width,
        height=height,
    )


def _relative(items: Iterable[PageItem]) -> list[PageItem]:
    """Return items whose instants are seconds from the first submit."""
    items = list(items)
    first = min((item.started_s for item in items if item.started_s is not None), default=0.0)

    def since(at: float | None) -> float | None:
        return None if at is None else max(0.0, at - first)

    return [
        evolve(
            item,
            started_s=since(item.started_s),
            running_s=since(item.running_s),
            ended_s=since(item.ended_s),
        )
        for item in items
    ]


def _subtitle(runs: Iterable[Any]) -> str:
    batches = [run for run in runs if run.settings.get("kind") == BATCH_KIND]
    if not batches:
        return ""
    started = datetime.fromtimestamp(batches[0].started_at, UTC)
    times = "once" if len(batches) == 1 else f"{len(batches)} times"
    return f"Started {started:%Y-%m-%d %H:%M} UTC, run {times}."


def _facts(
    items: list[PageItem], counts: Mapping[RecordState, int], *, is_running: bool
) -> list[tuple[str, str]]:
    rows = sum(counts.values())
    left = rows - sum(counts.get(state, 0) for state in _STARTED)
    costs = [item.cost_usd for item in items if item.cost_usd is not None]
    facts = [("Rows", f"{rows:,}")]
    if not is_running:
        facts.append(("Left", f"{left:,}"))
    facts.append(("Files", f"{sum(len(item.media) for item in items):,}"))
    if costs:
        facts.append(("Spent", f"${sum(costs):,.4f}"))
    spans = sorted(
        item.ended_s - item.started_s
        for item in items
        if item.ended_s is not None and item.started_s is not None
    )
    if spans:
        facts.append(("Median time", f"{spans[len(spans) // 2]:.1f} s"))
    return facts


def _command(verb: str, path: Path | None) -> str:
    return f"falq {verb} {'JOURNAL' if path is None else shlex.quote(str(path))}"


def _next_steps(
    items: list[PageItem], counts: Mapping[RecordState, int], path: Path | None
) -> list[str]:
    steps: list[str] = []
    left = sum(count for state, count in counts.items() if state not in _STARTED)
    if left:
        rows = "row that is" if left == 1 else f"{left:,} rows that are"
        steps.append(f"Run the {rows} left: `{_command('resume', path)}`")
    if counts.get(RecordState.UNKNOWN):
        steps.append(
            "Look again for the submits whose answer was lost: "
            f"`{_command('resume', path)}`; to send them again at the risk of paying twice, add "
            "`--on-unknown resubmit`"
        )
    # Of the items and not of the counts: a row that equals an earlier one is kept as
    # cancelled, and has failed only if that one has.
    if any(item.status in _CAN_BE_RETRIED for item in items):
        steps.append(f"Run the failed rows again: `{_command('retry', path)}`")
    return steps


def _how_to_retry(record: JobRecord, source: ReportSource) -> str:
    path, when = source.path, "When the batch has ended: " if source.is_running else ""
    if status_of_record(record) == "unknown":
        return f"{when}It is looked for again by `{_command('resume', path)}`."
    if original_of(record) is not None:
        return "It equals an earlier row and shares its end."
    if (record.error or {}).get("status_code") == 422:
        return "The input was refused: correct the row and give it a new id."
    return f"{when}`{_command('retry', path)}`"
