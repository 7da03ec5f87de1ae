"""Which jobs an agent may start: at which endpoints, how many, for how much money.

Owns the limits of one server and the count of what they have let through. It
never waits for room: what is too much is refused in words that an agent can act
on. `tools` puts it between the actions and the session.

    endpoints   those on the list, for every call; all of them without a list
    number      jobs on the way at once
    money       expected cost held before a submit, billed cost counted after it

What has ended is counted before the next job is looked at, so no task runs
beside the session.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias, Unpack

from attrs import define

from falq._core.recorded import load_result
from falq._engine.handle import Handle
from falq._journal.base import Journal
from falq._journal.states import HAS_RESULT, RecordState
from falq.batch.budget import Budget, Reserve
from falq.errors import ConfigError, FalqError, JournalError
from falq.gateways import Gateway
from falq.keywords import SubmitKeywords
from falq.model import CancelOutcome, Completed, EndpointId, OnCancel, Status
from falq.platform import Price
from falq.session import Session

LoadPrices: TypeAlias = Callable[[Iterable[str]], Awaitable[Mapping[str, Price]]]
"""Returns the known prices of endpoints, by full id."""

DEFAULT_MAX_JOBS = 10
"""Jobs of an agent on the way at once, if nobody says: enough to work, too few to hurt."""

_ALL_BELOW = "/*"


async def load_no_prices(_: Iterable[str]) -> Mapping[str, Price]:
    """Know no price but those of the budget."""
    return {}


@define(eq=False)
class _Held:
    """A job that was let through, until its cost is counted."""

    reserve: Reserve
    handle: Handle | None = None


class LimitedJobs:
    """A session's queue for somebody who is trusted with part of it.

    Args:
        session: Open.
        budget: The money; one without a limit counts only.
        allowed: Full endpoint ids, or `owner/alias/*` for all below one; none
            allows every endpoint. Requests can be looked at and cancelled at the
            apps of these endpoints only.
        max_jobs: Jobs on the way at once.
        journal: The session's journal, if it has one: billed units come from it, and
            results that it has.
        load_prices: Where prices come from that the budget lacks.

    Raises:
        ArgumentError: An allowed endpoint is none.
        ConfigError: `max_jobs` is below 1.
    """

    def __init__(
        self,
        session: Session,
        *,
        budget: Budget,
        allowed: Sequence[str] = (),
        max_jobs: int = DEFAULT_MAX_JOBS,
        journal: Journal | None = None,
        load_prices: LoadPrices = load_no_prices,
    ) -> None:
        if max_jobs < 1:
            raise ConfigError(f"max_jobs is 1 or more, got {max_jobs}", setting="max_jobs")
        self._session = session
        self._budget = budget
        self._allowed = tuple(_read_pattern(one) for one in allowed)
        self._max_jobs = max_jobs
        self._journal = journal
        self._load_prices = load_prices
        self._held: set[_Held] = set()

    def __repr__(self) -> str:
        return f"<LimitedJobs on_the_way={self.on_the_way} max_jobs={self._max_jobs}>"

    @property
    def gateway(self) -> Gateway:
        """Where calls go."""
        return self._session.gateway

    @property
    def on_the_way(self) -> int:
        """Jobs let through that have not ended."""
        return sum(one.handle is None or not one.handle.is_done() for one in self._held)

    async def submit(
        self,
        endpoint: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        on_cancel: OnCancel | None = None,
        **options: Unpack[SubmitKeywords],
    ) -> Handle:
        """Submit a job if the limits have room for it; see `Session.submit`.

        Raises:
            ConfigError: A limit does not allow it; nothing was sent.
            FalqError: As `Session.submit` says.
        """
        target = EndpointId.parse(endpoint)
        self._check_allowed(target)
        async with self._hold(target.full, arguments or {}) as held:
            held.handle = await self._session.submit(
                target.full, arguments, on_cancel=on_cancel, **options
            )
            return held.handle

    async def status(self, endpoint: str, request_id: str, *, with_logs: bool = False) -> Status:
        """Ask once for the status; see `Session.status`.

        Nobody is asked for that of a job whose result is in the journal, unless for
        its log lines.
        """
        self._check_app(endpoint)
        if not with_logs and await self._load_kept(endpoint, request_id) is not None:
            return Completed()
        return await self._session.status(endpoint, request_id, with_logs=with_logs)

    async def result(self, endpoint: str, request_id: str) -> Any:
        """Return a result, and note in the journal that it was handed over.

        One that the journal has comes from there: fal keeps results for an hour, large
        ones for minutes.
        """
        self._check_app(endpoint)
        body = await self._load_kept(endpoint, request_id)
        if body is None:
            result = await self._session.result(endpoint, request_id)
        else:
            result = load_result(body)
        await self.acknowledge(request_id)
        return result

    async def _load_kept(self, endpoint: str, request_id: str) -> bytes | None:
        """Return the result that the journal has of a request of this app, if it has one."""
        if self._journal is None:
            return None
        # What the journal cannot give, fal may.
        with suppress(JournalError):
            record = await self._journal.load_job(request_id=request_id)
            if record is not None and record.state in HAS_RESULT:
                app = EndpointId.parse(record.endpoint).app
                is_of_app = app == EndpointId.parse(endpoint).app
                return await self._journal.load_result(record.number) if is_of_app else None
        return None

    async def cancel(self, endpoint: str, request_id: str) -> CancelOutcome:
        """Ask to cancel; see `Session.cancel`."""
        self._check_app(endpoint)
        return await self._session.cancel(endpoint, request_id)

    async def acknowledge(self, request_id: str) -> None:
        """Note in the journal, if there is one, that a result was handed over."""
        if self._journal is None:
            return
        record = await self._journal.load_job(request_id=request_id)
        if record is not None and record.state is RecordState.FETCHED:
            await self._journal.record_delivered(record.number)

    def take_over(self, handles: Iterable[Handle]) -> int:
        """Count jobs of an earlier process that have not ended; return how many.

        Args:
            handles: As `Session.recover` gave them.
        """
        found = [handle for handle in handles if not handle.is_done()]
        for handle in found:
            self._held.add(_Held(self._budget.hold(handle.endpoint, {}), handle))
        return len(found)

    @asynccontextmanager
    async def _hold(self, endpoint: str, arguments: Mapping[str, Any]) -> AsyncIterator[_Held]:
        """Hold room and money for a job while it is submitted, and after if it was."""
        await self._count_ended()
        await self._learn_price(endpoint)
        # From here to the reserve nothing awaits: two calls cannot take one place.
        if self.on_the_way >= self._max_jobs:
            raise ConfigError(
                f"{self.on_the_way} jobs are on the way, and no more are allowed at once; wait "
                "until one ends, and try again",
                setting="max_jobs",
            )
        held = _Held(self._reserve(endpoint, arguments))
        self._held.add(held)
        try:
            yield held
        except FalqError as error:
            self._release(held, is_billed=error.possibly_billed)
            raise
        except BaseException:
            # A cancelled submit may have reached the server and begun to run.
            self._release(held, is_billed=True)
            raise

    def _reserve(self, endpoint: str, arguments: Mapping[str, Any]) -> Reserve:
        budget = self._budget
        reserve = budget.reserve(endpoint, arguments)
        if reserve is None:
            cost_usd = budget.expected_usd(endpoint, arguments) or 0.0
            left_usd = (budget.limit_usd or 0.0) - budget.spent_usd - budget.reserved_usd
            raise ConfigError(
                f"the budget does not allow it: the job is expected to cost {cost_usd:.4f} USD, "
                f"and {max(left_usd, 0.0):.4f} of {budget.limit_usd:.4f} USD are left",
                setting="budget_usd",
            )
        return reserve

    async def _learn_price(self, endpoint: str) -> None:
        budget = self._budget
        if budget.limit_usd is None:
            return
        if endpoint not in budget.prices:
            found = await self._load_prices([endpoint])
            budget.prices |= {name: one for name, one in found.items() if one.currency == "USD"}
        budget.check_prices([endpoint])

    async def _count_ended(self) -> None:
        for held in [one for one in self._held if one.handle is not None]:
            handle = held.handle
            if handle is None or not handle.is_done() or held not in self._held:
                continue
            # Taken off before anything awaits: nobody else counts it.
            self._held.discard(held)
            try:
                units = await self._units_of(handle)
                error = await _error_of(handle)
            except BaseException:
                self._held.add(held)
                raise
            is_billed = error is None or error.possibly_billed
            self._budget.settle(held.reserve, billable_units=units, is_billed=is_billed)

    async def _units_of(self, handle: Handle) -> float | None:
        if self._journal is None or handle.journal_number is None:
            return None
        record = await self._journal.load_job(number=handle.journal_number)
        return None if record is None else record.billable_units

    def _release(self, held: _Held, *, is_billed: bool) -> None:
        self._held.discard(held)
        self._budget.settle(held.reserve, billable_units=None, is_billed=is_billed)

    def _check_allowed(self, target: EndpointId) -> None:
        if not self._allowed or any(_is_below(target.full, one) for one in self._allowed):
            return
        raise _not_allowed(target.full, self._allowed)

    def _check_app(self, endpoint: str) -> None:
        app = EndpointId.parse(endpoint).app
        apps = {EndpointId.parse(one.removesuffix(_ALL_BELOW)).app for one in self._allowed}
        if apps and app not in apps:
            raise _not_allowed(app, self._allowed)


def _read_pattern(text: str) -> str:
    is_tree = text.endswith(_ALL_BELOW)
    endpoint = EndpointId.parse(text.removesuffix(_ALL_BELOW)).full
    return f"{endpoint}{_ALL_BELOW}" if is_tree else endpoint


def _is_below(endpoint: str, pattern: str) -> bool:
    top = pattern.removesuffix(_ALL_BELOW)
    return endpoint == top or (pattern != top and endpoint.startswith(f"{top}/"))


def _not_allowed(endpoint: str, allowed: Sequence[str]) -> ConfigError:
    return ConfigError(
        f"{endpoint} is not among the allowed endpoints: {', '.join(allowed)}", setting="allow"
    )


async def _error_of(handle: Handle) -> FalqError | None:
    """Return what a job that has ended ended with, None if it has a result."""
    try:
        await handle.result()
    except FalqError as error:
        return error
    return None
