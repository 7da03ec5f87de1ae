"""Check arguments before a submit, by the schema that fal publishes or by falq's own.

Owns which of the two is used, and the checkers that were made. It never submits
and never changes arguments: `session` asks it for submissions with
`validate=True`.

Which schema:
    1. The catalogue's, asked for once for each endpoint.
    2. Where the gateway does not reach the catalogue: the typed models of this
       room. For other endpoints that is an error, not a silent yes.
    3. An endpoint that the catalogue does not have, such as a private app, passes
       as it is. That is logged, once.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from attrs import frozen

from falq.errors import ArgumentError, RequestNotFoundError, UnsupportedError
from falq.gateways import PLATFORM, Gateway
from falq.model import EndpointId
from falq.models.base import ModelInput
from falq.platform import ArgumentChecker, Models, ModelSchema

logger = logging.getLogger("falq")


class UncheckedError(ArgumentError):
    """Arguments were not checked yet; never raised to a user."""


class Checker(Protocol):
    """Checks the arguments of one endpoint."""

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Return if the endpoint can take the arguments, or raise `ArgumentError`."""
        ...


@frozen
class _TypedChecker:
    """Checks by a typed model."""

    kind: type[ModelInput[Any]]

    def check(self, arguments: Mapping[str, Any]) -> None:
        self.kind.from_arguments(arguments)


@frozen
class _Unknown:
    """Lets everything pass: there is nothing to check by."""

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Return."""


class Validator:
    """Checks the arguments of a session's submissions.

    Args:
        gateway: Says whether the catalogue can be reached.
        models: Gives the schemas.
        typed: Typed models by full endpoint id, for where it cannot.
    """

    def __init__(
        self, gateway: Gateway, models: Models, typed: Mapping[str, type[ModelInput[Any]]]
    ) -> None:
        self._gateway = gateway
        self._models = models
        self._typed = typed
        self._checkers: dict[str, Checker] = {}

    def is_ready(self, endpoint: EndpointId) -> bool:
        """Return whether arguments for an endpoint can be checked without a call."""
        return endpoint.full in self._checkers

    def check_nowait(self, endpoint: EndpointId, arguments: Mapping[str, Any]) -> None:
        """Return if an endpoint can take the arguments, without a call.

        Raises:
            ArgumentError: It cannot; `problems` has each place. Nothing was sent.
            UncheckedError: `is_ready` is False: `check` must come first.
        """
        checker = self._checkers.get(endpoint.full)
        if checker is None:
            raise UncheckedError(f"the schema of {endpoint.full} was not asked for yet")
        checker.check(arguments)

    async def check(self, endpoint: EndpointId, arguments: Mapping[str, Any]) -> None:
        """Return if an endpoint can take the arguments, asking for its schema if need be.

        Args:
            endpoint: Where they go, with its sub-path.
            arguments: As the user gave them.

        Raises:
            ArgumentError: It cannot; `problems` has each place. Nothing was sent.
            UnsupportedError: Neither the catalogue nor a typed model is there to
                check by.
            ConfigError: The package that checks is not installed.
            FalqError: The schema cannot be read. Nothing was submitted.

        A cancelled call leaves nothing behind.
        """
        await self.prepare(endpoint)
        self.check_nowait(endpoint, arguments)

    async def prepare(self, endpoint: EndpointId) -> None:
        """Ask for the schema of an endpoint, unless it is known: `is_ready` is True then.

        Raises:
            FalqError: What `check` raises for want of a schema.

        A cancelled call leaves nothing behind.
        """
        if not self.is_ready(endpoint):
            await self._get_ready(endpoint)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Endpoints that the catalogue does not have: whatever is sent there passes."""
        return tuple(
            sorted(name for name, one in self._checkers.items() if isinstance(one, _Unknown))
        )

    async def _get_ready(self, endpoint: EndpointId) -> None:
        if PLATFORM not in self._gateway.abilities:
            self._checkers[endpoint.full] = self._make_typed(endpoint)
            return
        schema: ModelSchema | None = None
        with contextlib.suppress(RequestNotFoundError):
            schema = await self._models.schema(endpoint.full)
        # A thousand jobs may have waited for it; the first makes the checker.
        if self.is_ready(endpoint):
            return
        if schema is None:
            logger.warning(
                "%s has no schema in the catalogue: its arguments are sent unchecked", endpoint.full
            )
            self._checkers[endpoint.full] = _Unknown()
        else:
            self._checkers[endpoint.full] = ArgumentChecker(schema)

    def _make_typed(self, endpoint: EndpointId) -> Checker:
        kind = self._typed.get(endpoint.full)
        if kind is None:
            raise UnsupportedError(
                f"this {self._gateway.name} gateway reaches no schemas, and falq has none of "
                f"{endpoint.full}; submit with validate=False, or use falq.Fal",
                setting="validate",
            )
        return _TypedChecker(kind)
