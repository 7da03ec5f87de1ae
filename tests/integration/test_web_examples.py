"""The example apps: real servers in processes of their own, the emulator, a real Chromium."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from falq.emulator import Emulator, Scenario
from tests.support.chromium import LAUNCH_ARGUMENTS, find_chromium
from tests.support.web_servers import free_port

playwright_api = pytest.importorskip("playwright.sync_api", reason="pip install 'falq[dev]'")
from playwright.sync_api import Browser, expect, sync_playwright  # noqa: E402  # after the skip

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
GUARD_S = 20.0
HOSTILE = '<img src=x onerror="window.ran = 1"><script>window.ran = 2</script> a red bicycle'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = find_chromium()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=LAUNCH_ARGUMENTS)
        yield running
        running.close()


class RunningEmulator:
    """An emulator in a thread with a loop of its own: the browser has this one's."""

    def __init__(self, scenario: Scenario) -> None:
        self.emulator = Emulator(scenario)
        self._loop = asyncio.new_event_loop()
        self._has_started, self._must_end = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    async def _run(self) -> None:
        async with self.emulator:
            self._has_started.set()
            await self._must_end.wait()

    def __enter__(self) -> Emulator:
        self._thread.start()
        assert self._has_started.wait(GUARD_S)
        return self.emulator

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._must_end.set)
        self._thread.join(GUARD_S)
        self._loop.close()


class RunningApp:
    """One of the example apps, as a user runs it."""

    def __init__(
        self, name: str, emulator: Emulator, folder: Path, port: int, *, has_webhooks: bool = True
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._said: list[str] = []
        own = {
            "FALQ_BASE_URL": emulator.url,
            "FAL_KEY": emulator.key,
            "PUBLIC_URL": self.url if has_webhooks else "",
            "PORT": str(port),
            "PYTHONUNBUFFERED": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-X", "dev", str(EXAMPLES / f"{name}_app.py")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env={**os.environ, **own},
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.append(line)
            if "unning on" in line:
                break
        else:
            pytest.fail("".join(self._said))
        # Whatever it says later must not fill the pipe.
        self._reader = threading.Thread(target=self._said.extend, args=(self._process.stdout,))
        self._reader.start()

    def stop(self) -> str:
        """Ask it to end, as a deployment does, and return what it said."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(GUARD_S)
        finally:
            self._process.kill()
            self._reader.join(GUARD_S)
            self._process.stdout.close()
        said = "".join(self._said)
        for word in ("Traceback", "Warning", "never awaited", "Unclosed", "never retrieved"):
            assert word not in said, said
        return said


@pytest.fixture(params=["fastapi", "aiohttp"])
def name(request) -> str:
    if request.param == "fastapi":
        pytest.importorskip("fastapi", reason="pip install 'falq[dev]'")
    return request.param


class Shown:
    """The page in a browser, and everything that it complained of."""

    def __init__(self, browser: Browser, url: str, **options) -> None:
        self.complaints: list[str] = []
        self.context = browser.new_context(**options)
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(GUARD_S * 1000)
        self.tab.on("console", lambda message: self.complaints.append(message.text))
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.tab.goto(url)
        self.cards = self.tab.locator(".job")

    def note_states(self) -> None:
        """Keep every text of the newest picture's state: some are short-lived."""
        self.tab.evaluate("""() => {
            window.states = [];
            const look = () => window.states.push(document.querySelector(".state")?.textContent);
            const whole = { subtree: true, childList: true, characterData: true };
            new MutationObserver(look).observe(document.getElementById("jobs"), whole);
        }""")

    def order(self, prompt: str) -> None:
        self.tab.fill("#prompt", prompt)
        self.tab.click("#go")

    def wait_picture(self, count: int = 1) -> None:
        expect(self.tab.locator(".frame img")).to_have_count(count, timeout=GUARD_S * 1000)
        expect(self.tab.locator(".is-busy")).to_have_count(0)
        for image in self.tab.locator(".frame img").all():
            assert image.evaluate("image => image.naturalWidth") > 100


def test_a_prompt_becomes_a_picture_while_the_page_tells_of_it(name, browser, tmp_path):
    with RunningEmulator(Scenario(speed=0.5)) as emulator:
        app = RunningApp(name, emulator, tmp_path, free_port())
        shown = Shown(browser, app.url, viewport={"width": 390, "height": 844})
        try:
            shown.note_states()
            shown.order("a tiny cute cat")
            shown.wait_picture()
            states = shown.tab.evaluate("window.states")
            assert "Painting" in "".join(states[:-1])
            assert states[-1] == "Done"
            shown.order(HOSTILE)
            expect(shown.cards.first.locator(".prompt")).to_have_text(HOSTILE)
            shown.wait_picture(2)
            # Nothing is wider than a telephone.
            assert shown.tab.evaluate("document.documentElement.scrollWidth") == 390
            # Who comes back finds the pictures, and nothing of a prompt has become HTML.
            shown.tab.reload()
            shown.wait_picture(2)
            expect(shown.cards.first.locator(".prompt")).to_have_text(HOSTILE)
            assert shown.tab.locator("[src=x]").count() == 0
            assert shown.tab.evaluate("window.ran") is None
            assert shown.complaints == []
            counts = emulator.stats()
            assert counts.submits == 2
            assert counts.deliveries["accepted"] == 2
            with urllib.request.urlopen(f"{app.url}/metrics") as answer:
                metrics = answer.read()
            assert b"falq_webhooks_total 2\n" in metrics
            assert b'falq_webhook_calls_total{outcome="accepted"} 2\n' in metrics
        finally:
            shown.context.close()
            said = app.stop()
        assert emulator.key not in said


def test_a_job_outlives_a_restart_of_the_app_and_is_paid_once(name, browser, tmp_path):
    port = free_port()
    with RunningEmulator(Scenario(speed=0.1)) as emulator:
        app = RunningApp(name, emulator, tmp_path, port, has_webhooks=False)
        shown = Shown(browser, app.url)
        try:
            shown.order("a lighthouse in the fog")
            state = shown.cards.first.locator(".state")
            # Without webhooks the status stream tells of each step.
            expect(state).to_have_text(re.compile(r"Painting, \d+ %"), timeout=GUARD_S * 1000)
            app.stop()
            # It ended at once and not with the job, which it left alone.
            assert emulator.stats().jobs_by_state["running"] == 1
            app = RunningApp(name, emulator, tmp_path, port, has_webhooks=False)
            # The page comes back by itself.
            shown.wait_picture()
            assert emulator.stats().submits == 1
        finally:
            shown.context.close()
            app.stop()


class Caller:
    """Calls an app as something else than its page."""

    def __init__(self, app: RunningApp) -> None:
        self._url = app.url
        self.cookie = self.ask("GET", "/")[1]["set-cookie"].partition(";")[0]

    def ask(self, method, path, *, prompt=None, **headers):
        """Return status, headers and body; None as a header's value leaves it out."""
        body = None if prompt is None else json.dumps({"prompt": prompt}).encode()
        given = {"cookie": getattr(self, "cookie", None), "origin": self._url, **headers}
        if body is not None:
            given["content-type"] = "application/json"
        sent = {name: value for name, value in given.items() if value is not None}
        request = urllib.request.Request(self._url + path, body, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=GUARD_S) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read().decode()


def test_an_app_answers_its_own_pages_and_visitors_only(name, tmp_path):
    with RunningEmulator(Scenario(runners=1)) as emulator:
        app = RunningApp(name, emulator, tmp_path, free_port())
        try:
            ann, bob = Caller(app), Caller(app)
            check_page(ann)
            check_orders(ann)
            assert emulator.stats().submits == 0
            check_events(ann, bob)
            assert emulator.stats().submits == 1
            check_probes(ann)
            codes = [bob.ask("POST", "/jobs", prompt=f"cat {n}")[0] for n in range(4)]
            assert codes == [201, 201, 201, 429]
            assert ann.ask("POST", "/jobs", prompt="a dog")[0] == 201
            assert emulator.stats().submits == 5
        finally:
            app.stop()


def check_page(caller: Caller) -> None:
    """The policy lets no other script run, and the cookie is for this server alone."""
    known, new = caller.ask("GET", "/"), caller.ask("GET", "/", cookie=None)
    nonces = set()
    for _, headers, body in (known, new):
        policy = headers["content-security-policy"]
        nonce = re.search(r"script-src 'nonce-([\w-]+)'", policy)[1]
        nonces.add(nonce)
        assert f'<script nonce="{nonce}">' in body
        assert "unsafe" not in policy
        assert "{{" not in body
    assert len(nonces) == 2
    assert known[1]["set-cookie"] is None
    for word in ("httponly", "samesite=strict"):
        assert word in new[1]["set-cookie"].lower()


def check_orders(caller: Caller) -> None:
    """Other sites, strangers and bad prompts order nothing."""
    assert caller.ask("POST", "/jobs", prompt="a cat", cookie=None)[0] in {401, 403}
    for origin in (None, "null", "https://elsewhere.example", "http://127.0.0.1:1"):
        assert caller.ask("POST", "/jobs", prompt="a cat", origin=origin)[0] == 403
    for prompt in ("", "x" * 501):
        assert caller.ask("POST", "/jobs", prompt=prompt)[0] == 422
    forged = caller.ask("POST", f"/fal/{'0' * 32}", prompt="no webhook")
    assert forged[0] in {400, 401}


def check_events(caller: Caller, other: Caller) -> None:
    """A job is told to the visitor who ordered it, to its end."""
    code, _, body = caller.ask("POST", "/jobs", prompt="a cat")
    path = f"/jobs/{json.loads(body)['id']}/events"
    assert code == 201
    code, headers, told = caller.ask("GET", path)
    assert code == 200
    assert headers["content-type"].startswith("text/event-stream")
    assert "event: picture\n" in told
    assert other.ask("GET", path)[0] == 404
    assert caller.ask("GET", path, cookie=None)[0] in {401, 403}
    assert caller.ask("GET", "/jobs/of-nobody/events")[0] == 404


def check_probes(caller: Caller) -> None:
    assert caller.ask("GET", "/healthz")[0] == 200
    assert json.loads(caller.ask("GET", "/readyz")[2])["status"] == "ready"
