"""A session's life in an ASGI server, message by message."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

import falq
from falq.testing import LoopbackEmulator, VirtualTimeLoop
from falq.web import AppSession


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio", {"loop_factory": VirtualTimeLoop}


@pytest.fixture
def fal():
    emulator = LoopbackEmulator()
    return AppSession(lambda: falq.Session(emulator.gateway, transport=emulator.transport()))


class Server:
    """What a server does with an application's lifespan."""

    def __init__(self, app, fal) -> None:
        self.told: list[tuple[str, str | None]] = []
        self.scope = {"type": "lifespan", "state": {}}
        self._fal = fal
        self._messages: asyncio.Queue[str] = asyncio.Queue()
        self._heard = asyncio.Event()
        self._task = asyncio.ensure_future(app(self.scope, self._receive, self._send))

    async def _receive(self):
        return {"type": await self._messages.get()}

    async def _send(self, message):
        # What an application says of its end must be true when it says so.
        self.told.append((message["type"].removeprefix("lifespan."), self._fal.why_not_ready()))
        self._heard.set()

    async def tell(self, word):
        self._heard.clear()
        self._messages.put_nowait(f"lifespan.{word}")
        await self._heard.wait()

    async def ended(self):
        await self._task


async def without_lifespans(scope, receive, send):
    assert scope["type"] == "http"


async def silent(scope, receive, send):
    """Return at once, as frameworks do that look away from what they do not know."""


async def with_a_lifespan(scope, receive, send):
    assert (await receive())["type"] == "lifespan.startup"
    scope["state"]["own"] = scope["state"]["falq"]
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    await send({"type": "lifespan.shutdown.complete"})


@pytest.mark.parametrize("app", [without_lifespans, silent, with_a_lifespan])
async def test_the_session_is_open_from_the_start_to_the_end(fal, app):
    server = Server(fal.wrap(app), fal)
    await server.tell("startup")
    assert server.scope["state"]["falq"] is fal.session
    assert server.scope["state"].get("own", fal.session) is fal.session
    await server.tell("shutdown")
    await server.ended()
    assert server.told == [("startup.complete", None), ("shutdown.complete", "closed")]


async def test_a_start_that_fails_is_told_as_a_failure():
    fal = AppSession(lambda: falq.Session(falq.Fal(key="id:secret"), max_jobs=0))
    server = Server(fal.wrap(with_a_lifespan), fal)
    await server.tell("startup")
    with pytest.raises(falq.ConfigError):
        await server.ended()
    assert server.told == [("startup.failed", "closed")]


async def test_an_application_that_fails_to_start_leaves_no_session_open(fal):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    server = Server(fal.wrap(app), fal)
    await server.tell("startup")
    await server.ended()
    assert server.told == [("startup.failed", "closed")]


async def test_an_application_that_breaks_while_it_serves_leaves_no_session_open(fal):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise ValueError("a bug of the app")

    server = Server(fal.wrap(app), fal)
    await server.tell("startup")
    with pytest.raises(ValueError, match="a bug"):
        await server.ended()
    assert fal.why_not_ready() == "closed"


async def test_other_calls_pass_untouched(fal):
    heard = []

    async def app(scope, receive, send):
        heard.append((scope, receive, send))

    call = ({"type": "http"}, None, None)
    await fal.wrap(app)(*call)
    assert heard == [call]


async def test_a_lifespan_of_ones_own_runs_within(fal):
    seen = []

    @contextlib.asynccontextmanager
    async def own(app):
        seen.append((app, fal.why_not_ready()))
        yield {"database": "open", "falq": "shadowed"}
        seen.append((app, fal.why_not_ready()))

    async with fal.lifespan_around(own)("the app") as state:
        assert state == {"falq": "shadowed", "database": "open"}
    assert seen == [("the app", None), ("the app", None)]
    assert fal.why_not_ready() == "closed"

    @contextlib.asynccontextmanager
    async def quiet(app):
        yield

    async with fal.lifespan_around(quiet)("the app") as state:
        assert state == {"falq": fal.session}
