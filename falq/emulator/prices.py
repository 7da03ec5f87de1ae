"""What the emulated models cost, and estimates from that.

Owns the price list and the arithmetic on it. The units are those that the models
count in `x-fal-billable-units`; the prices are believable, not fal's list. It
never writes a reply: `platform` does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from attrs import frozen

CURRENCY = "USD"


class UnpricedError(LookupError):
    """An endpoint has no price."""


class BadEstimateError(ValueError):
    """What is to be estimated cannot be read."""


@frozen
class PriceTag:
    """What one endpoint costs.

    Attributes:
        unit_price: For one unit, in `CURRENCY`.
        unit: What is counted.
        usual_units: Units of an ordinary call, for estimates from past calls.
    """

    unit_price: float
    unit: str
    usual_units: float


PRICES: Mapping[str, PriceTag] = MappingProxyType({
    "fal-ai/flux/schnell": PriceTag(0.003, "megapixels", 1.0),
    "fal-ai/flux/dev": PriceTag(0.025, "megapixels", 1.0),
    "fal-ai/fast-sdxl": PriceTag(0.0025, "megapixels", 1.0),
    "fal-ai/clarity-upscaler": PriceTag(0.03, "megapixels", 4.0),
    "fal-ai/minimax/video-01": PriceTag(0.08, "seconds", 6.0),
    "fal-ai/f5-tts": PriceTag(0.001, "seconds", 8.0),
    "fal-ai/whisper": PriceTag(0.0005, "seconds", 60.0),
})  # fmt: skip

# What each kind of estimate counts.
_COUNTED = {"historical_api_price": "call_quantity", "unit_price": "unit_quantity"}


def list_prices(endpoints: Sequence[str]) -> list[dict[str, Any]]:
    """Return the entries of those endpoints that have a price, in the order asked for."""
    return [
        {
            "endpoint_id": endpoint,
            "unit_price": PRICES[endpoint].unit_price,
            "unit": PRICES[endpoint].unit,
            "currency": CURRENCY,
        }
        for endpoint in endpoints
        if endpoint in PRICES
    ]


def estimate(wish: object) -> dict[str, Any]:
    """Return the answer to the body of an estimate.

    Raises:
        BadEstimateError: The body is none of an estimate.
        UnpricedError: An endpoint in it has no price.
    """
    kind = wish.get("estimate_type") if isinstance(wish, dict) else None
    counted = _COUNTED.get(kind) if isinstance(kind, str) else None
    if not isinstance(wish, dict) or counted is None:
        raise BadEstimateError(f"estimate_type must be one of {sorted(_COUNTED)}")
    endpoints = wish.get("endpoints")
    if not isinstance(endpoints, dict) or not endpoints:
        raise BadEstimateError("endpoints must be an object with one entry at least")
    total = 0.0
    for endpoint, entry in endpoints.items():
        quantity = _read_quantity(entry, counted)
        tag = PRICES.get(endpoint)
        if tag is None:
            raise UnpricedError(endpoint)
        units = quantity if counted == "unit_quantity" else quantity * tag.usual_units
        total += units * tag.unit_price
    return {"estimate_type": kind, "total_cost": round(total, 6), "currency": CURRENCY}


def _read_quantity(entry: object, counted: str) -> float:
    quantity = entry.get(counted) if isinstance(entry, dict) else None
    if isinstance(quantity, int | float) and not isinstance(quantity, bool):
        number = float(quantity)
        if math.isfinite(number) and number >= 0:
            return number
    raise BadEstimateError(f"{counted} must be a number of 0 or more")
