"""The request history as the emulated Platform API tells it.

Owns which jobs are listed, in which order, on which page, and the fields of a
row. It reads the queue's jobs and changes none. It never checks a key or writes
a reply: `platform` does.

Rules:

1. A request that ended is listed from `history_delay_s` after its end, one that
   has not from as long after it was sent, and only if the scenario lists those.
2. The window is about the instant of sending; its end is exclusive.
3. A cursor names the last row that was shown, not a number of rows: rows that
   turn up between two pages shift nothing.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from heapq import nsmallest
from typing import Any
from urllib.parse import parse_qs

from attrs import frozen

from falq.emulator.jobs import Job
from falq.emulator.scenario import Scenario
from falq.emulator.state import Queue

MOST_ENDPOINTS = 50
_MOST_ITEMS = 100
_USUAL_ITEMS = 50
_USUAL_SPAN = timedelta(hours=24)
_LAST = datetime.max.replace(tzinfo=UTC)
# The first status of each kind, and the first that is no longer one.
_STATUS_CODES = {"success": (0, 400), "user_error": (400, 500), "error": (500, 1000)}

SortKey = tuple[float, str]


class BadQueryError(ValueError):
    """A query's value cannot be used."""


@frozen(kw_only=True)
class HistoryQuery:
    """What of the history is asked for.

    Attributes:
        endpoints: Full endpoint ids.
        start: Sent at or after this.
        end: Sent before this.
        status: `success`, `user_error` or `error`; None for all.
        request_id: Only this request.
        has_payloads: With inputs and outputs.
        is_by_duration: Longest first; else the one that ended last.
        limit: Rows on a page.
        after: Sort key of the last row of the page before.
    """

    endpoints: frozenset[str]
    start: datetime
    end: datetime
    status: str | None
    request_id: str | None
    has_payloads: bool
    is_by_duration: bool
    limit: int
    after: SortKey | None


def read_endpoints(query: str) -> list[str]:
    """Return the endpoint ids of a query, repeated or with commas.

    Raises:
        BadQueryError: There are none, or more than `MOST_ENDPOINTS`.
    """
    given = parse_qs(query).get("endpoint_id", [])
    endpoints = [one for text in given for one in text.split(",") if one]
    if not 1 <= len(endpoints) <= MOST_ENDPOINTS:
        raise BadQueryError(f"endpoint_id must be given 1 to {MOST_ENDPOINTS} times")
    return endpoints


def read_query(query: str, wall_now: datetime) -> HistoryQuery:
    """Read the query of a history call.

    Raises:
        BadQueryError: A value in it cannot be used.
    """
    fields = {name: values[-1] for name, values in parse_qs(query).items()}
    return HistoryQuery(
        endpoints=frozenset(read_endpoints(query)),
        start=read_instant(fields, "start", wall_now - _USUAL_SPAN),
        end=read_instant(fields, "end", _LAST),
        status=_read_word(fields, "status", tuple(_STATUS_CODES)),
        request_id=fields.get("request_id"),
        has_payloads=_read_word(fields, "expand", ("payloads",)) is not None,
        is_by_duration=_read_word(fields, "sort_by", ("ended_at", "duration")) == "duration",
        limit=_read_limit(fields.get("limit")),
        after=_read_cursor(fields.get("cursor")),
    )


def list_page(query: HistoryQuery, queue: Queue, scenario: Scenario, now: float) -> dict[str, Any]:
    """Return one page of the history, as it stands at the instant `now`."""
    rows = [row for row in _find_rows(query, queue, scenario, now) if _is_after(row, query)]
    shown = nsmallest(query.limit, rows, key=lambda row: row.sort_key)
    has_more = len(rows) > len(shown)
    return {
        "items": [_write(row, queue, scenario, has_payloads=query.has_payloads) for row in shown],
        "next_cursor": _write_cursor(shown[-1].sort_key) if has_more else None,
        "has_more": has_more,
    }


@frozen
class _Row:
    job: Job
    is_ended: bool
    sort_key: SortKey


def _find_rows(query: HistoryQuery, queue: Queue, scenario: Scenario, now: float) -> Iterator[_Row]:
    known_until = now - scenario.history_delay_s
    for job in queue.jobs.values():
        if job.order.endpoint not in query.endpoints:
            continue
        if query.request_id not in {None, job.request_id}:
            continue
        if not query.start <= _wall(queue, job.submitted) < query.end:
            continue
        is_ended = job.state == "done" and job.ended <= known_until
        if not is_ended and not (scenario.history_lists_queued and job.submitted <= known_until):
            continue
        if query.status is not None and not (is_ended and _has_status(job, query.status)):
            continue
        yield _Row(job, is_ended, _sort_key(job, query, is_ended=is_ended))


def _has_status(job: Job, status: str) -> bool:
    first, after = _STATUS_CODES[status]
    return job.ending is not None and first <= job.ending.status_code < after


def _sort_key(job: Job, query: HistoryQuery, *, is_ended: bool) -> SortKey:
    if query.is_by_duration:
        return (-job.run_s if is_ended else 0.0, job.request_id)
    # What has not ended comes before everything that has.
    return (-job.ended if is_ended else float("-inf"), job.request_id)


def _is_after(row: _Row, query: HistoryQuery) -> bool:
    return query.after is None or row.sort_key > query.after


def _write(row: _Row, queue: Queue, scenario: Scenario, *, has_payloads: bool) -> dict[str, Any]:
    job, ending = row.job, row.job.ending if row.is_ended else None
    started = _write_time(queue, job.started) if job.attempt else None
    item: dict[str, Any] = {
        "request_id": job.request_id,
        "endpoint_id": job.order.endpoint,
        "started_at": started,
        "sent_at": _write_time(queue, job.submitted),
        "ended_at": None if ending is None else _write_time(queue, job.ended),
        "status_code": None if ending is None else ending.status_code,
        "duration": None if ending is None or not job.attempt else job.run_s,
    }
    if has_payloads:
        is_stored = scenario.stores_io and job.order.stores_io and scenario.history_stores_payloads
        is_kept = is_stored and not job.has_lost_payloads
        item["json_input"] = job.order.arguments if is_kept else None
        item["json_output"] = json.loads(ending.body) if is_kept and ending is not None else None
    return item


def _wall(queue: Queue, instant: float) -> datetime:
    return datetime.fromtimestamp(queue.wall_s(instant), UTC)


def _write_time(queue: Queue, instant: float) -> str:
    text = _wall(queue, instant).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")


def read_instant(fields: dict[str, str], name: str, usual: datetime) -> datetime:
    """Return a time of a query, UTC if it names no zone, or `usual` without one.

    Raises:
        BadQueryError: It is none.
    """
    text = fields.get(name)
    if text is None:
        return usual
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadQueryError(f"{name} must be an ISO-8601 time") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _read_word(fields: dict[str, str], name: str, words: tuple[str, ...]) -> str | None:
    word = fields.get(name)
    if word is not None and word not in words:
        raise BadQueryError(f"{name} must be one of {', '.join(words)}")
    return word


def _read_limit(text: str | None) -> int:
    if text is None:
        return _USUAL_ITEMS
    limit = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= limit <= _MOST_ITEMS:
        raise BadQueryError(f"limit must lie between 1 and {_MOST_ITEMS}")
    return limit


def _write_cursor(key: SortKey) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def _read_cursor(text: str | None) -> SortKey | None:
    if text is None:
        return None
    try:
        number, request_id = json.loads(base64.urlsafe_b64decode(text))
        return float(number), str(request_id)
    except (ValueError, TypeError) as error:
        raise BadQueryError("cursor is not one of this list") from error
