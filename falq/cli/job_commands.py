"""The commands about single jobs, their options and their help.

Owns names, types and help texts, and nothing of what the commands do: each
imports its room when it runs. `app` makes them commands.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from falq.cli.arguments import read_arguments
from falq.cli.flags import (
    PLAIN_DIRECT,
    PLAIN_OUTPUT,
    PLAIN_QUEUE,
    DirectFlags,
    Flag,
    OutputFlags,
    QueueFlags,
)
from falq.cli.running import run_command


def _request(endpoint: str, words: tuple[str, ...], queue: QueueFlags) -> Any:
    from falq.cli.jobs import JobRequest

    arguments = read_arguments(words, read_stdin=sys.stdin.read)
    options: Any = queue.keywords()
    return JobRequest(endpoint=endpoint, arguments=arguments, options=options)


def _direct_request(endpoint: str, words: tuple[str, ...], direct: DirectFlags) -> Any:
    from falq.cli.direct import DirectRequest

    arguments = read_arguments(words, read_stdin=sys.stdin.read)
    options: Any = direct.keywords()
    return DirectRequest(
        endpoint=endpoint,
        arguments=arguments,
        timeout_s=direct.timeout,
        validate=direct.validate,
        options=options,
    )


def submit(
    endpoint: str,
    /,
    *arguments: str,
    queue: QueueFlags = PLAIN_QUEUE,
    output: OutputFlags = PLAIN_OUTPUT,
) -> int:
    """Submit a job and print its request id.

    Args:
        endpoint: Such as fal-ai/flux/schnell.
        arguments: key=text, key:=json, key=@file, a.b=text; - reads a JSON object from stdin.
        queue: What is asked of the queue.
        output: How it speaks.
    """
    from falq.cli import jobs

    request, streams = _request(endpoint, arguments, queue), output.open()
    return run_command(lambda: jobs.submit(request, streams), streams)


def subscribe(
    endpoint: str,
    /,
    *arguments: str,
    download: Path | None = None,
    logs: bool = True,
    on_cancel: Literal["cancel", "detach"] = "cancel",
    queue: QueueFlags = PLAIN_QUEUE,
    output: OutputFlags = PLAIN_OUTPUT,
) -> int:
    """Run a job: submit it, watch it, print its result.

    Args:
        endpoint: Such as fal-ai/flux/schnell.
        arguments: key=text, key:=json, key=@file, a.b=text; - reads a JSON object from stdin.
        download: Folder that the result's media are saved to.
        logs: Show the lines that the job prints.
        on_cancel: What Ctrl-C does to the job at the server: cancel it, or leave it.
        queue: What is asked of the queue.
        output: How it speaks.
    """
    from falq.cli import jobs

    request, streams = _request(endpoint, arguments, queue), output.open()
    return run_command(
        lambda: jobs.subscribe(
            request, streams, with_logs=logs, download=download, on_cancel=on_cancel
        ),
        streams,
    )


def run(
    endpoint: str,
    /,
    *arguments: str,
    download: Path | None = None,
    direct: DirectFlags = PLAIN_DIRECT,
    output: OutputFlags = PLAIN_OUTPUT,
) -> int:
    """Run an endpoint without the queue and print its output.

    Args:
        endpoint: Such as fal-ai/flux/schnell.
        arguments: key=text, key:=json, key=@file, a.b=text; - reads a JSON object from stdin.
        download: Folder that the output's media are saved to.
        direct: What is asked of the run.
        output: How it speaks.
    """
    from falq.cli import direct as room

    request, streams = _direct_request(endpoint, arguments, direct), output.open()
    return run_command(lambda: room.run(request, streams, download=download), streams)


def stream(
    endpoint: str,
    /,
    *arguments: str,
    path: str = "/stream",
    download: Path | None = None,
    direct: DirectFlags = PLAIN_DIRECT,
    output: OutputFlags = PLAIN_OUTPUT,
) -> int:
    """Run an endpoint without the queue; print each part of its output as a line of JSON.

    Args:
        endpoint: Of an app that streams.
        arguments: key=text, key:=json, key=@file, a.b=text; - reads a JSON object from stdin.
        path: Appended to the endpoint, unless it ends with it.
        download: Folder that the last part's media are saved to.
        direct: What is asked of the run.
        output: How it speaks.
    """
    from falq.cli import direct as room

    request, streams = _direct_request(endpoint, arguments, direct), output.open()
    return run_command(lambda: room.stream(request, streams, path=path, download=download), streams)


def status(
    endpoint: str,
    request_id: str,
    /,
    *,
    logs: Annotated[bool, Flag] = False,
    watch: Annotated[bool, Flag] = False,
    output: OutputFlags = PLAIN_OUTPUT,
) -> int:
    """Print the status of a request.

    Args:
        endpoint: Where it was submitted.
        request_id: What the submit returned.
        logs: Bring the lines that the job printed.
        watch: Go on until it ends, a line of JSON for each news.
        output: How it speaks.
    """
    from falq.cli import jobs

    streams = output.open()
    return run_command(
        lambda: jobs.status(endpoint, request_id, streams, with_logs=logs, watch=watch), streams
    )


def logs(
    endpoint: str,
    request_id: str,
    /,
    *,
    follow: Annotated[bool, Parameter(alias="-f", negative=(), show_default=False)] = False,
    output: OutputFlags = PLAIN_OUTPUT,
) -> int:
    """Print the lines that a job printed.

    Args:
        endpoint: Where it was submitted.
        request_id: What the submit returned.
        follow: Go on until the job ends.
        output: How it speaks.
    """
    from falq.cli import jobs

    streams = output.open()
    return run_command(lambda: jobs.logs(endpoint, request_id, streams, follow=follow), streams)


def result(
    endpoint: str,
    request_id: str,
    /,
    *,
    wait: bool = True,
    download: Path | None = None,
    output: OutputFlags = PLAIN_OUTPUT,
) -> int:
    """Print the result of a request.

    Args:
        endpoint: Where it was submitted.
        request_id: What the submit returned.
        wait: Wait for the end; with --no-wait an unfinished job is exit code 1.
        download: Folder that the result's media are saved to.
        output: How it speaks.
    """
    from falq.cli import jobs

    streams = output.open()
    return run_command(
        lambda: jobs.result(endpoint, request_id, streams, wait=wait, download=download), streams
    )


def cancel(endpoint: str, request_id: str, /, *, output: OutputFlags = PLAIN_OUTPUT) -> int:
    """Ask the server to cancel a request.

    Args:
        endpoint: Where it was submitted.
        request_id: What the submit returned.
        output: How it speaks.
    """
    from falq.cli import jobs

    streams = output.open()
    return run_command(lambda: jobs.cancel(endpoint, request_id, streams), streams)
