"""Find the jobs of submits whose answers were lost.

Owns the one loop that looks: lost submits are grouped by endpoint, and one
listing of the request history serves a whole group. `recovery` tells whose a
listed request is. It never sends a submit, and never concludes from what is not
listed that there is no job (promises D1). The driver waits for it.

Order of looking, each round: webhooks in the journal that carry the intent's id,
then the request history. The id in the answer's header comes before both, and is
the queue client's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from datetime import UTC, datetime
from typing import Any, Protocol, TypeAlias

from attrs import define, evolve, field, frozen

from falq._core.canonical import input_sha256
from falq._core.claims import Claims
from falq._core.recovery import (
    LONGEST_SUBMIT_S,
    SKEW_S,
    Hit,
    Lost,
    match_unknowns,
    overlaps,
    window_of,
)
from falq._journal.base import Journal
from falq._journal.records import JobRecord
from falq._journal.states import RecordState
from falq.errors import AuthenticationError, FalqError, JournalError, UnsupportedError
from falq.model import EndpointId

logger = logging.getLogger("falq")

FIRST_WAIT_S = 2.0
"""Between the first looks at one endpoint, in seconds."""

LONGEST_WAIT_S = 60.0
"""Between later looks, in seconds."""

WAIT_FACTOR = 1.5

REMEMBERED_S = 2 * (LONGEST_SUBMIT_S + SKEW_S)
"""How long an accepted id is remembered, in seconds: no later window reaches further back."""

REMEMBERED_BESIDE_JOURNAL_S = 120.0
"""The same where a journal has the ids: until they are surely committed."""


class Found(Protocol):
    """A request as a history tells it; see `falq.platform.HistoryItem`."""

    @property
    def request_id(self) -> str:
        """The server's id."""
        ...

    @property
    def sent_at(self) -> datetime | None:
        """When the server got it, UTC, if told."""
        ...

    @property
    def input(self) -> Any:
        """Its input; None if it was not stored."""
        ...


FindRequests: TypeAlias = Callable[[EndpointId, datetime, datetime], AsyncIterator[Found]]
"""Yields every request of an endpoint in a window, with inputs, or raises."""

OnTheWay: TypeAlias = Callable[[str], Collection[str]]
"""Returns the hashes of the submits to an endpoint that are being answered now."""


@frozen(kw_only=True)
class LostSubmit:
    """A submit to look for.

    Attributes:
        name: Number of its job within the session.
        endpoint: Where it went.
        input_sha256: Hash of its canonical input, as it was sent.
        sent_at: When, Unix seconds.
        age_s: Seconds since then on a clock that nobody sets, as far as that is known.
        intent_id: falq's id of the attempt.
        number: Its row in the journal, if there is one.
        has_webhook: Whether a webhook may tell of it.
    """

    name: int
    endpoint: EndpointId
    input_sha256: str
    sent_at: float
    age_s: float
    intent_id: str | None
    number: int | None = None
    has_webhook: bool = False

    def as_lost(self) -> Lost:
        """Return what `recovery` needs of it."""
        return Lost(
            name=self.name if self.number is None else _row_name(self.number),
            input_sha256=self.input_sha256,
            sent_at=self.sent_at,
        )


@frozen(kw_only=True)
class Resolution:
    """What became of a search.

    Attributes:
        request_id: The server's id; None if it was not found.
        is_absent: Not found although the history was read after `settle_s`, and
            nothing in it could be it.
        reason: For a person: why it was not found.
    """

    request_id: str | None = None
    is_absent: bool = False
    reason: str = ""


@define(eq=False)
class _Search:
    lost: LostSubmit
    answer: asyncio.Future[Resolution]
    settled: float
    began: float


@define(eq=False)
class _Group:
    endpoint: EndpointId
    due: float
    wait_s: float = FIRST_WAIT_S
    looked: float = float("-inf")
    searches: dict[int, _Search] = field(factory=dict)


class Reconciler:
    """Looks for lost submits.

    Args:
        find: Reads the request history; None if the gateway does not reach it.
        journal: Where webhooks and other lost submits are, if there is one.
        on_the_way: Tells which equal submits are being answered now.
        request_of: Tells the request that a webhook named for an intent, if one has.
        settle_s: Seconds after the sending for which nothing found means nothing.
        clock: Loop time in seconds.
        wall_clock: Aware UTC time.
        spawn: Starts a task that ends with the session at the latest.
    """

    def __init__(
        self,
        *,
        find: FindRequests | None,
        journal: Journal | None,
        on_the_way: OnTheWay,
        request_of: Callable[[str], str | None],
        settle_s: float,
        clock: Callable[[], float],
        wall_clock: Callable[[], datetime],
        spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
    ) -> None:
        self._find = find
        self._journal = journal
        self._on_the_way = on_the_way
        self._request_of = request_of
        self._settle_s = settle_s
        self._clock = clock
        self._wall_clock = wall_clock
        self._spawn = spawn
        self._groups: dict[str, _Group] = {}
        self._news = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._claims = Claims(
            kept_s=REMEMBERED_S if journal is None else REMEMBERED_BESIDE_JOURNAL_S
        )
        self.found = 0

    @property
    def searching(self) -> int:
        """Submits that are looked for now."""
        return sum(len(group.searches) for group in self._groups.values())

    def claim(self, request_id: str) -> None:
        """Note that an id is a known job's; to be called before anything else can run."""
        now = self._clock()
        self._claims.add(request_id, now=now)
        if not self._groups:
            self._forget_claims(now)

    def _forget_claims(self, now: float) -> None:
        """Forget the ids that lie before every window that is or will be looked at."""
        searches = (search for group in self._groups.values() for search in group.searches.values())
        first = min((search.began for search in searches), default=now)
        self._claims.forget_before(first)

    def hear(self, intent_id: str, request_id: str) -> None:
        """Take in that a webhook names a request for an intent."""
        for group in self._groups.values():
            for search in group.searches.values():
                if search.lost.intent_id == intent_id and request_id not in self._claims:
                    self._adopt(search, request_id)
                    return

    async def resolve(self, lost: LostSubmit) -> Resolution:
        """Look for a submit until it is found, or `settle_s` after its sending has passed.

        A cancelled search leaves nothing behind.
        """
        if self._find is None and not lost.has_webhook:
            return Resolution(reason="this gateway does not reach fal's request history")
        endpoint = lost.endpoint.full
        now = self._clock()
        group = self._groups.setdefault(endpoint, _Group(lost.endpoint, now))
        group.due = min(group.due, max(now, group.looked + FIRST_WAIT_S))
        group.wait_s = FIRST_WAIT_S
        search = _Search(
            lost,
            asyncio.get_running_loop().create_future(),
            settled=now + max(0.0, self._settle_s - lost.age_s),
            began=now - lost.age_s,
        )
        group.searches[lost.name] = search
        self._news.set()
        if self._loop is None or self._loop.done():
            self._loop = self._spawn(self._run())
        try:
            return await search.answer
        finally:
            group.searches.pop(lost.name, None)
            if not group.searches:
                self._groups.pop(endpoint, None)

    async def _run(self) -> None:
        try:
            while self._groups:
                await self._step()
        finally:
            # Only a bug or the session's end leaves somebody here, who must not wait for ever.
            for group in self._groups.values():
                self._give_up(list(group.searches.values()), "the search was broken off")

    async def _step(self) -> None:
        self._news.clear()
        group = min(self._groups.values(), key=lambda group: group.due)
        wait_s = group.due - self._clock()
        if wait_s <= 0.0:
            await self._look(group)
            # Those who were answered leave before the next group is chosen.
            await asyncio.sleep(0)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._news.wait()

    async def _look(self, group: _Group) -> None:
        group.looked = self._clock()
        # Here as well: where something is always looked for, they would only grow.
        self._forget_claims(group.looked)
        is_first_wait = group.wait_s == FIRST_WAIT_S
        group.due = group.looked + group.wait_s
        group.wait_s = min(group.wait_s * WAIT_FACTOR, LONGEST_WAIT_S)
        searches = list(group.searches.values())
        unclear: Collection[Any] = ()
        reason = "" if self._find else "this gateway does not reach fal's request history"
        try:
            await self._look_at_webhooks(searches)
            open_searches = [search for search in searches if not search.answer.done()]
            if self._find is not None and open_searches:
                unclear = await self._look_at_history(group.endpoint, open_searches, self._find)
        except (AuthenticationError, UnsupportedError) as error:
            # Asked again, it says the same; but a webhook may still come.
            reason = f"the request history could not be read: {error}"
            self._give_up([one for one in searches if not one.lost.has_webhook], reason)
        except FalqError as error:
            reason = f"the request history could not be read: {error}"
            if is_first_wait:
                logger.warning("%s: %s", group.endpoint, reason)
        self._end_settled(searches, group.looked, unclear, reason)
        self._schedule(group)

    def _schedule(self, group: _Group) -> None:
        """Look once more at the instant at which the next search is over."""
        over = [search.settled for search in group.searches.values() if not search.answer.done()]
        if over:
            group.due = min(group.due, max(self._clock() + FIRST_WAIT_S / 2, min(over)))

    def _end_settled(
        self,
        searches: list[_Search],
        looked: float,
        unclear: Collection[Any],
        reason: str,
    ) -> None:
        for search in searches:
            lost = search.lost
            if search.answer.done() or looked < search.settled:
                continue
            is_unclear = lost.as_lost().name in unclear
            has_jumped = self._has_jumped(search)
            if has_jumped:
                why = "this machine's clock was set meanwhile, so it may be listed at another time"
            elif is_unclear:
                why = "the request history lists equal requests, not as many as were submitted"
            else:
                why = reason or f"the request history did not list it within {self._settle_s:g} s"
            is_absent = not reason and not is_unclear and not has_jumped
            search.answer.set_result(Resolution(is_absent=is_absent, reason=why))

    def _has_jumped(self, search: _Search) -> bool:
        """Return whether the wall clock was set since the submit, so that its stamp misleads."""
        wall_s = self._wall_clock().timestamp() - search.lost.sent_at
        return abs(wall_s - (self._clock() - search.began)) > SKEW_S

    @staticmethod
    def _give_up(searches: list[_Search], reason: str) -> None:
        for search in searches:
            if not search.answer.done():
                search.answer.set_result(Resolution(reason=reason))

    def _adopt(self, search: _Search, request_id: str) -> None:
        if search.answer.done():
            return
        self.found += 1
        self.claim(request_id)
        search.answer.set_result(Resolution(request_id=request_id))

    async def _look_at_webhooks(self, searches: list[_Search]) -> None:
        for search in searches:
            if search.lost.intent_id is None:
                continue
            request_id = await self._told_by_webhook(search.lost.intent_id)
            if request_id is not None and request_id not in await self._claimed({request_id}):
                self._adopt(search, request_id)

    async def _told_by_webhook(self, intent_id: str) -> str | None:
        told = self._request_of(intent_id)
        if told is not None or self._journal is None:
            return told
        kept = await self._journal.load_webhook(intent_id=intent_id)
        return None if kept is None else kept.request_id

    async def _claimed(self, request_ids: Collection[str]) -> set[str]:
        known = set()
        if self._journal is not None:
            known = await self._journal.load_claimed_request_ids(request_ids)
        # After the wait, so that what was accepted meanwhile is among them.
        return known | {one for one in request_ids if one in self._claims}

    async def _look_at_history(
        self, endpoint: EndpointId, searches: list[_Search], find: FindRequests
    ) -> Collection[Any]:
        """Answer the searches that the history tells of; return the names it is unclear about."""
        live = [search.lost.as_lost() for search in searches]
        rows = await self._load_other_rows(endpoint, {one.name for one in live}, live)
        everyone = [*live, *rows]
        start, end = window_of(everyone, self._wall_clock().timestamp())
        hits = [
            _as_hit(endpoint, one)
            async for one in find(
                endpoint, datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC)
            )
        ]
        claimed = await self._claimed({hit.request_id for hit in hits})
        match = match_unknowns(
            everyone, hits, claimed=claimed, on_the_way=self._on_the_way(endpoint.full)
        )
        by_name = {search.lost.as_lost().name: search for search in searches}
        for name, request_id in match.found.items():
            if name in by_name:
                self._adopt(by_name[name], request_id)
        for name, request_id in match.found.items():
            if name not in by_name:
                await self._adopt_row(name, request_id)
        return match.unclear

    async def _load_other_rows(
        self, endpoint: EndpointId, live: set[Any], searched: list[Lost]
    ) -> list[Lost]:
        """Return the lost submits in the journal that nobody searches, but that count."""
        if self._journal is None:
            return []
        hashes = {one.input_sha256 for one in searched}
        rows = [
            Lost(
                name=_row_name(record.number),
                input_sha256=_sent_hash(record),
                sent_at=record.sent_at or 0.0,
            )
            async for page in self._journal.load_jobs(states=[RecordState.UNKNOWN])
            for record in page
            if record.endpoint == endpoint.full and _sent_hash(record) in hashes
        ]
        return [one for one in rows if one.name not in live and overlaps(one, searched)]

    async def _adopt_row(self, name: Any, request_id: str) -> None:
        self.claim(request_id)
        if self._journal is None:
            return
        try:
            await self._journal.record_accepted(int(name[1]), request_id)
        except JournalError as error:
            logger.warning("a lost submit was found and could not be noted: %s", error)
        else:
            self.found += 1


def _sent_hash(record: JobRecord) -> str:
    return record.sent_sha256 or record.input_sha256


def _row_name(number: int) -> tuple[str, int]:
    return ("row", number)


def _as_hit(endpoint: EndpointId, one: Found) -> Hit:
    hit = Hit(
        request_id=one.request_id,
        input_sha256=None,
        sent_at=None if one.sent_at is None else one.sent_at.timestamp(),
    )
    if one.input is None:
        return hit
    try:
        return evolve(hit, input_sha256=input_sha256(endpoint.full, one.input))
    except (TypeError, ValueError):
        return hit
