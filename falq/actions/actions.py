"""The four documented actions: add, cancel, get the response, get the status.

Owns how a session's answers and errors become envelopes, and how an `app_id`
becomes an endpoint id. It never raises but for a cancellation or an interrupt:
whatever goes wrong is `success: false` with an `error` that says what to do.
Agent frameworks call it; `tools` puts it behind a protocol.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, Protocol, TypeAlias, Unpack

from falq._engine.handle import Handle
from falq.actions.schemas import ACTIONS, Envelope, find_problem
from falq.errors import FalqError
from falq.gateways import Gateway
from falq.keywords import SubmitKeywords
from falq.model import (
    NAMESPACES,
    CancelOutcome,
    Completed,
    EndpointId,
    LogEntry,
    OnCancel,
    Status,
)
from falq.text import printable

OWNER = "fal-ai"

AppIds: TypeAlias = Literal["full", "relative"]
"""What an `app_id` with a slash means; see `Actions`."""


class Jobs(Protocol):
    """What actions ask of a session; `falq.Session` is one."""

    @property
    def gateway(self) -> Gateway:
        """Where calls go."""
        ...

    async def submit(
        self,
        endpoint: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        on_cancel: OnCancel | None = None,
        **options: Unpack[SubmitKeywords],
    ) -> Handle:
        """Submit a job; see `Session.submit`."""
        ...

    async def status(self, endpoint: str, request_id: str, *, with_logs: bool = False) -> Status:
        """Ask once for the status; see `Session.status`."""
        ...

    async def result(self, endpoint: str, request_id: str) -> Any:
        """Return a result; see `Session.result`."""
        ...

    async def cancel(self, endpoint: str, request_id: str) -> CancelOutcome:
        """Ask to cancel; see `Session.cancel`."""
        ...


class Actions:
    """The four actions on one session. None raises; see the module.

    Args:
        jobs: An open `falq.Session`, or a `LimitedJobs` around one.
        app_ids: What an `app_id` means. A single word is below `fal-ai` in both
            forms: `lora` is `fal-ai/lora`. The documents leave open what one with
            a slash is. `"full"` takes `flux/schnell` as owner and name, as other
            clients do; `"relative"` takes it as `fal-ai/flux/schnell`, unless it
            begins with `fal-ai/`, `workflows/` or `comfy/`.

    Example:
        >>> import asyncio, falq
        >>> from falq.emulator import Emulator
        >>> async def main():
        ...     async with Emulator() as emulator, falq.Session(emulator.gateway) as session:
        ...         return await Actions(session).get_request_status("lora", "unknown")
        >>> asyncio.run(main())["success"]
        False
    """

    def __init__(self, jobs: Jobs, *, app_ids: AppIds = "full") -> None:
        self._jobs = jobs
        self._app_ids = app_ids

    async def call(self, name: str, arguments: object) -> Envelope:
        """Run an action by its name.

        Args:
            name: One of those in `ACTIONS`.
            arguments: What the agent gave; checked against the action's schema.
        """
        action = next((one for one in ACTIONS if one.name == name), None)
        if action is None:
            names = ", ".join(one.name for one in ACTIONS)
            return refusal(
                f"there is no action {printable(repr(name), limit=80)}; there are {names}"
            )
        problem = find_problem(action.parameters, arguments)
        if problem is not None or not isinstance(arguments, Mapping):
            return refusal(f"{problem}; nothing was sent")
        given = {key: value for key, value in arguments.items() if value is not None}
        run: Callable[..., Awaitable[Envelope]] = getattr(self, name)
        return await run(**given)

    async def add_request_to_queue(
        self, app_id: str, data: Mapping[str, Any], webhook_url: str | None = None
    ) -> Envelope:
        """Submit a request; return its id and its addresses at the session's gateway.

        The addresses answer to the session's own key, which is not said of those
        that a server names.

        Args:
            app_id: Which model; see `Actions`.
            data: Its input.
            webhook_url: Address, https or http, that fal calls when the request ends.

        If the call is cancelled, the request is cancelled as well.
        """

        async def add() -> Envelope:
            endpoint = self.endpoint_of(app_id)
            options: SubmitKeywords = {} if webhook_url is None else {"webhook_url": webhook_url}
            handle = await self._jobs.submit(endpoint, data, **options)
            root, app = self._jobs.gateway.queue_root, EndpointId.parse(endpoint).app
            response_url = f"{root}/{app}/requests/{handle.request_id}"
            return {
                "request_id": handle.request_id,
                "response_url": response_url,
                "status_url": f"{response_url}/status",
                "cancel_url": f"{response_url}/cancel",
            }

        empty = dict.fromkeys(("request_id", "response_url", "status_url", "cancel_url"))
        return await enveloped(add, empty)

    async def cancel_request(self, app_id: str, request_id: str) -> Envelope:
        """Ask to cancel a request; success means that the wish was taken.

        Args:
            app_id: Which model; see `Actions`.
            request_id: Which request.

        A cancelled call does not take the wish back.
        """

        async def cancel() -> Envelope:
            outcome = await self._jobs.cancel(self.endpoint_of(app_id), request_id)
            return {} if outcome == "requested" else refusal(_NOT_CANCELLED[outcome])

        return await enveloped(cancel, {})

    async def get_request_response(self, app_id: str, request_id: str) -> Envelope:
        """Return the result of a completed request, without waiting for one.

        `data` is an object. What a model answers that is JSON and no object comes
        under the one name `value`: it is paid for.

        Args:
            app_id: Which model; see `Actions`.
            request_id: Which request.

        A cancelled call leaves the request as it is.
        """

        async def get() -> Envelope:
            endpoint = self.endpoint_of(app_id)
            status = await self._jobs.status(endpoint, request_id)
            if not isinstance(status, Completed):
                word = printable(status.word, limit=40)
                return refusal(f"the request is not finished (status {word}); ask again later")
            return {"data": as_object(await self._jobs.result(endpoint, request_id))}

        return await enveloped(get, {"data": None})

    async def get_request_status(
        self,
        app_id: str,
        request_id: str,
        logs: bool = False,  # noqa: FBT001, FBT002  the documented parameters
    ) -> Envelope:
        """Return the status of a request.

        A failed request is COMPLETED as well; the failure shows in its response.

        Args:
            app_id: Which model; see `Actions`.
            request_id: Which request.
            logs: Whether to bring the lines that it printed.

        A cancelled call leaves the request as it is.
        """

        async def get() -> Envelope:
            endpoint = self.endpoint_of(app_id)
            status = await self._jobs.status(endpoint, request_id, with_logs=logs)
            return {
                "status": status.word,
                "queue_position": getattr(status, "position", None),
                "logs": [_log_as_data(entry) for entry in getattr(status, "logs", ())],
            }

        return await enveloped(get, {"status": None, "queue_position": None, "logs": []})

    def endpoint_of(self, app_id: str) -> str:
        """Return the full endpoint id that an `app_id` means; see `Actions`.

        Raises:
            ArgumentError: It is none.
        """
        if not isinstance(app_id, str):
            return EndpointId.parse(app_id).full
        text = app_id.strip("/")
        first, slash, _ = text.partition("/")
        is_below = first in {OWNER, *NAMESPACES}
        if not slash or (self._app_ids == "relative" and not is_below):
            text = f"{OWNER}/{text}"
        return EndpointId.parse(text).full


_NOT_CANCELLED: Mapping[CancelOutcome, str] = {
    "already_completed": "the request is already completed; its response is there",
    "not_found": "the server does not know this request; check app_id and request_id",
    "not_submitted": "the request had not been submitted; nothing was spent",
    "unknown": "no answer to the cancel came; ask for the status",
}


async def enveloped(work: Callable[[], Awaitable[Envelope]], empty: Envelope) -> Envelope:
    """Do `work` and return its envelope, whatever it raises.

    Args:
        work: Returns what its output has beside `success` and `error`, or a refusal.
        empty: What the output has when there is nothing to tell.
    """
    try:
        told = {"success": True, "error": None} | empty | await work()
    except Exception as error:  # noqa: BLE001  the documented error model: an action never raises
        told = refusal(describe(error)) | empty
        request_id = getattr(error, "request_id", None)
        if request_id is not None and "request_id" in empty:
            told["request_id"] = request_id
    return told


def refusal(error: str) -> Envelope:
    """Return what an envelope says when something did not work."""
    return {"success": False, "error": error}


def describe(error: Exception) -> str:
    """Return an error in one line, with what it may have cost."""
    if not isinstance(error, FalqError):
        return f"a bug in falq: {type(error).__name__}: {printable(str(error), limit=300)}"
    return f"{error}; it may have been billed" if error.possibly_billed else str(error)


def as_object(payload: Any) -> dict[str, Any]:
    """Return a result as the object that envelopes hold.

    Raises:
        FalqError: It is no JSON.
    """
    if isinstance(payload, bytes):
        raise FalqError(
            f"the result is {len(payload)} bytes that are no JSON; fetch it with 'falq result'"
        )
    return payload if isinstance(payload, dict) else {"value": payload}


def _log_as_data(entry: LogEntry) -> dict[str, str | None]:
    return {"message": entry.message, "level": entry.level, "timestamp": entry.timestamp}
