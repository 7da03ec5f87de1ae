"""fal's Platform API: what was requested before, and what it costs.

    history   the requests of an endpoint in a window of time
    prices    unit prices, and a cost from billed units
    calls     a call's attempts, its pages, and the API's own form of errors

Owns what falq asks of `api.fal.ai`, and never touches the queue. Delivery by
`reconcile` looks lost submits up here; budgets take their prices from here. Only
a gateway with the ability `platform` reaches it.
"""

from __future__ import annotations

from falq.platform.calls import Send as Send
from falq.platform.calls import Tries as Tries
from falq.platform.history import HistoryItem as HistoryItem
from falq.platform.history import find_requests as find_requests
from falq.platform.prices import Price as Price
from falq.platform.prices import estimate_cost as estimate_cost
from falq.platform.prices import load_prices as load_prices

__all__ = [
    "HistoryItem",
    "Price",
    "Send",
    "Tries",
    "estimate_cost",
    "find_requests",
    "load_prices",
]
