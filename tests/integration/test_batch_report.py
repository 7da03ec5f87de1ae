"""The page of a real batch: made of its journal, opened in a browser, served live."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from attrs import evolve

from falq.batch import Batch, Manifest
from falq.batch.live import LAST_LOOK_S, LiveReport
from falq.batch.report import ReportSource, build_page, write_report
from falq.emulator import Emulator, Scenario
from falq.errors import ConfigError
from tests.support.chromium import LAUNCH_ARGUMENTS, find_chromium

pytest.importorskip("playwright.async_api", reason="pip install 'falq[dev]'")
from playwright.async_api import Page as Tab  # after the skip
from playwright.async_api import async_playwright  # after the skip

pytestmark = pytest.mark.slow

FLUX = "fal-ai/flux/schnell"
ROWS = [
    {"prompt": "a cat <script>alert(1)</script>"},
    {"prompt": "a dog", "num_inference_steps": 999},
    {"prompt": "a fox"},
]


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(Scenario(speed=1000.0)) as emulator:
        yield emulator


@pytest.fixture
async def batch(emulator: Emulator, tmp_path: Path) -> AsyncIterator[Batch]:
    """A batch that has run and is still open."""
    async with Batch(ROWS, out=tmp_path, gateway=emulator.gateway, endpoint=FLUX) as batch:
        async for _ in batch:
            pass
        yield batch


def source_of(batch: Batch) -> ReportSource:
    assert batch.journal is not None
    return ReportSource(journal=batch.journal, path=Path("out/journal.sqlite"))


async def test_each_row_is_an_item_with_its_file_prompt_cost_and_time(batch):
    page = await build_page(source_of(batch))
    first, second, third = page.items
    assert [item.status for item in page.items] == ["succeeded", "failed", "succeeded"]
    assert first.prompt == ROWS[0]["prompt"]
    assert first.media[0].href.startswith("media/row-000001-0")
    assert (first.media[0].kind, first.media[0].width) == ("image", 1024)
    assert first.cost_usd is not None
    assert first.ended_s is not None
    assert third.seed is not None
    assert "num_inference_steps" in (second.error or "")


async def test_the_page_says_how_to_go_on(batch):
    page = await build_page(source_of(batch))
    assert any("falq retry out/journal.sqlite" in step for step in page.next_steps)


@pytest.mark.parametrize("is_long", [True, False])
async def test_rows_whose_time_passed_can_be_retried_and_equal_rows_that_succeeded_need_not(
    tmp_path, is_long
):
    scenario = Scenario(run_s=3600) if is_long else Scenario(speed=1000.0)
    rows = Manifest([{"say": 1}, {"say": 1}], endpoint="acme/echo", dedupe=True)
    async with (
        Emulator(scenario) as emulator,
        Batch(
            rows, out=tmp_path, gateway=emulator.gateway, timeout=0.2 if is_long else 60
        ) as batch,
    ):
        async for _ in batch:
            pass
        page = await build_page(source_of(batch))
    assert any("falq retry" in step for step in page.next_steps) == is_long


async def test_a_page_without_inputs_has_none(batch, tmp_path):
    assert batch.journal is not None
    page = await build_page(ReportSource(journal=batch.journal, has_inputs=False))
    assert [item.prompt for item in page.items] == [None, None, None]
    assert all(not item.arguments for item in page.items)
    # Models repeat their prompt in what they answer.
    assert "a fox" in json.dumps(
        [item.result for item in (await build_page(source_of(batch))).items]
    )
    assert "a fox" not in json.dumps([item.result for item in page.items])
    assert page.items[2].result["seed"] == page.items[2].seed


@pytest.fixture
async def tab() -> AsyncIterator[Tab]:
    """A tab in Chromium; at the end its scripts may have raised nothing."""
    chromium = find_chromium()
    problems: list[str] = []
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium, args=LAUNCH_ARGUMENTS)
        tab = await browser.new_page()
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        yield tab
        await browser.close()
    assert problems == []


async def test_the_page_of_a_real_run_opens_in_chromium(batch, tmp_path, tab):
    path = await write_report(source_of(batch), tmp_path / "report.html")
    await tab.goto(path.as_uri())
    picture = tab.locator("#grid img").first
    await picture.wait_for()
    assert await picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    assert await tab.locator("#problem-count").text_content() == "1"


async def read_event(stream: aiohttp.StreamReader) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            line = (await stream.readline()).decode()
            if line.startswith("data: "):
                return json.loads(line.removeprefix("data: "))


async def test_the_live_page_serves_itself_its_media_and_its_progress(batch, tmp_path):
    live = LiveReport(source_of(batch), tmp_path, progress=batch.progress)
    async with live, aiohttp.ClientSession() as browser:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", live.url)
        async with browser.get(live.url) as answer:
            html = await answer.text()
        assert "connect-src 'self'" in html
        assert 'data-events="events"' in html
        name = re.search(r"media/row-000001-0[^\"]*", html)
        assert name is not None
        async with browser.get(live.url + name[0]) as answer:
            assert (answer.status, answer.content_type) == (200, "image/jpeg")
            assert answer.headers["Content-Security-Policy"] == "sandbox"
        async with browser.get(live.url + "events") as answer:
            assert (await read_event(answer.content))["done"] == 3


async def test_the_live_page_answers_nothing_without_its_token_and_nothing_outside(batch, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "media" / "link.txt").symlink_to(tmp_path / "secret.txt")
    async with (
        LiveReport(source_of(batch), tmp_path, progress=batch.progress) as live,
        aiohttp.ClientSession() as browser,
    ):
        root = live.url.rsplit("/", 2)[0]
        wrong = [f"{root}/", f"{root}/wrong/", f"{root}/wrong/events"]
        outside = [live.url + name for name in ("media/link.txt", "media/..%2Fsecret.txt")]
        for url in [*wrong, *outside, live.url + "journal.sqlite"]:
            async with browser.get(url) as answer:
                assert answer.status == 404, url


async def test_a_taken_port_is_told(batch, tmp_path):
    source = source_of(batch)
    async with LiveReport(source, tmp_path, progress=batch.progress) as live:
        port = int(live.url.split(":")[2].partition("/")[0])
        with pytest.raises(ConfigError, match="--serve"):
            async with LiveReport(source, tmp_path, progress=batch.progress, port=port):
                pass


async def test_the_live_page_follows_a_running_batch_to_its_end_in_chromium(
    emulator, tmp_path, tab
):
    rows = [{"prompt": f"cat {number}"} for number in range(12)]
    # Without media: a browser would say that their server has gone.
    settings = {"gateway": emulator.gateway, "endpoint": FLUX, "download": False}
    async with Batch(rows, out=tmp_path, **settings) as batch:
        live = LiveReport(source_of(batch), tmp_path, progress=batch.progress, beat_s=0.05)
        async with live:
            await tab.goto(live.url)
            await tab.get_by_text("0 of 12 rows done").wait_for()
            async for _ in batch:
                pass
        # The server has gone, and the page has what it said last.
        await tab.get_by_text("The batch has ended: 12 of 12 rows done").wait_for()
        await tab.get_by_text("Showing 12 of 12").wait_for()
        assert "12 jobs" in await tab.locator(".total").text_content()
        await tab.locator("#grid li").first.wait_for()


async def test_the_page_of_a_running_batch_tells_nobody_to_resume_it(batch):
    source = evolve(source_of(batch), is_running=True)
    page = await build_page(source)
    assert page.next_steps == ()
    assert [name for name, _ in page.facts].count("Left") == 0
    hints = [item.how_to_retry or "" for item in page.items if item.error_type]
    assert all("falq" not in hint or hint.startswith("When the batch has ended") for hint in hints)


async def test_rows_that_are_on_the_way_are_not_on_the_page(batch):
    source = evolve(source_of(batch), in_flight=lambda: {"row-000001"})
    page = await build_page(source)
    assert [item.id for item in page.items] == ["row-000002", "row-000003"]


async def test_the_live_page_says_what_the_terminal_says(batch, tmp_path):
    live = LiveReport(source_of(batch), tmp_path, progress=batch.progress)
    async with live, aiohttp.ClientSession() as browser, browser.get(live.url + "events") as answer:
        told = await read_event(answer.content)
        assert told["text"] == str(batch.progress())
        assert "3 of 3 rows done" in told["text"]


async def test_the_end_of_a_live_page_waits_for_no_one_who_has_gone(batch, tmp_path):
    live = LiveReport(source_of(batch), tmp_path, progress=batch.progress, beat_s=0.01)
    async with asyncio.timeout(LAST_LOOK_S + 5), aiohttp.ClientSession() as browser, live:
        url = live.url + "events"
        async with browser.get(url) as answer:
            await read_event(answer.content)
