"""What the emulated account used, as the Platform API tells it.

Owns the sums over the queue's jobs (fal-wire 9.6). It reads jobs and changes none,
and never writes a reply: `platform` does. Only jobs that a model ended are used;
their units are those that the result's header names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from falq.emulator.history import BadQueryError, read_endpoints, read_instant
from falq.emulator.jobs import Job
from falq.emulator.prices import CURRENCY, PRICES
from falq.emulator.state import Queue

_USUAL_SPAN = timedelta(hours=24)
_EXPANSIONS = {"time_series", "summary", "auth_method"}
_UNITS = "x-fal-billable-units"


def _start_of_month(at: datetime) -> datetime:
    return at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _start_of_week(at: datetime) -> datetime:
    return _start_of_day(at) - timedelta(days=at.weekday())


def _start_of_day(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


_BUCKETS: dict[str, Callable[[datetime], datetime]] = {
    "minute": lambda at: at.replace(second=0, microsecond=0),
    "hour": lambda at: at.replace(minute=0, second=0, microsecond=0),
    "day": _start_of_day,
    "week": _start_of_week,
    "month": _start_of_month,
}


def tell_usage(query: str, queue: Queue, wall_now: datetime) -> dict[str, Any]:
    """Return what was used in the window of a query.

    Args:
        query: Of the call, as it came.
        queue: Whose jobs are counted.
        wall_now: The present.

    Raises:
        BadQueryError: A value in it cannot be used.
    """
    fields = {name: values[-1] for name, values in parse_qs(query).items()}
    wanted = {one for text in parse_qs(query).get("expand", []) for one in text.split(",")}
    if wanted - _EXPANSIONS:
        raise BadQueryError(f"expand must be one of {', '.join(sorted(_EXPANSIONS))}")
    start_of = _BUCKETS.get(fields.get("timeframe", "day"))
    if start_of is None:
        raise BadQueryError(f"timeframe must be one of {', '.join(_BUCKETS)}")
    start = read_instant(fields, "start", wall_now - _USUAL_SPAN)
    end = read_instant(fields, "end", wall_now)
    asked = set(read_endpoints(query)) if "endpoint_id" in fields else None
    total: defaultdict[str, float] = defaultdict(float)
    series: defaultdict[datetime, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for job in queue.jobs.values():
        units = _units_of(job)
        ended_at = datetime.fromtimestamp(queue.wall_s(job.ended), UTC)
        endpoint = job.order.endpoint
        if not units or not start <= ended_at < end or (asked and endpoint not in asked):
            continue
        total[endpoint] += units
        series[start_of(ended_at)][endpoint] += units
    told: dict[str, Any] = {"next_cursor": None, "has_more": False}
    if "time_series" in wanted or not wanted:
        told["time_series"] = [
            {
                "bucket": at.isoformat().replace("+00:00", "Z"),
                "results": _write_rows(used, wanted),
            }
            for at, used in sorted(series.items())
        ]
    if "summary" in wanted:
        told["summary"] = _write_rows(total, wanted)
    return told


def _units_of(job: Job) -> float:
    if job.state != "done" or job.ending is None:
        return 0.0
    return float(dict(job.ending.headers).get(_UNITS, 0))


def _write_rows(used: dict[str, float], wanted: set[str]) -> list[dict[str, Any]]:
    rows = []
    for endpoint, quantity in sorted(used.items()):
        tag = PRICES.get(endpoint)
        unit_price = 0.0 if tag is None else tag.unit_price
        row: dict[str, Any] = {
            "endpoint_id": endpoint,
            "unit": "units" if tag is None else tag.unit,
            "quantity": round(quantity, 6),
            "unit_price": unit_price,
            "cost": round(quantity * unit_price, 6),
            "currency": CURRENCY,
        }
        rows.append(row | ({"auth_method": "api_key"} if "auth_method" in wanted else {}))
    return rows
