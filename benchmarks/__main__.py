"""Run every benchmark, write results and plots, and compare with the run before.

Owns which scripts there are and where their files go. It measures nothing: each
script runs in a process of its own, one after the other.

    python benchmarks                        all of them, into results/ and docs/images/
    python benchmarks batch crowd            these only
    python benchmarks --smoke                a look at whether they work, files thrown away
    python benchmarks --out DIR              files elsewhere
    python benchmarks --against DIR          compare with the results in DIR
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
IMAGES = HERE.parent / "docs" / "images"
PLOTS: dict[str, str | None] = {
    "throughput": None,
    "poll_load": "polls-against-lag.svg",
    "requests_per_job": None,
    "startup": None,
    "decode": None,
    "webhooks": None,
    "batch": "batch-cost.svg",
    "crowd": "crowd-cost.svg",
}
"""The scripts in the order in which they run, and the plot of each."""

TOLD_ABOVE = 0.1
"""Changes of a figure that are told, as a share of what it was."""

_NO_FIGURES = {"machine", "rounds", "settings", "pinned"}


def run(name: str, *, results: Path, images: Path, smoke: bool) -> Path:
    """Run one script and return where its results are."""
    found = results / f"{name}.json"
    command = [sys.executable, str(HERE / f"{name}.py"), "--json", str(found)]
    plot = PLOTS[name]
    if plot is not None:
        command += ["--plot", str(images / plot)]
    if smoke:
        command.append("--smoke")
    print(f"\n-- {' '.join(command[1:])}", flush=True)
    subprocess.run(command, check=True)
    return found


def read(path: Path) -> dict[str, float]:
    """Return the figures of a results file by name; none if it is not there."""
    if not path.exists():
        return {}
    return dict(_figures("", json.loads(path.read_text())))


def _figures(name: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, child in value.items():
            if key not in _NO_FIGURES:
                yield from _figures(f"{name} {key}".strip(), child)
    elif isinstance(value, list):
        for place, child in enumerate(value):
            yield from _figures(f"{name} [{place}]", child)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, float(value)


def compare(before: Mapping[str, float], now: Mapping[str, float]) -> list[str]:
    """Return a line for each figure that changed by more than `TOLD_ABOVE`."""
    lines = []
    for name, figure in now.items():
        was = before.get(name)
        if was is None or was == figure:
            continue
        change = (figure - was) / abs(was) if was else float("inf")
        if abs(change) > TOLD_ABOVE:
            lines.append(f"{name}: {was:.4g} -> {figure:.4g} ({change:+.0%})")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(PLOTS)}; all unless named")
    parser.add_argument("--smoke", action="store_true", help="see that they work, keep nothing")
    parser.add_argument("--out", type=Path, help="folder of results and plots")
    parser.add_argument("--against", type=Path, default=RESULTS, help="folder of the run before")
    given = parser.parse_args()
    names = given.names or list(PLOTS)
    unknown = set(names) - PLOTS.keys()
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as folder:
        results, images = RESULTS, IMAGES
        if given.smoke or given.out is not None:
            results = images = given.out or Path(folder)
            results.mkdir(parents=True, exist_ok=True)
        for name in names:
            before = read(given.against / f"{name}.json")
            now = read(run(name, results=results, images=images, smoke=given.smoke))
            if given.smoke:
                continue
            lines = compare(before, now)
            print(f"{len(lines)} of {len(now)} figures changed by more than {TOLD_ABOVE:.0%}")
            print("\n".join(f"    {line}" for line in lines))


if __name__ == "__main__":
    main()
