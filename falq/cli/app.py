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
_ROWS = Group("What the rows are", sort_key=1)
_RUN = Group("How the batch runs", sort_key=1)
_OUTPUT = Group("Output", sort_key=2)

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


_Words = Annotated[tuple[str, ...], Parameter(show_default=False)]


@Parameter(name="*", group=_ROWS)
@frozen(kw_only=True)
class RowFlags:
    """What the rows of a manifest are.

    Attributes:
        endpoint: Where rows go that name no endpoint.
        format: How to read the manifest; by the ending of its name if not given.
        set: key=template or key:=json for every row; may be repeated.
        grid: key=values; each row becomes one for each of them; may be repeated.
        drop: A column that templates may use and that is not sent; may be repeated.
        dedupe: Run equal rows once.
        on_bad_row: stop refuses a manifest with bad rows, skip runs the others.
    """

    endpoint: str | None = None
    format: Literal["jsonl", "csv", "tsv", "text", "parquet"] | None = None
    set: _Words = ()
    grid: _Words = ()
    drop: _Words = ()
    dedupe: Annotated[bool, _Flag] = False
    on_bad_row: Literal["stop", "skip"] = "stop"


@Parameter(name="*", group=_RUN)
@frozen(kw_only=True)
class RunFlags:
    """How a batch runs.

    Attributes:
        max_jobs: Jobs on the way at once.
        per_endpoint: ENDPOINT=N, the same for one endpoint; may be repeated.
        timeout: Seconds after which a job is given up and cancelled.
        budget_usd: Most that is spent, in US dollars.
        price: ENDPOINT=USD, the price of one job; may be repeated.
        on_unknown: What to do with a submit whose answer stays lost: hold it back, or resubmit it.
        settle_s: Seconds until a submit whose answer was lost counts as lost for good.
        download: Fetch media to OUT/media.
        name_template: How media are called, such as {id}-{index}.{ext}.
        sorted: Put the lines of the results into the order of the rows at the end.
        no_inputs: Leave arguments and prompts out of the page.
        serve: Serve the page at this port while the batch runs; 0 takes a free one.
    """

    max_jobs: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None
    per_endpoint: _Words = ()
    timeout: _Seconds = None
    budget_usd: Annotated[float | None, Parameter(validator=validators.Number(gte=0))] = None
    price: _Words = ()
    on_unknown: Literal["hold", "resubmit"] = "hold"
    settle_s: Annotated[float | None, Parameter(validator=validators.Number(gte=0))] = None
    download: bool = True
    name_template: str | None = None
    sorted: Annotated[bool, _Flag] = False
    no_inputs: Annotated[bool, _Flag] = False
    serve: Annotated[int | None, Parameter(validator=validators.Number(gte=0, lte=65535))] = None

    def words(self) -> Any:
        """Return them as the command takes them."""
        from falq.cli.batch import RunWords

        return RunWords(
            max_jobs=self.max_jobs,
            per_endpoint=self.per_endpoint,
            timeout=self.timeout,
            budget_usd=self.budget_usd,
            price=self.price,
            on_unknown=self.on_unknown,
            settle_s=self.settle_s,
            download=self.download,
            name_template=self.name_template,
            sorted=self.sorted,
            has_inputs=not self.no_inputs,
            serve=self.serve,
        )


_PLAIN_ROWS = RowFlags()
_PLAIN_RUN = RunFlags()
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
def batch(
    manifest: str,
    /,
    *,
    out: Path = Path("falq-batch"),
    dry_run: Annotated[bool, _Flag] = False,
    rows: RowFlags = _PLAIN_ROWS,
    run: RunFlags = _PLAIN_RUN,
    output: OutputFlags = _PLAIN_OUTPUT,
) -> int:
    """Run a file of jobs; run it again to go on where it was.

    Args:
        manifest: JSONL, CSV, TSV, plain text or Parquet; - reads standard input.
        out: Folder for results.jsonl, media, report.html and journal.sqlite.
        dry_run: Only check and count the rows and estimate their cost.
        rows: What the rows are.
        run: How it runs.
        output: How it speaks.
    """
    from falq.cli import batch as room

    words = room.ManifestWords(
        manifest="-" if manifest == STDIN_WORD else manifest,
        endpoint=rows.endpoint,
        format=rows.format,
        set=rows.set,
        grid=rows.grid,
        drop=rows.drop,
        dedupe=rows.dedupe,
        on_bad_row=rows.on_bad_row,
    )
    how, streams = run.words(), output.open()
    if dry_run:
        return run_command(lambda: room.dry_run(words, how, streams), streams)
    return run_command(lambda: room.run_manifest(words, how, out, streams), streams)


@app.command
def resume(
    journal: Path,
    /,
    *,
    run: RunFlags = _PLAIN_RUN,
    output: OutputFlags = _PLAIN_OUTPUT,
) -> int:
    """Go on with a batch that was stopped or killed.

    Args:
        journal: Its journal, such as pictures/journal.sqlite.
        run: How it runs.
        output: How it speaks.
    """
    from falq.cli import batch as room

    how, streams = run.words(), output.open()
    return run_command(lambda: room.resume(journal, how, streams), streams)


@app.command
def retry(
    journal: Path,
    /,
    *,
    error_type: _Words = (),
    run: RunFlags = _PLAIN_RUN,
    output: OutputFlags = _PLAIN_OUTPUT,
) -> int:
    """Run the failed rows of a batch again.

    Args:
        journal: Its journal, such as pictures/journal.sqlite.
        error_type: Only rows with this error type, error class or status code; may be repeated.
        run: How it runs.
        output: How it speaks.
    """
    from falq.cli import batch as room

    how, streams = run.words(), output.open()
    return run_command(lambda: room.retry(journal, how, error_type, streams), streams)


@app.command
def report(
    journal: Path,
    /,
    *,
    to: Path | None = None,
    no_inputs: Annotated[bool, _Flag] = False,
    output: OutputFlags = _PLAIN_OUTPUT,
) -> int:
    """Write the page of a batch.

    Args:
        journal: Its journal, such as pictures/journal.sqlite.
        to: The file; report.html beside the journal if not given.
        no_inputs: Leave arguments and prompts out of the page.
        output: How it speaks.
    """
    from falq.cli import batch as room

    streams = output.open()
    return run_command(lambda: room.report(journal, to, streams, has_inputs=not no_inputs), streams)


@app.command
def journal(
    action: Literal["show", "export", "verify"],
    journal: Path,
    /,
    *,
    output: OutputFlags = _PLAIN_OUTPUT,
) -> int:
    """Look into a journal: show counts, export every job as JSON lines, or verify it.

    Args:
        action: show, export or verify.
        journal: Such as pictures/journal.sqlite.
        output: How it speaks.
    """
    from falq.cli import journal as room

    streams = output.open()
    actions = {"show": room.show, "export": room.export, "verify": room.verify}
    return run_command(lambda: actions[action](journal, streams), streams)


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
