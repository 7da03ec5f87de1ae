"""The emulator's side of a websocket.

Owns the talk on one socket: frames in and out, what waits for the app, the idle
limit, and the faults of messages. It never decides a handshake or an answer:
`realtime` does. The server hands it a request that wants a websocket.

What a fault does to a message: `reset` and `fin` drop the connection · `stall`
leaves it without an answer · `delay` answers late · `json_error` answers
`INTERNAL_ERROR` · `replace_body` answers the text as it is · `giant` answers
`size_bytes` bytes · `truncated_json` cuts the answer in half. Others do nothing.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import WSMsgType, web

from falq.emulator.realtime import IDLE, UNAUTHORIZED, RealtimeDesk, Run, SocketOrder
from falq.emulator.scenario import Fault, Scenario

_MOST_BYTES = 64 * 1024 * 1024

Pick = Callable[[], Fault | None]
RunBeside = Callable[[Callable[[], Run]], Awaitable[Run]]


async def talk(
    request: web.BaseRequest,
    order: SocketOrder,
    *,
    desk: RealtimeDesk,
    scenario: Scenario,
    clock: Callable[[], float],
    pick: Pick,
    beside: RunBeside,
) -> web.WebSocketResponse:
    """Take a handshake and talk until either side ends.

    Args:
        request: What asked for a socket.
        order: What it asked for.
        desk: Answers messages.
        scenario: Its behavior.
        clock: Loop time in seconds.
        pick: Counts a message and returns the fault that strikes it, if any.
        beside: Runs what takes long beside the loop.
    """
    frames = web.WebSocketResponse(max_msg_size=_MOST_BYTES, timeout=1.0)
    await frames.prepare(request)
    desk.seen.add("sockets")
    desk.seen.add("open")
    try:
        if order.is_refused:
            await _refuse(frames)
        elif order.is_realtime:
            talking = _Talk(
                frames, order, desk=desk, scenario=scenario, clock=clock, pick=pick, beside=beside
            )
            await talking.run(request)
        else:
            await _echo(frames)
    finally:
        desk.seen.add("open", -1)
    return frames


async def _refuse(frames: web.WebSocketResponse) -> None:
    await frames.send_str(json.dumps(UNAUTHORIZED))
    await frames.close()


async def _echo(frames: web.WebSocketResponse) -> None:
    async for message in frames:
        if message.type is WSMsgType.TEXT:
            await frames.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await frames.send_bytes(message.data)


class _Talk:
    """One realtime socket: a reader, and an app that takes one input after another."""

    def __init__(
        self,
        frames: web.WebSocketResponse,
        order: SocketOrder,
        *,
        desk: RealtimeDesk,
        scenario: Scenario,
        clock: Callable[[], float],
        pick: Pick,
        beside: RunBeside,
    ) -> None:
        self._frames = frames
        self._order = order
        self._desk = desk
        self._scenario = scenario
        self._clock = clock
        self._pick = pick
        self._beside = beside
        self._waiting: deque[tuple[Any, bool]] = deque()
        self._has_more = asyncio.Event()
        self._is_busy = False

    async def run(self, request: web.BaseRequest) -> None:
        """Read until the end; the app works meanwhile."""
        app = asyncio.create_task(self._work(request))
        try:
            await self._read()
        finally:
            app.cancel()
            await asyncio.wait({app})
            if not app.cancelled():
                app.result()

    async def _read(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._scenario.realtime_idle_s):
                    message = await self._frames.receive()
            except TimeoutError:
                if self._is_busy or self._waiting:
                    continue
                await self._say(IDLE)
                await self._frames.close()
                return
            if message.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
                return
            if self._scenario.checks_jwt_always and self._clock() >= self._order.good_until:
                await _refuse(self._frames)
                return
            self._desk.seen.add("messages")
            self._take(message.data, is_binary=message.type is WSMsgType.BINARY)

    def _take(self, data: Any, *, is_binary: bool) -> None:
        self._waiting.append((data, is_binary))
        if len(self._waiting) > self._order.max_buffering:
            self._waiting.popleft()
            self._desk.seen.add("dropped")
        self._has_more.set()

    async def _work(self, request: web.BaseRequest) -> None:
        while True:
            await self._has_more.wait()
            self._has_more.clear()
            while self._waiting:
                data, is_binary = self._waiting.popleft()
                self._is_busy = True
                try:
                    await self._answer(request, data, is_binary=is_binary)
                except ConnectionError:
                    # The other side is gone; the reader sees it as well.
                    return
                finally:
                    self._is_busy = False

    async def _answer(self, request: web.BaseRequest, data: Any, *, is_binary: bool) -> None:
        fault = self._pick()
        kind = "" if fault is None else fault.kind
        if kind in {"reset", "fin"} and request.transport is not None:
            end = request.transport.abort if kind == "reset" else request.transport.close
            end()
            return
        if fault is not None and kind == "delay":
            await asyncio.sleep(fault.delay_s)
        if fault is not None and kind in {"json_error", "replace_body", "giant"}:
            await self._say_wrong(fault)
        elif kind != "stall":
            await self._run(data, is_binary=is_binary, is_cut=kind == "truncated_json")

    async def _say_wrong(self, fault: Fault) -> None:
        if fault.kind == "giant":
            await self._frames.send_bytes(bytes(fault.size_bytes))
        elif fault.kind == "replace_body":
            await self._frames.send_str(fault.body)
        else:
            await self._say_error(fault.error_type or "INTERNAL_ERROR", "a fault of the scenario")

    async def _run(self, data: Any, *, is_binary: bool, is_cut: bool) -> None:
        try:
            arguments = _unpack(data) if is_binary else json.loads(data)
        except ImportError:
            needed = "the emulator needs the package msgpack: pip install 'falq[realtime]'"
            await self._say_error("INTERNAL_ERROR", needed)
            return
        except ValueError:
            await self._say_error("INTERNAL_ERROR", "the message cannot be decoded")
            return
        run = await self._beside(
            lambda: self._desk.run(self._order, arguments, is_binary=is_binary)
        )
        await asyncio.sleep(run.run_s)
        if run.body is None:
            await self._say_error("INTERNAL_ERROR", run.error)
            return
        await self._say({"type": "x-fal-message", "action": "timings", "timing": run.run_s})
        self._desk.seen.add("results")
        if is_binary:
            packed = _pack(run.body)
            await self._frames.send_bytes(packed[: len(packed) // 2] if is_cut else packed)
        else:
            text = json.dumps(run.body)
            await self._frames.send_str(text[: len(text) // 2] if is_cut else text)

    async def _say_error(self, error: str, reason: str) -> None:
        await self._say({"type": "x-fal-error", "error": error, "reason": reason})

    async def _say(self, value: dict[str, Any]) -> None:
        await self._frames.send_str(json.dumps(value))


def _unpack(data: bytes) -> Any:
    return importlib.import_module("msgpack").unpackb(data)


def _pack(value: Any) -> bytes:
    packed: bytes = importlib.import_module("msgpack").packb(value)
    return packed
