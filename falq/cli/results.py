"""Hand over what a model answered: to stdout, and its media to a folder.

Owns the order of the two, and what cannot be printed where. It never asks for a
result: `jobs` and `direct` do, and call it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from falq.cli.failures import FAILED, OK
from falq.cli.output import Output, describe_size
from falq.cli.running import tell_failure
from falq.errors import FalqError
from falq.gateways import is_loopback
from falq.media import download_media
from falq.session import Session


async def deliver(payload: Any, output: Output, download: Path | None, session: Session) -> int:
    """Print a result and fetch its media: in this order, because it is paid for."""
    if not print_answer(payload, output):
        return FAILED
    return await fetch_media(payload, output, download, session)


def print_answer(payload: Any, output: Output) -> bool:
    """Print JSON, or bytes as they are; return False if they have no place on stdout."""
    if not isinstance(payload, bytes):
        output.data(payload)
    elif output.is_json or sys.stdout.isatty():
        output.error(f"the result is {describe_size(len(payload))} that are no JSON; pipe it")
        return False
    else:
        output.raw(payload)
    return True


async def fetch_media(payload: Any, output: Output, download: Path | None, session: Session) -> int:
    """Save the media of a result and say where; return the exit code."""
    if download is None:
        return OK
    # An emulator on this machine names files of this machine.
    host = urlsplit(session.gateway.queue_root).hostname or ""
    try:
        files = await download_media(
            payload, download, allow_loopback=is_loopback(host), proxy=session.proxy
        )
    except (FalqError, OSError) as error:
        # The result is the last word on stdout.
        tell_failure(error, Output(is_quiet=output.is_quiet, console=output.console))
        return FAILED
    for file in files:
        output.note(f"saved {file.path} ({describe_size(file.size_bytes)})")
    if not files:
        output.note("the result names no media to download")
    return OK
