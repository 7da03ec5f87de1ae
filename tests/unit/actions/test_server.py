"""The tools behind the protocol, without a process: the package's client in memory."""

from __future__ import annotations

import asyncio
import json

import pytest

from falq.actions import ACTIONS, LimitedJobs
from falq.actions.tools import Tools
from falq.batch import Budget
from falq.emulator import Scenario

mcp = pytest.importorskip("mcp", reason="pip install 'falq[mcp]'")
server = pytest.importorskip("falq.actions.server")


@pytest.fixture
def scenario() -> Scenario:
    return Scenario(run_s=10.0)


@pytest.fixture
async def agent(session):
    tools = Tools(LimitedJobs(session, budget=Budget(None, {})))
    async with mcp.Client(server.ToolServer(tools).server) as client:
        yield client


async def test_every_tool_is_listed_with_its_schemas(agent):
    listed = (await agent.list_tools()).tools
    assert [tool.name for tool in listed] == [*(one.name for one in ACTIONS), "subscribe"]
    for tool, action in zip(listed, ACTIONS, strict=False):
        assert tool.input_schema == action.parameters
        assert tool.output_schema == action.output
        assert tool.description == action.description


async def test_an_answer_is_the_envelope_as_data_and_as_text(agent):
    answer = await agent.call_tool("subscribe", {"app_id": "acme/echo", "data": {"n": 1}})
    assert answer.structured_content["data"] == {"n": 1}
    assert json.loads(answer.content[0].text) == answer.structured_content
    assert not answer.is_error


async def test_a_refusal_is_marked_as_an_error(agent):
    answer = await agent.call_tool("get_request_status", {"app_id": "lora", "request_id": "x"})
    assert answer.is_error
    assert answer.structured_content["success"] is False


async def test_an_unknown_tool_is_refused_with_the_known_names(agent):
    answer = await agent.call_tool("delete", {})
    assert answer.is_error
    assert "subscribe" in answer.content[0].text


async def test_progress_counts_up_and_says_how_the_job_stands(agent):
    news = []

    async def hear(progress, _total, message):
        news.append((progress, message))

    given = {"app_id": "acme/echo", "data": {}}
    await agent.call_tool("subscribe", given, progress_callback=hear)
    assert [number for number, _ in news] == list(range(1, len(news) + 1))
    assert news[-1][1] == "COMPLETED"


async def lines_of(*pieces, limit=16):
    reader = asyncio.StreamReader(limit=limit)
    for piece in pieces:
        reader.feed_data(piece)
    reader.feed_eof()
    return [line async for line in server._Lines(reader)]


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([], []),
        ([b"one\ntwo\n"], ["one\n", "two\n"]),
        ([b"one\nrest"], ["one\n", "rest"]),
        ([b"\xff\n"], ["\ufffd\n"]),
        ([b"x" * 100 + b"\nnext\n"], ["next\n"]),
        ([b"x" * 100], []),
    ],
)
async def test_lines_are_read_to_the_end_and_too_long_ones_are_dropped(pieces, lines):
    assert await lines_of(*pieces) == lines
