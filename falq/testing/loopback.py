"""Join a session to an emulator in memory.

Owns the way between the client's calls and the emulator's application: bytes
and headers, no sockets. The network's faults happen here in loop time, so they
work in virtual time as well.
"""

from __future__ import annotations

import asyncio
import zlib
from datetime import UTC, datetime, timedelta

from multidict import CIMultiDict

from falq._core.messages import Call, CallLimits, CallTimeouts, Reply, Verb
from falq._transport.base import root_of
from falq.emulator import App, Request, Scenario, Statistics
from falq.emulator import Reply as Answer
from falq.emulator.models import find_model
from falq.errors import (
    ConnectError,
    FalqError,
    ResponseTooLargeError,
    TransportError,
    TransportTimeoutError,
)
from falq.gateways import Fal, Gateway, Maton
from falq.media.storage import StorageCall
from falq.testing.loopback_streams import LoopbackReplyStream


class LoopbackEmulator:
    """An emulated fal queue in memory.

    Args:
        scenario: How it behaves.
        latency_s: Seconds that each call takes on the way, in loop time.

    Attributes:
        app: The emulator's application.
        gateway: What to open a session with, beside `transport()`.
        maton: The same through the emulated Maton gateway.

    Example:
        >>> import asyncio, falq
        >>> from falq.testing import LoopbackEmulator, VirtualTimeLoop
        >>> async def main():
        ...     emulator = LoopbackEmulator()
        ...     async with falq.Session(
        ...         emulator.gateway, transport=emulator.transport()
        ...     ) as session:
        ...         return await session.subscribe("acme/echo", {"n": 1})
        >>> with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        ...     runner.run(main())
        {'n': 1}
    """

    def __init__(self, scenario: Scenario | None = None, *, latency_s: float = 0.02) -> None:
        chosen = scenario or Scenario()
        url = "http://127.0.0.1:1"
        self.app = App(chosen, find_model=find_model, base_url=url)
        self.latency_s = latency_s
        self.gateway = Fal(
            key=chosen.keys[0],
            queue_url=url,
            run_url=f"{url}/_run",
            rest_url=f"{url}/_rest",
            cdn_url=f"{url}/_cdn",
            api_url=f"{url}/_platform",
        )
        self.maton = Maton(
            key=chosen.maton_keys[0], base_url=f"{url}/_maton", control_url=f"{url}/_maton"
        )

    def transport(self, gateway: Gateway | None = None) -> LoopbackTransport:
        """Return a transport for a session at `gateway`; default is this one's own."""
        return LoopbackTransport(self.app, gateway or self.gateway, latency_s=self.latency_s)

    def stats(self) -> Statistics:
        """Return what the emulator counted."""
        return self.app.statistics()


class LoopbackTransport:
    """Carries calls to an emulator in memory; see `LoopbackEmulator`.

    Args:
        app: The emulator's application.
        gateway: Where calls go and with which key.
        latency_s: Seconds that each call takes on the way, in loop time.
        timeouts: How long a call may take.
        limits: How large a body may be.

    Attributes:
        refusals: Connections to refuse from now on; each call counts one down.
        calls: Every call that was sent, in order.
        storage: Carries what has no key: the bytes of uploads.
    """

    def __init__(
        self,
        app: App,
        gateway: Gateway,
        *,
        latency_s: float = 0.02,
        timeouts: CallTimeouts | None = None,
        limits: CallLimits | None = None,
    ) -> None:
        self._app = app
        self._gateway = gateway
        self._latency_s = latency_s
        self._timeouts = timeouts or CallTimeouts()
        self._limits = limits or CallLimits()
        self.refusals = 0
        self.calls: list[Call] = []
        self.storage = LoopbackStorage(app, latency_s=latency_s)

    async def open(self) -> None:
        """Nothing is needed."""

    async def aclose(self) -> None:
        """Nothing is held."""

    def wall_clock(self) -> datetime:
        """Return loop time as the emulator's wall time, for a session that compares them."""
        now = asyncio.get_running_loop().time()
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=now)

    async def send(self, call: Call) -> Reply:
        """Carry one call; see `Transport.send`."""
        if self.refusals > 0:
            self.refusals -= 1
            raise ConnectError("the connection was refused; check the network")
        request = self._request(call)
        self.calls.append(call)
        answer = self._app.handle(request, asyncio.get_running_loop().time())
        if answer.feed is not None and answer.transmission.manner == "normal":
            return await self._wait_for_run(call, answer)
        return await self._travel(call, answer)

    async def listen(self, call: Call, *, idle_s: float) -> LoopbackReplyStream:
        """Carry one call whose reply is read as it comes; see `Transport.listen`."""
        if self.refusals > 0:
            self.refusals -= 1
            raise ConnectError("the connection was refused; check the network")
        request = self._request(call)
        self.calls.append(call)
        answer = self._app.handle(request, asyncio.get_running_loop().time())
        stream = LoopbackReplyStream(
            answer, idle_s=idle_s, limit_of=lambda code: self._limits.for_reply(call.verb, code)
        )
        try:
            await stream.begin(self._latency_s)
        except BaseException:
            stream.close()
            raise
        return stream

    async def _wait_for_run(self, call: Call, answer: Answer) -> Reply:
        limit_s = call.timeout_s or self._timeouts.for_verb(call.verb)
        stream = LoopbackReplyStream(
            answer, idle_s=limit_s, limit_of=lambda code: self._limits.for_reply(call.verb, code)
        )
        try:
            async with asyncio.timeout(limit_s):
                await stream.begin(self._latency_s)
                return await stream.read_rest()
        except TimeoutError:
            raise TransportTimeoutError("no complete answer within the time-out") from None
        finally:
            stream.close()

    def _request(self, call: Call) -> Request:
        prefix = "/" + "/".join(root_of(self._gateway, call.origin).split("/")[3:])
        path, _, query = call.target.partition("?")
        headers = {**call.headers, **self._gateway.auth_headers()}
        return Request(
            method=call.method,
            path=f"{prefix.rstrip('/')}{path}",
            query=query,
            headers={name.lower(): str(value) for name, value in headers.items()},
            body=call.body or b"",
        )

    async def _travel(self, call: Call, answer: Answer) -> Reply:
        how = answer.transmission
        limit_s = call.timeout_s or self._timeouts.for_verb(call.verb)
        if call.verb not in {Verb.SUBMIT, Verb.RUN}:
            limit_s = min(limit_s, self._timeouts.read_s)
        before_s = self._latency_s + how.delay_s
        if how.manner == "stall" or before_s > limit_s:
            await asyncio.sleep(limit_s)
            raise TransportTimeoutError("no complete answer within the time-out")
        await asyncio.sleep(before_s)
        if how.manner in {"reset", "fin"}:
            raise TransportError("the connection broke")
        body = answer.body
        fault: FalqError | None = None
        if how.manner == "cut":
            body = body[: how.cut_at_bytes]
            fault = TransportError("the connection broke")
        elif how.manner == "drip":
            fault = await self._drip(len(body), how.piece_bytes, how.pause_s, limit_s - before_s)
        if fault is None:
            body, fault = self._unpack(call, answer, body)
        return Reply(answer.status_code, CIMultiDict(answer.headers), body, fault)

    async def _drip(
        self, size: int, piece_bytes: int, pause_s: float, left_s: float
    ) -> FalqError | None:
        needed_s = -(-size // piece_bytes) * pause_s
        await asyncio.sleep(min(needed_s, left_s))
        if needed_s <= left_s:
            return None
        return TransportTimeoutError("no complete answer within the time-out")

    def _unpack(self, call: Call, answer: Answer, body: bytes) -> tuple[bytes, FalqError | None]:
        limit = self._limits.for_reply(call.verb, answer.status_code)
        if dict(answer.headers).get("content-encoding") == "gzip":
            body = zlib.decompressobj(wbits=31).decompress(body, limit + 1)
        if len(body) <= limit:
            return body, None
        return b"", ResponseTooLargeError(
            f"the answer is larger than {limit} bytes", status_code=answer.status_code
        )


class LoopbackStorage:
    """Carries uploads to an emulator in memory; see `LoopbackTransport`.

    Args:
        app: The emulator's application.
        latency_s: Seconds that each call takes on the way, in loop time.

    Attributes:
        calls: Every call that was sent, in order.
    """

    def __init__(self, app: App, *, latency_s: float) -> None:
        self._app = app
        self._latency_s = latency_s
        self.calls: list[StorageCall] = []

    async def aclose(self) -> None:
        """Nothing is held."""

    async def send(self, call: StorageCall) -> Reply:
        """Carry one call; see `falq.media.storage.StorageHosts`."""
        self.calls.append(call)
        pieces = [] if call.pieces is None else [piece async for piece in call.pieces()]
        path, _, query = call.url.removeprefix("http://127.0.0.1:1").partition("?")
        request = Request(
            method=call.method,
            path=path,
            query=query,
            headers={name.lower(): str(value) for name, value in call.headers.items()},
            body=b"".join(pieces),
        )
        answer = self._app.handle(request, asyncio.get_running_loop().time())
        await asyncio.sleep(self._latency_s + answer.transmission.delay_s)
        if answer.transmission.manner != "normal":
            raise TransportError("the connection broke")
        return Reply(answer.status_code, CIMultiDict(answer.headers), answer.body)
