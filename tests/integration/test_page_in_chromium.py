"""The report page in a real Chromium, opened from disk with the network off."""

from __future__ import annotations

import io
import re
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from PIL import Image

from falq.batch.page import Page, PageItem, PageMedia, embed_file, render_page
from tests.support.chromium import LAUNCH_ARGUMENTS, find_chromium

playwright_api = pytest.importorskip("playwright.sync_api", reason="pip install 'falq[dev]'")
from playwright.sync_api import Browser, Locator, expect, sync_playwright  # noqa: E402  # after the skip
from playwright.sync_api import Page as Tab  # noqa: E402  # after the skip

pytestmark = pytest.mark.slow

HOSTILE = '</script><script>window.ran = 1</script>"><img src=x onerror="window.ran = 2">'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = find_chromium()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=LAUNCH_ARGUMENTS)
        yield running
        running.close()


Opener = Callable[..., Tab]


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Opener]:
    """Open a page from disk; at the end nothing may have been logged or fetched."""
    complaints: list[str] = []
    requests: list[str] = []
    contexts = []

    def open_page(
        *items: PageItem,
        hash: str = "",  # noqa: A002  # the address's own word
        edit: tuple[str, str] | None = None,
        width: int = 1280,
        height: int = 800,
        **options: Any,
    ) -> Tab:
        text = render_page(Page(title="Ten cats", subtitle="A run", items=items))
        if edit is not None:
            assert edit[0] in text
            text = text.replace(*edit)
        (tmp_path / "report.html").write_text(text, encoding="utf-8")
        context = browser.new_context(
            offline=True, viewport={"width": width, "height": height}, **options
        )
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(8_000)
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("dialog", lambda dialog: complaints.append(f"dialog {dialog.message}"))
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto((tmp_path / "report.html").as_uri() + hash)
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith((tmp_path.as_uri(), "data:"))] == []


def an_item(index: int, **changes: Any) -> PageItem:
    values: dict[str, Any] = {
        "index": index,
        "id": f"row-{index}",
        "endpoint": "fal-ai/flux/schnell",
        "status": "succeeded",
        "request_id": f"req-{index}",
        "prompt": f"cat number {index}",
        "started_s": 0.1 * index,
        "running_s": 0.1 * index + 0.5,
        "ended_s": 0.1 * index + 1.5,
    }
    return PageItem(**(values | changes))


def a_picture(path: Path, color: str = "teal") -> PageMedia:
    Image.new("RGB", (64, 48), color).save(path)
    return PageMedia(
        kind="image", content_type="image/png", name=path.name, href=path.name, width=64, height=48
    )


def a_sound(path: Path) -> PageMedia:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes(bytes(2 * 8_000))
    return PageMedia(kind="audio", content_type="audio/wav", name=path.name, href=path.name)


def a_video(path: Path) -> PageMedia:
    av = pytest.importorskip("av", reason="pip install 'falq[video]'")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for shade in range(0, 200, 10):
            frame = av.VideoFrame.from_image(Image.new("RGB", (64, 48), (shade, 80, 80)))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    path.write_bytes(buffer.getvalue())
    return PageMedia(kind="video", content_type="video/webm", name=path.name, href=path.name)


def a_mixed_run() -> list[PageItem]:
    failed = {
        "status": "failed",
        "endpoint": "fal-ai/whisper",
        "error": "Runner disconnected",
        "error_type": "runner_disconnected",
        "how_to_retry": "Run `falq retry journal.db`",
    }
    costs = [0.003, 0.5, 0.02, 0.01]
    items = [an_item(index, cost_usd=cost) for index, cost in enumerate(costs)]
    return [*items, an_item(4, **failed), an_item(5, status="cancelled", request_id=None)]


def shown_ids(tab: Tab) -> list[str]:
    ids: list[str] = tab.locator(".tile").evaluate_all("all => all.map(one => one.dataset.id)")
    return ids


def address_of(tab: Tab) -> str:
    return unquote(tab.url.partition("#")[2])


def dialog_of(tab: Tab) -> Locator:
    return tab.locator("#lightbox")


def test_pictures_video_and_sound_play_from_disk_without_a_network(
    show: Opener, tmp_path: Path
) -> None:
    tab = show(
        an_item(0, media=(a_picture(tmp_path / "a cat #1 50%.png"),)),
        an_item(1, media=(a_video(tmp_path / "clip.webm"),)),
        an_item(2, media=(a_sound(tmp_path / "speech.wav"),)),
    )
    picture = tab.locator(".tile img")
    expect(picture).to_have_attribute("alt", "cat number 0")
    expect(picture).to_have_js_property("naturalWidth", 64)
    expect(tab.locator(".tile audio")).to_have_js_property("duration", 1)
    expect(tab.locator(".tile .frame video")).to_have_js_property("videoWidth", 64)
    expect(tab.locator(".is-loading")).to_have_count(0)
    expect(tab.locator(".tile video")).to_have_js_property("muted", value=True)
    tab.locator(".tile-open").nth(1).click()
    assert dialog_of(tab).locator("video").evaluate("video => video.controls")


def test_a_video_plays_while_hovered_unless_less_motion_is_wanted(
    show: Opener, tmp_path: Path
) -> None:
    item = an_item(0, media=(a_video(tmp_path / "clip.webm"),))
    lively = show(item)
    video = lively.locator(".tile video")
    expect(lively.locator(".is-loading")).to_have_count(0)
    expect(video).to_have_js_property("paused", value=True)
    lively.locator(".tile").hover()
    expect(video).to_have_js_property("paused", value=False)
    lively.locator("h1").hover()
    expect(video).to_have_js_property("paused", value=True)
    calm = show(item, reduced_motion="reduce")
    expect(calm.locator(".is-loading")).to_have_count(0)
    calm.locator(".tile").hover()
    expect(calm.locator(".tile:hover")).to_have_count(1)
    assert calm.locator(".tile video").evaluate("video => video.paused")


def test_an_embedded_picture_needs_no_file(show: Opener, tmp_path: Path) -> None:
    source = tmp_path / "source.png"
    a_picture(source)
    href = embed_file(source, "image/png")
    source.unlink()
    media = PageMedia(kind="image", content_type="image/png", name="cat.png", href=href)
    tab = show(an_item(0, media=(media,)), hash="#item=0")
    expect(tab.locator(".tile img")).to_have_js_property("naturalWidth", 64)
    download = dialog_of(tab).get_by_role("link", name="Download")
    expect(download).to_have_attribute("download", "cat.png")
    expect(download).to_have_attribute("href", href)


def test_a_file_that_cannot_be_shown_leaves_its_name_on_the_tile(
    show: Opener, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    media = PageMedia(kind="image", content_type="image/png", name="broken.png", href="broken.png")
    tab = show(an_item(0, media=(media,)))
    expect(tab.locator(".tile-placeholder")).to_contain_text("broken.png")


def test_hostile_text_stays_text_everywhere(show: Opener) -> None:
    item = an_item(
        0,
        id=HOSTILE,
        endpoint=HOSTILE,
        prompt=HOSTILE,
        status="failed",
        error=HOSTILE,
        error_type=HOSTILE,
        how_to_retry=f"{HOSTILE} `{HOSTILE}`",
        request_id=HOSTILE,
        arguments={HOSTILE: HOSTILE},
        result=[HOSTILE],
    )
    tab = show(item, an_item(1, endpoint=HOSTILE, cost_usd=1.0))
    expect(tab.locator(".tile-prompt").first).to_have_text(HOSTILE)
    for view in ("Problems", "Charts", "Gallery"):
        tab.get_by_role("tab", name=view).click()
    tab.locator(".tile-open").first.click()
    expect(dialog_of(tab).locator(".panel-prompt")).to_have_text(HOSTILE)
    dialog_of(tab).locator("summary").first.click()
    assert tab.locator("[src=x], [onerror]").count() == 0
    assert tab.evaluate("window.ran") is None


@pytest.mark.parametrize(
    "href",
    ["javascript:window.ran=1", "data:text/html,<script>1</script>", "//evil.example/a.png"],
)
def test_an_address_put_into_the_file_later_is_not_linked(show: Opener, href: str) -> None:
    media = PageMedia(kind="image", content_type="image/png", name="a.png", href="a-place.png")
    written = href.replace("<", r"\u003c")
    tab = show(an_item(0, media=(media,)), hash="#item=0", edit=("a-place.png", written))
    expect(dialog_of(tab).locator(".stage")).to_contain_text("No usable address")
    assert dialog_of(tab).locator("a").count() == 0


def test_a_file_on_another_host_is_linked_but_never_loaded(show: Opener) -> None:
    href = "https://v3.fal.media/files/cat.png"
    media = PageMedia(kind="image", content_type="image/png", name="cat.png", href=href)
    tab = show(an_item(0, media=(media,)), hash="#item=0")
    expect(tab.locator(".tile-placeholder").first).to_contain_text("not loaded")
    link = dialog_of(tab).get_by_role("link", name="Open")
    expect(link).to_have_attribute("href", href)
    expect(link).to_have_attribute("rel", "noopener noreferrer")


def test_the_policy_stops_a_script_that_got_in(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    text = render_page(Page(title="Ten cats", items=[an_item(0)]))
    path.write_text(text.replace("</body>", "<script>window.ran = 1</script></body>"))
    context = browser.new_context(offline=True)
    tab = context.new_page()
    refused: list[str] = []
    tab.on("console", lambda message: refused.append(message.text))
    tab.goto(path.as_uri())
    expect(tab.locator(".tile")).to_have_count(1)
    assert tab.evaluate("window.ran") is None
    context.close()
    assert "Content Security Policy" in refused[0]


def test_filters_and_search_narrow_the_gallery_and_say_so(show: Opener) -> None:
    tab = show(*a_mixed_run())
    shown = tab.locator("#shown")
    expect(shown).to_have_text("Showing 6 of 6")
    expect(shown).to_have_attribute("aria-live", "polite")
    tab.get_by_role("button", name="Succeeded 4").click()
    expect(shown).to_have_text("Showing 4 of 6")
    tab.locator("#q").fill("CAT 2")
    expect(shown).to_have_text("Showing 1 of 6")
    assert shown_ids(tab) == ["row-2"]
    assert address_of(tab) == "status=succeeded&q=CAT+2"
    tab.get_by_role("button", name="Clear filters").first.click()
    expect(shown).to_have_text("Showing 6 of 6")
    tab.locator("#endpoint").select_option("fal-ai/whisper")
    assert shown_ids(tab) == ["row-4"]
    tab.locator("#endpoint").select_option("")
    for words, found in (("req-3", ["row-3"]), ("runner disc", ["row-4"]), ("row-5", ["row-5"])):
        tab.locator("#q").fill(words)
        assert shown_ids(tab) == found
    tab.locator("#q").fill("a dog")
    expect(tab.get_by_text("Nothing matches.")).to_be_visible()
    tab.locator("#q").press("Escape")
    expect(shown).to_have_text("Showing 6 of 6")


def test_kinds_of_media_can_be_told_apart(show: Opener, tmp_path: Path) -> None:
    tab = show(
        an_item(0, media=(a_picture(tmp_path / "a.png"),)),
        an_item(1, media=(a_sound(tmp_path / "a.wav"),)),
        an_item(2, result={"text": "four score and seven years"}),
    )
    assert tab.locator("#kind option").all_text_contents() == [
        "All kinds",
        "Images (1)",
        "Sound (1)",
        "No media (1)",
    ]
    tab.locator("#kind").select_option("audio")
    assert shown_ids(tab) == ["row-1"]
    tab.locator("#kind").select_option("none")
    expect(tab.locator(".tile-text")).to_have_text("four score and seven years")


def test_the_order_can_be_by_time_or_cost(show: Opener) -> None:
    slow = an_item(6, started_s=0.0, ended_s=60.0)
    untimed = an_item(7, started_s=None, running_s=None, ended_s=None)
    tab = show(*a_mixed_run(), slow, untimed)
    tab.locator("#sort").select_option("slowest")
    assert shown_ids(tab)[0] == "row-6"
    assert shown_ids(tab)[-1] == "row-7"
    tab.locator("#sort").select_option("fastest")
    assert shown_ids(tab)[-2:] == ["row-6", "row-7"]
    tab.locator("#sort").select_option("dearest")
    assert shown_ids(tab)[:4] == ["row-1", "row-2", "row-3", "row-0"]
    tab.locator("#sort").select_option("order")
    assert shown_ids(tab) == [f"row-{index}" for index in range(8)]


def test_the_address_brings_the_same_view_back(show: Opener) -> None:
    tab = show(*a_mixed_run(), hash="#status=succeeded&sort=dearest&q=cat")
    expect(tab.locator("#shown")).to_have_text("Showing 4 of 6")
    assert shown_ids(tab)[0] == "row-1"
    expect(tab.locator("#q")).to_have_value("cat")
    tab.get_by_role("tab", name="Problems").click()
    tab.reload()
    expect(tab.locator("#problem-rows tr")).to_have_count(2)
    expect(tab.get_by_role("tab", name="Problems")).to_have_attribute("aria-selected", "true")
    tab.evaluate("location.hash = 'item=3&view=nonsense&sort=nonsense'")
    expect(tab.get_by_role("tab", name="Gallery")).to_have_attribute("aria-selected", "true")
    expect(tab.locator("#sort")).to_have_value("order")


def test_the_gallery_and_the_lightbox_work_by_keyboard_alone(show: Opener, tmp_path: Path) -> None:
    pictures = (a_picture(tmp_path / "a.png"), a_picture(tmp_path / "b.png", "coral"))
    tab = show(*(an_item(index, media=pictures if index == 1 else ()) for index in range(12)))
    tab.keyboard.press("/")
    expect(tab.locator("#q")).to_be_focused()
    for _ in range(4):
        tab.keyboard.press("Tab")
    expect(tab.locator(".tile-open").first).to_be_focused()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Enter")
    dialog = dialog_of(tab)
    place = dialog.locator(".place")
    expect(place).to_have_text("2 of 12, file 1 of 2")
    assert address_of(tab) == "item=1"
    tab.keyboard.press("ArrowRight")
    expect(place).to_have_text("2 of 12, file 2 of 2")
    tab.keyboard.press("ArrowRight")
    expect(place).to_have_text("3 of 12")
    for _ in range(4):
        tab.keyboard.press("ArrowLeft")
    expect(place).to_have_text("12 of 12")
    tab.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()
    expect(tab.locator("[data-id=row-11] .tile-open")).to_be_focused()
    assert address_of(tab) == ""


@pytest.mark.parametrize("key", ["Tab", "Shift+Tab"])
def test_the_focus_stays_inside_the_lightbox(show: Opener, key: str) -> None:
    tab = show(an_item(0, result={"seed": 1}), hash="#item=0")
    seen = set()
    for _ in range(24):
        tab.keyboard.press(key)
        seen.add(
            tab.evaluate(
                "document.activeElement.closest('#lightbox') && document.activeElement.textContent"
                " + document.activeElement.getAttribute('aria-label')"
            )
        )
    assert None not in seen
    assert len(seen) > 5


def test_the_lightbox_tells_everything_about_a_job(show: Opener, tmp_path: Path) -> None:
    item = an_item(
        0,
        prompt="a cat\non two lines",
        arguments={"prompt": "a cat", "num_images": 1},
        result={"seed": 7, "nsfw": False},
        seed=7,
        cost_usd=0.003,
        media=(a_picture(tmp_path / "cat.png"),),
    )
    tab = show(item, hash="#item=0")
    panel = dialog_of(tab).locator(".panel")
    expect(panel.locator(".panel-prompt")).to_have_text("a cat\non two lines")
    facts = dict(
        zip(
            panel.locator("dt").all_text_contents(),
            panel.locator("dd").all_text_contents(),
            strict=True,
        )
    )
    assert facts == {
        "Id": "row-0",
        "Request id": "req-0",
        "Seed": "7",
        "Cost": "$0.003",
        "Time": "1.5 s",
        "Waited in the queue": "0.50 s",
        "Submitted": "0 ms into the run",
        "File": "cat.png",
        "Type": "image/png",
        "Size": "64 \N{MULTIPLICATION SIGN} 48",
    }
    expect(panel.get_by_role("link", name="Download")).to_have_attribute("href", "cat.png")
    panel.get_by_text("Result").click()
    expect(panel.locator("details[open] pre")).to_have_text('{\n  "seed": 7,\n  "nsfw": false\n}')


def test_the_request_id_can_be_copied(show: Opener) -> None:
    tab = show(an_item(0), hash="#item=0")
    tab.get_by_role("button", name="Copy the request id").click()
    expect(tab.locator("#announcement")).to_have_text("Copied req-0")
    tab.keyboard.press("Escape")
    # The dialog hands the focus back a moment after it closed.
    expect(tab.locator(".tile-open")).to_be_focused()
    tab.locator("#q").focus()
    tab.keyboard.press("Control+V")
    expect(tab.locator("#q")).to_have_value("req-0")


def test_a_command_with_a_gap_to_fill_in_is_not_offered_for_copying(
    browser: Browser, tmp_path: Path
) -> None:
    steps = ["A key: `export FAL_KEY=…`", "Then: `falq doctor`"]
    page = Page(title="Ten cats", subtitle="A run", items=[an_item(0)], next_steps=steps)
    (tmp_path / "report.html").write_text(render_page(page), encoding="utf-8")
    tab = browser.new_page(offline=True)
    tab.goto((tmp_path / "report.html").as_uri())
    expect(tab.locator(".next-steps code")).to_have_text(["export FAL_KEY=…", "falq doctor"])
    expect(tab.locator(".next-steps button")).to_have_count(1)
    tab.close()


def test_failed_rows_say_why_and_how_to_retry(show: Opener) -> None:
    tab = show(*a_mixed_run(), hash="#view=problems")
    rows = tab.locator("#problem-rows tr")
    expect(rows).to_have_count(2)
    for words in ("row-4", "Failed", "Runner disconnected", "runner_disconnected", "req-4"):
        expect(rows.first).to_contain_text(words)
    expect(rows.first.locator("td").last.locator("code")).to_have_text("falq retry journal.db")
    expect(rows.last).to_contain_text("Cancelled")
    name = rows.first.get_by_role("button", name="row-4")
    name.press("Enter")
    expect(dialog_of(tab).locator(".place")).to_have_text("1 of 1")
    tab.keyboard.press("Escape")
    expect(name).to_be_focused()


def test_many_failed_rows_come_a_hundred_at_a_time(show: Opener) -> None:
    failed = [an_item(index, status="failed", error="no") for index in range(230)]
    tab = show(*failed, hash="#view=problems")
    rows = tab.locator("#problem-rows tr")
    expect(rows).to_have_count(100)
    tab.get_by_role("button", name="Show 100 more of 130").click()
    tab.get_by_role("button", name="Show 30 more of 30").click()
    expect(rows).to_have_count(230)
    expect(tab.locator("#more-problems")).not_to_be_visible()


def test_a_run_without_failures_says_so(show: Opener) -> None:
    tab = show(an_item(0), hash="#view=problems")
    expect(tab.get_by_text("Every job succeeded.")).to_be_visible()


def test_charts_are_described_labeled_and_read_by_keyboard(show: Opener) -> None:
    tab = show(*a_mixed_run(), hash="#view=charts")
    headings = tab.locator(".chart h3")
    expect(headings).to_have_text(["Jobs over time", "Spend over time", "Time per endpoint"])
    jobs = tab.locator(".chart").first
    expect(jobs.locator("svg desc")).to_contain_text("At the end: Succeeded 4, Failed 1")
    expect(jobs.locator(".axis")).to_have_text(["Time since the start of the run", "Jobs"])
    legend = jobs.locator(".legend li")
    expect(legend).to_have_text(["Queued0", "Running0", "Cancelled1", "Failed1", "Succeeded4"])
    jobs.locator("svg").focus()
    tab.keyboard.press("Home")
    expect(jobs.locator(".moment")).to_have_text("At 0 ms")
    expect(legend.first).to_have_text("Queued1")
    expect(tab.locator(".multiple figcaption b")).to_have_text(["fal-ai/flux/schnell"])
    expect(tab.locator(".multiple figcaption span")).to_have_text(
        ["4 jobs · p50 1.5 s · p95 1.5 s"]
    )


def test_spend_is_drawn_only_if_a_price_is_known(show: Opener) -> None:
    tab = show(an_item(0), an_item(1), hash="#view=charts")
    expect(tab.locator(".chart h3")).to_have_text(["Jobs over time", "Time per endpoint"])


def test_one_chart_alone_takes_its_row_and_its_labels_their_size(show: Opener) -> None:
    tab = show(an_item(0), an_item(1), hash="#view=charts")
    jobs, times = (tab.locator(".chart").nth(number).bounding_box() for number in range(2))
    assert jobs is not None
    assert times is not None
    assert jobs["width"] == times["width"]
    label = tab.locator(".chart").first.locator(".tick").first.bounding_box()
    assert label is not None
    assert label["height"] > 10


def test_a_run_without_timings_has_no_empty_axes(show: Opener) -> None:
    bare = {"started_s": None, "running_s": None, "ended_s": None}
    tab = show(an_item(0, **bare), hash="#view=charts")
    expect(tab.locator("#charts")).to_contain_text("nothing to draw")


def test_the_page_is_dark_where_the_reader_is_and_the_switch_is_remembered(show: Opener) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = show(an_item(0)).evaluate(background)
    tab = show(an_item(0), color_scheme="dark")
    dark = tab.evaluate(background)
    assert dark != light
    tab.get_by_role("button", name="Switch to light").click()
    assert tab.evaluate(background) == light
    tab.reload()
    assert tab.evaluate(background) == light
    tab.get_by_role("button", name="Switch to dark").click()
    assert tab.evaluate(background) == dark


def test_five_thousand_jobs_keep_few_elements_and_reach_the_last(show: Opener) -> None:
    tab = show(*(an_item(index) for index in range(5_000)))
    expect(tab.locator("#shown")).to_have_text("Showing 5,000 of 5,000")
    elements = "document.getElementsByTagName('*').length"
    assert tab.evaluate(elements) < 2_000
    for part in range(1, 11):
        tab.evaluate("part => scrollTo(0, document.body.scrollHeight * part / 10)", part)
        # The first frame hears of the scrolling, the second one draws.
        tab.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        tab.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        assert tab.evaluate("document.elementFromPoint(150, 500).closest('.tile') !== null")
        assert tab.evaluate(elements) < 2_000
    expect(tab.locator("[data-id=row-4999]")).to_be_in_viewport()
    tab.locator("#q").fill("number 4321")
    assert shown_ids(tab) == ["row-4321"]
    tab.locator("#q").fill("")
    tab.locator(".tile-open").first.focus()
    tab.keyboard.press("End")
    expect(tab.locator("[data-id=row-4999] .tile-open")).to_be_focused()
    expect(tab.locator("[data-id=row-4999]")).to_be_in_viewport(ratio=1)
    tab.keyboard.press("Home")
    expect(tab.locator("[data-id=row-0] .tile-open")).to_be_focused()


def test_the_tile_with_the_focus_keeps_it_and_its_place_when_scrolled_away(show: Opener) -> None:
    tab = show(*(an_item(index) for index in range(1_000)))
    tab.locator(".tile-open").first.focus()
    tab.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(tab.locator("[data-id=row-999]")).to_be_in_viewport()
    expect(tab.locator("[data-id=row-0] .tile-open")).to_be_focused()
    assert shown_ids(tab) == sorted(shown_ids(tab), key=lambda name: int(name[4:]))
    tab.locator("#q").focus()
    tab.evaluate("scrollTo(0, document.body.scrollHeight / 2)")
    tab.locator("[data-id=row-500] .tile-open").focus()
    tab.evaluate("scrollTo(0, 0)")
    expect(tab.locator("[data-id=row-0]")).to_be_in_viewport()
    assert "row-500" in shown_ids(tab)
    assert shown_ids(tab) == sorted(shown_ids(tab), key=lambda name: int(name[4:]))


@pytest.mark.parametrize("view", ["gallery", "problems", "charts"])
def test_nothing_sticks_out_on_a_narrow_phone(show: Opener, tmp_path: Path, view: str) -> None:
    long_word = "x" * 400
    items = [
        *a_mixed_run(),
        an_item(6, prompt=long_word, endpoint=f"owner/{long_word}", cost_usd=1.0),
        an_item(7, status="failed", id=long_word, error=long_word, request_id=long_word),
        an_item(8, media=(a_sound(tmp_path / "a.wav"),)),
    ]
    tab = show(*items, hash=f"#view={view}", width=360, height=740)
    expect(tab.locator(f"#view-{view}")).to_be_visible()
    assert tab.evaluate("document.documentElement.scrollWidth") == 360
    table = tab.locator("#problem-table")
    assert table.evaluate("table => table.scrollWidth <= table.clientWidth")
    tab.evaluate("location.hash = 'item=7'")
    tab.reload()
    panel = dialog_of(tab).locator(".panel")
    assert panel.evaluate("panel => panel.scrollWidth <= panel.clientWidth")


def test_print_shows_every_view_and_all_tiles(show: Opener) -> None:
    tab = show(*(an_item(index, cost_usd=1.0) for index in range(60)))
    assert tab.locator(".tile").count() < 60
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(tab.locator(".tile")).to_have_count(60)
    expect(tab.locator(".chart h3").last).to_be_visible()
    expect(tab.locator(".toolbar")).not_to_be_visible()
    tab.emulate_media(media="screen")
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    expect(tab.locator("#view-charts")).not_to_be_visible()
    assert tab.locator(".tile").count() < 60


def test_every_control_has_a_name(show: Opener, tmp_path: Path) -> None:
    tab = show(*a_mixed_run(), an_item(6, media=(a_picture(tmp_path / "a.png"),)), hash="#item=6")
    nameless = tab.evaluate(
        """[...document.querySelectorAll("button, a, input, select, audio, video, img")]
        .filter((node) => !(node.textContent.trim() || node.getAttribute("aria-label") || node.alt))
        .map((node) => node.outerHTML)"""
    )
    assert nameless == []
    assert re.fullmatch(r"en(-\w+)?", tab.evaluate("document.documentElement.lang"))
