"""The command that serves the queue to agents, within limits.

Owns how words become limits and a session, and what is left when the server
ends. The tools are the room `actions`'. Standard output belongs to the protocol:
everything that a person reads goes to stderr.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from falq._journal.base import Journal
from falq._journal.memory import MemoryJournal
from falq._journal.sqlite import SqliteJournal
from falq.actions.limits import LimitedJobs
from falq.actions.server import ToolServer
from falq.actions.tools import Tools, Upload
from falq.batch.budget import Budget, read_price_words
from falq.batch.pricing import load_known_prices, prepare_budget
from falq.cli.failures import OK
from falq.cli.output import Output, describe_count
from falq.cli.own_flags import McpFlags
from falq.cli.running import Interrupted
from falq.errors import ConfigError
from falq.gateways import UPLOAD
from falq.platform import Price
from falq.session import Session

EXIT_GRACE_S = 3.0
"""Seconds that closing the session may take.

Agents send SIGTERM 2 s after they closed the input, and SIGKILL 2 s later (the
`mcp` package 2.3).
"""


async def serve_agents(flags: McpFlags, output: Output) -> int:
    """Serve tools on standard input and output until the input ends."""
    budget = Budget(flags.budget_usd, read_price_words(flags.price))
    _end_on_sigterm()
    try:
        async with _open_journal(flags.journal) as journal:
            session = Session(timeout=flags.timeout, journal=journal, exit_grace_s=EXIT_GRACE_S)
            try:
                async with session:
                    await _serve(session, journal, budget, flags, output)
            finally:
                _tell_end(session, budget, output)
    except asyncio.CancelledError:
        raise Interrupted from None
    return OK


async def _serve(
    session: Session, journal: Journal, budget: Budget, flags: McpFlags, output: Output
) -> None:
    async def load_prices(endpoints: Iterable[str]) -> Mapping[str, Price]:
        return await load_known_prices(session.gateway, endpoints)

    jobs = LimitedJobs(
        session,
        budget=budget,
        allowed=flags.allow,
        max_jobs=flags.max_jobs,
        journal=journal,
        load_prices=load_prices,
    )
    if flags.journal is not None:
        handles = await session.recover()
        if budget.limit_usd is not None:
            # After the handles: a job that ends meanwhile is rather counted twice than never.
            await prepare_budget(budget, session.gateway, (), journal=journal)
        count = jobs.take_over(handles)
        if count:
            output.note(f"on the way from an earlier server: {describe_count(count, 'job')}")
    tools = Tools(
        jobs,
        app_ids=flags.app_ids,
        upload=_uploader(session, flags.upload_from),
        upload_from=flags.upload_from,
    )
    server = ToolServer(tools)
    names = ", ".join(action.name for action in tools.actions)
    output.note(f"serving {names} to an agent on stdin and stdout")
    await server.serve()


def _uploader(session: Session, folder: Path | None) -> Upload | None:
    """Return what uploads a file, None if nobody asked for it.

    Raises:
        ConfigError: The folder is none, or the gateway cannot upload.
    """
    if folder is None:
        return None
    if not folder.is_dir():
        raise ConfigError(f"--upload-from {folder} is no folder", setting="upload_from")
    session.gateway.require(UPLOAD)
    return session.upload_file


def _end_on_sigterm() -> None:
    """Take SIGTERM for a Ctrl-C: it is how agents end a server that is not quick enough."""
    task = asyncio.current_task()
    # Windows has no such signal, and no other loop than its own.
    if task is not None and sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


@asynccontextmanager
async def _open_journal(path: Path | None) -> AsyncIterator[Journal]:
    """Open the journal; without a file one in memory, which knows what was billed."""
    if path is None:
        async with MemoryJournal() as memory:
            yield memory
        return
    async with SqliteJournal(path) as journal:
        yield journal


def _tell_end(session: Session, budget: Budget, output: Output) -> None:
    for job in session.unfinished:
        name = job.request_id or f"unknown (intent {job.intent_id})"
        output.note(f"left at the server: {job.endpoint} {name}")
    if budget.limit_usd is not None:
        output.note(
            f"spent {budget.spent_usd:.4f} of {budget.limit_usd:.4f} USD, "
            f"{budget.reserved_usd:.4f} held for jobs that were not seen to end"
        )
