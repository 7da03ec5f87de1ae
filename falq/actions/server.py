"""The tools over the Model Context Protocol, on standard input and output.

Owns the protocol's side: the list of tools, a call of one, and the two streams.
The official `mcp` package speaks it; without that extra, importing this is a
`ConfigError` with the command that brings it. It never writes to stdout but
through that package, and says nothing of a key: it has none. The command line's
`mcp` calls it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
import sys
from collections.abc import AsyncIterator
from typing import Any

from falq._version import __version__
from falq.actions.actions import refusal
from falq.actions.schemas import Envelope
from falq.actions.tools import Tools
from falq.errors import ConfigError

try:
    from mcp import ListToolsResult, Tool
    from mcp.server.context import ServerRequestContext
    from mcp.server.lowlevel import Server
    from mcp.server.stdio import stdio_server
    from mcp.types import CallToolRequestParams, CallToolResult, PaginatedRequestParams, TextContent
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in {"mcp", "mcp_types"}:
        raise
    raise ConfigError(
        "the server for agents needs its extra: pip install 'falq[mcp]'", setting="mcp"
    ) from None

logger = logging.getLogger("falq")

_LONGEST_LINE_BYTES = 32 * 1024 * 1024
"""One message. Inputs may hold small media as data URLs; anything larger is a URL."""

_INSTRUCTIONS = (
    "Runs generative-AI models on fal.ai. Use subscribe for one result, or "
    "add_request_to_queue, get_request_status and get_request_response for several at once. "
    "Every job costs money; a refusal names the limit that it met. Media in results are URLs."
)


class ToolServer:
    """Tools behind the protocol.

    Args:
        tools: What it offers.
    """

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self.server: Server[Any] = Server(
            "falq",
            version=__version__,
            instructions=_INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
        )

    async def serve(self) -> None:
        """Answer on standard input and output until the input ends.

        A cancelled call of this stops reading; calls under way are cancelled.

        Raises:
            ConfigError: There is no standard input.
        """
        if sys.stdin is None:
            raise ConfigError("there is no standard input to serve on", setting="stdin")
        # Without lines of ours the package reads files and terminals in a thread.
        lines: Any = await _open_stdin() if _is_pipe(sys.stdin.fileno()) else None
        async with stdio_server(stdin=lines) as (reading, writing):
            await self.server.run(reading, writing, self.server.create_initialization_options())

    async def _list_tools(
        self, _context: ServerRequestContext[Any], _params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(
            tools=[
                Tool(
                    name=action.name,
                    description=action.description,
                    input_schema=action.parameters,
                    output_schema=action.output,
                )
                for action in self._tools.actions
            ]
        )

    async def _call_tool(
        self, context: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult:
        news = 0

        async def tell(text: str) -> None:
            nonlocal news
            news += 1
            await context.session.report_progress(news, message=text)

        names = {action.name for action in self._tools.actions}
        if params.name in names:
            told = await self._tools.call(params.name, params.arguments or {}, on_status=tell)
        else:
            told = refusal(f"there is no such tool; there are {', '.join(sorted(names))}")
        return CallToolResult(
            content=[TextContent(text=_dump(told))],
            structured_content=told if params.name in names else None,
            is_error=not told["success"],
        )


def _dump(told: Envelope) -> str:
    return json.dumps(told, ensure_ascii=False)


class _Lines:
    """The lines of standard input, whose wait can be cancelled.

    The package reads in a thread, which a Ctrl-C would have to wait for.
    """

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def __aiter__(self) -> AsyncIterator[str]:
        is_rest = False
        while True:
            try:
                line = await self._reader.readuntil()
            except asyncio.IncompleteReadError as end:
                line = end.partial
            except asyncio.LimitOverrunError as error:
                await self._reader.readexactly(error.consumed)
                is_rest = True
                continue
            if not line:
                return
            if is_rest:
                logger.warning("a message above %d bytes was dropped", _LONGEST_LINE_BYTES)
                is_rest = False
                continue
            yield line.decode("utf-8", "replace")


def _is_pipe(number: int) -> bool:
    """Return whether a loop can wait for a descriptor, as it can for an agent's."""
    mode = os.fstat(number).st_mode
    return sys.platform != "win32" and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))


async def _open_stdin() -> _Lines:
    reader = asyncio.StreamReader(limit=_LONGEST_LINE_BYTES)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return _Lines(reader)
