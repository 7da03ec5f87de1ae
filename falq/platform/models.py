"""The Platform API as a session gives it: `session.models`.

Owns the schemas that were loaded, so that each is asked for once, the prices that
were, and the window that is meant if none is named. Everything else is its neighbors', one for each
call. `session` makes one, and closes nothing: it holds nothing open.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime, timedelta

from attrs import define, field

from falq.errors import FalqError
from falq.model import EndpointId
from falq.platform.calls import USUAL_TRIES, Send, Tries
from falq.platform.catalogue import ModelInfo, ModelStatus, load_model, search_models
from falq.platform.estimates import Estimate, load_estimate
from falq.platform.history import HistoryItem, RequestStatus, find_requests
from falq.platform.payloads import DeletedFile, delete_payloads
from falq.platform.prices import Price, estimate_cost, load_prices
from falq.platform.schemas import ModelSchema, load_schema
from falq.platform.usage import Timeframe, Usage, load_usage

USUAL_WINDOW = timedelta(hours=24)
"""How far back a question about the past goes that names no start: fal's own default."""


@define(eq=False)
class _Place:
    """Where one endpoint's schema will be, while it is asked for."""

    lock: asyncio.Lock = field(factory=asyncio.Lock)
    failures: int = 0
    error: FalqError | None = None


class Models:
    """Finds models, their schemas and prices, and what was requested and used.

    It asks fal's Platform API, which the Maton gateway does not reach: its calls
    then raise `UnsupportedError`. A cancelled call leaves nothing behind.

    Args:
        send: Carries a call, as `Transport.send` does.
        tries: How calls are tried again.
    """

    def __init__(self, send: Send, *, tries: Tries = USUAL_TRIES) -> None:
        self._send = send
        self._tries = tries
        self._schemas: dict[str, ModelSchema] = {}
        self._prices: dict[str, Price] = {}
        self._places: dict[str, _Place] = {}

    def __repr__(self) -> str:
        return f"<falq.platform.Models schemas={len(self._schemas)}>"

    def search(
        self,
        text: str | None = None,
        *,
        category: str | None = None,
        status: ModelStatus | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[ModelInfo]:
        """Return the models that fit, for `async for`.

        Args:
            text: Words to look for; None for every model.
            category: Such as `text-to-image`.
            status: `active` or `deprecated`; None for both.
            limit: Most models to return; None for all that fit.

        Raises:
            ArgumentError: The limit is none. Nothing was sent.
            FalqError: The catalogue cannot be read; see `falq.errors`.
        """
        return search_models(
            self._send, text, category=category, status=status, limit=limit, tries=self._tries
        )

    async def get(self, endpoint: str) -> ModelInfo:
        """Return one model.

        Args:
            endpoint: Such as `"fal-ai/flux/schnell"`.

        Raises:
            ArgumentError: The endpoint is none. Nothing was sent.
            RequestNotFoundError: The catalogue does not have it.
            FalqError: The catalogue cannot be read; see `falq.errors`.
        """
        return await load_model(self._send, EndpointId.parse(endpoint), tries=self._tries)

    async def schema(self, endpoint: str) -> ModelSchema:
        """Return what an endpoint takes and gives; asked for once in a session.

        Args:
            endpoint: Such as `"fal-ai/flux/schnell"`.

        Raises:
            ArgumentError: The endpoint is none. Nothing was sent.
            RequestNotFoundError: The catalogue has no such model, or no schema of it.
            WireError: The schema cannot be read.
            FalqError: The catalogue cannot be read; see `falq.errors`.
        """
        target = EndpointId.parse(endpoint)
        found = self._schemas.get(target.full)
        if found is not None:
            return found
        place = self._places.setdefault(target.full, _Place())
        failures_before = place.failures
        async with place.lock:
            return self._schemas.get(target.full) or await self._load_schema(
                target, place, failures_before
            )

    async def _load_schema(
        self, target: EndpointId, place: _Place, failures_before: int
    ) -> ModelSchema:
        if place.error is not None and place.failures > failures_before:
            # A thousand jobs that waited for one answer do not each ask again.
            raise place.error.with_traceback(None)
        try:
            schema = await load_schema(self._send, target, tries=self._tries)
        except FalqError as error:
            place.failures += 1
            place.error = error
            raise
        self._schemas[target.full] = schema
        del self._places[target.full]
        return schema

    async def price(self, endpoint: str) -> Price | None:
        """Return the price of one unit of an endpoint; None if fal tells none.

        From then on the session's events tell in US dollars what its jobs cost.

        Args:
            endpoint: Such as `"fal-ai/flux/schnell"`.

        Raises:
            ArgumentError: The endpoint is none. Nothing was sent.
            FalqError: The prices cannot be read; see `falq.errors`.
        """
        target = EndpointId.parse(endpoint)
        return (await self._load_prices([target])).get(target.full)

    async def prices(self, endpoints: Iterable[str]) -> dict[str, Price]:
        """Return the prices of endpoints, by full id; those that fal does not tell are left out.

        From then on the session's events tell in US dollars what jobs of these cost.

        Args:
            endpoints: Which.

        Raises:
            ArgumentError: An endpoint is none. Nothing was sent.
            FalqError: The prices cannot be read; see `falq.errors`.
        """
        return await self._load_prices([EndpointId.parse(endpoint) for endpoint in endpoints])

    async def _load_prices(self, targets: Iterable[EndpointId]) -> dict[str, Price]:
        found = await load_prices(self._send, targets, tries=self._tries)
        self._prices |= found
        return found

    def cost_of(self, endpoint: str, billable_units: float) -> float | None:
        """Return what units of an endpoint cost in US dollars, without a call.

        Args:
            endpoint: Full id, such as `"fal-ai/flux/schnell"`.
            billable_units: How many; 0 or more, fractions allowed.

        Returns:
            The cost by the price that `price` or `prices` found last; None if neither
            was asked for it, or fal tells it in another currency.

        Raises:
            ArgumentError: The number is negative or none.
        """
        price = self._prices.get(endpoint)
        if price is None or price.currency != "USD":
            return None
        return estimate_cost(price, billable_units)

    async def estimate(
        self,
        *,
        calls: Mapping[str, float] | None = None,
        units: Mapping[str, float] | None = None,
    ) -> Estimate:
        """Return what calls or units will cost, by fal's own count.

        Args:
            calls: How many calls of each endpoint; fal takes what calls cost so far.
            units: How many units of each, such as megapixels, at the unit price.

        Raises:
            ArgumentError: Not exactly one of the two was given, or a number is
                none. Nothing was sent.
            RequestNotFoundError: fal has no price for an endpoint.
            FalqError: The estimate cannot be read; see `falq.errors`.
        """
        return await load_estimate(self._send, calls=calls, units=units, tries=self._tries)

    async def usage(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        endpoints: Iterable[str] = (),
        timeframe: Timeframe | None = None,
    ) -> Usage:
        """Return what was used and what it cost. It needs a key with the scope *admin*.

        Args:
            start: With a time zone; default is 24 hours before the end.
            end: With a time zone; default is now.
            endpoints: Only these; default is all.
            timeframe: Length of a bucket of the series; default is fal's choice.

        Raises:
            ArgumentError: The window or an endpoint is none. Nothing was sent.
            AuthenticationError: The key lacks the scope.
            FalqError: The usage cannot be read; see `falq.errors`.
        """
        first, last = self._window(start, end)
        targets = [EndpointId.parse(endpoint) for endpoint in endpoints]
        return await load_usage(
            self._send, first, last, endpoints=targets, timeframe=timeframe, tries=self._tries
        )

    def history(
        self,
        endpoint: str,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        with_payloads: bool = False,
        status: RequestStatus | None = None,
        request_id: str | None = None,
    ) -> AsyncIterator[HistoryItem]:
        """Return the requests of an endpoint that fal's history has, for `async for`.

        Requests appear late, and those that still wait may not be listed: what is
        missing may exist all the same.

        Args:
            endpoint: Such as `"fal-ai/flux/schnell"`.
            start: With a time zone; default is 24 hours before the end.
            end: With a time zone; default is now.
            with_payloads: Bring inputs and outputs, where they are stored.
            status: Only requests that ended so: `success`, `error` (the server's
                fault) or `user_error` (the input's).
            request_id: Only this request.

        Raises:
            ArgumentError: The endpoint, the window or the id is none. Nothing was
                sent.
            FalqError: The history cannot be read; see `falq.errors`.
        """
        first, last = self._window(start, end)
        return find_requests(
            self._send,
            EndpointId.parse(endpoint),
            first,
            last,
            with_payloads=with_payloads,
            status=status,
            request_id=request_id,
            tries=self._tries,
        )

    def _window(self, start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
        last = end or self._tries.wall_clock()
        return start or last - USUAL_WINDOW, last

    async def delete_payloads(self, request_id: str) -> tuple[DeletedFile, ...]:
        """Delete the stored input and output of a request that ended, and its output files.

        Files that were uploaded as input stay. It cannot be undone. A call that was
        cancelled or broke off may have deleted; calling again is harmless.

        Args:
            request_id: Of a request that ended.

        Returns:
            The output files, and what became of each.

        Raises:
            ArgumentError: The id is none. Nothing was sent.
            RequestNotFoundError: The server does not know it.
            FalqError: Any other answer, or none; see `falq.errors`.
        """
        return await delete_payloads(self._send, request_id, tries=self._tries)
