"""What the faces of a session share: its engine, and how a submission is made.

Owns the checks that every use begins with, and what becomes of arguments before they
are sent. The faces beside it are parts of `falq.Session`, which has their state; none
of them is used by itself.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from falq._core.codec import dump_arguments
from falq._core.forecast import kinds_of
from falq._engine.engine import Engine
from falq._engine.job import Job
from falq._journal.base import Journal
from falq._transport.base import Transport
from falq.config import SessionConfig
from falq.errors import ArgumentError, SessionClosedError
from falq.gateways import Gateway
from falq.keywords import (
    SubmitKeywords,
    completion_of,
    key_of,
    options_of,
    target_of,
    timeout_of,
    validate_of,
)
from falq.media.upload import Uploader
from falq.model import EndpointId, Submission
from falq.models.checking import Validator
from falq.platform import Models
from falq.preparation import Preparation, find_uploads, prepare_in_time


class Face:
    """What every face of a session can ask for; `falq.Session` has the state."""

    _config: SessionConfig
    _engine: Engine | None
    _transport: Transport | None
    _journal: Journal | None
    _uploader: Uploader | None
    _models: Models
    _preparation: Preparation
    _validator: Validator

    @property
    def gateway(self) -> Gateway:
        """Where calls go."""
        return self._config.gateway

    @property
    def _opened(self) -> Engine:
        if self._engine is None:
            raise SessionClosedError(
                "the session is not open; use 'async with falq.Session() as session:'"
            )
        return self._engine

    def _use(self) -> None:
        self._opened.check_use()

    async def _start(self, endpoint: str, given: Mapping[str, Any], options: SubmitKeywords) -> Job:
        self._use()
        build = self._builder(endpoint, options)
        timeout_s, key = timeout_of(options, self._config.timeout), key_of(options)
        completion = completion_of(options)
        planned_sha256 = None
        try:
            submission = build(given)
        except ArgumentError:
            # Plain arguments pay nothing for the question whether they hold files.
            prepare = self._when_needed(endpoint, given, options)
            if prepare is None:
                raise
            ready, timeout_s = await prepare_in_time(prepare, timeout_s)
            submission = build(ready)
            if key is not None:
                # The next process uploads the same files to other URLs.
                planned_sha256 = self._preparation.hash_of(submission.endpoint, given, ready)
        return self._opened.start_job(
            submission,
            timeout_s=timeout_s,
            key=key,
            planned_sha256=planned_sha256,
            completion=completion,
        )

    def _when_needed(
        self, endpoint: str, arguments: Mapping[str, Any], options: SubmitKeywords
    ) -> Callable[[], Awaitable[Mapping[str, Any]]] | None:
        """Return what makes arguments ready to be sent, None if nothing would."""
        target, check = target_of(endpoint, options), None
        is_unchecked = False
        if validate_of(options, self._config.validate):
            check, is_unchecked = self._validator.check, not self._validator.is_ready(target)
        if isinstance(arguments, Mapping) and (is_unchecked or find_uploads(arguments)):
            return functools.partial(self._preparation.prepare, target, arguments, check=check)
        return None

    async def _body_of(self, target: EndpointId, arguments: Mapping[str, Any] | None) -> bytes:
        """Return arguments as JSON, checked if wanted, with the files in them uploaded."""
        given = {} if arguments is None else arguments
        check = self._validator.check if self._config.validate else None
        if isinstance(given, Mapping) and (check is not None or find_uploads(given)):
            given = await self._preparation.prepare(target, given, check=check)
        return dump_arguments(given)

    def _builder(
        self, endpoint: str, options: SubmitKeywords
    ) -> Callable[[Mapping[str, Any]], Submission]:
        """Check what all submissions of a call share; return what makes each of them."""
        target = target_of(endpoint, options)
        asked = options_of(options, timeout_of(options, self._config.timeout))
        is_validated = validate_of(options, self._config.validate)

        def build(arguments: Mapping[str, Any]) -> Submission:
            body = dump_arguments(arguments)
            if is_validated:
                self._validator.check_nowait(target, arguments)
            return Submission(
                endpoint=target,
                body=body,
                options=asked,
                intent_id=secrets.token_hex(16),
                kinds=kinds_of(target.full, arguments),
            )

        return build


def utc_now() -> datetime:
    """Return the time of the wall clock, aware."""
    return datetime.now(UTC)
