"""What an endpoint costs per unit, and what a number of units costs.

Owns the price call (fal-wire 9.2, 2026) and the arithmetic. It keeps no prices
and no budget: who asks does. Budgets reserve with it before a submit and settle
with the units that the result's `x-fal-billable-units` names.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from attrs import frozen

from falq.errors import ArgumentError, RequestNotFoundError, WireError
from falq.model import EndpointId
from falq.platform.calls import USUAL_TRIES, Send, Tries, fetch_pages

PATH = "/models/pricing"

MOST_ENDPOINTS = 50
"""Endpoints in one call: the most that fal takes."""


@frozen
class Price:
    """The price of one unit of an endpoint's work.

    Attributes:
        unit_price: For one unit, in `currency`.
        unit: What is counted, such as `megapixels`, as sent.
        currency: Such as `USD`.
    """

    unit_price: float
    unit: str
    currency: str = "USD"


async def load_prices(
    send: Send, endpoints: Iterable[EndpointId], *, tries: Tries = USUAL_TRIES
) -> dict[str, Price]:
    """Return the prices of endpoints, by full endpoint id.

    An endpoint whose price fal does not tell, or tells in a form that cannot be
    read, is left out: it costs an unknown amount, not nothing.

    Args:
        send: Carries a call, as `Transport.send` does.
        endpoints: Which; each is asked for once. A cancelled call leaves nothing
            behind.
        tries: How a call is tried again.

    Raises:
        UnsupportedError: The gateway does not reach the Platform API. Nothing
            was sent.
        ApiError: The API says no.
        WireError: An answer is no list of prices.
        TransportError: There was no whole answer.
    """
    names = sorted({str(endpoint) for endpoint in endpoints})
    prices: dict[str, Price] = {}
    for first in range(0, len(names), MOST_ENDPOINTS):
        prices |= await _load(send, names[first : first + MOST_ENDPOINTS], tries)
    return prices


def estimate_cost(price: Price, billable_units: float) -> float:
    """Return what a number of units costs, in the price's currency.

    Args:
        price: Of one unit.
        billable_units: How many; 0 or more, fractions allowed.

    Raises:
        ArgumentError: The number is negative or none.

    Example:
        >>> estimate_cost(Price(0.003, "megapixels"), 2)
        0.006
    """
    if not math.isfinite(billable_units) or billable_units < 0:
        raise ArgumentError(
            f"billable_units must be a number of 0 or more, got {billable_units}",
            argument="billable_units",
        )
    return price.unit_price * billable_units


async def _load(send: Send, names: list[str], tries: Tries) -> dict[str, Price]:
    query = [("endpoint_id", name) for name in names]
    found: dict[str, Price] = {}
    pages = fetch_pages(send, PATH, query, doing="read the prices", endpoint=None, tries=tries)
    try:
        async for page in pages:
            found |= _read_page(page.get("prices"), names)
    except RequestNotFoundError as error:
        # One unknown endpoint may make the whole call 404: the others are asked
        # for without it. A 404 without a type is not the API's word on an
        # endpoint but a wrong address.
        if error.error_type is None:
            raise
    else:
        return found
    if len(names) == 1:
        return {}
    middle = len(names) // 2
    lower = await _load(send, names[:middle], tries)
    return lower | await _load(send, names[middle:], tries)


def _read_page(entries: Any, names: list[str]) -> dict[str, Price]:
    if not isinstance(entries, list):
        raise WireError("could not read the prices: the answer is no list of prices")
    found: dict[str, Price] = {}
    for entry in entries:
        price = _read_price(entry)
        if price is not None and entry.get("endpoint_id") in names:
            found[entry["endpoint_id"]] = price
    return found


def _read_price(entry: Any) -> Price | None:
    if not isinstance(entry, dict):
        return None
    unit_price, unit, currency = (entry.get(name) for name in ("unit_price", "unit", "currency"))
    if isinstance(unit_price, bool) or not isinstance(unit_price, int | float):
        return None
    is_price = math.isfinite(unit_price) and unit_price >= 0
    if not is_price or not isinstance(unit, str) or not isinstance(currency, str):
        return None
    return Price(float(unit_price), unit, currency)
