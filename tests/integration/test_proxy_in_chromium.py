"""Pages in a real Chromium: uploads through the proxy, and calls to the emulator itself."""

from __future__ import annotations

import pytest
from aiohttp import web

from falq.emulator import Emulator, Scenario
from falq.web import FalProxy
from tests.support.chromium import LAUNCH_ARGUMENTS, find_chromium

playwright_api = pytest.importorskip("playwright.async_api", reason="pip install 'falq[dev]'")

pytestmark = pytest.mark.slow

PAGE = """<!doctype html><title>A page</title><script>
const json = { "content-type": "application/json" };

function ask(method, target, body) {
  const headers = { ...json, "x-fal-target-url": target };
  const sent = body === undefined ? undefined : JSON.stringify(body);
  return fetch("/proxy", { method, headers, body: sent }).then((answer) => answer.json());
}

async function upload(text) {
  const target = "https://rest.fal.ai/storage/upload/initiate?storage_type=fal-cdn-v3";
  const named = { content_type: "text/plain", file_name: "cat.txt" };
  const { upload_url, file_url } = await ask("POST", target, named);
  const headers = { "content-type": "text/plain" };
  const put = await fetch(upload_url, { method: "PUT", headers, body: text });
  if (!put.ok) throw new Error(`the upload was answered ${put.status}`);
  return file_url;
}

async function subscribe(input) {
  const submitted = await ask("POST", "https://queue.fal.run/acme/echo", input);
  const request = `https://queue.fal.run/acme/echo/requests/${submitted.request_id}`;
  while ((await ask("GET", `${request}/status`)).status !== "COMPLETED") {
    await new Promise((done) => setTimeout(done, 20));
  }
  return ask("GET", request);
}

async function throughTheProxy() {
  const url = await upload("a tiny cat");
  const result = await subscribe({ image_url: url });
  const file = await fetch(result.image_url);
  return { url, told: result.image_url, text: await file.text() };
}

async function directly(base, key) {
  const headers = { ...json, authorization: `Key ${key}` };
  const call = (path, body) =>
    fetch(base + path, { method: body ? "POST" : "GET", headers, body });
  const submitted = await (await call("/acme/echo", '{"n": 1}')).json();
  const request = `/acme/echo/requests/${submitted.request_id}`;
  let status;
  do status = await (await call(`${request}/status`)).json();
  while (status.status !== "COMPLETED");
  const answer = await call(request);
  const run = await call("/_run/acme/echo", '{"n": 2}');
  const refused = await fetch(`${base}/acme/echo`, { method: "POST", headers: json, body: "{}" });
  return {
    result: await answer.json(),
    id: answer.headers.get("x-fal-request-id") === submitted.request_id,
    run: await run.json(),
    refused: refused.status,
    control: await fetch(`${base}/_emulator/stats`).then(() => "read", () => "kept out"),
  };
}
</script>"""


@pytest.fixture
async def a_page():
    chromium = find_chromium()
    async with playwright_api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=list(LAUNCH_ARGUMENTS)
        )
        yield await browser.new_page()
        await browser.close()


async def test_a_page_uploads_through_the_proxy_and_calls_the_emulator_itself(a_page):
    async def show(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async with Emulator(Scenario(speed=200.0)) as emulator:
        proxy = FalProxy(
            emulator.gateway,
            authenticate=lambda _: "ann",
            endpoints=["acme/echo"],
            allow_uploads=True,
        )
        app = web.Application()
        app.router.add_get("/", show)
        app.router.add_route("*", "/proxy", proxy.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            await a_page.goto(f"http://127.0.0.1:{runner.addresses[0][1]}/")
            through = await a_page.evaluate("throughTheProxy()")
            counts = emulator.stats()
            direct = await a_page.evaluate(
                "([base, key]) => directly(base, key)", [emulator.url, emulator.key]
            )
        finally:
            await runner.cleanup()
            await proxy.aclose()
    assert through["text"] == "a tiny cat"
    assert through["told"] == through["url"]
    assert through["url"].startswith(emulator.url)
    assert (counts.uploads, counts.uploads_open, counts.keys_at_storage) == (1, 0, 0)
    assert direct == {
        "result": {"n": 1},
        "id": True,
        "run": {"n": 2},
        "refused": 401,
        "control": "kept out",
    }
