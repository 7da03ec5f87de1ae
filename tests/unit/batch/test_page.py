"""The report page as text: what gets into it, what it refuses, what it declares."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falq.batch.page import Page, PageItem, PageMedia, embed_file, render_page

HOSTILE = '</script><script>alert(1)</script>"><img src=x onerror=alert(2)><!-- \u2028\u2029 &lt;'


class Reader(HTMLParser):
    """Collects the elements of a page and the text inside scripts and styles."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": [], "title": [], "h1": []}
        self._open: str | None = None
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in self.texts:
            self.texts[tag].append("")
            self._open = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._open:
            self._open = None

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open][-1] += data

    @property
    def items(self) -> list[dict[str, Any]]:
        loaded: list[dict[str, Any]] = json.loads(self.texts["script"][-1])
        return loaded

    @property
    def policy(self) -> str:
        return next(
            attrs["content"] or ""
            for tag, attrs in self.tags
            if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy"
        )


def an_item(**changes: Any) -> PageItem:
    values: dict[str, Any] = {
        "index": 0,
        "id": "row-0",
        "endpoint": "fal-ai/flux",
        "status": "succeeded",
    }
    return PageItem(**(values | changes))


def rendered(*items: PageItem, **changes: Any) -> Reader:
    return Reader(render_page(Page(**({"title": "A run", "items": items} | changes))))


def linked(href: str) -> str:
    media = PageMedia(kind="image", content_type="image/png", name="cat.png", href=href)
    address: str = rendered(an_item(media=(media,))).items[0]["media"][0]["href"]
    return address


def test_every_value_of_an_item_reaches_the_page() -> None:
    media = PageMedia(
        kind="video", content_type="video/mp4", name="a.mp4", href="out/a.mp4", width=2, height=1
    )
    item = an_item(
        index=3,
        request_id="req-1",
        prompt="a tiny cute cat",
        arguments={"prompt": "a tiny cute cat", "steps": [1, 2.5, True, None]},
        result={"seed": 7},
        seed=7,
        cost_usd=0.25,
        error="no",
        error_type="runner_disconnected",
        how_to_retry="Run it again",
        started_s=0.5,
        running_s=1.0,
        ended_s=2.0,
        media=(media,),
    )
    assert rendered(item).items == [
        {
            "index": 3,
            "id": "row-0",
            "endpoint": "fal-ai/flux",
            "status": "succeeded",
            "request_id": "req-1",
            "prompt": "a tiny cute cat",
            "arguments": {"prompt": "a tiny cute cat", "steps": [1, 2.5, True, None]},
            "result": {"seed": 7},
            "seed": 7,
            "cost_usd": 0.25,
            "error": "no",
            "error_type": "runner_disconnected",
            "how_to_retry": "Run it again",
            "started_s": 0.5,
            "running_s": 1.0,
            "ended_s": 2.0,
            "media": [
                {
                    "kind": "video",
                    "content_type": "video/mp4",
                    "name": "a.mp4",
                    "href": "out/a.mp4",
                    "width": 2,
                    "height": 1,
                }
            ],
        }
    ]


def test_hostile_text_in_any_place_adds_no_element() -> None:
    calm = rendered(an_item(prompt="x"), subtitle="x", facts=[("x", "x")], next_steps=["x `x` x"])
    item = an_item(
        id=HOSTILE,
        endpoint=HOSTILE,
        prompt=HOSTILE,
        arguments={HOSTILE: HOSTILE},
        result=[HOSTILE],
        error=HOSTILE,
    )
    hostile = rendered(
        item,
        title=HOSTILE,
        subtitle=HOSTILE,
        facts=[(HOSTILE, HOSTILE)],
        next_steps=[f"{HOSTILE} `{HOSTILE}` {HOSTILE}"],
    )
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in calm.tags]
    assert hostile.items[0]["arguments"] == {HOSTILE: HOSTILE}
    assert hostile.texts["h1"] == [HOSTILE]


@pytest.mark.slow
@given(prompt=st.text(max_size=60))
@settings(max_examples=40, deadline=None)
def test_any_prompt_survives_and_leaves_the_page_writable(prompt: str) -> None:
    document = render_page(Page(title=prompt, items=[an_item(prompt=prompt)]))
    document.encode("utf-8")
    reader = Reader(document)
    assert reader.items[0]["prompt"] == prompt
    assert len(reader.texts["script"]) == 2


def test_a_lone_surrogate_is_replaced_in_the_heading_and_kept_in_the_data() -> None:
    document = render_page(Page(title="a\ud800b", items=[an_item(prompt="a\ud800b")]))
    reader = Reader(document.encode("utf-8").decode("utf-8"))
    assert reader.texts["h1"] == ["a?b"]
    assert reader.items[0]["prompt"] == "a\ud800b"


def test_the_policy_allows_exactly_the_inlined_style_and_script() -> None:
    reader = rendered(an_item())
    for name in ("style", "script"):
        digest = hashlib.sha256(reader.texts[name][0].encode()).digest()
        source = f"{name}-src 'sha256-{base64.b64encode(digest).decode()}'"
        assert source in reader.policy.split("; ")
    assert reader.policy.startswith("default-src 'none'; ")
    assert "unsafe" not in reader.policy
    assert "http" not in reader.policy


def test_the_page_names_no_address_outside_itself() -> None:
    document = render_page(Page(title="A run", items=[an_item()]))
    names = set(re.findall(r"""\b[a-z]+://[^\s'"<>`]*""", document))
    assert names == {"http://www.w3.org/2000/svg"}
    addresses = [
        attrs[name] or ""
        for _, attrs in Reader(document).tags
        for name in ("src", "href")
        if name in attrs
    ]
    assert [one for one in addresses if not one.startswith(("#", "data:image/svg+xml,"))] == []


@pytest.mark.parametrize(
    ("href", "expected"),
    [
        ("out/cat.png", "out/cat.png"),
        ("out/a cat #1 50%.png", "out/a%20cat%20%231%2050%25.png"),
        ("../bücher/cat?.png", "../b%C3%BCcher/cat%3F.png"),
        ("data:image/png;base64,AA==", "data:image/png;base64,AA=="),
        ("https://v3.fal.media/files/cat.png?x=1", "https://v3.fal.media/files/cat.png?x=1"),
        ("http://v3.fal.media/cat.png", ""),
        ("javascript:alert(1)", ""),
        ("JavaScript:alert(1)", ""),
        ("java\tscript:alert(1)", ""),
        ("data:text/html,<script>alert(1)</script>", ""),
        ("file:///etc/passwd", ""),
        ("//evil.example/cat.png", ""),
        ("\\\\evil.example\\cat.png", ""),
        ("/etc/passwd", ""),
    ],
)
def test_an_address_is_linked_only_if_it_is_beside_the_page_embedded_or_https(
    href: str, expected: str
) -> None:
    assert linked(href) == expected


def test_values_that_json_does_not_have_are_shown_as_text() -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    arguments = {
        "nan": float("nan"),
        "infinity": float("inf"),
        "path": Path("a/b"),
        "pair": (1, 2),
        3: "a key that is no text",
        "cycle": cycle,
    }
    shown = rendered(an_item(arguments=arguments)).items[0]["arguments"]
    assert shown.pop("cycle")[0][0][0]
    assert shown == {
        "nan": "nan",
        "infinity": "inf",
        "path": str(Path("a/b")),
        "pair": [1, 2],
        "3": "a key that is no text",
    }


def test_a_seed_too_large_for_a_browser_is_kept_digit_for_digit() -> None:
    items = rendered(an_item(seed=2**53), an_item(seed=2**63 + 1)).items
    assert [item["seed"] for item in items] == [2**53, "9223372036854775809"]


def test_embedded_inputs_and_huge_texts_are_shortened_and_say_so() -> None:
    picture = "data:image/png;base64," + "A" * 5_000
    shown = rendered(an_item(arguments={"image_url": picture}, result={"text": "b" * 50_000}))
    (item,) = shown.items
    assert item["arguments"]["image_url"] == f"{picture[:64]}… (5,022 characters)"
    assert item["result"]["text"] == "b" * 20_000 + "… (50,000 characters)"


def test_the_data_url_of_a_media_file_is_never_shortened() -> None:
    href = "data:image/png;base64," + "A" * 50_000
    assert linked(href) == href


def test_the_header_counts_each_outcome_that_occurs() -> None:
    statuses = ["succeeded"] * 1_200 + ["failed", "timed_out", "timed_out"]
    document = render_page(
        Page(title="A run", items=[an_item(status=status) for status in statuses])
    )
    assert "<b>1,203</b> jobs" in document
    counted = re.findall(r"</i>([A-Z][a-z ]+) <b>([\d,]+)</b>", document)
    assert counted == [("Succeeded", "1,200"), ("Failed", "1"), ("Timed out", "2")]


def test_the_bar_of_outcomes_is_full_and_shows_the_rarest() -> None:
    items = [an_item()] * 5_000 + [an_item(status="failed")]
    bars = [attrs for tag, attrs in rendered(*items).tags if tag == "rect" and "x" in attrs]
    widths = [float((bar["width"] or "").rstrip("%")) for bar in bars]
    assert len(widths) == 2
    assert min(widths) > 1
    assert sum(widths) == pytest.approx(100, abs=0.01)


def test_commands_in_next_steps_stand_out() -> None:
    document = render_page(Page(title="A run", next_steps=["Run `falq doctor` first"]))
    assert "<li>Run <code>falq doctor</code> first</li>" in document


def test_a_page_without_jobs_has_no_empty_cards() -> None:
    reader = rendered()
    assert reader.items == []
    classes = {attrs.get("class") for _, attrs in reader.tags}
    assert classes.isdisjoint({"facts", "card next-steps"})


def test_an_unknown_status_or_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="status"):
        an_item(status="done")
    with pytest.raises(ValueError, match="kind"):
        PageMedia(kind="hologram", content_type="x/y", name="a", href="a")  # type: ignore[arg-type]  # the point


def test_an_embedded_file_comes_back_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(bytes(range(256)))
    head, _, body = embed_file(path, "image/png").partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(body) == bytes(range(256))


@pytest.mark.parametrize("content_type", ["", "image", "image/png, x", 'a/b"', "image/png\n"])
def test_a_content_type_that_could_break_the_address_is_refused(
    content_type: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="content_type"):
        embed_file(tmp_path / "not-read", content_type)


@pytest.mark.slow
def test_without_jinja2_the_error_names_the_extra() -> None:
    # A process of its own: a module that is None is one that cannot be imported.
    program = (
        "import sys; sys.modules['jinja2'] = None\n"
        "from falq.batch.page import Page, render_page\n"
        "from falq.errors import ConfigError\n"
        "try:\n    render_page(Page(title='x'))\n"
        "except ConfigError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert "pip install 'falq[report]'" in done.stdout
