"""The official client's realtime and raw sockets, fal_client 1.0.3, on the emulator over TLS.

It has the address of tokens written into it. A forward proxy, which it takes from the
environment, leads that name to a server on this machine that has a certificate for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import aiohttp
import pytest
import trustme
from aiohttp import web

from falq.emulator import Emulator, Scenario

pytestmark = pytest.mark.slow

SCRIPT = """
import asyncio, json, sys
import fal_client
from fal_client.client import RealtimeError

use_jwt = sys.argv[1] == "token"
said = {}

with fal_client.realtime("acme/echo/fast", use_jwt=use_jwt, max_buffering=5) as live:
    live.send({"n": 1, "image": b"\\x00\\xff"})
    first = live.recv()
    said["first"] = [first["n"], list(first["image"])]
    live.send({"_emulator": {"fail": 500}})
    try:
        live.recv()
    except RealtimeError as error:
        said["failed"] = [error.error, error.reason]
    live.send({"n": 2})
    said["second"] = live.recv()

async def main():
    client = fal_client.AsyncClient()
    async with client.realtime("fal-ai/flux/schnell", use_jwt=use_jwt) as live:
        await live.send({"prompt": "a cat", "image_size": "square"})
        result = await live.recv()
        said["picture"] = list(result["images"][0]["content"][:2])
    async with client.ws_connect("acme/raw", path="ws", use_jwt=use_jwt) as socket:
        await socket.send("as it is")
        said["raw"] = await socket.recv()
    async with client.realtime("acme/echo/fast", use_jwt=use_jwt) as live:
        try:
            await live.recv()
        except RealtimeError as error:
            said["idle"] = error.error

asyncio.run(main())
print(json.dumps(said))
"""


@pytest.fixture
async def emulator():
    scenario = Scenario(speed=1000, realtime_idle_s=1.0)
    async with Emulator(scenario, tls=True) as running:
        yield running


class _Names:
    """A forward proxy behind which `rest.fal.ai` is the emulator's side for tokens."""

    def __init__(self, emulator):
        self.emulator = emulator
        self.authority = trustme.CA()
        self.asked = []

    async def __aenter__(self):
        context = _server_context(self.authority.issue_cert("rest.fal.ai"))
        self.client = aiohttp.ClientSession()
        self.runner = web.ServerRunner(web.Server(self._pass_on, access_log=None))
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        self.port = self.runner.addresses[0][1]
        self.proxy = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.proxy.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self.proxy.close()
        await self.runner.cleanup()
        await self.client.close()

    async def _pass_on(self, request):
        async with self.client.request(
            request.method,
            f"{self.emulator.url}/_rest{request.path}",
            data=await request.read(),
            headers={"Authorization": request.headers["Authorization"]},
            ssl=self.emulator.ssl_context,
        ) as reply:
            return web.Response(
                status=reply.status, body=await reply.read(), content_type="application/json"
            )

    async def _connect(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.split()[1].decode())
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await asyncio.gather(_pour(reader, inner_writer), _pour(inner_reader, writer))


async def _pour(reader, writer):
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


def _server_context(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.mark.parametrize("way", ["token", "key"])
async def test_its_realtime_client_works_on_the_emulator(run_script, emulator, tmp_path, way):
    async with _Names(emulator) as names:
        pem = tmp_path / "authorities.pem"
        pem.write_bytes(emulator.ca_pem() + names.authority.cert_pem.bytes())
        ran = await run_script(
            SCRIPT,
            way,
            FAL_KEY=emulator.key,
            FAL_RUN_HOST=emulator.url.partition("://")[2],
            SSL_CERT_FILE=str(pem),
            HTTPS_PROXY=names.url,
            NO_PROXY="127.0.0.1",
        )
    assert ran.code == 0, ran.err
    said = ran.said
    assert said["first"] == [1, [0, 255]]
    assert said["failed"] == ["INTERNAL_ERROR", "500"]
    assert said["second"] == {"n": 2}
    assert said["picture"] == [0xFF, 0xD8]
    assert said["raw"] == "as it is"
    # To it a time-out is an error; to falq it is a socket to be opened again.
    assert said["idle"] == "TIMEOUT"
    seen = emulator.stats()
    assert seen.tokens == (4 if way == "token" else 0)
    assert set(names.asked) == ({"rest.fal.ai:443"} if way == "token" else set())
    assert (seen.sockets, seen.socket_messages, seen.socket_results) == (4, 4, 3)
