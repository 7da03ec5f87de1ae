"""The options that single commands have for themselves: `emulator` and `mcp`.

Owns their names, types, defaults and help, once for the command and for the room
that it opens. It does nothing by itself. What commands share is in `flags`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from attrs import frozen
from cyclopts import Parameter, validators

from falq.cli.flags import Flag, Seconds, Words


@Parameter(name="*")
@frozen(kw_only=True)
class EmulatorFlags:
    """What is asked of an emulator; None leaves the scenario's value.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        runners: Jobs in progress at once.
        speed: Divides every run time; inf ends jobs as soon as they start.
        seed: Start of every random draw.
        tls: Speak https, with a certificate authority of its own.
        ca_file: Where the authority's certificate is written; falq-emulator-ca.pem by default.
        scenario: TOML or JSON file that describes its behavior and faults.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))] = 0
    runners: Annotated[int | None, Parameter(validator=validators.Number(gte=0))] = None
    speed: Seconds = None
    seed: int | None = None
    tls: Annotated[bool, Flag] = False
    ca_file: Path | None = None
    scenario: Path | None = None


@Parameter(name="*")
@frozen(kw_only=True)
class McpFlags:
    """What agents may do.

    Attributes:
        allow: An endpoint that the agent may use, or ENDPOINT/* for all below it; may be repeated.
        max_jobs: Jobs on the way at once; more are refused.
        budget_usd: Most that is spent, in US dollars; with a journal, by all of its servers.
        price: ENDPOINT=USD, the price of one job; may be repeated.
        timeout: Seconds after which a job is given up and cancelled.
        journal: File that jobs are written down in, to go on after a restart.
        upload_from: Folder that the agent may upload files from.
        app_ids: Whether an id with a slash names its owner, or is relative to fal-ai.
    """

    allow: Words = ()
    max_jobs: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 10
    budget_usd: Annotated[float | None, Parameter(validator=validators.Number(gte=0))] = None
    price: Words = ()
    timeout: Seconds = None
    journal: Path | None = None
    upload_from: Path | None = None
    app_ids: Literal["full", "relative"] = "full"


PLAIN_EMULATOR = EmulatorFlags()
PLAIN_MCP = McpFlags()
