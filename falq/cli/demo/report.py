"""Say how the demonstration went: the summary and the page.

Owns the figures and the turning of a ledger into the report page. It runs after
everything has ended and never waits for anything; reading media blocks, so
`run` calls it in a worker thread.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from attrs import evolve, frozen

from falq._engine.session_statistics import SessionStatistics
from falq.batch.page import Page, PageItem, PageMedia, embed_file, render_page
from falq.cli.demo.ledger import Entry, Ledger
from falq.cli.demo.plan import UPSCALER
from falq.cli.output import Output, describe_size
from falq.emulator import Statistics
from falq.errors import ConfigError, FalqError
from falq.media import DownloadedFile

EMBEDDED_BYTES = 25 * 1024 * 1024
"""Media beyond this lie beside the page: browsers open larger pages slowly."""

_RETRY_HINTS = {
    "refused": "The input was refused: correct the argument that the message names, submit again.",
    "broken": "The runner went away: submit the same input again.",
    "cancelled": "It was cancelled on purpose: submit it again if you want it.",
}


@frozen(kw_only=True)
class DemoRun:
    """A demonstration that has ended.

    Attributes:
        ledger: Every job.
        folder: Where its media are.
        elapsed_s: How long it took.
        emulated: What the server saw.
        statistics: What the session counted.
    """

    ledger: Ledger
    folder: Path
    elapsed_s: float
    emulated: Statistics
    statistics: SessionStatistics

    @property
    def entries(self) -> list[Entry]:
        """Every job."""
        return self.ledger.entries

    def latencies_s(self) -> list[float]:
        """Return how long each succeeded job took, in order of length."""
        return sorted(entry.total_s for entry in self.entries if entry.error is None)

    def errors(self) -> Counter[str]:
        """Return how many jobs ended with which kind of error."""
        return Counter(kind_of(entry.error) for entry in self.entries if entry.error is not None)


def kind_of(error: FalqError) -> str:
    """Return the service's word for an error, with falq's."""
    word = getattr(error, "error_type", None)
    return f"{type(error).__name__} ({word})" if word else type(error).__name__


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value that `share` of the ordered values do not exceed; 0 if there is none.

    Example:
        >>> percentile([1.0, 2.0, 3.0, 4.0], 0.5)
        2.0
    """
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def print_summary(run: DemoRun, page: Path | None, output: Output) -> None:
    """Print the figures, where the page is, and what to try next."""
    figures = _figures(run)
    if output.is_json:
        output.data(figures | {"page": None if page is None else str(page)})
        return
    latency = figures["latency_s"]
    failed = figures["failed"]
    lines = [
        f"{figures['jobs']} jobs in {figures['elapsed_s']:.1f} s ({figures['jobs_per_s']:.1f} "
        f"jobs/s): {figures['succeeded']} succeeded, {failed} did not; 3 were meant not to",
        f"polls      {figures['polls_per_job']:.1f} per job, {figures['calls_per_job']:.1f} "
        f"calls per job on {figures['connections']} connections",
        f"latency    p50 {latency['p50']:.1f} s, p95 {latency['p95']:.1f} s, "
        f"p99 {latency['p99']:.1f} s",
        f"media      {figures['files']} files, {describe_size(figures['file_bytes'])} in "
        f"{run.folder / 'media'}",
    ]
    lines += [f"error      {count} of {kind}" for kind, count in figures["errors"].items()]
    for line in lines:
        output.line(line)
    output.line("")
    if page is not None:
        output.line(f"The page: {page.absolute().as_uri()}")
    output.line(
        "Next, with a key of your own: export FAL_KEY=… && falq subscribe fal-ai/flux/schnell "
        "prompt='a tiny cute cat' --download pictures"
    )


def _figures(run: DemoRun) -> dict[str, Any]:
    latencies_s = run.latencies_s()
    files = [file for entry in run.entries for file in entry.files]
    total = len(run.entries)
    return {
        "jobs": total,
        "elapsed_s": round(run.elapsed_s, 3),
        "jobs_per_s": round(total / run.elapsed_s, 2),
        "succeeded": len(latencies_s),
        "failed": total - len(latencies_s),
        "polls_per_job": round(run.emulated.polls_mean, 2),
        "calls_per_job": round(sum(run.statistics.calls.values()) / total, 2),
        "connections": run.emulated.connections,
        "peak_in_progress": run.emulated.in_progress_peak,
        "latency_s": {
            name: round(percentile(latencies_s, share), 3)
            for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        },
        "files": len(files),
        "file_bytes": sum(file.size_bytes for file in files),
        "errors": dict(run.errors()),
    }


def write_page(run: DemoRun, output: Output) -> Path | None:
    """Write `report.html` beside the media and return where it is; None without jinja2."""
    figures = _figures(run)
    latency = figures["latency_s"]
    page = Page(
        title="falq demo",
        subtitle="Jobs on an emulated fal queue on this machine. No account, no network, no cost.",
        items=_items(run),
        facts=[
            ("Jobs a second", f"{figures['jobs_per_s']:.1f}"),
            ("Polls per job", f"{figures['polls_per_job']:.1f}"),
            ("Latency p50 / p95", f"{latency['p50']:.1f} s / {latency['p95']:.1f} s"),
            ("In progress at once", str(figures["peak_in_progress"])),
            ("Media", f"{figures['files']} files, {describe_size(figures['file_bytes'])}"),
        ],
        next_steps=[
            "With a key of your own: `export FAL_KEY=…`",
            "One picture: `falq subscribe fal-ai/flux/schnell prompt='a tiny cute cat' "
            "--download pictures`",
            "Your own emulator: `falq emulator`",
        ],
    )
    try:
        html = render_page(page)
    except ConfigError as error:
        output.note(f"no page: {error}", style="yellow")
        return None
    path = run.folder / "report.html"
    path.write_text(html, encoding="utf-8")
    return path


def _items(run: DemoRun) -> list[PageItem]:
    hrefs = _hrefs(run)
    return [_item(entry, hrefs) for entry in run.entries]


def _item(entry: Entry, hrefs: dict[Path, str]) -> PageItem:
    job, error = entry.job, entry.error
    arguments = dict(entry.arguments)
    arguments.pop("_emulator", None)
    model = job.endpoint.split("/")[1]
    prompt = arguments.get("prompt") or arguments.get("gen_text")
    if job.endpoint == UPSCALER:
        prompt = f"Enlarged {arguments.get('upscale_factor')} times"
    item = PageItem(
        index=job.index,
        id=f"{job.index + 1:03d}-{model}",
        endpoint=job.endpoint,
        status=_STATUSES.get(entry.phase, "unknown"),
        request_id=entry.request_id,
        prompt=prompt,
        arguments=arguments,
        result=entry.result,
        seed=entry.result.get("seed") if isinstance(entry.result, dict) else None,
        started_s=entry.started_s,
        running_s=entry.running_s,
        ended_s=entry.ended_s,
        media=tuple(_media(file, entry.result, hrefs) for file in entry.files),
    )
    if error is None:
        return item
    return evolve(
        item,
        error=str(error),
        error_type=getattr(error, "error_type", None) or type(error).__name__,
        how_to_retry=_RETRY_HINTS.get(job.role),
    )


_STATUSES: dict[str, Literal["succeeded", "failed", "cancelled"]] = {
    "done": "succeeded",
    "failed": "failed",
    "cancelled": "cancelled",
}


def _media(file: DownloadedFile, result: Any, hrefs: dict[Path, str]) -> PageMedia:
    content_type = (file.content_type or "application/octet-stream").partition(";")[0]
    sizes = _sizes(result).get(urlsplit(file.url).path, (None, None))
    return PageMedia(
        kind=_kind(content_type),
        content_type=content_type,
        name=file.path.name,
        href=hrefs[file.path],
        width=sizes[0],
        height=sizes[1],
    )


def _kind(content_type: str) -> Literal["image", "video", "audio", "file"]:
    family = content_type.partition("/")[0]
    if family == "image":
        return "image"
    if family == "video":
        return "video"
    return "audio" if family == "audio" else "file"


def _sizes(result: Any) -> dict[str, tuple[int | None, int | None]]:
    pictures = result.get("images", [result.get("image")]) if isinstance(result, dict) else []
    return {
        urlsplit(one["url"]).path: (one.get("width"), one.get("height"))
        for one in pictures
        if isinstance(one, dict) and isinstance(one.get("url"), str)
    }


def _hrefs(run: DemoRun) -> dict[Path, str]:
    """Return for each file what the page links: itself as a `data:` URL, else its place."""
    files = [file for entry in run.entries for file in entry.files]
    # Films last: they are what a page can best do without.
    files.sort(key=lambda file: _kind(file.content_type or "") == "video")
    hrefs: dict[Path, str] = {}
    left_bytes = EMBEDDED_BYTES
    for file in files:
        if file.size_bytes <= left_bytes:
            left_bytes -= file.size_bytes
            content_type = (file.content_type or "").partition(";")[0]
            hrefs[file.path] = embed_file(file.path, content_type or "application/octet-stream")
        else:
            hrefs[file.path] = file.path.relative_to(run.folder).as_posix()
    return hrefs
