"""fal's Platform API: models, schemas, prices, what was requested and used.

    models       all of it, as `session.models`
    catalogue    what models there are
    schemas      what an endpoint takes and gives
    validation   arguments against a schema
    field_names  which field a wrong name was meant for
    stub         a typed module written from a schema
    prices       unit prices, and a cost from billed units
    estimates    what calls or units will cost
    usage        what was used in a window of time
    history      the requests of an endpoint in a window of time
    payloads     deleting what fal keeps of a request
    calls        a call's attempts, its pages, and the API's own form of errors

Owns what falq asks of `api.fal.ai`, and never touches the queue. Delivery by
`reconcile` looks lost submits up here; budgets take their prices from here. Only
a gateway with the ability `platform` reaches it.
"""

from __future__ import annotations

from falq.platform.calls import Send as Send
from falq.platform.calls import Tries as Tries
from falq.platform.catalogue import ModelInfo as ModelInfo
from falq.platform.estimates import Estimate as Estimate
from falq.platform.history import HistoryItem as HistoryItem
from falq.platform.history import find_requests as find_requests
from falq.platform.models import Models as Models
from falq.platform.payloads import DeletedFile as DeletedFile
from falq.platform.prices import Price as Price
from falq.platform.prices import estimate_cost as estimate_cost
from falq.platform.prices import load_prices as load_prices
from falq.platform.schemas import ModelSchema as ModelSchema
from falq.platform.schemas import SchemaField as SchemaField
from falq.platform.usage import Usage as Usage
from falq.platform.usage import UsageBucket as UsageBucket
from falq.platform.usage import UsageRow as UsageRow
from falq.platform.validation import ArgumentChecker as ArgumentChecker

__all__ = [
    "ArgumentChecker",
    "DeletedFile",
    "Estimate",
    "HistoryItem",
    "ModelInfo",
    "ModelSchema",
    "Models",
    "Price",
    "SchemaField",
    "Send",
    "Tries",
    "Usage",
    "UsageBucket",
    "UsageRow",
    "estimate_cost",
    "find_requests",
    "load_prices",
]
