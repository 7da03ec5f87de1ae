"""The tools of an agent: the four actions, `subscribe` and `upload`.

Owns which tools there are for a session, and what `subscribe` and `upload` do.
It knows no protocol: `server` carries tools over one. Every tool returns an
envelope and never raises but for a cancellation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from anyio import CancelScope

from falq._engine.handle import Handle
from falq.actions.actions import Actions, AppIds, as_object, enveloped, refusal
from falq.actions.limits import LimitedJobs
from falq.actions.schemas import (
    ACTIONS,
    APP_ID,
    DATA,
    OBJECT,
    TEXT,
    Action,
    Envelope,
    envelope,
    find_problem,
    nullable,
    parameters,
)
from falq.errors import ArgumentError, ConfigError, FalqError
from falq.keywords import SubmitKeywords
from falq.model import Status
from falq.text import printable

logger = logging.getLogger("falq")

OnStatus: TypeAlias = Callable[[str], Awaitable[None]]
"""Hears in words how a job stands."""

Upload: TypeAlias = Callable[[Path], Awaitable[str]]
"""Uploads a file and returns its URL, as `Session.upload_file` does."""

SUBSCRIBE = Action(
    name="subscribe",
    description="Run a fal.ai model and wait for its result. It costs money. Cancelling the call "
    "cancels the job.",
    parameters=parameters(
        {
            "app_id": APP_ID,
            "data": DATA,
            "timeout": {
                "type": "number",
                "description": "Seconds after which the job is given up and cancelled",
            },
        },
        ("app_id", "data"),
    ),
    output=envelope(
        "SubscribeOutput",
        {"request_id": nullable(TEXT, "Request Id"), "data": nullable(OBJECT, "Data")},
    ),
)

UPLOAD = Action(
    name="upload",
    description="Upload a file of this machine, so that a model can read it. Returns its URL, "
    "which anybody who has it can open.",
    parameters=parameters(
        {"path": {"type": "string", "description": "The file, below the folder for uploads"}},
        ("path",),
    ),
    output=envelope("UploadOutput", {"url": nullable(TEXT, "Url")}),
)


async def ignore_status(_: str) -> None:
    """Hear nothing."""


class Tools:
    """What an agent can call.

    Args:
        jobs: The session, within its limits.
        app_ids: What an `app_id` with a slash means; see `Actions`.
        upload: Uploads a file; None leaves the tool out.
        upload_from: Folder that files are uploaded from; None leaves the tool out.
    """

    def __init__(
        self,
        jobs: LimitedJobs,
        *,
        app_ids: AppIds = "full",
        upload: Upload | None = None,
        upload_from: Path | None = None,
    ) -> None:
        self._jobs = jobs
        self._actions = Actions(jobs, app_ids=app_ids)
        self._upload = upload
        self._folder = upload_from
        can_upload = upload is not None and upload_from is not None
        self.actions: tuple[Action, ...] = (*ACTIONS, SUBSCRIBE, *([UPLOAD] if can_upload else []))

    async def call(
        self, name: str, arguments: object, *, on_status: OnStatus = ignore_status
    ) -> Envelope:
        """Run a tool and return its envelope.

        Args:
            name: One of `actions`.
            arguments: What the agent gave.
            on_status: Hears how a job of `subscribe` stands.

        A cancelled `subscribe` has its job cancelled.
        """
        own = {SUBSCRIBE.name: SUBSCRIBE, UPLOAD.name: UPLOAD}.get(name)
        if own is None or own not in self.actions:
            return await self._actions.call(name, arguments)
        problem = find_problem(own.parameters, arguments)
        if problem is not None or not isinstance(arguments, Mapping):
            return refusal(f"{problem}; nothing was sent")
        if own is UPLOAD:
            return await self._send_file(arguments["path"])
        return await self._subscribe(arguments, on_status)

    async def _subscribe(self, given: Mapping[str, Any], on_status: OnStatus) -> Envelope:
        async def run() -> Envelope:
            endpoint = self._actions.endpoint_of(given["app_id"])
            options: SubmitKeywords = {}
            if given.get("timeout") is not None:
                options["client_timeout"] = given["timeout"]
            handle = await self._jobs.submit(endpoint, given["data"], **options)
            try:
                await _tell(handle, on_status)
                payload = await handle.result()
            except asyncio.CancelledError:
                # Bounded by the session. A plain await would be cancelled again by
                # servers whose cancellation is a scope.
                with CancelScope(shield=True):
                    await handle.cancel()
                raise
            await self._jobs.acknowledge(handle.request_id)
            return {"request_id": handle.request_id, "data": as_object(payload)}

        return await enveloped(run, {"request_id": None, "data": None})

    async def _send_file(self, path: str) -> Envelope:
        async def send() -> Envelope:
            if self._upload is None or self._folder is None:
                raise ConfigError("uploads are not allowed", setting="upload_from")
            file = await asyncio.to_thread(_find_file, self._folder, path)
            return {"url": await self._upload(file)}

        return await enveloped(send, {"url": None})


async def _tell(handle: Handle, on_status: OnStatus) -> None:
    """Tell of each status until the end; what fails here fails no job."""
    try:
        async with handle.events() as statuses:
            async for status in statuses:
                await on_status(describe_status(status))
    except FalqError:
        # The result says it again, with all that is known by then.
        return
    except Exception:
        logger.warning("the statuses of %s are not told any more", handle, exc_info=True)


def describe_status(status: Status) -> str:
    """Return a status in words."""
    position = getattr(status, "position", None)
    word = printable(status.word, limit=40)
    return word if position is None else f"{word}, position {position}"


def _find_file(folder: Path, path: str) -> Path:
    """Return a file below `folder`; links are followed before that is asked.

    Raises:
        ArgumentError: It is no file, or not below the folder.
    """
    root = folder.resolve()
    try:
        file = (root / path).resolve(strict=True)
    except (OSError, ValueError):
        file = root
    if not file.is_relative_to(root) or not file.is_file():
        raise ArgumentError(
            f"{printable(repr(path), limit=200)} is no file below the folder for uploads",
            argument="path",
        )
    return file
