"""The emulator on real sockets.

Owns one listening socket, its connections and the thread that draws media. It
never decides an answer: each request goes to `routes` with the loop's time, and
`delivery` sends what comes back. Used by the command line, the demonstration,
the test fixtures and the benchmarks.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

from aiohttp import web
from attrs import evolve

from falq.emulator.certificates import Certificates, make_certificates
from falq.emulator.delivery import deliver, is_ordinary, write_whole
from falq.emulator.files import PREFIX as FILES_PREFIX
from falq.emulator.maton import PREFIX as MATON_PREFIX
from falq.emulator.messages import Request
from falq.emulator.models import find_model as find_known_model
from falq.emulator.models.base import Model
from falq.emulator.platform import PREFIX as PLATFORM_PREFIX
from falq.emulator.postman import Postman
from falq.emulator.realtime import SocketOrder, is_socket_path
from falq.emulator.realtime_socket import talk
from falq.emulator.routes import App
from falq.emulator.scenario import Scenario
from falq.emulator.statistics import Statistics
from falq.emulator.streams_delivery import deliver_feed
from falq.gateways import Fal, Maton

T = TypeVar("T")

_REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  names, and no default
_BACKLOG = 4096
# What a handler gets to end by itself when the server closes. Nothing it does
# is worth a wait, and aiohttp takes 0 as "for ever".
_GRACE_S = 0.01


class Emulator:
    """A fal.ai queue on this machine.

    Use it as an async context manager. Starting binds the socket; leaving closes
    every connection at once, whatever is being answered.

    Args:
        scenario: Its behavior.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        tls: Speak https, with a certificate authority made for this emulator.
        runners: Overrides the scenario's `runners`.
        speed: Overrides the scenario's `speed`.
        seed: Overrides the scenario's `seed`.
        find_model: Gives the model of an endpoint id. Default: the models in
            `falq.emulator.models`, and an echo for any other id.

    Example:
        async with Emulator(runners=4, speed=100) as emulator:
            async with falq.Session(emulator.gateway) as session:
                ...
    """

    def __init__(
        self,
        scenario: Scenario | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: bool = False,
        runners: int | None = None,
        speed: float | None = None,
        seed: int | None = None,
        find_model: Callable[[str], Model] = find_known_model,
    ) -> None:
        given = {"runners": runners, "speed": speed, "seed": seed}
        changes: dict[str, Any] = {name: one for name, one in given.items() if one is not None}
        self.scenario = evolve(scenario or Scenario(), **changes)
        self._host = host
        self._port = port
        self._is_tls = tls
        self._find_model = find_model
        self._clock: Callable[[], float] = time.monotonic
        self._certificates: Certificates | None = None
        self._app: App | None = None
        self._runner: web.ServerRunner | None = None
        self._painter: ThreadPoolExecutor | None = None
        self._postman: Postman | None = None
        self._under_way: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        if self._app is None:
            return "<Emulator, not running>"
        queue = self._app.queue
        return f"<Emulator {self.url} jobs={len(queue.jobs)} in_progress={queue.in_progress}>"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Bind the socket and answer from now on.

        Raises:
            OSError: The address cannot be bound.
            ConfigError: `tls` without the package trustme.
            RuntimeError: It is running already.
        """
        if self._runner is not None:
            raise RuntimeError("the emulator is running already")
        if self._is_tls:
            self._certificates = make_certificates(self._host)
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.create_server((self._host, self._port), family=family, backlog=_BACKLOG)
        self._port = listener.getsockname()[1]
        self._clock = asyncio.get_running_loop().time
        self._app = App(
            self.scenario,
            find_model=self._find_model,
            base_url=self.url,
            wall_offset_s=time.time() - self._clock(),
        )
        self._postman = Postman(self._app, self._clock)
        self._painter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="falq-emulator")
        server = _CountingServer(self._answer, handler_cancellation=True, access_log=None)
        server.on_connection = self._count_connection
        self._runner = web.ServerRunner(server, shutdown_timeout=_GRACE_S)
        await self._runner.setup()
        context = self._certificates.server_context if self._certificates else None
        site = web.SockSite(self._runner, listener, ssl_context=context, backlog=_BACKLOG)
        await site.start()

    async def aclose(self) -> None:
        """Close the socket and every connection at once. Closing twice is harmless."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        if self._painter is not None:
            self._painter.shutdown(wait=False, cancel_futures=True)
        for task in tuple(self._under_way):
            task.cancel()
        if self._postman is not None:
            await self._postman.aclose()
        await runner.cleanup()

    @property
    def url(self) -> str:
        """Its origin, such as `http://127.0.0.1:4321`.

        One that listens on every address is named by the loopback one, which is where
        clients of this machine reach it.
        """
        name = _REACHED_AT.get(self._host, self._host)
        host = f"[{name}]" if ":" in name else name
        return f"{'https' if self._is_tls else 'http'}://{host}:{self._port}"

    @property
    def key(self) -> str:
        """A fal key that it accepts."""
        return self.scenario.keys[0]

    @property
    def maton_key(self) -> str:
        """A Maton key that it accepts."""
        return self.scenario.maton_keys[0]

    @property
    def gateway(self) -> Fal:
        """The gateway value for a session that runs against it."""
        url = self.url
        return Fal(
            key=self.key,
            queue_url=url,
            run_url=f"{url}/_run",
            rest_url=f"{url}/_rest",
            cdn_url=f"{url}/_cdn",
            api_url=f"{url}{PLATFORM_PREFIX}",
        )

    @property
    def maton(self) -> Maton:
        """The gateway value for a session that runs against its Maton side."""
        url = f"{self.url}{MATON_PREFIX}"
        return Maton(key=self.maton_key, base_url=url, control_url=url)

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """A client's TLS context that trusts it; None without `tls`."""
        return None if self._certificates is None else self._certificates.client_context

    def ca_pem(self) -> bytes:
        """Return the certificate of its authority, in PEM.

        Raises:
            RuntimeError: It does not run with `tls`.
        """
        if self._certificates is None:
            raise RuntimeError("there is a certificate only while it runs with tls=True")
        return self._certificates.ca_pem

    def stats(self) -> Statistics:
        """Return the counts since the start or the last reset.

        Raises:
            RuntimeError: It was never started.
        """
        if self._app is None:
            raise RuntimeError("the emulator was not started")
        self._app.queue.advance(self._clock())
        return self._app.statistics()

    def _count_connection(self) -> None:
        if self._app is not None:
            self._app.connections += 1

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        app, transport = self._app, request.transport
        if app is None or transport is None:
            return _Delivered(is_reusable=False)
        path, _, query = request.raw_path.partition("?")
        if request.headers.get("upgrade", "").lower() == "websocket" and is_socket_path(path):
            return await self._open_socket(request, app, transport)
        content = request.content
        body = await (content.read() if content.is_eof() else self._breakable(content.read()))
        if path.startswith(FILES_PREFIX) and not app.files.is_drawn(path):
            await self._breakable(self._draw(app, path))
        if body is None or self._runner is None:
            return _Delivered(is_reusable=False)
        asked = Request(
            method=request.method, path=path, query=query, headers=request.headers, body=body
        )
        reply = app.handle(asked, self._clock())
        if self._postman is not None:
            self._postman.wake()
        keep_alive = request.keep_alive
        if is_ordinary(reply):
            write_whole(reply, transport, keep_alive=keep_alive)
            return _Delivered(is_reusable=keep_alive)
        if reply.feed is not None and reply.transmission.manner == "normal":
            work = deliver_feed(reply, transport, clock=self._clock, keep_alive=keep_alive)
        else:
            work = deliver(reply, transport, keep_alive=keep_alive)
        is_reusable = await self._breakable(work)
        return _Delivered(is_reusable=bool(is_reusable))

    async def _open_socket(
        self, request: web.BaseRequest, app: App, transport: asyncio.Transport
    ) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        asked = Request(method=request.method, path=path, query=query, headers=request.headers)
        order = app.admit_socket(asked, self._clock())
        if not isinstance(order, SocketOrder):
            await self._breakable(deliver(order, transport, keep_alive=False))
            transport.close()
            return _Delivered(is_reusable=False)
        loop = asyncio.get_running_loop()
        talking = talk(
            request,
            order,
            desk=app.realtime,
            scenario=self.scenario,
            clock=self._clock,
            pick=app.pick_message_fault,
            beside=lambda work: loop.run_in_executor(self._painter, work),
        )
        return await self._breakable(talking) or _Delivered(is_reusable=False)

    async def _draw(self, app: App, path: str) -> None:
        """Draw a file beside the loop, so that others are answered meanwhile."""
        await asyncio.get_running_loop().run_in_executor(self._painter, app.files.read, path)

    async def _breakable(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do what may take long; None if the emulator was closed meanwhile.

        A handler must return, not be cancelled, when the server closes: aiohttp
        waits for it first, and its wait and a cancel can meet at a bad moment.
        """
        task = asyncio.create_task(work)
        self._under_way.add(task)
        try:
            await asyncio.wait({task})
        finally:
            self._under_way.discard(task)
            task.cancel()
        return None if task.cancelled() else task.result()


class _CountingServer(web.Server):
    """A low-level server that tells of each connection."""

    on_connection: Callable[[], None]

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        self.on_connection()
        super().connection_made(handler, transport)


class _Delivered(web.StreamResponse):
    """Stands for a reply whose bytes were written already.

    aiohttp's own writer would fold header names, add headers and refuse to send
    what a fault must send.
    """

    def __init__(self, *, is_reusable: bool) -> None:
        super().__init__()
        self._is_reusable = is_reusable

    @property
    def keep_alive(self) -> bool:
        return self._is_reusable

    async def prepare(self, _: web.BaseRequest) -> None:
        return None

    async def write_eof(self, _: bytes = b"") -> None:
        return None
