"""fal's address for direct runs, emulated: `/_run/{endpoint}` and `…/stream`.

Owns which answer a direct run gets: the account's limit, the order, the feed. The
run itself is the queue's, past its lines, so that runs and jobs share the runners.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve

from falq.emulator import wire
from falq.emulator.addresses import Address, read_address
from falq.emulator.endings import encode
from falq.emulator.messages import Reply, Request
from falq.emulator.orders import BadTimeoutError, read_order
from falq.emulator.scenario import Scenario
from falq.emulator.state import NoRunnerError, Queue
from falq.emulator.streams import EVENT_STREAM, OutputFeed, RunFeed

PREFIX = "/_run"

_STREAM = "/stream"


class DirectRuns:
    """Answers direct runs.

    Args:
        scenario: Its behavior.
        queue: Where runs take their runner.
        on_drop: Hears that a runner got free because a caller went away.
    """

    def __init__(self, scenario: Scenario, queue: Queue, on_drop: Callable[[], None]) -> None:
        self._scenario = scenario
        self._on_drop = on_drop
        self._queue = queue

    def verb_of(self, path: str) -> str:
        """Return how a call is counted: `run` or `stream`."""
        return "stream" if path.rstrip("/").endswith(_STREAM) else "run"

    def answer(self, request: Request, path: str, now: float) -> Reply:
        """Answer a call.

        Args:
            request: Its key was checked.
            path: What follows `/_run`.
            now: The instant in seconds.
        """
        is_streamed = self.verb_of(path) == "stream"
        address = self._address_of(path, is_streamed=is_streamed)
        if address.verb != "submit":
            return wire.json_reply(404, encode({"detail": f"Path {path} not found"}))
        if self._scenario.is_locked:
            return wire.json_reply(403, wire.LOCKED)
        if address.app in self._scenario.absent_apps:
            return wire.json_reply(
                404, encode({"detail": f'Application "{address.app}" not found'})
            )
        try:
            # The server retries nothing but jobs of the queue.
            order = evolve(read_order(request, address), no_retry=True)
            job = self._queue.run_directly(order, now)
        except BadTimeoutError:
            return wire.json_reply(400, wire.BAD_TIMEOUT, ("x-fal-error-type", "bad_request"))
        except NoRunnerError:
            return self._too_many()
        head = ("x-fal-request-id", job.request_id)
        kind = OutputFeed if is_streamed else RunFeed
        feed = kind(job, queue=self._queue, scenario=self._scenario, on_drop=self._on_drop)
        return Reply(status_code=200, headers=(EVENT_STREAM, head), feed=feed)

    def _address_of(self, path: str, *, is_streamed: bool) -> Address:
        plain = path.rstrip("/")
        return read_address("POST", plain.removesuffix(_STREAM) if is_streamed else plain)

    def _too_many(self) -> Reply:
        limit = self._scenario.runners
        body = {
            "detail": f"Reached concurrent requests limit of {limit}",
            "type": "concurrent_requests_limit",
            "data": {"limit": limit},
        }
        return wire.json_reply(
            self._scenario.concurrency_code, encode(body), ("x-fal-needs-retry", "1")
        )
