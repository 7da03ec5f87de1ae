"""Render the report page: one HTML file that shows how every job ended, offline.

Owns the values the page is made of, the policy that keeps the page from loading
or running anything foreign, and the way untrusted text gets into it. It never
reads a journal, downloads media or writes a file; it reads its own template,
style and scripts only. The batch report and `falq demo` call it.

Rules:

1. Everything a user or a model wrote goes into the page as JSON in one data
   block. The scripts put it on screen as text, never as HTML.
2. The page makes no request but for the media beside it, and its content
   security policy holds it to that. A live page may also ask where it came from.
3. A report is written after money was spent: odd values (a cycle, a NaN, a lone
   surrogate, a megabyte of text) are shown as well as they can be, never refused.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote

from attrs import asdict, field, frozen, validators

from falq.errors import ConfigError

ItemStatus = Literal["succeeded", "failed", "cancelled", "timed_out", "unknown"]
MediaKind = Literal["image", "video", "audio", "file"]

_STATUS_LABELS: Mapping[ItemStatus, str] = {
    "succeeded": "Succeeded",
    "failed": "Failed",
    "cancelled": "Cancelled",
    "timed_out": "Timed out",
    "unknown": "Unknown",
}

# In the order in which they are joined: a file uses only names of earlier ones
# while it loads.
_SCRIPTS = (
    "page_dom.js",
    "page_gallery.js",
    "page_lightbox.js",
    "page_charts.js",
    "page_live.js",
    "page.js",
)

# Local pictures travel inside arguments as data URLs of megabytes. Ten thousand
# such rows would make a page that no browser opens.
_LONGEST_TEXT = 20_000
_KEPT_OF_DATA_URL = 64
# Deeper than any payload of the service; it is what ends a cycle.
_DEEPEST_NESTING = 40
_THINNEST_SHARE = 0.015

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_MEDIA_DATA_URL = re.compile(r"data:(image|video|audio)/", re.IGNORECASE)
_CONTENT_TYPE = re.compile(r"[A-Za-z0-9][\w.+-]*/[A-Za-z0-9][\w.+-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@frozen(kw_only=True)
class PageMedia:
    """One media file of an item.

    Attributes:
        kind: What the page shows it with.
        content_type: Media type, for example `image/png`.
        name: File name, shown and offered on download.
        href: Path relative to the page with `/` between folders (not
            percent-encoded), a `data:` URL of an image, video or sound, or an
            https URL. An https URL is linked but never loaded. Anything else is
            named on the page and not linked.
        width: Width in pixels, if known.
        height: Height in pixels, if known.
    """

    kind: MediaKind = field(validator=validators.in_(get_args(MediaKind)))
    content_type: str
    name: str
    href: str
    width: int | None = None
    height: int | None = None


@frozen(kw_only=True)
class PageItem:
    """One job as the page shows it.

    Attributes:
        index: Place in the input, counted from 0.
        id: The row's own id.
        endpoint: Where the submission went.
        status: How the job ended; `unknown` if that was not found out.
        request_id: The server's id of it, if it got one.
        prompt: The text that describes the result; also its alternative text.
        arguments: What was submitted, shown as JSON.
        result: What came back, shown as JSON.
        seed: Seed of the result, if it has one.
        cost_usd: Price in US dollars, None if not known.
        error: Why the job did not succeed.
        error_type: The service's word for the reason, or a class name.
        how_to_retry: One sentence on what to do about it. Text between
            backticks is shown as a command.
        started_s: Seconds from the start of the run to the submit.
        running_s: Seconds from the start of the run until it was first seen running.
        ended_s: Seconds from the start of the run until it settled.
        media: Files of the result, the one for the gallery first.
    """

    index: int
    id: str
    endpoint: str
    status: ItemStatus = field(validator=validators.in_(get_args(ItemStatus)))
    request_id: str | None = None
    prompt: str | None = None
    arguments: Mapping[str, Any] = field(factory=dict)
    result: object | None = None
    seed: int | None = None
    cost_usd: float | None = None
    error: str | None = None
    error_type: str | None = None
    how_to_retry: str | None = None
    started_s: float | None = None
    running_s: float | None = None
    ended_s: float | None = None
    media: tuple[PageMedia, ...] = ()


@frozen(kw_only=True)
class Page:
    """What the report page shows.

    Attributes:
        title: Heading and title of the document.
        subtitle: One line under it, for example when and where the jobs ran.
        items: The jobs, in the order of the input.
        facts: Name and value of each summary tile.
        next_steps: One sentence each. Text between backticks is shown as a
            command that can be copied.
    """

    title: str
    subtitle: str = ""
    items: Sequence[PageItem] = ()
    facts: Sequence[tuple[str, str]] = ()
    next_steps: Sequence[str] = ()


def render_page(page: Page, *, events: str | None = None) -> str:
    """Return `page` as one HTML document without outside parts.

    The document opens from a file, needs no network and loads nothing but the
    media its items name. Write it as UTF-8.

    Args:
        page: What to show. The order of the items is the default order shown.
        events: Relative address of server-sent events; the page then fetches
            itself again whenever one tells of news. None for a page that stands
            alone.

    Raises:
        ConfigError: jinja2 is not installed; the message names the extra.

    Example:
        >>> html = render_page(Page(title="Ten cats"))
        >>> html.splitlines()[0]
        '<!doctype html>'
    """
    try:
        jinja2 = importlib.import_module("jinja2")
    except ImportError:
        raise ConfigError(
            "The report page needs jinja2, which is not installed. Run: pip install 'falq[report]'"
        ) from None
    markup = importlib.import_module("markupsafe").Markup
    style = _own_text("page.css")
    script = "\n".join(_own_text(name) for name in _SCRIPTS)
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    document: str = environment.from_string(_own_text("page.html.jinja")).render(
        title=_writable(page.title),
        subtitle=_writable(page.subtitle),
        facts=[(_writable(name), _writable(value)) for name, value in page.facts],
        next_steps=[_text_and_code(step) for step in page.next_steps],
        total=len(page.items),
        outcomes=_outcomes(page.items),
        events=events,
        policy=markup(_policy(style, script, is_live=events is not None)),
        style=markup(style),
        script=markup(script),
        data=markup(_data_block(page.items)),
    )
    return document


def embed_file(path: Path, content_type: str) -> str:
    """Return the file at `path` as a `data:` URL, for a page that is one file.

    It blocks while it reads. The URL is a third longer than the file.

    Args:
        path: The file. It is read whole.
        content_type: Media type, for example `image/png`, without parameters.

    Raises:
        OSError: The file cannot be read.
        ValueError: `content_type` is not a plain media type.
    """
    if not _CONTENT_TYPE.fullmatch(content_type):
        raise ValueError(f"content_type must look like image/png, got {content_type!r}")
    return f"data:{content_type};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _own_text(name: str) -> str:
    return resources.files("falq.batch").joinpath(name).read_text(encoding="utf-8")


def _policy(style: str, script: str, *, is_live: bool) -> str:
    # A page opened from disk has an opaque origin. Chromium lets 'self' match the
    # files beside it all the same; by the letter of the standard only `file:` does.
    beside_the_page = "'self' data: blob: file:"
    return "; ".join(
        (
            "default-src 'none'",
            f"img-src {beside_the_page}",
            f"media-src {beside_the_page}",
            f"style-src {_hash_source(style)}",
            f"script-src {_hash_source(script)}",
            *(["connect-src 'self'"] if is_live else []),
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _hash_source(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _outcomes(items: Sequence[PageItem]) -> list[dict[str, Any]]:
    """Return each status that occurs with its count and its place on the bar in percent."""
    counts = Counter(item.status for item in items)
    # One failure among 10,000 is what a reader looks for: it stays wide enough to see.
    widths = {status: max(count / len(items), _THINNEST_SHARE) for status, count in counts.items()}
    scale = 100 / (sum(widths.values()) or 1)
    rows: list[dict[str, Any]] = []
    offset = 0.0
    for status, label in _STATUS_LABELS.items():
        if status in counts:
            width = widths[status] * scale
            row = {"status": status, "label": label, "count": counts[status], "width": width}
            rows.append(row | {"offset": offset})
            offset += width
    return rows


def _text_and_code(sentence: str) -> list[tuple[str, bool]]:
    """Split `sentence` at its backticks into pieces, each with "is it code"."""
    pieces = _writable(sentence).split("`")
    return [(piece, number % 2 == 1) for number, piece in enumerate(pieces) if piece]


def _data_block(items: Sequence[PageItem]) -> str:
    """Return the items as JSON that cannot end the script element around it.

    ASCII alone leaves no U+2028 or U+2029 and no lone surrogate; with `<`, `>`
    and `&` escaped too, no text can be read as markup.
    """
    text = json.dumps([_item_data(item) for item in items], separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _item_data(item: PageItem) -> dict[str, Any]:
    data = asdict(item, recurse=False)
    media = data.pop("media")
    # Media keep their data URLs whole; every other value goes through the limits.
    plain: dict[str, Any] = _plain(data)
    plain["media"] = [asdict(one) | {"href": _linkable(one.href)} for one in media]
    return plain


def _plain(value: object, depth: int = 0) -> Any:
    """Return `value` as something JSON can hold, shortened where it is huge."""
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        if depth > _DEEPEST_NESTING:
            return "…"
        if isinstance(value, Mapping):
            return {str(key): _plain(inner, depth + 1) for key, inner in value.items()}
        return [_plain(inner, depth + 1) for inner in value]
    if value is None or isinstance(value, bool) or _is_exact_number(value):
        return value
    return _shortened(str(value))


def _is_exact_number(value: object) -> bool:
    """Tell whether a browser reads `value` as the number it is."""
    # JSON has no infinity, and whole numbers above 2**53 are read as a neighbor:
    # a seed that is off by one is worse than one that is text.
    if isinstance(value, int):
        return abs(value) <= 2**53
    return isinstance(value, float) and math.isfinite(value)


def _shortened(text: str) -> str:
    kept = _KEPT_OF_DATA_URL if text.startswith("data:") else _LONGEST_TEXT
    if len(text) <= kept:
        return text
    return f"{text[:kept]}… ({len(text):,} characters)"


def _linkable(href: str) -> str:
    """Return `href` as a URL the page may link, or "" for one it may not.

    The scripts check it again: a page can be edited after it was written.
    """
    if _CONTROL.search(href) or href.startswith(("/", "\\")):
        return ""
    if _MEDIA_DATA_URL.match(href) or href.startswith("https://"):
        return href
    if _SCHEME.match(href):
        return ""
    return quote(href, errors="replace")


def _writable(text: str) -> str:
    """Return `text` without lone surrogates, which UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
