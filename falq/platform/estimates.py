"""Ask fal what a number of calls, or of units, will cost.

Owns the estimate call (fal-wire 9.3, 2026). It keeps no prices: `prices` reads
those, and multiplies by itself where the units are known.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from falq._core.messages import Call, Origin, Verb
from falq.errors import ArgumentError, WireError
from falq.model import EndpointId
from falq.platform.calls import USUAL_TRIES, Send, Tries, fetch

PATH = "/models/pricing/estimate"

_BY_CALLS = ("historical_api_price", "call_quantity")
_BY_UNITS = ("unit_price", "unit_quantity")


@frozen
class Estimate:
    """What something is likely to cost.

    Attributes:
        total_cost: For all of it, in `currency`.
        currency: Such as `USD`.
        is_by_history: Whether it rests on what earlier calls cost, not on units.
    """

    total_cost: float
    currency: str
    is_by_history: bool


async def load_estimate(
    send: Send,
    *,
    calls: Mapping[str, float] | None = None,
    units: Mapping[str, float] | None = None,
    tries: Tries = USUAL_TRIES,
) -> Estimate:
    """Return what calls or units of endpoints will cost, by fal's own count.

    Args:
        send: Carries a call, as `Transport.send` does. A cancelled call leaves
            nothing behind.
        calls: How many calls of each endpoint; fal takes what calls cost so far.
        units: How many units of each, such as megapixels; fal takes the unit price.
        tries: How the call is tried again.

    Raises:
        ArgumentError: Not exactly one of the two was given, or a number is none.
            Nothing was sent.
        RequestNotFoundError: fal has no price for an endpoint.
        UnsupportedError: The gateway does not reach the Platform API. Nothing
            was sent.
        ApiError: The API says no.
        WireError: The answer is no estimate.
        TransportError: There was no whole answer.
    """
    wanted = units if calls is None else calls
    if wanted is None or (calls is not None and units is not None) or not wanted:
        raise ArgumentError(
            "give calls={endpoint: number} or units={endpoint: number}, one of the two",
            argument="calls",
        )
    kind, counted = _BY_UNITS if calls is None else _BY_CALLS
    endpoints = {
        EndpointId.parse(name).full: {counted: _check_quantity(name, quantity)}
        for name, quantity in wanted.items()
    }
    body = json.dumps({"estimate_type": kind, "endpoints": endpoints}).encode()
    # A POST that changes nothing: it may be asked again.
    call = Call(Verb.PLATFORM, "POST", PATH, body, origin=Origin.PLATFORM)
    answer = await fetch(send, call, doing="estimate the cost", endpoint=None, tries=tries)
    return _read(answer, is_by_history=calls is not None)


def _check_quantity(name: str, quantity: object) -> float:
    if isinstance(quantity, int | float) and not isinstance(quantity, bool):
        number = float(quantity)
        if math.isfinite(number) and number >= 0:
            return quantity
    raise ArgumentError(f"the number for {name} must be 0 or more", argument="calls")


def _read(answer: Mapping[str, Any], *, is_by_history: bool) -> Estimate:
    cost, currency = answer.get("total_cost"), answer.get("currency")
    if isinstance(cost, int | float) and not isinstance(cost, bool) and isinstance(currency, str):
        return Estimate(float(cost), currency, is_by_history)
    raise WireError("could not estimate the cost: the answer names no cost")
