"""An account without a connection, until its jobs run: over sockets, with a browser."""

from __future__ import annotations

import asyncio
import json
import logging
import urllib.request

import aiohttp
import pytest

import falq
from falq.connections import (
    create_connection,
    delete_connection,
    list_connections,
    wait_active,
)
from falq.emulator import Emulator, Scenario
from falq.gateways import Maton
from tests.support.chromium import LAUNCH_ARGUMENTS, find_chromium


@pytest.fixture
def anyio_backend() -> str:
    """Sockets are real here: a virtual clock would run ahead of them."""
    return "asyncio"


@pytest.fixture
async def emulator():
    async with Emulator(Scenario(speed=1000.0, maton_connection="NONE")) as emulator:
        yield emulator


async def test_jobs_run_from_the_moment_that_the_key_was_entered(emulator, caplog):
    caplog.set_level(logging.DEBUG)
    async with falq.Session(emulator.maton) as session:
        with pytest.raises(falq.ApiError, match="falq connections create"):
            await session.subscribe("acme/echo", {})

    made = await create_connection(emulator.maton)
    waiting = asyncio.create_task(
        wait_active(emulator.maton, made.connection_id, interval_s=0.01, timeout=20)
    )
    async with aiohttp.ClientSession() as browser:
        await browser.post(made.url, data={"key": emulator.key})
    active = await waiting

    url = emulator.maton.base_url
    chosen = Maton(
        key=emulator.maton_key, base_url=url, control_url=url, connection_id=active.connection_id
    )
    async with falq.Session(chosen) as session:
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
        await delete_connection(chosen, active.connection_id)
        with pytest.raises(falq.ApiError, match="No active connection"):
            await session.subscribe("acme/echo", {})

    token = made.url.partition("session_token=")[2]
    assert token not in caplog.text + repr((made, active, chosen))
    assert emulator.maton_key not in caplog.text + repr(chosen)


async def test_the_control_api_is_reached_with_a_certificate_of_ones_own():
    async with Emulator(tls=True) as emulator:
        [found] = await list_connections(emulator.maton, ssl_context=emulator.ssl_context)
        assert found.is_active
        with pytest.raises(falq.ConnectError):
            await list_connections(emulator.maton)


async def test_who_writes_the_calls_by_hand_sees_the_documented_answers(emulator):
    def call(method, path, body=None):
        request = urllib.request.Request(
            f"{emulator.url}/_maton{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {emulator.maton_key}"},
        )
        with urllib.request.urlopen(request, timeout=20) as reply:
            return json.load(reply)

    def work():
        assert call("GET", "/connections?app=fal-ai&status=ACTIVE") == {"connections": []}
        made = call("POST", "/connections", {"app": "fal-ai"})["connection"]
        assert (made["status"], made["app"], made["method"]) == ("PENDING", "fal-ai", "API_KEY")
        form = f"key={emulator.key}".encode()
        with urllib.request.urlopen(made["url"], data=form, timeout=20) as page:
            assert page.status == 200
        path = f"/connections/{made['connection_id']}"
        assert call("GET", path)["connection"]["status"] == "ACTIVE"
        queue = "/fal-ai/fal-ai/flux"
        ticket = call("POST", f"{queue}/schnell", {"prompt": "a lighthouse"})
        assert ticket["status_url"].startswith("https://queue.fal.run/fal-ai/flux/requests/")
        request = f"{queue}/requests/{ticket['request_id']}"
        while call("GET", f"{request}/status")["status"] != "COMPLETED":
            pass
        assert call("GET", request)["images"]
        assert call("DELETE", path) == {}

    await asyncio.to_thread(work)


@pytest.mark.slow
async def test_a_person_enters_the_key_in_a_browser(emulator):
    playwright_api = pytest.importorskip("playwright.async_api", reason="pip install 'falq[dev]'")
    chromium = find_chromium()
    made = await create_connection(emulator.maton)
    complaints = []
    async with playwright_api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=LAUNCH_ARGUMENTS)
        page = await browser.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(made.url)
        await page.get_by_label("fal.ai API key").fill("wrong:key")
        await page.get_by_role("button", name="Connect").click()
        await page.get_by_role("alert").wait_for()
        await page.get_by_label("fal.ai API key").fill(emulator.key)
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="fal.ai is connected").wait_for()
        assert emulator.key not in await page.content()
        await browser.close()
    assert complaints == []
    assert (await wait_active(emulator.maton, made.connection_id)).is_active
