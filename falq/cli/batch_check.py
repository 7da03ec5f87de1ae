"""Say what a manifest holds and what it would cost: `falq batch --dry-run`.

Owns what is counted and estimated. Nothing is sent to a model, uploaded or
written; the Platform API is asked for prices where it can be, and for schemas if
arguments are to be checked.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from attrs import evolve, frozen

from falq.batch import Budget, Manifest
from falq.batch.budget import read_price_words
from falq.batch.checking import check_manifest
from falq.batch.pricing import load_known_prices
from falq.batch.validation import check_arguments
from falq.cli.batch import tell_bad_rows
from falq.cli.batch_words import ManifestWords, RunWords
from falq.cli.failures import FAILED, OK
from falq.cli.output import Output, describe_count
from falq.config import build_config
from falq.errors import FalqError
from falq.gateways import UPLOAD, Gateway


async def dry_run(rows: ManifestWords, how: RunWords, output: Output) -> int:
    """Check every row, count and estimate; bad ones stop nothing here."""
    manifest = evolve(rows, on_bad_row="skip").open()
    gateway: Gateway | None = None
    # Without a key or a network the count is still worth having.
    with contextlib.suppress(FalqError):
        gateway = build_config(gateway=None).gateway
        if UPLOAD not in gateway.abilities:
            manifest.refuse_uploads(gateway.name)
    report = await check_manifest(manifest)
    if rows.validate:
        # Here nothing is worth having without them.
        asked = gateway or build_config(gateway=None).gateway
        report = await check_arguments(manifest, report, asked)
    prices = read_price_words(how.price)
    if gateway is not None:
        with contextlib.suppress(FalqError):
            prices = await load_known_prices(gateway, report.endpoints) | prices
    found = await asyncio.to_thread(_look_through, manifest, Budget(how.budget_usd, prices))
    expected_usd = found.usd
    unpriced = sorted(set(report.endpoints) - prices.keys())
    output.data(
        {
            "rows": report.count,
            "duplicates": report.duplicates,
            "bad_rows": report.bad_count,
            "endpoints": dict(report.endpoints),
            "uploads": {"files": len(found.uploads), "bytes": sum(found.uploads.values())},
            "unpriced": unpriced,
            "estimated_usd": expected_usd,
        }
    )
    tell_bad_rows(report, output)
    if report.bad_count:
        output.note(f"rows and estimate are of what is good: {describe_count(report.count, 'row')}")
    if unpriced and expected_usd is not None:
        output.note("the estimate leaves out the endpoints whose price is unknown", style="yellow")
    if how.budget_usd is not None and (expected_usd or 0.0) > how.budget_usd:
        output.note(f"the budget of ${how.budget_usd:,.4f} would be reached", style="yellow")
    return FAILED if report.bad_count and rows.on_bad_row == "stop" else OK


@frozen
class _Found:
    """What the rows of a manifest will cost and bring along; uploads are sizes by content."""

    usd: float | None
    uploads: Mapping[str, int]


def _look_through(manifest: Manifest, budget: Budget) -> _Found:
    total, is_known = 0.0, False
    uploads: dict[str, int] = {}
    for row in manifest.rows():
        if row.duplicate_of is not None:
            continue
        uploads.update((file.sha256, file.size_bytes) for file in row.files if file.is_uploaded)
        usd = budget.expected_usd(row.endpoint, row.arguments)
        if usd is not None:
            total, is_known = total + usd, True
    return _Found(round(total, 6) if is_known else None, uploads)
