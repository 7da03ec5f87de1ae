"""What a batch may cost: reserved before a submit, settled with what was billed.

Owns the arithmetic of money: how much a job is expected to cost, how much is
reserved, how much is spent. It never asks for a price and never stops a job:
the runner does, when a reserve would pass the limit.

    reserve   expected units x unit price, before the submit
    settle    billed units x unit price, after the result
    expected  1 unit for each picture that is asked for, until the endpoint has
              billed; then the most it has billed for one
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen

from falq._journal.records import EndpointUsage
from falq.errors import ArgumentError, ConfigError
from falq.model import EndpointId
from falq.platform import Price, estimate_cost

PER_JOB = "job"
"""Unit of a price that a user gives: one job, whatever the server counts."""

_COUNTS = ("num_images", "num_outputs", "num_samples")
_MOST_COUNTED = 1000


@frozen
class Reserve:
    """What is held back for one job.

    Attributes:
        endpoint: Where it goes.
        count: Pictures it asks for, at least 1.
        usd: How much.
    """

    endpoint: str
    count: int
    usd: float


class Budget:
    """The money of one batch, in US dollars: `spent_usd`, of which `before_usd` by earlier runs.

    Args:
        limit_usd: Most that may be spent and reserved together; None for no limit.
        prices: By full endpoint id.

    Raises:
        ConfigError: The limit is no amount.
    """

    def __init__(self, limit_usd: float | None, prices: Mapping[str, Price]) -> None:
        if limit_usd is not None and not (math.isfinite(limit_usd) and limit_usd >= 0):
            raise ConfigError(
                f"budget_usd is an amount of 0 or more, got {limit_usd!r}", setting="budget_usd"
            )
        self.limit_usd = limit_usd
        self.prices = dict(prices)
        self.spent_usd = 0.0
        self.before_usd = 0.0
        self.reserved_usd = 0.0
        self._held = 0
        self._most_units: dict[str, float] = {}

    def __repr__(self) -> str:
        return (
            f"<Budget spent={self.spent_usd:.4f} reserved={self.reserved_usd:.4f} "
            f"limit={self.limit_usd}>"
        )

    def check_prices(self, endpoints: Iterable[str]) -> None:
        """Return if a limit can be held for `endpoints`.

        Raises:
            ConfigError: A price is unknown while there is a limit.
        """
        if self.limit_usd is None:
            return
        lacking = sorted(set(endpoints) - self.prices.keys())
        if lacking:
            raise ConfigError(
                f"the price of {', '.join(lacking[:5])} is unknown, so the budget cannot be held; "
                f"give the price of one job, such as --price {lacking[0]}=0.01",
                setting="price",
            )

    def add_before(self, usage: Iterable[EndpointUsage]) -> None:
        """Count what earlier runs of the batch spent.

        A job for which the server named no units counts as one unit: what was
        spent is rather told too high than too low.

        Args:
            usage: What the journal's results were billed for.
        """
        for used in usage:
            price = self.prices.get(used.endpoint)
            if price is None:
                continue
            units = used.billable_units + used.unmeasured
            if price.unit == PER_JOB:
                units = used.results
            self.before_usd += estimate_cost(price, units)
        self.spent_usd += self.before_usd

    def expected_usd(self, endpoint: str, arguments: Mapping[str, Any]) -> float | None:
        """Return what a job is expected to cost; None if its price is unknown."""
        price = self.prices.get(endpoint)
        return None if price is None else self._expect(price, endpoint, _count_of(arguments))

    def reserve(self, endpoint: str, arguments: Mapping[str, Any]) -> Reserve | None:
        """Hold back what a job is expected to cost; None if that would pass the limit."""
        held = self._plan(endpoint, arguments)
        total_usd = self.spent_usd + self.reserved_usd + held.usd
        # A cent's billionth, for the same reason as in `settle`.
        if self.limit_usd is not None and total_usd > self.limit_usd + 1e-11:
            return None
        self._take(held)
        return held

    def hold(self, endpoint: str, arguments: Mapping[str, Any]) -> Reserve:
        """Hold back what a job costs that may have been sent before, whatever the limit."""
        held = self._plan(endpoint, arguments)
        self._take(held)
        return held

    def settle(
        self,
        held: Reserve,
        *,
        billable_units: float | None,
        is_billed: bool = True,
        is_sent_before: bool = False,
    ) -> float | None:
        """Give a reserve back, count what was spent, and return that.

        Args:
            held: What was reserved.
            billable_units: What the server billed, if it said; else the
                expectation counts.
            is_billed: Whether anything was billed at all.
            is_sent_before: Whether an earlier run sent it, and so paid for it.

        Returns:
            The cost in US dollars; None if the price is unknown.
        """
        self._held -= 1
        # Sums of decimal prices are not exact: nothing held is nothing reserved.
        self.reserved_usd = max(0.0, self.reserved_usd - held.usd) if self._held else 0.0
        cost_usd = self.cost_of(held.endpoint, billable_units=billable_units)
        if not is_billed:
            return None if cost_usd is None and held.usd == 0 else 0.0
        if billable_units is not None:
            most = self._most_units.get(held.endpoint, 0.0)
            self._most_units[held.endpoint] = max(most, billable_units / held.count)
        if held.endpoint not in self.prices:
            return None
        spent_usd = held.usd if cost_usd is None else cost_usd
        self.spent_usd += spent_usd
        if is_sent_before:
            self.before_usd += spent_usd
        return spent_usd

    def cost_of(self, endpoint: str, *, billable_units: float | None) -> float | None:
        """Return what a settled job cost; None if price or units are unknown."""
        price = self.prices.get(endpoint)
        if price is None:
            return None
        if price.unit == PER_JOB:
            return price.unit_price
        if billable_units is None or not (math.isfinite(billable_units) and billable_units >= 0):
            return None
        return estimate_cost(price, billable_units)

    def _take(self, held: Reserve) -> None:
        self.reserved_usd += held.usd
        self._held += 1

    def _plan(self, endpoint: str, arguments: Mapping[str, Any]) -> Reserve:
        count = _count_of(arguments)
        price = self.prices.get(endpoint)
        return Reserve(
            endpoint, count, 0.0 if price is None else self._expect(price, endpoint, count)
        )

    def _expect(self, price: Price, endpoint: str, count: int) -> float:
        if price.unit == PER_JOB:
            return price.unit_price
        return price.unit_price * count * self._most_units.get(endpoint, 1.0)


def _count_of(arguments: Mapping[str, Any]) -> int:
    for name in _COUNTS:
        count = arguments.get(name)
        if isinstance(count, int) and not isinstance(count, bool):
            return min(max(count, 1), _MOST_COUNTED)
    return 1


def read_price_words(words: Iterable[str]) -> dict[str, Price]:
    """Return prices given as `ENDPOINT=USD`, for one job each.

    Raises:
        ArgumentError: A word is none, or its amount is no amount.

    Example:
        >>> read_price_words(["acme/echo=0.01"])["acme/echo"].unit_price
        0.01
    """
    prices: dict[str, Price] = {}
    for word in words:
        endpoint, _, amount = word.rpartition("=")
        try:
            usd = float(amount)
        except ValueError:
            usd = math.nan
        if not endpoint or not (math.isfinite(usd) and usd >= 0):
            raise ArgumentError(
                f"--price {word!r} is no ENDPOINT=USD, such as fal-ai/flux/schnell=0.003",
                argument="price",
            )
        prices[EndpointId.parse(endpoint).full] = Price(usd, PER_JOB, "USD")
    return prices
