"""Read outcomes back from a journal.

Owns the look-ups that make a whole outcome of a job: its result, its files, and
for a row that equals an earlier one, that row's. It never writes. The runner
and the report call it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Container, Iterable, Mapping
from typing import Any

from attrs import evolve

from falq._journal.base import Journal
from falq._journal.records import JobRecord
from falq._journal.states import ENDS, RecordState
from falq.batch.budget import Budget
from falq.batch.outcomes import DUPLICATE_KIND, RowOutcome, outcome_of_record
from falq.batch.planning import BATCH_KIND
from falq.platform import Price

SETTLED = ENDS | {RecordState.DELIVERED}
"""States in which a row has its line, unless a crash came between."""

_PAGE_JOBS = 500
_RESULT_STATES = frozenset({RecordState.FETCHED, RecordState.DELIVERED})


def original_of(record: JobRecord) -> str | None:
    """Return the id of the row whose outcome stands for this one; None if it has its own."""
    error = record.error or {}
    if error.get("kind") != DUPLICATE_KIND:
        return None
    original = error.get("duplicate_of")
    return original if isinstance(original, str) else None


async def load_outcome(journal: Journal, record: JobRecord, budget: Budget) -> RowOutcome:
    """Return how a job ended, whole.

    Args:
        journal: Where it is.
        record: The job.
        budget: Knows prices.

    Raises:
        JournalError: It cannot be read.
    """
    original_id = original_of(record)
    if original_id is not None:
        original = await journal.load_job(key=original_id)
        if original is not None:
            outcome = await load_outcome(journal, original, budget)
            return as_duplicate(outcome, seq=record.seq, row_id=record.key or "")
    has_result = record.state in _RESULT_STATES
    return outcome_of_record(
        record,
        body=await journal.load_result(record.number) if has_result else None,
        files=await journal.load_files(record.number) if has_result else (),
        cost_usd=cost_of_record(record, budget),
    )


def cost_of_record(record: JobRecord, budget: Budget) -> float | None:
    """Return what a settled job cost, in US dollars; None if that is not known."""
    if record.cost_usd is not None:
        return record.cost_usd
    if record.state in _RESULT_STATES:
        return budget.cost_of(record.endpoint, billable_units=record.billable_units)
    is_billed = bool((record.error or {}).get("possibly_billed"))
    return None if is_billed or record.endpoint not in budget.prices else 0.0


def as_duplicate(outcome: RowOutcome, *, seq: int, row_id: str) -> RowOutcome:
    """Return an outcome as that of an equal row, which cost nothing."""
    return evolve(
        outcome,
        seq=seq,
        id=row_id,
        duplicate_of=outcome.id,
        cost_usd=None if outcome.cost_usd is None else 0.0,
    )


async def load_outcomes(
    journal: Journal,
    budget: Budget,
    *,
    states: Iterable[RecordState] = SETTLED,
    without: Container[str] = (),
) -> AsyncIterator[list[RowOutcome]]:
    """Yield outcomes by `seq`, a page at a time.

    Args:
        journal: Where from.
        budget: Knows prices.
        states: Which jobs.
        without: Ids of rows to leave out; asked when a page has been read.

    Raises:
        JournalError: It cannot be read.
    """
    async for page in journal.load_jobs(states=states, page=_PAGE_JOBS):
        wanted = [record for record in page if record.key not in without]
        yield [await load_outcome(journal, record, budget) for record in wanted]


async def load_prices_used(journal: Journal) -> dict[str, Price]:
    """Return the prices that the batch's runs were started with, the newest over the older."""
    prices: dict[str, Price] = {}
    for settings in await _load_settings(journal):
        known = settings.get("prices")
        if isinstance(known, Mapping):
            for endpoint, price in known.items():
                prices[endpoint] = Price(float(price["unit_price"]), str(price["unit"]))
    return prices


async def load_limit_used(journal: Journal) -> float | None:
    """Return the budget that the batch's newest run had, in US dollars, if it had one."""
    limit: float | None = _newest(await _load_settings(journal), "budget_usd")
    return limit


async def load_template_used(journal: Journal) -> str | None:
    """Return how the batch's newest run called its media, if that was told."""
    template: str | None = _newest(await _load_settings(journal), "name_template")
    return template


async def has_run(journal: Journal) -> bool:
    """Return whether the batch was run before."""
    return bool(await _load_settings(journal))


async def _load_settings(journal: Journal) -> list[Mapping[str, Any]]:
    """Return the settings of every run of the batch, the oldest first."""
    settings = [run.settings for run in await journal.load_runs()]
    return [facts for facts in settings if facts.get("kind") == BATCH_KIND]


def _newest(settings: list[Mapping[str, Any]], name: str) -> Any:
    return settings[-1].get(name) if settings else None
