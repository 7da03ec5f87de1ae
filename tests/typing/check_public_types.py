"""What a type checker says of the public API. It is checked, never run."""

from __future__ import annotations

from typing import Any, assert_type

import falq


async def check_session(session: falq.Session) -> None:
    assert_type(await session.subscribe("fal-ai/flux/schnell", {"prompt": "a cat"}), Any)
    handle = await session.submit("fal-ai/flux/schnell", {"prompt": "a cat"})
    assert_type(handle, falq.Handle)
    assert_type(handle.request_id, str)
    assert_type(await handle, Any)
    assert_type(await handle.result(), Any)
    assert_type(await handle.status(), falq.Status)
    assert_type(await handle.wait(5.0), bool)
    assert_type(session.handle("fal-ai/flux", "id"), falq.Handle)
    assert_type(await session.status("fal-ai/flux", "id"), falq.Status)
    async for status in handle.events(logs=True):
        assert_type(status, falq.Status)
    async for outcome in session.map("fal-ai/flux", [{"prompt": "a cat"}]):
        assert_type(outcome, falq.Outcome)
        assert_type(outcome.error, falq.FalqError | None)
        assert_type(outcome.is_success, bool)
    assert_type(session.statistics(), falq.SessionStatistics)
    assert_type(session.unfinished, tuple[falq.Unfinished, ...])


async def check_opening() -> None:
    async with falq.Session(falq.Fal(), max_jobs=10) as session:
        assert_type(session, falq.Session)
        assert_type(session.gateway, falq.Gateway)


def check_statuses(status: falq.Status) -> str:
    match status:
        case falq.Queued(position=position):
            assert_type(position, int | None)
        case falq.InProgress(logs=logs):
            assert_type(logs, tuple[falq.LogEntry, ...])
        case falq.Completed(error=error):
            assert_type(error, str | None)
        case _:
            assert_type(status, falq.Status)
    return status.word


def check_errors(error: falq.FalqError) -> None:
    assert_type(error.retryable, bool)
    assert_type(error.possibly_billed, bool)
    assert_type(error.request_id, str | None)
    if isinstance(error, falq.InvalidInputError):
        assert_type(error.problems, tuple[tuple[str, str], ...])
    if isinstance(error, falq.RateLimitError):
        assert_type(error.retry_after_s, float | None)


def check_gateways() -> None:
    gateway: falq.Gateway = falq.Maton(connection_id="x")
    assert_type(gateway.calls_per_s, float | None)
    assert_type(falq.EndpointId.parse("fal-ai/flux").app, str)
