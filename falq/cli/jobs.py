"""The commands about single jobs: submit, subscribe, status, logs, result, cancel.

Owns what each asks of a session and what it prints. It never parses words (`app`,
`arguments`) and never decides an exit code of a failure (`failures`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from falq._engine.handle import Handle
from falq.cli.failures import FAILED, OK
from falq.cli.live import BEAT_S, JobLine, Silence, describe_status
from falq.cli.output import LINE_LIMIT, Output
from falq.cli.results import deliver
from falq.cli.running import Interrupted
from falq.errors import FalqError
from falq.model import Completed, LogEntry, OnCancel, Status
from falq.session import Session, SubmitKeywords
from falq.text import printable

CANCEL_ANSWERS = {
    "requested": "cancel requested; a job that does not listen may still end with a result",
    "already_completed": "already completed: there was nothing to cancel",
    "not_found": "not found: the server does not know this request",
    "not_submitted": "it had not been submitted; nothing was spent",
    "unknown": "no answer to the cancel; the job may run on",
}


@frozen(kw_only=True)
class JobRequest:
    """One job as the command line asks for it.

    Attributes:
        endpoint: Where it goes.
        arguments: The model's input.
        options: What `Session.submit` takes beside it.
    """

    endpoint: str
    arguments: Mapping[str, Any]
    options: SubmitKeywords


async def submit(request: JobRequest, output: Output) -> int:
    """Submit a job and print its ids."""
    session = Session()
    try:
        async with session:
            handle = await session.submit(request.endpoint, request.arguments, **request.options)
    except asyncio.CancelledError:
        _tell_unfinished(session, output)
        raise Interrupted from None
    output.data(
        {
            "request_id": handle.request_id,
            "endpoint": handle.endpoint,
            "intent_id": handle.intent_id,
        }
    )
    output.note(f"submitted; wait for it with: falq result {handle.endpoint} {handle.request_id}")
    return OK


async def subscribe(
    request: JobRequest,
    output: Output,
    *,
    with_logs: bool,
    download: Path | None,
    on_cancel: OnCancel,
) -> int:
    """Submit a job, show it, print its result and fetch its media."""
    line = JobLine(output, request.endpoint)
    session = Session(on_event=line.hear)
    told: str | None = None
    try:
        async with session:
            with line:
                handle = await session.submit(
                    request.endpoint, request.arguments, on_cancel=on_cancel, **request.options
                )
                # From here on it is `_watch` that says what becomes of this job.
                told = handle.request_id
                line.accepted(told)
                result = await _watch(handle, line, output, on_cancel, with_logs=with_logs)
                elapsed_s = line.elapsed_s
        output.note(f"done in {elapsed_s:.1f} s ({handle.request_id})", style="green")
        return await deliver(result, output, download, session)
    except asyncio.CancelledError:
        _tell_unfinished(session, output, told=told)
        raise Interrupted from None


async def status(
    endpoint: str, request_id: str, output: Output, *, with_logs: bool, watch: bool
) -> int:
    """Print the status of a request, once or until it ends."""
    async with Session(on_event=Silence(output).hear) as session:
        # Asked once first: watching is patient with a wrong id or a dead network.
        last = await session.status(endpoint, request_id, with_logs=with_logs)
        if not watch:
            output.data(status_as_data(last, endpoint, request_id))
        else:
            handle = session.handle(endpoint, request_id)
            async with handle.events(logs=with_logs) as statuses:
                async for last in statuses:
                    output.data(status_as_data(last, endpoint, request_id))
    return FAILED if isinstance(last, Completed) and last.error is not None else OK


async def logs(endpoint: str, request_id: str, output: Output, *, follow: bool) -> int:
    """Print the lines that a job printed, once or until it ends."""
    async with Session(on_event=Silence(output).hear) as session:
        last = await session.status(endpoint, request_id, with_logs=True)
        if not follow:
            _print_logs(getattr(last, "logs", ()), output)
            return OK
        async with session.handle(endpoint, request_id).events(logs=True) as statuses:
            async for last in statuses:
                _print_logs(getattr(last, "logs", ()), output)
    return OK


async def result(
    endpoint: str, request_id: str, output: Output, *, wait: bool, download: Path | None
) -> int:
    """Print the result of a request and fetch its media."""
    line = JobLine(output, endpoint, request_id)
    session = Session(on_event=line.hear)
    try:
        async with session:
            now = await session.status(endpoint, request_id)
            if not wait and not isinstance(now, Completed):
                output.note(f"not finished: {describe_status(now)}")
                if output.is_json:
                    output.data(status_as_data(now, endpoint, request_id))
                return FAILED
            payload = await _wait_for_result(session.handle(endpoint, request_id), line)
        return await deliver(payload, output, download, session)
    except asyncio.CancelledError:
        output.note(f"stopped waiting; {request_id} was left as it is")
        raise Interrupted from None


async def cancel(endpoint: str, request_id: str, output: Output) -> int:
    """Ask the server to cancel a request and print what it said."""
    async with Session() as session:
        outcome = await session.cancel(endpoint, request_id)
        if outcome == "unknown":
            # A wrong key and a dead network are told as what they are.
            await session.status(endpoint, request_id)
    output.data({"request_id": request_id, "endpoint": endpoint, "cancel_outcome": outcome})
    output.note(CANCEL_ANSWERS[outcome])
    return OK if outcome == "requested" else FAILED


def status_as_data(status: Status, endpoint: str, request_id: str) -> dict[str, Any]:
    """Return a status as the JSON that commands print."""
    data: dict[str, Any] = {
        "status": status.word,
        "request_id": request_id,
        "endpoint": endpoint,
    }
    position = getattr(status, "position", None)
    if position is not None:
        data["queue_position"] = position
    entries = getattr(status, "logs", ())
    if entries:
        data["logs"] = [_log_as_data(entry) for entry in entries]
    if isinstance(status, Completed):
        data["metrics"] = dict(status.metrics)
        if status.error is not None:
            data |= {"error": status.error, "error_type": status.error_type}
    return data


def _log_as_data(entry: LogEntry) -> dict[str, str]:
    facts = {
        "timestamp": entry.timestamp,
        "level": entry.level,
        "source": entry.source,
        "message": entry.message,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _print_logs(entries: tuple[LogEntry, ...], output: Output) -> None:
    for entry in entries:
        if output.is_json:
            output.data(_log_as_data(entry))
        else:
            output.line(printable(entry.message, limit=LINE_LIMIT))


async def _watch(
    handle: Handle, line: JobLine, output: Output, on_cancel: OnCancel, *, with_logs: bool
) -> Any:
    """Show the statuses of a job and return its result; on Ctrl-C say what becomes of it."""
    try:
        async for status in _statuses(handle, line, with_logs=with_logs):
            line.show(status)
        return await handle.result()
    except asyncio.CancelledError:
        if on_cancel == "cancel":
            output.note(f"\ninterrupted: cancelling {handle.request_id} …", style="yellow")
            outcome = await handle.cancel()
            output.error(f"{handle.endpoint} {handle.request_id}: {CANCEL_ANSWERS[outcome]}")
        else:
            output.error(
                f"interrupted; the job runs on. Its result: "
                f"falq result {handle.endpoint} {handle.request_id}"
            )
        raise


async def _wait_for_result(handle: Handle, line: JobLine) -> Any:
    """Show the statuses of a request until it ends and return its result."""
    with line:
        async for status in _statuses(handle, line, with_logs=False):
            line.show(status)
        return await handle.result()


async def _statuses(handle: Handle, line: JobLine, *, with_logs: bool) -> AsyncIterator[Status]:
    """Yield the statuses of a job, and let the line beat while there is none."""
    async with handle.events(logs=with_logs) as statuses:
        while True:
            try:
                # No yield inside: a scope that a generator holds open cancels the wrong task.
                async with asyncio.timeout(BEAT_S):
                    status = await anext(statuses)
            except StopAsyncIteration:
                return
            except FalqError:
                # A job's own time-out is a TimeoutError too.
                raise
            except TimeoutError:
                line.beat()
            else:
                yield status


def _tell_unfinished(session: Session, output: Output, *, told: str | None = None) -> None:
    """Name the jobs that a session left behind, but for the one that was told of."""
    for job in session.unfinished:
        if told is not None and job.request_id == told:
            continue
        name = job.request_id or f"unknown (intent {job.intent_id})"
        ending = "" if job.cancel_outcome is None else f": {CANCEL_ANSWERS[job.cancel_outcome]}"
        output.error(f"unfinished: {job.endpoint} {name}{ending}")
