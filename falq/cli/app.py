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
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter, validators

from falq._version import __version__
from falq.cli import batch_commands, job_commands
from falq.cli.arguments import STDIN_WORD
from falq.cli.failures import INTERRUPTED
from falq.cli.flags import PLAIN_OUTPUT, Flag, OutputFlags
from falq.cli.output import Output
from falq.cli.own_flags import PLAIN_EMULATOR, PLAIN_MCP, EmulatorFlags, McpFlags
from falq.cli.running import run_command, tell_failure
from falq.errors import ArgumentError, FalqError

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
    # What fails before a command has its streams is told as the command would.
    output = Output(is_json="--json" in words)
    try:
        code = app(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        code = tell_failure(ArgumentError(" ".join(str(error).split())), output)
        output.note("'falq --help' and 'falq COMMAND --help' tell more")
        return code
    except FalqError as error:
        return tell_failure(error, output)
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


for _command in (
    job_commands.submit,
    job_commands.subscribe,
    job_commands.run,
    job_commands.stream,
    job_commands.status,
    job_commands.logs,
    job_commands.result,
    job_commands.cancel,
    batch_commands.batch,
    batch_commands.resume,
    batch_commands.retry,
    batch_commands.report,
    batch_commands.journal,
):
    app.command(_command)


@app.command
def emulator(*, flags: EmulatorFlags = PLAIN_EMULATOR, output: OutputFlags = PLAIN_OUTPUT) -> int:
    """Run a fal queue on this machine until Ctrl-C.

    Args:
        flags: What is asked of it.
        output: How it speaks.
    """
    from falq.cli.emulate import emulate

    streams = output.open()
    return run_command(lambda: emulate(flags, streams), streams)


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
def mcp(*, flags: McpFlags = PLAIN_MCP, output: OutputFlags = PLAIN_OUTPUT) -> int:
    """Serve the queue to an agent as tools, by the Model Context Protocol on stdin and stdout.

    Args:
        flags: What it may do.
        output: How it speaks.
    """
    from falq.cli.mcp import serve_agents

    streams = output.open()
    return run_command(lambda: serve_agents(flags, streams), streams)


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
