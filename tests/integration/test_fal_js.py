"""The official JavaScript client against the proxy, in front of the emulator."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from aiohttp import web

from falq.emulator import Emulator, Fault, Scenario
from falq.web import FalProxy

PACKAGE = "@fal-ai/client@1.10.1"
GUARD_S = 40.0
SCRIPT = """
const { createFalClient } = require("@fal-ai/client");
const fal = createFalClient({
  proxyUrl: { url: process.argv[2], when: "always" },
  credentials: undefined,
  requestMiddleware: async (request) => ({
    ...request,
    headers: { ...request.headers, "X-App-User": "ann" },
  }),
});
const work = {
  async subscribe() {
    const seen = [];
    const options = { input: { n: 1 }, logs: true, pollInterval: 20 };
    options.onQueueUpdate = (update) => seen.push(update.status);
    const { data, requestId } = await fal.subscribe("acme/echo", options);
    return { data, requestId, last: seen.at(-1) };
  },
  async follow() {
    const options = { input: { n: 2 }, mode: "streaming" };
    return (await fal.subscribe("acme/echo", options)).data;
  },
  async stream() {
    const stream = await fal.stream("acme/echo", { input: { n: 3 } });
    for await (const part of stream) void part;
    return await stream.done();
  },
  async run() {
    return (await fal.run("acme/echo", { input: { n: 4 } })).data;
  },
  async submit() {
    try {
      await fal.queue.submit("acme/echo", { input: {} });
      return "accepted";
    } catch (error) {
      return error.status;
    }
  },
  async upload() {
    const file = new File(["a tiny cat"], "cat.txt", { type: "text/plain" });
    const url = await fal.storage.upload(file);
    const back = await fetch(url);
    return { url, type: back.headers.get("content-type"), text: await back.text() };
  },
  async hidden() {
    const lifecycle = { expiresIn: "1h", initialAcl: { default: "hide" } };
    const url = await fal.storage.upload(new Blob(["a secret"]), { lifecycle });
    return (await fetch(url)).status;
  },
  async inside() {
    const input = { deep: [new Blob(["a cat inside"], { type: "text/plain" })] };
    const { data } = await fal.subscribe("acme/echo", { input, pollInterval: 20 });
    return await (await fetch(data.deep[0])).text();
  },
  async large() {
    const size = 91 * 1024 * 1024;
    const url = await fal.storage.upload(new Blob([new Uint8Array(size)]));
    return (await (await fetch(url)).arrayBuffer()).byteLength - size;
  },
  async refused() {
    try {
      return await fal.storage.upload(new Blob(["a cat"]));
    } catch (error) {
      return error.status;
    }
  },
  async other() {
    try {
      await fal.queue.submit("acme/other", { input: {} });
      return "accepted";
    } catch (error) {
      return error.status;
    }
  },
};
(async () => {
  const told = {};
  for (const name of process.argv.slice(3)) told[name] = await work[name]();
  console.log(JSON.stringify(told));
  process.exit(0);
})();
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A folder where the package is installed."""
    stop = pytest.fail if os.environ.get("CI") else pytest.skip
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        stop("needs Node and npm: apt-get install nodejs npm")
    folder = tmp_path_factory.mktemp("fal-js")
    (folder / "package.json").write_text('{"private": true}', encoding="utf-8")
    done = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    if done.returncode != 0:
        stop(f"npm cannot bring the package: npm install {PACKAGE}: {done.stderr[-300:]}")
    (folder / "work.js").write_text(SCRIPT, encoding="utf-8")
    return folder


async def tell(package: Path, emulator: Emulator, *names: str, allow_uploads: bool = False):
    """Run the script's parts through a proxy and return what each told."""
    proxy = FalProxy(
        emulator.gateway,
        authenticate=lambda request: request.headers.get("x-app-user"),
        endpoints=["acme/echo"],
        allow_uploads=allow_uploads,
    )
    app = web.Application()
    app.router.add_route("*", "/proxy", proxy.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/proxy"
    try:
        async with asyncio.timeout(GUARD_S):
            process = await asyncio.create_subprocess_exec(
                *("node", "work.js", url, *names),
                cwd=package,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={"PATH": os.environ["PATH"]},
            )
            out, err = await process.communicate()
    finally:
        await runner.cleanup()
        await proxy.aclose()
    assert process.returncode == 0, err.decode()
    return json.loads(out)


@pytest.mark.slow
async def test_the_official_client_runs_jobs_through_the_proxy(package):
    async with Emulator(Scenario(speed=100.0)) as emulator:
        told = await tell(package, emulator, "subscribe", "follow", "stream", "run", "other")
        calls = emulator.stats().calls
    assert told["subscribe"]["data"] == {"n": 1}
    assert told["subscribe"]["requestId"]
    assert told["subscribe"]["last"] == "COMPLETED"
    assert (told["follow"], told["stream"], told["run"]) == ({"n": 2}, {"n": 3}, {"n": 4})
    assert told["other"] == 400
    assert calls["submit"] == 2


@pytest.mark.slow
async def test_the_official_client_does_not_repeat_a_submit_of_unknown_fate(package):
    fault = Fault("nginx", "submit", when="after", status_code=503)
    async with Emulator(Scenario(speed=100.0, faults=[fault])) as emulator:
        told = await tell(package, emulator, "submit")
        assert emulator.stats().calls["submit"] == 1
    assert told == {"submit": 500}


@pytest.mark.slow
async def test_the_official_client_uploads_files_through_the_proxy(package):
    async with Emulator(Scenario(speed=100.0)) as emulator:
        told = await tell(package, emulator, "upload", "hidden", "inside", allow_uploads=True)
        counts = emulator.stats()
    assert told["upload"]["url"].endswith("/cat.txt")
    assert told["upload"]["type"].startswith("text/plain")
    assert told["upload"]["text"] == "a tiny cat"
    assert told["hidden"] == 404
    assert told["inside"] == "a cat inside"
    assert (counts.uploads, counts.uploads_open, counts.submits) == (3, 0, 1)
    # The key opened each upload, and went to no host that takes the bytes.
    assert counts.keys_at_storage == 0


@pytest.mark.slow
async def test_the_official_client_uploads_a_large_file_in_parts(package):
    async with Emulator(Scenario()) as emulator:
        told = await tell(package, emulator, "large", allow_uploads=True)
        counts = emulator.stats()
    assert told == {"large": 0}
    assert (counts.uploads, counts.upload_parts, counts.keys_at_storage) == (1, 10, 0)


@pytest.mark.slow
async def test_the_official_client_uploads_nothing_unless_it_is_allowed(package):
    async with Emulator(Scenario()) as emulator:
        assert await tell(package, emulator, "refused") == {"refused": 400}
        assert emulator.stats().calls == {}
