"""The commands of `falq`, their options and their help.

Owns names, types and help texts, and nothing of what commands do: each imports
its room when it runs, so that `falq --help` loads neither aiohttp nor the
session.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter, validators

from falq._version import __version__
from falq.cli import batch_commands
from falq.cli.arguments import STDIN_WORD, read_arguments
from falq.cli.failures import INTERRUPTED, USAGE
from falq.cli.flags import (
    PLAIN_OUTPUT,
    PLAIN_QUEUE,
    Flag,
    OutputFlags,
    QueueFlags,
    Seconds,
    Words,
)
from falq.cli.output import Output
from falq.cli.running import run_command, tell_failure
from falq.errors import FalqError

app = App(
    name="falq",
    help="Run generative-AI jobs on the fal.ai queue.\n\n"
    "The key comes from the environment: FAL_KEY, or MATON_API_KEY for the Maton gateway. "
    "Results go to stdout as JSON, everything else to stderr.",
    help_epilogue="Exit codes: 0 all went well · 1 a job did not · 2 usage · "
    "3 configuration or credentials · 4 budget reached · 5 work left · 130 interrupted",
    help_format="plaintext",
    version=f"falq {__version__}",
    result_action="return_value",
    default_parameter=Parameter(negative_iterable=(), negative_none=()),
)


def run_app(tokens: Sequence[str]) -> int:
    """Run the command that `tokens` name and return its exit code."""
    # The parser takes a bare dash for an option.
    words = [STDIN_WORD if word == "-" else word for word in tokens]
    try:
        code = app(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        Output().error(" ".join(str(error).split()))
        Output().note("'falq --help' and 'falq COMMAND --help' tell more")
        return USAGE
    except FalqError as error:
        return tell_failure(error, Output())
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read stdout has gone; what is left in its buffer must not
        # raise again when the interpreter closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        # Of a command without a loop of its own, such as a full disk behind stdout.
        return tell_failure(error, Output())
    return code if isinstance(code, int) else 0


def _request(endpoint: str, words: tuple[str, ...], queue: QueueFlags) -> Any:
    from falq.cli.jobs import JobRequest

    arguments = read_arguments(words, read_stdin=sys.stdin.read)
    options: Any = queue.keywords()
    return JobRequest(endpoint=endpoint, arguments=arguments, options=options)


@app.command
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


@app.command
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


@app.command
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


@app.command
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


@app.command
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


@app.command
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


for _command in (
    batch_commands.batch,
    batch_commands.resume,
    batch_commands.retry,
    batch_commands.report,
    batch_commands.journal,
):
    app.command(_command)


@app.command
def emulator(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))] = 0,
    runners: Annotated[int | None, Parameter(validator=validators.Number(gte=0))] = None,
    speed: Seconds = None,
    seed: int | None = None,
    tls: Annotated[bool, Flag] = False,
    ca_file: Path | None = None,
    scenario: Path | None = None,
    output: OutputFlags = PLAIN_OUTPUT,
) -> int:
    """Run a fal queue on this machine until Ctrl-C.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        runners: Jobs in progress at once.
        speed: Divides every run time; inf ends jobs as soon as they start.
        seed: Start of every random draw.
        tls: Speak https, with a certificate authority of its own.
        ca_file: Where the authority's certificate is written; falq-emulator-ca.pem by default.
        scenario: TOML or JSON file that describes its behavior and faults.
        output: How it speaks.
    """
    from falq.cli.emulate import EmulatorSettings, emulate

    settings = EmulatorSettings(
        host=host,
        port=port,
        runners=runners,
        speed=speed,
        seed=seed,
        tls=tls,
        ca_file=ca_file,
        scenario=scenario,
    )
    streams = output.open()
    return run_command(lambda: emulate(settings, streams), streams)


@app.command
def connections(
    action: Literal["list", "create", "show", "delete"],
    connection_id: str | None = None,
    /,
    *,
    status: Literal["ACTIVE", "PENDING", "FAILED"] | None = None,
    wait: Annotated[bool, Flag] = False,
    timeout: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 600.0,
    show_url: Annotated[bool, Flag] = False,
    output: OutputFlags = PLAIN_OUTPUT,
) -> int:
    """Look after the fal-ai connections of a Maton account.

    Args:
        action: list, create, show or delete.
        connection_id: Which one, for show and delete.
        status: Only those of this status, for list.
        wait: Wait until the connection is ACTIVE, for create and show.
        timeout: Seconds of that wait.
        show_url: Print the address where the fal key is entered, a secret, to whoever reads.
        output: How it speaks.
    """
    from falq.cli.connections import ConnectionWords
    from falq.cli.connections import connections as look_after

    words = ConnectionWords(
        action=action,
        connection_id=connection_id,
        status=status,
        wait=wait,
        timeout=timeout,
        show_url=show_url,
    )
    streams = output.open()
    return run_command(lambda: look_after(words, streams), streams)


@app.command
def mcp(
    *,
    allow: Words = (),
    max_jobs: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 10,
    budget_usd: Annotated[float | None, Parameter(validator=validators.Number(gte=0))] = None,
    price: Words = (),
    timeout: Seconds = None,
    journal: Path | None = None,
    upload_from: Path | None = None,
    app_ids: Literal["full", "relative"] = "full",
    output: OutputFlags = PLAIN_OUTPUT,
) -> int:
    """Serve the queue to an agent as tools, by the Model Context Protocol on stdin and stdout.

    Args:
        allow: An endpoint that the agent may use, or ENDPOINT/* for all below it; may be repeated.
        max_jobs: Jobs on the way at once; more are refused.
        budget_usd: Most that is spent, in US dollars; with a journal, by all of its servers.
        price: ENDPOINT=USD, the price of one job; may be repeated.
        timeout: Seconds after which a job is given up and cancelled.
        journal: File that jobs are written down in, to go on after a restart.
        upload_from: Folder that the agent may upload files from.
        app_ids: Whether an id with a slash names its owner, or is relative to fal-ai.
        output: How it speaks.
    """
    from falq.cli.mcp import McpWords, serve_agents

    words = McpWords(
        allow=allow,
        max_jobs=max_jobs,
        budget_usd=budget_usd,
        price=price,
        timeout=timeout,
        journal=journal,
        upload_from=upload_from,
        app_ids=app_ids,
    )
    streams = output.open()
    return run_command(lambda: serve_agents(words, streams), streams)


@app.command
def models(
    action: Literal["search", "show", "schema", "price", "stub"],
    /,
    *words: str,
    category: str | None = None,
    status: Literal["active", "deprecated"] | None = None,
    limit: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 20,
    to: Path | None = None,
    output: OutputFlags = PLAIN_OUTPUT,
) -> int:
    """Find models, their schemas and prices, or write typed Python for one.

    Args:
        action: search, show, schema, price or stub.
        words: What to search for; for the others, the endpoint.
        category: Only models of this category, such as text-to-image, for search.
        status: Only models of this status, for search.
        limit: Most models, for search.
        to: File that stub writes; standard output if not given.
        output: How it speaks.
    """
    from falq.cli.models import ModelWords
    from falq.cli.models import models as look_up

    request = ModelWords(
        action=action, words=words, category=category, status=status, limit=limit, to=to
    )
    streams = output.open()
    return run_command(lambda: look_up(request, streams), streams)


@app.command
def doctor(*, output: OutputFlags = PLAIN_OUTPUT) -> int:
    """Check key, gateway, network, clock and versions, and say what to do."""
    from falq.cli.doctor import doctor as examine

    streams = output.open()
    return run_command(lambda: examine(streams), streams)


@app.command
def upload(
    file: Path,
    /,
    *more: Path,
    expires: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None,
    output: OutputFlags = PLAIN_OUTPUT,
) -> int:
    """Upload files to fal's storage and print their URLs.

    Args:
        file: Which file.
        more: Further files.
        expires: Seconds after which they are deleted; the account's setting if not given.
        output: How it speaks.
    """
    from falq.cli.upload import upload as bring

    streams = output.open()
    return run_command(lambda: bring([file, *more], streams, expires_s=expires), streams)


@app.command
def demo(
    *,
    jobs: Annotated[int, Parameter(validator=validators.Number(gte=12, lte=5000))] = 200,
    out: Path = Path("falq-demo"),
    speed: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 4.0,
    page: bool = True,
    output: OutputFlags = PLAIN_OUTPUT,
) -> int:
    """Run jobs on an emulated queue, without an account, and make a page of them.

    Args:
        jobs: How many, 12 or more.
        out: Folder for the media and the page.
        speed: Divides the run times of the emulated models.
        page: Write the page, OUT/report.html.
        output: How it speaks.
    """
    from falq.cli.demo import demonstrate

    streams = output.open()
    return run_command(
        lambda: demonstrate(streams, jobs=jobs, folder=out, speed=speed, has_page=page), streams
    )


@app.command
def version(*, output: OutputFlags = PLAIN_OUTPUT) -> int:
    """Print the version."""
    streams = output.open()
    if streams.is_json:
        streams.data({"version": __version__})
    else:
        streams.line(f"falq {__version__}")
    return 0
