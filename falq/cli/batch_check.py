"""Say what a manifest holds and what it would cost: `falq batch --dry-run`.

Owns what is counted and estimated. Nothing is sent to a model, and nothing is
written; the Platform API is asked for prices where it can be.
"""

from __future__ import annotations

import asyncio
import contextlib

from attrs import evolve

from falq.batch import Budget, Manifest
from falq.batch.budget import read_price_words
from falq.batch.pricing import load_known_prices
from falq.cli.batch import tell_bad_rows
from falq.cli.batch_words import ManifestWords, RunWords
from falq.cli.failures import FAILED, OK
from falq.cli.output import Output
from falq.config import build_config
from falq.errors import FalqError


async def dry_run(rows: ManifestWords, how: RunWords, output: Output) -> int:
    """Check every row, count and estimate; bad ones stop nothing here."""
    manifest = evolve(rows, on_bad_row="skip").open()
    report = await asyncio.to_thread(manifest.check)
    prices = read_price_words(how.price)
    with contextlib.suppress(FalqError):
        # Without a key or a network the count is still worth having.
        gateway = build_config(gateway=None).gateway
        prices = await load_known_prices(gateway, report.endpoints) | prices
    budget = Budget(how.budget_usd, prices)
    expected_usd = await asyncio.to_thread(_expected_usd, manifest, budget)
    unpriced = sorted(set(report.endpoints) - prices.keys())
    output.data(
        {
            "rows": report.count,
            "duplicates": report.duplicates,
            "bad_rows": report.bad_count,
            "endpoints": dict(report.endpoints),
            "unpriced": unpriced,
            "estimated_usd": expected_usd,
        }
    )
    if report.bad_count:
        tell_bad_rows(report, output)
        output.note(f"rows and estimate are of the {report.count:,} good ones")
    if unpriced and expected_usd is not None:
        output.note("the estimate leaves out the endpoints whose price is unknown", style="yellow")
    if how.budget_usd is not None and (expected_usd or 0.0) > how.budget_usd:
        output.note(f"the budget of ${how.budget_usd:,.4f} would be reached", style="yellow")
    return FAILED if report.bad_count and rows.on_bad_row == "stop" else OK


def _expected_usd(manifest: Manifest, budget: Budget) -> float | None:
    total, is_known = 0.0, False
    for row in manifest.rows():
        if row.duplicate_of is not None:
            continue
        usd = budget.expected_usd(row.endpoint, row.arguments)
        if usd is not None:
            total, is_known = total + usd, True
    return round(total, 6) if is_known else None
