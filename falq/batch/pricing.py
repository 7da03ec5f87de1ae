"""Find out what endpoints cost, and what a batch has spent before.

Owns when the Platform API may be asked at all, and what is known from the journal
instead. It decides nothing about money: the budget does. The runner and
`falq batch --dry-run` call it.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable

from falq._journal.base import Journal
from falq.batch.asking import open_asking
from falq.batch.budget import Budget
from falq.batch.reading import load_limit_used, load_prices_used
from falq.errors import FalqError
from falq.gateways import PLATFORM, Gateway
from falq.model import EndpointId
from falq.platform import Price, load_prices
from falq.proxies import Proxy
from falq.secrets import Secret


def can_ask_prices(gateway: Gateway) -> bool:
    """Return whether the Platform API may be asked with the gateway's key."""
    return PLATFORM in gateway.abilities


async def load_known_prices(
    gateway: Gateway,
    endpoints: Iterable[str],
    *,
    ssl_context: ssl.SSLContext | None = None,
    proxy: Proxy | Secret | None = None,
) -> dict[str, Price]:
    """Return the prices that are known, by full endpoint id; none if it may not be asked.

    Args:
        gateway: With its key.
        endpoints: Full ids.
        ssl_context: Whom to trust.
        proxy: Through whom to go, as for `Session`.

    Raises:
        ApiError: The API says no.
        WireError: An answer is no list of prices.
        TransportError: There was no whole answer.
    """
    wanted = [EndpointId.parse(endpoint) for endpoint in endpoints]
    if not wanted or not can_ask_prices(gateway):
        return {}
    async with open_asking(gateway, ssl_context=ssl_context, proxy=proxy) as send:
        return await load_prices(send, wanted)


async def prepare_budget(
    budget: Budget,
    gateway: Gateway,
    endpoints: Iterable[str],
    *,
    journal: Journal | None,
    ssl_context: ssl.SSLContext | None = None,
    proxy: Proxy | Secret | None = None,
) -> None:
    """Give a budget its prices, the limit of the runs before, and what they spent.

    Prices that it has already come before those that the journal's runs had, and
    these before what the Platform API tells. A limit holds for the batch and not
    for one start of it: without one of its own, the budget takes the last one.

    Args:
        budget: To be filled.
        gateway: With its key.
        endpoints: Full ids of those that will run.
        journal: The batch's, if it has one.
        ssl_context: Whom to trust.
        proxy: Through whom to go, as for `Session`.

    Raises:
        ConfigError: There is a limit, and a price is unknown.
        FalqError: There is a limit, and prices could not be asked for.
        JournalError: The journal cannot be read.
    """
    wanted = set(endpoints)
    if journal is not None:
        budget.prices = await load_prices_used(journal) | budget.prices
        if budget.limit_usd is None:
            budget.limit_usd = await load_limit_used(journal)
        if not wanted and budget.limit_usd is not None:
            wanted = await _endpoints_of(journal)
    try:
        lacking = wanted - budget.prices.keys()
        budget.prices |= await load_known_prices(
            gateway, lacking, ssl_context=ssl_context, proxy=proxy
        )
    except FalqError:
        # Without a limit a price only decorates; with one it cannot be done without.
        if budget.limit_usd is not None:
            raise
    budget.check_prices(wanted)
    if journal is not None and budget.prices:
        budget.add_before((await journal.load_totals()).usage)


async def _endpoints_of(journal: Journal) -> set[str]:
    endpoints: set[str] = set()
    async for page in journal.load_jobs():
        endpoints.update(record.endpoint for record in page)
    return endpoints
