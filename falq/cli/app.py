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

from attrs import frozen
from cyclopts import App, CycloptsError, Group, Parameter, validators

from falq._version import __version__
from falq.cli.arguments import STDIN_WORD, read_arguments, read_tags
from falq.cli.failures import INTERRUPTED, USAGE
from falq.cli.output import Output
from falq.cli.running import run_command, tell_failure
from falq.errors import FalqError

_QUEUE = Group("How the job is queued", sort_key=1)
_OUTPUT = Group("Output", sort_key=2)

app = App(
    name="falq",
    help="Run generative-AI jobs on the fal.ai queue.\n\n"
    "The key comes from the environment: FAL_KEY, or MATON_API_KEY for the Maton gateway. "
    "Results go to stdout as JSON, everything else to stderr.",
    help_epilogue="Exit codes: 0 all went well · 1 a job did not · 2 usage · "
    "3 configuration or credentials · 130 interrupted",
    help_format="plaintext",
    version=f"falq {__version__}",
    result_action="return_value",
    default_parameter=Parameter(negative_iterable=(), negative_none=()),
)

_Flag = Parameter(negative=(), show_default=False)
_Seconds = Annotated[float | None, Parameter(validator=validators.Number(gt=0))]


@Parameter(name="*", group=_OUTPUT)
@frozen(kw_only=True)
class OutputFlags:
    """How a command speaks.

    Attributes:
        json: Data as one line of JSON each, a failure too.
        quiet: Nothing on stderr but errors.
    """

    json: Annotated[bool, _Flag] = False
    quiet: Annotated[bool, _Flag] = False

    def open(self) -> Output:
        """Return the streams."""
        return Output(is_json=self.json, is_quiet=self.quiet)


@Parameter(name="*", group=_QUEUE)
@frozen(kw_only=True)
class QueueFlags:
    """What a submission asks of the queue.

    Attributes:
        priority: low goes behind every normal request.
        start_timeout: Seconds within which the job must start, above 1.
        timeout: Seconds after which the job is given up and cancelled.
        hint: Any text; equal hints prefer the same runner.
        tag: A usage tag, name=value; may be repeated.
        webhook_url: https address that fal calls when the job ends.
        no_retry: Ask the server not to retry a failed attempt.
        no_store_io: Ask the server not to keep input and output.
        max_queue_length: Refuse the job if the endpoint's queue is this long.
    """

    priority: Literal["normal", "low"] | None = None
    start_timeout: Annotated[float | None, Parameter(validator=validators.Number(gt=1))] = None
    timeout: _Seconds = None
    hint: str | None = None
    tag: Annotated[tuple[str, ...], Parameter(show_default=False)] = ()
    webhook_url: str | None = None
    no_retry: Annotated[bool, _Flag] = False
    no_store_io: Annotated[bool, _Flag] = False
    max_queue_length: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None

    def keywords(self) -> dict[str, Any]:
        """Return what `Session.submit` takes, only what was said."""
        given: dict[str, Any] = {
            "priority": self.priority,
            "start_timeout": self.start_timeout,
            "client_timeout": self.timeout,
            "hint": self.hint,
            "tags": read_tags(self.tag),
            "webhook_url": self.webhook_url,
            "max_queue_length": self.max_queue_length,
            "no_retry": self.no_retry,
        }
        kept = {name: value for name, value in given.items() if value}
        return kept | ({"store_io": False} if self.no_store_io else {})


_PLAIN_OUTPUT = OutputFlags()
_PLAIN_QUEUE = QueueFlags()


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
    queue: QueueFlags = _PLAIN_QUEUE,
    output: OutputFlags = _PLAIN_OUTPUT,
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
    queue: QueueFlags = _PLAIN_QUEUE,
    output: OutputFlags = _PLAIN_OUTPUT,
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
    logs: Annotated[bool, _Flag] = False,
    watch: Annotated[bool, _Flag] = False,
    output: OutputFlags = _PLAIN_OUTPUT,
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
    output: OutputFlags = _PLAIN_OUTPUT,
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
    output: OutputFlags = _PLAIN_OUTPUT,
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
def cancel(endpoint: str, request_id: str, /, *, output: OutputFlags = _PLAIN_OUTPUT) -> int:
    """Ask the server to cancel a request.

    Args:
        endpoint: Where it was submitted.
        request_id: What the submit returned.
        output: How it speaks.
    """
    from falq.cli import jobs

    streams = output.open()
    return run_command(lambda: jobs.cancel(endpoint, request_id, streams), streams)


@app.command
def emulator(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))] = 0,
    runners: Annotated[int | None, Parameter(validator=validators.Number(gte=0))] = None,
    speed: _Seconds = None,
    seed: int | None = None,
    tls: Annotated[bool, _Flag] = False,
    ca_file: Path | None = None,
    scenario: Path | None = None,
    output: OutputFlags = _PLAIN_OUTPUT,
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
def doctor(*, output: OutputFlags = _PLAIN_OUTPUT) -> int:
    """Check key, gateway, network, clock and versions, and say what to do."""
    from falq.cli.doctor import doctor as examine

    streams = output.open()
    return run_command(lambda: examine(streams), streams)


@app.command
def demo(
    *,
    jobs: Annotated[int, Parameter(validator=validators.Number(gte=12, lte=5000))] = 200,
    out: Path = Path("falq-demo"),
    speed: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 4.0,
    page: bool = True,
    output: OutputFlags = _PLAIN_OUTPUT,
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
def version(*, output: OutputFlags = _PLAIN_OUTPUT) -> int:
    """Print the version."""
    streams = output.open()
    if streams.is_json:
        streams.data({"version": __version__})
    else:
        streams.line(f"falq {__version__}")
    return 0
